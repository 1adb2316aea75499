-- What a turn is bounded by, and why it was cancelled.
--
-- The file of the same name for SQLite says the same.

-- A JSON object; NULL for none of its own.
ALTER TABLE opencode_turns ADD COLUMN deadlines TEXT;

-- In the application's words: a backslash stands as \\ and the character NUL as \0.
ALTER TABLE opencode_turns ADD COLUMN cancel_reason TEXT;

INSERT INTO opencode_migrations (version, name) VALUES (7, 'policy');
