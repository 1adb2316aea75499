-- What a turn has met on its way.
--
-- The file of the same name for SQLite says the same.

-- The session that the server has lost during the turn and that was replaced. A turn replaces one.
ALTER TABLE opencode_turns ADD COLUMN replaced TEXT;

-- 1 while the turn's worker cannot reach the server.
ALTER TABLE opencode_turns ADD COLUMN unreachable BIGINT NOT NULL DEFAULT 0;

INSERT INTO opencode_migrations (version, name) VALUES (3, 'lost_sessions');
