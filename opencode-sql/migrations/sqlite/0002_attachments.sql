-- Files of messages. Their bytes are kept elsewhere, by digest. In names and
-- types, a backslash stands as \\ and the character NUL as \0.
--
-- The file of the same name for Postgres says the same.

CREATE TABLE opencode_attachments (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    message TEXT NOT NULL REFERENCES opencode_messages (id) ON DELETE CASCADE,
    conversation TEXT NOT NULL,
    name TEXT NOT NULL,
    -- SHA-256, hexadecimal.
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    mime_type TEXT NOT NULL,
    source TEXT NOT NULL,
    -- What the host vouches for: a JSON object.
    trust TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Whatever a program gets wrong, and however many attach at once: one file of a name.
CREATE UNIQUE INDEX opencode_attachments_by_name ON opencode_attachments (message, name);
CREATE INDEX opencode_attachments_by_conversation ON opencode_attachments (conversation, seq);
CREATE INDEX opencode_attachments_by_digest ON opencode_attachments (digest);

INSERT INTO opencode_migrations (version, name) VALUES (2, 'attachments');
