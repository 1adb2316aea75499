-- What people answered to what agents asked.
--
-- The file of the same name for SQLite says the same.

CREATE TABLE answers (
    turn TEXT NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
    -- The request's id, as OpenCode has it.
    request TEXT NOT NULL,
    given_by TEXT,
    given TEXT NOT NULL,
    given_at BIGINT NOT NULL,
    -- What became of it.
    state TEXT NOT NULL,
    -- 1 while the turn's worker has to send it, or to find out what became of it.
    open BIGINT NOT NULL,
    -- Whatever a program gets wrong: one answer to a request.
    PRIMARY KEY (turn, request)
);

CREATE INDEX answers_open ON answers (turn) WHERE open = 1;
