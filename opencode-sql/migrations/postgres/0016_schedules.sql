-- Prompts that are submitted again and again: when each is due next is a column, which is NULL while it is paused and when
-- its time never comes again. The rest of it is JSON.
--
-- The file of the same name for SQLite says the same.

CREATE TABLE opencode_schedules (
    id TEXT PRIMARY KEY NOT NULL,
    conversation TEXT NOT NULL REFERENCES opencode_conversations (id) ON DELETE CASCADE,
    next_at BIGINT,
    record TEXT NOT NULL
);

CREATE INDEX opencode_schedules_due ON opencode_schedules (next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX opencode_schedules_by_conversation ON opencode_schedules (conversation, id);

INSERT INTO opencode_migrations (version, name) VALUES (16, 'schedules');
