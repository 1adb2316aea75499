-- OpenCode servers, and which conversation is placed on which.
--
-- The file of the same name for Postgres says the same.

CREATE TABLE opencode_servers (
    name TEXT NOT NULL PRIMARY KEY,
    address TEXT NOT NULL,
    labels TEXT NOT NULL,
    -- How many turns may run there at once. NULL for no bound.
    capacity INTEGER,
    draining INTEGER NOT NULL DEFAULT 0,
    -- When it answered one of its workers last.
    heard_at INTEGER,
    -- The worker that heard from it then, as long as it works.
    heard_by TEXT,
    gone_at INTEGER,
    -- What keeps a worker from working there, as it said last.
    problem TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Empty where a conversation is not placed. A turn that is not settled says the same as its conversation.
ALTER TABLE opencode_conversations ADD COLUMN server TEXT NOT NULL DEFAULT '';
-- Why it is not placed.
ALTER TABLE opencode_conversations ADD COLUMN waits_for TEXT;
ALTER TABLE opencode_turns ADD COLUMN server TEXT NOT NULL DEFAULT '';

-- There was one server: it has what had a session, or was prompted.
UPDATE opencode_conversations SET server = 'default'
WHERE id IN (SELECT conversation FROM opencode_sessions WHERE session IS NOT NULL)
   OR id IN (SELECT conversation FROM opencode_turns WHERE settled = 0 AND prompted IS NOT NULL);
UPDATE opencode_turns SET server = 'default'
WHERE settled = 0 AND conversation IN (SELECT id FROM opencode_conversations WHERE server = 'default');
INSERT INTO opencode_servers (name, address, labels, created_at)
SELECT 'default', '', '[]', CAST(strftime('%s', 'now') AS INTEGER) * 1000
WHERE EXISTS (SELECT 1 FROM opencode_conversations WHERE server = 'default');

CREATE INDEX opencode_servers_gone ON opencode_servers (gone_at) WHERE gone_at IS NOT NULL;
CREATE INDEX opencode_conversations_by_server ON opencode_conversations (server, used_at);
CREATE INDEX opencode_turns_unplaced ON opencode_turns (seq) WHERE settled = 0 AND server = '' AND prompted IS NULL;
CREATE INDEX opencode_turns_by_server ON opencode_turns (server, state, seq) WHERE settled = 0;

INSERT INTO opencode_migrations (version, name) VALUES (12, 'servers');
