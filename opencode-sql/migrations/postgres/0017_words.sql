-- The words that conversations are found by. The library writes them, since it knows what a word is: what was here before is
-- due when a store is opened.
--
-- The file of the same name for SQLite says the same.

-- Of its name and what is noted at it, each behind a space; NULL where they are due.
ALTER TABLE opencode_conversations ADD COLUMN words TEXT;

CREATE INDEX opencode_conversations_due ON opencode_conversations (id) WHERE words IS NULL;

-- Whether its words are due: they are once it is complete.
ALTER TABLE opencode_messages ADD COLUMN due BIGINT NOT NULL DEFAULT 1;

CREATE INDEX opencode_messages_due ON opencode_messages (conversation, seq) WHERE due = 1 AND status <> 'pending';

-- A first word, which is no word of a text, tells whose message it is.
ALTER TABLE opencode_messages ADD COLUMN words TSVECTOR;

CREATE INDEX opencode_messages_words ON opencode_messages USING gin (words);

INSERT INTO opencode_migrations (version, name) VALUES (17, 'words');
