-- What people answered to what agents asked.
--
-- The file of the same name for Postgres says the same.

CREATE TABLE opencode_answers (
    turn TEXT NOT NULL REFERENCES opencode_turns (id) ON DELETE CASCADE,
    -- The request's id, as OpenCode has it.
    request TEXT NOT NULL,
    given_by TEXT,
    given TEXT NOT NULL,
    given_at INTEGER NOT NULL,
    -- What became of it.
    state TEXT NOT NULL,
    -- 1 while the turn's worker has to send it, or to find out what became of it.
    open INTEGER NOT NULL,
    -- Whatever a program gets wrong: one answer to a request.
    PRIMARY KEY (turn, request)
) STRICT, WITHOUT ROWID;

CREATE INDEX opencode_answers_open ON opencode_answers (turn) WHERE open = 1;

INSERT INTO opencode_migrations (version, name) VALUES (4, 'answers');
