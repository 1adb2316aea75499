-- Which turn goes on from which, and what of it is shown.
--
-- The file of the same name for Postgres says the same.

-- Empty where a turn begins its conversation. Turns of one conversation with the same parent are versions of each other.
ALTER TABLE opencode_turns ADD COLUMN parent TEXT NOT NULL DEFAULT '';

UPDATE opencode_turns SET parent = COALESCE((
    SELECT e.id FROM opencode_turns AS e
    WHERE e.conversation = opencode_turns.conversation AND e.seq < opencode_turns.seq
    ORDER BY e.seq DESC LIMIT 1
), '');

CREATE INDEX opencode_turns_by_parent ON opencode_turns (parent, conversation, seq);

-- Of another version than the one that is shown, or behind it.
ALTER TABLE opencode_messages ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;

INSERT INTO opencode_migrations (version, name) VALUES (10, 'versions');
