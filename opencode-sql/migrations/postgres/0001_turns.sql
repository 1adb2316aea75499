-- Conversations, messages and turns. Times are milliseconds since 1970 (UTC),
-- ids are UUIDs as text, what has more than one field is JSON as text. In other
-- text, a backslash stands as \\ and the character NUL, which Postgres cannot
-- hold, as \0.
--
-- The file of the same name for SQLite says the same.

-- Which of these files were run: each notes itself at its end.
CREATE TABLE opencode_migrations (
    version BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE opencode_conversations (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- The start of the first prompt.
    excerpt TEXT,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);

CREATE INDEX opencode_conversations_by_use ON opencode_conversations (used_at DESC, id DESC);

-- A row of its own for each conversation's upstream session: its lock, held
-- while a session is minted, holds up nothing else.
CREATE TABLE opencode_sessions (
    conversation TEXT NOT NULL PRIMARY KEY REFERENCES opencode_conversations (id) ON DELETE CASCADE,
    session TEXT
);

-- The queue. A turn is leased while it has a worker.
CREATE TABLE opencode_turns (
    -- By age; within a conversation this is the order in which turns are worked on.
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    -- How the row is to be read.
    version BIGINT NOT NULL,
    conversation TEXT NOT NULL REFERENCES opencode_conversations (id) ON DELETE CASCADE,
    user_message TEXT NOT NULL,
    message TEXT NOT NULL,
    prompt TEXT NOT NULL,
    client_key TEXT,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'finished')),
    status TEXT,
    settled BIGINT NOT NULL DEFAULT 0,
    worker TEXT,
    leased_at BIGINT,
    -- 0 for a finished turn that was given back before it was settled.
    lease_expires_at BIGINT,
    generation BIGINT NOT NULL DEFAULT 0,
    attempts BIGINT NOT NULL DEFAULT 0,
    prompted TEXT,
    resends BIGINT NOT NULL DEFAULT 0,
    cancel_requested_at BIGINT,
    checkpoint TEXT NOT NULL,
    -- The newest row version known to a reader who could not read this row.
    unreadable_by BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    progress_at BIGINT,
    finished_at BIGINT,
    CHECK ((state = 'finished') = (status IS NOT NULL)),
    CHECK ((worker IS NULL) = (leased_at IS NULL)),
    CHECK (worker IS NULL OR lease_expires_at IS NOT NULL),
    CHECK (settled = 0 OR (state = 'finished' AND lease_expires_at IS NULL)),
    CHECK (state <> 'running' OR worker IS NOT NULL)
);

CREATE UNIQUE INDEX opencode_turns_by_client_key ON opencode_turns (conversation, client_key) WHERE client_key IS NOT NULL;
CREATE INDEX opencode_turns_by_conversation ON opencode_turns (conversation, seq);
CREATE INDEX opencode_turns_open ON opencode_turns (conversation, seq) WHERE settled = 0;
CREATE INDEX opencode_turns_queued ON opencode_turns (seq) WHERE state = 'queued';
CREATE INDEX opencode_turns_by_lease_end ON opencode_turns (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX opencode_turns_by_lease_start ON opencode_turns (leased_at) WHERE leased_at IS NOT NULL;

CREATE TABLE opencode_messages (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    conversation TEXT NOT NULL REFERENCES opencode_conversations (id) ON DELETE CASCADE,
    turn TEXT NOT NULL,
    role TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    content TEXT NOT NULL,
    parts TEXT NOT NULL,
    reasoning TEXT NOT NULL,
    cost DOUBLE PRECISION NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    truncated BIGINT NOT NULL,
    error TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);

CREATE INDEX opencode_messages_by_conversation ON opencode_messages (conversation, seq);

CREATE TABLE opencode_turn_events (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    turn TEXT NOT NULL REFERENCES opencode_turns (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE INDEX opencode_turn_events_by_turn ON opencode_turn_events (turn, seq);
-- Whatever a program gets wrong: no turn ends twice.
CREATE UNIQUE INDEX opencode_turn_events_one_end ON opencode_turn_events (turn) WHERE name = 'turn.finished';

INSERT INTO opencode_migrations (version, name) VALUES (1, 'turns');
