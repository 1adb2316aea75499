-- What turns have used, and what those that run may use next.
--
-- The file of the same name for SQLite says the same.

-- A row for each turn, which outlives the turn and its conversation.
CREATE TABLE opencode_ledger (
    turn TEXT NOT NULL PRIMARY KEY,
    conversation TEXT NOT NULL,
    tenant TEXT NOT NULL,
    -- When the turn was begun.
    at BIGINT NOT NULL,
    -- Billionths of a US dollar.
    cost BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    millis BIGINT NOT NULL,
    -- What the turn has reserved beyond that, while it runs.
    held_cost BIGINT NOT NULL DEFAULT 0,
    held_tokens BIGINT NOT NULL DEFAULT 0,
    held_millis BIGINT NOT NULL DEFAULT 0,
    -- 1 where the conversation is deleted.
    deleted BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX opencode_ledger_by_tenant ON opencode_ledger (tenant, at);
CREATE INDEX opencode_ledger_by_conversation ON opencode_ledger (conversation, at);
CREATE INDEX opencode_ledger_deleted ON opencode_ledger (at) WHERE deleted = 1;

-- Of turns that have ended, as their messages say. A million dollars are the most that a turn counts.
INSERT INTO opencode_ledger (turn, conversation, tenant, at, cost, tokens, millis)
SELECT t.id, t.conversation, c.tenant, t.started_at,
    CAST(ROUND(GREATEST(0.0, LEAST(1000000.0, m.cost)) * 1000000000.0) AS BIGINT),
    LEAST(1000000000000, m.input_tokens) + LEAST(1000000000000, m.output_tokens)
        + LEAST(1000000000000, m.cache_read_tokens) + LEAST(1000000000000, m.cache_write_tokens),
    GREATEST(0, t.finished_at - t.started_at)
FROM opencode_turns AS t, opencode_conversations AS c, opencode_messages AS m
WHERE c.id = t.conversation AND m.id = t.message
    AND t.state = 'finished' AND t.started_at IS NOT NULL AND t.finished_at IS NOT NULL;

INSERT INTO opencode_migrations (version, name) VALUES (9, 'ledger');
