-- What commits owe to the world outside the database, until it is done.
--
-- The file of the same name for SQLite says the same.

CREATE TABLE opencode_effects (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- When due_at was set.
    set_at BIGINT NOT NULL,
    -- From when on it is to be tried, NULL where it is given up.
    due_at BIGINT,
    attempts BIGINT NOT NULL,
    error TEXT
);

CREATE INDEX opencode_effects_due ON opencode_effects (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX opencode_effects_by_age ON opencode_effects (created_at, id);

INSERT INTO opencode_migrations (version, name) VALUES (6, 'effects');
