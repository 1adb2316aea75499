-- What nodes tell each other of running turns, and which turns they watch: for a minute at most, and nobody misses it for
-- long. A crash of the server empties these tables.
--
-- The file of the same name for SQLite, which one machine has, makes nothing.

CREATE UNLOGGED TABLE opencode_live (
    turn TEXT NOT NULL,
    generation BIGINT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (turn, generation, number)
);

CREATE UNLOGGED TABLE opencode_watched (
    turn TEXT NOT NULL,
    node TEXT NOT NULL,
    asked BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (turn, node)
);

CREATE INDEX opencode_live_by_age ON opencode_live (at);
CREATE INDEX opencode_watched_by_end ON opencode_watched (expires_at);

INSERT INTO opencode_migrations (version, name) VALUES (13, 'live');
