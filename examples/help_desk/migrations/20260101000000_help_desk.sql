-- The help desk's own tables. They know nothing of the store's, which stand beside them.

CREATE TABLE users (
    name TEXT PRIMARY KEY,
    company TEXT NOT NULL,
    password_hash TEXT NOT NULL
);

CREATE TABLE sessions (
    token_hash TEXT PRIMARY KEY,
    user_name TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE
);

CREATE TABLE tickets (
    id TEXT PRIMARY KEY,
    company TEXT NOT NULL,
    title TEXT NOT NULL,
    conversation TEXT NOT NULL,
    turn TEXT NOT NULL,
    -- The newest turn that has ended, and its answer.
    answered_by TEXT NOT NULL DEFAULT '',
    answer TEXT NOT NULL DEFAULT ''
);

CREATE INDEX tickets_of_company ON tickets (company, id);
