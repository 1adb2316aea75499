-- What has come to a running turn's checkpoint since that was written, in the order of claim and number: each save adds a
-- row, whatever there is already. The whole takes the place of all of them, and so does the end of the turn.
--
-- The file of the same name for Postgres says the same.

CREATE TABLE opencode_growths (
    turn TEXT NOT NULL REFERENCES opencode_turns (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    growth TEXT NOT NULL,
    PRIMARY KEY (turn, generation, number)
) STRICT, WITHOUT ROWID;

INSERT INTO opencode_migrations (version, name) VALUES (15, 'growths');
