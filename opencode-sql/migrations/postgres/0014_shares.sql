-- Which tenant's turn is claimed next, which comes first of its own, and which not before a moment.
--
-- The file of the same name for SQLite says the same.

-- What an application says of a tenant, and how much of its rate is used up.
CREATE TABLE opencode_tenants (
    tenant TEXT NOT NULL PRIMARY KEY,
    -- 0 where nothing is said, so that what the workers' options say holds.
    is_set BIGINT NOT NULL,
    weight BIGINT NOT NULL,
    -- NULL for no bound.
    concurrency BIGINT,
    rate_turns BIGINT,
    rate_millis BIGINT,
    -- When the running period of the rate began, and how many turns began in it.
    period_began BIGINT NOT NULL DEFAULT 0,
    period_turns BIGINT NOT NULL DEFAULT 0,
    -- When the next period begins, where this one's turns are used up.
    free_at BIGINT
);

CREATE INDEX opencode_tenants_by_free_at ON opencode_tenants (free_at) WHERE free_at IS NOT NULL;

-- A tenant's queue on a server. Only claims write it.
CREATE TABLE opencode_tenant_queues (
    server TEXT NOT NULL,
    tenant TEXT NOT NULL,
    -- 0 where no turn of it can be claimed. There may be none where it is 1.
    waiting BIGINT NOT NULL,
    -- How far the tenant's use of the server has come: where its last turn began and ended. The least is next.
    used_from BIGINT NOT NULL,
    used_to BIGINT NOT NULL,
    PRIMARY KEY (server, tenant)
);

CREATE INDEX opencode_tenant_queues_next ON opencode_tenant_queues (server, used_to, tenant) WHERE waiting = 1;
CREATE INDEX opencode_tenant_queues_used ON opencode_tenant_queues (server, used_from);

-- Conversations whose first turn that is not settled may be claimable, to be looked at by a claim at that moment. A row is
-- written in the transaction that makes it so, unlike the turn's row, which another transaction may not see yet.
CREATE TABLE opencode_arrivals (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation TEXT NOT NULL,
    due_at BIGINT NOT NULL
);

CREATE INDEX opencode_arrivals_by_due ON opencode_arrivals (due_at, seq);

ALTER TABLE opencode_turns ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE opencode_turns ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;
ALTER TABLE opencode_turns ADD COLUMN not_before BIGINT;
-- 1 where a claim has seen that all earlier turns of its conversation are settled, and its moment has come.
ALTER TABLE opencode_turns ADD COLUMN is_first BIGINT NOT NULL DEFAULT 0;
-- 1 while it runs and waits for a person.
ALTER TABLE opencode_turns ADD COLUMN waits BIGINT NOT NULL DEFAULT 0;

UPDATE opencode_turns
SET tenant = (SELECT c.tenant FROM opencode_conversations AS c WHERE c.id = opencode_turns.conversation)
WHERE settled = 0;
INSERT INTO opencode_arrivals (conversation, due_at) SELECT DISTINCT conversation, 0 FROM opencode_turns WHERE settled = 0;

DROP INDEX opencode_turns_queued;
CREATE INDEX opencode_turns_next ON opencode_turns (server, tenant, priority DESC, seq) WHERE state = 'queued' AND is_first = 1;
CREATE INDEX opencode_turns_at_work ON opencode_turns (tenant) WHERE state = 'running' AND waits = 0;

INSERT INTO opencode_migrations (version, name) VALUES (14, 'shares');
