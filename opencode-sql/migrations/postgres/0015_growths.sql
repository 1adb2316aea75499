-- What has come to a running turn's checkpoint since that was written, in the order of claim and number: each save adds a
-- row, whatever there is already. The whole takes the place of all of them, and so does the end of the turn.
--
-- The file of the same name for SQLite says the same.

CREATE TABLE opencode_growths (
    turn TEXT NOT NULL REFERENCES opencode_turns (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    growth TEXT NOT NULL,
    PRIMARY KEY (turn, generation, number)
);

INSERT INTO opencode_migrations (version, name) VALUES (15, 'growths');
