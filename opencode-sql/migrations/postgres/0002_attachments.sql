-- Files of messages. Their bytes are kept elsewhere, by digest. In names and
-- types, a backslash stands as \\ and the character NUL as \0.
--
-- The file of the same name for SQLite says the same.

CREATE TABLE attachments (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    message TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    conversation TEXT NOT NULL,
    name TEXT NOT NULL,
    -- SHA-256, hexadecimal.
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    mime_type TEXT NOT NULL,
    source TEXT NOT NULL,
    -- What the host vouches for: a JSON object.
    trust TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Whatever a program gets wrong, and however many attach at once: one file of a name.
CREATE UNIQUE INDEX attachments_by_name ON attachments (message, name);
CREATE INDEX attachments_by_conversation ON attachments (conversation, seq);
CREATE INDEX attachments_by_digest ON attachments (digest);
