-- Which turn of another conversation one goes on from, and where a file lies in its conversation's folder.
--
-- The file of the same name for Postgres says the same.

ALTER TABLE opencode_conversations ADD COLUMN forked_from TEXT;
ALTER TABLE opencode_attachments ADD COLUMN place TEXT;

INSERT INTO opencode_migrations (version, name) VALUES (11, 'forks');
