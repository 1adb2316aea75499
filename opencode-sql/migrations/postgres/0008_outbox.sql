-- What the end of a turn owes to the world outside the database, and what is tried beside what.
--
-- The file of the same name for SQLite says the same.

-- Effects of one lane wait for none of another.
ALTER TABLE opencode_effects ADD COLUMN lane TEXT NOT NULL DEFAULT 'deletion';

-- With the former column its index goes, whichever schema that is in.
ALTER TABLE opencode_effects RENAME COLUMN due_at TO former_due_at;
ALTER TABLE opencode_effects ADD COLUMN due_at BIGINT;
UPDATE opencode_effects SET due_at = former_due_at;
ALTER TABLE opencode_effects DROP COLUMN former_due_at;
CREATE INDEX opencode_effects_due ON opencode_effects (lane, due_at) WHERE due_at IS NOT NULL;
-- Given up, or held until a turn is settled: that is never tried.
CREATE INDEX opencode_effects_given_up ON opencode_effects (created_at, id) WHERE due_at IS NULL;

-- Of turns that have ended and are not settled yet.
INSERT INTO opencode_effects (id, tenant, kind, created_at, set_at, attempts, lane)
SELECT t.id, c.tenant,
    '{"kind":"turn_end","conversation":"' || t.conversation || '","turn":"' || t.id
        || '","message":"' || t.message || '","status":"' || t.status || '"}',
    COALESCE(t.finished_at, t.created_at), COALESCE(t.finished_at, t.created_at), 0, 'hooks'
FROM opencode_turns AS t, opencode_conversations AS c
WHERE c.id = t.conversation AND t.state = 'finished' AND t.settled = 0;

INSERT INTO opencode_migrations (version, name) VALUES (8, 'outbox');
