-- Whose a conversation is, and what the application notes at it and at its turns.
--
-- The file of the same name for SQLite says the same.

-- Names are unique within a tenant from here on. With the former column its index goes, whatever that is called.
ALTER TABLE opencode_conversations RENAME COLUMN name TO former_name;
ALTER TABLE opencode_conversations ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE opencode_conversations ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE opencode_conversations ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
UPDATE opencode_conversations SET name = former_name;
ALTER TABLE opencode_conversations DROP COLUMN former_name;

CREATE UNIQUE INDEX opencode_conversations_by_name ON opencode_conversations (tenant, name);
CREATE INDEX opencode_conversations_by_tenant ON opencode_conversations (tenant, used_at DESC, id DESC);

ALTER TABLE opencode_turns ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';

INSERT INTO opencode_migrations (version, name) VALUES (5, 'people');
