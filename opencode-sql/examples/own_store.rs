//! A store on tables that an application has already, on SQLite through sqlx: `chats`, `jobs`, `posts`, `uploads`, `todos`.
//!
//! What a table is asked about is a column. What only opencode-host reads is JSON in the column `row`, so that a field
//! which a later version adds is kept without a migration. This file finds rows and writes them, in transactions that
//! have SQLite's write lock from their start; what becomes of the rows is [`RowStore`]'s.
//! `tests/it/own_store.rs` runs the conformance suite on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opencode_host::blobs::Digest;
use opencode_host::clock::{Clock, SystemClock, Timestamp};
use opencode_host::id::{AttachmentId, ConversationId, EffectId, MessageId, TurnId};
use opencode_host::store::column::{from_json, to_json};
use opencode_host::store::{
    Attachment, ConversationCursor, ConversationRow, Conversations as _, Effect, MessageEntry,
    MessageRow, RowStore, Rows, StoreError, StoreResult, Tables, Tenant, TurnRow,
};
use serde::de::DeserializeOwned;
use sqlx::error::ErrorKind;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Row as _, Sqlite, SqlitePool, Transaction};

const SCHEMA: &str = r"
CREATE TABLE IF NOT EXISTS chats (
    id TEXT PRIMARY KEY, customer TEXT NOT NULL, title TEXT NOT NULL, used INTEGER NOT NULL,
    row TEXT NOT NULL, UNIQUE (customer, title));
CREATE INDEX IF NOT EXISTS chats_by_use ON chats (used, id);
CREATE TABLE IF NOT EXISTS jobs (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    chat TEXT NOT NULL REFERENCES chats ON DELETE CASCADE, post TEXT NOT NULL,
    queued INTEGER NOT NULL, settled INTEGER NOT NULL, unreadable INTEGER NOT NULL DEFAULT 0,
    leased_at INTEGER NOT NULL, lease_end INTEGER NOT NULL,
    row TEXT NOT NULL, key TEXT AS (row ->> '$.turn.client_key'));
CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_key ON jobs (chat, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_open ON jobs (chat, n) WHERE settled = 0;
CREATE TABLE IF NOT EXISTS posts (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    chat TEXT NOT NULL REFERENCES chats ON DELETE CASCADE, row TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS posts_by_chat ON posts (chat, n);
CREATE TABLE IF NOT EXISTS uploads (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, chat TEXT NOT NULL,
    post TEXT NOT NULL REFERENCES posts (id) ON DELETE CASCADE,
    name TEXT NOT NULL, digest TEXT NOT NULL, row TEXT NOT NULL, UNIQUE (post, name));
CREATE INDEX IF NOT EXISTS uploads_by_chat ON uploads (chat, n);
CREATE INDEX IF NOT EXISTS uploads_by_digest ON uploads (digest);
CREATE TABLE IF NOT EXISTS todos (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, row TEXT NOT NULL);
";

pub(crate) type OwnStore = RowStore<OwnTables>;

/// The application's tables.
pub(crate) struct OwnTables {
    db: SqlitePool,
    clock: Arc<dyn Clock>,
}

/// A transaction on them.
pub(crate) struct OwnRows(Transaction<'static, Sqlite>);

type Found<T> = StoreResult<Option<T>>;
type Listed<T> = StoreResult<Vec<T>>;
/// The parameters of a statement. SQLite compares each as the column it is held against.
type Args<'a> = &'a [&'a (dyn ToString + Sync)];

fn bound<'q>(sql: &'static str, args: Args<'_>) -> Query<'q, Sqlite, SqliteArguments> {
    let query = sqlx::query(sql);
    args.iter()
        .fold(query, |query, arg| query.bind(arg.to_string()))
}

/// What breaks a rule of the schema is refused for good; anything else may pass.
fn told(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(refused) if refused.kind() != ErrorKind::Other => {
            StoreError::Unexpected(refused.to_string())
        }
        passing => StoreError::Unavailable(passing.to_string()),
    }
}

impl OwnTables {
    /// Opens the file, and makes it when there is none. Leases expire by `clock`.
    pub(crate) async fn open(path: &Path, clock: Arc<dyn Clock>) -> StoreResult<OwnStore> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePoolOptions::new().max_connections(1);
        let db = pool.connect_with(options).await.map_err(told)?;
        sqlx::raw_sql(SCHEMA).execute(&db).await.map_err(told)?;
        Ok(RowStore::over(Self { db, clock }))
    }
}

impl OwnRows {
    async fn run(&mut self, sql: &'static str, args: Args<'_>) -> StoreResult<()> {
        let ran = bound(sql, args).execute(&mut *self.0).await;
        ran.map(drop).map_err(told)
    }

    /// The rows of a query for an id and JSON.
    async fn all<T: DeserializeOwned>(&mut self, sql: &'static str, args: Args<'_>) -> Listed<T> {
        let rows = bound(sql, args).fetch_all(&mut *self.0).await;
        let parsed = rows.map_err(told)?.into_iter().map(|row| {
            let id: String = row.try_get(0).map_err(told)?;
            let json: String = row.try_get(1).map_err(told)?;
            let table = "turns";
            from_json(&json).map_err(|detail| StoreError::Corrupt { table, id, detail })
        });
        parsed.collect()
    }

    async fn one<T: DeserializeOwned>(&mut self, sql: &'static str, args: Args<'_>) -> Found<T> {
        Ok(self.all(sql, args).await?.pop())
    }
}

#[async_trait]
impl Tables for OwnTables {
    type Rows = OwnRows;

    async fn begin(&self) -> StoreResult<OwnRows> {
        let begun = self.db.begin_with("BEGIN IMMEDIATE").await;
        begun.map(OwnRows).map_err(told)
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

#[async_trait]
impl Rows for OwnRows {
    async fn commit(self) -> StoreResult<()> {
        self.0.commit().await.map_err(told)
    }

    async fn conversation(&mut self, id: ConversationId) -> Found<ConversationRow> {
        let chat = "SELECT id, row FROM chats WHERE id = ?";
        self.one(chat, &[&id]).await
    }

    async fn conversation_named(&mut self, of: &Tenant, name: &str) -> Found<ConversationRow> {
        let chat = "SELECT id, row FROM chats WHERE customer = ? AND title = ?";
        self.one(chat, &[of, &name]).await
    }

    async fn newest_conversations(
        &mut self,
        before: ConversationCursor,
        limit: u32,
    ) -> Listed<ConversationRow> {
        let newest = "SELECT id, row FROM chats WHERE (used, id) < (?, ?)
            ORDER BY used DESC, id DESC LIMIT ?";
        let args: Args<'_> = &[&before.used_at.0, &before.id, &limit];
        self.all(newest, args).await
    }

    async fn put_conversation(&mut self, row: ConversationRow) -> StoreResult<()> {
        let put = "INSERT INTO chats (id, customer, title, used, row) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (id) DO UPDATE SET used = ?4, row = ?5";
        let (chat, json) = (&row.conversation, &to_json(&row)?);
        let args: Args<'_> = &[&chat.id, &chat.tenant, &chat.name, &row.used_at.0, json];
        self.run(put, args).await
    }

    async fn delete_conversation(&mut self, id: ConversationId) -> StoreResult<()> {
        self.run("DELETE FROM chats WHERE id = ?", &[&id]).await
    }

    async fn turn(&mut self, id: TurnId) -> Found<TurnRow> {
        let job = "SELECT id, row FROM jobs WHERE id = ?";
        self.one(job, &[&id]).await
    }

    async fn turn_with_key(&mut self, chat: ConversationId, key: &str) -> Found<TurnRow> {
        let job = "SELECT id, row FROM jobs WHERE chat = ? AND key = ?";
        self.one(job, &[&chat, &key]).await
    }

    async fn unsettled(&mut self, chat: ConversationId) -> Listed<TurnId> {
        let open = "SELECT id, json_quote(id) FROM jobs WHERE chat = ? AND settled = 0 ORDER BY n";
        self.all(open, &[&chat]).await
    }

    async fn next_turn(&mut self, now: Timestamp, only: Option<TurnId>) -> Found<TurnId> {
        let next = "SELECT id, json_quote(id) FROM jobs AS j
            WHERE settled = 0 AND unreadable = 0 AND (?2 = '' OR id = ?2)
              AND (lease_end <= ?1 OR leased_at > ?1)
              AND NOT EXISTS (
                SELECT 1 FROM jobs AS e WHERE e.chat = j.chat AND e.settled = 0 AND e.n < j.n)
            ORDER BY queued, lease_end, n LIMIT 1";
        let only = only.map(|id| id.to_string()).unwrap_or_default();
        self.one(next, &[&now.0, &only]).await
    }

    async fn put_turn(&mut self, row: TurnRow) -> StoreResult<()> {
        let put = "INSERT INTO jobs (id, chat, post, queued, settled, leased_at, lease_end, row)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO UPDATE
            SET queued = ?4, settled = ?5, leased_at = ?6, lease_end = ?7, row = ?8";
        let (turn, json) = (&row.turn, &to_json(&row)?);
        let queued = &row.precedence().0;
        let settled = &u8::from(row.is_settled());
        let lease = row.held().map(|held| (held.taken_at.0, held.expires_at.0));
        let (taken, end) = &lease.unwrap_or_default();
        let (id, chat, post) = (&turn.id, &turn.conversation, &turn.message);
        let args: Args<'_> = &[id, chat, post, queued, settled, taken, end, json];
        self.run(put, args).await
    }

    async fn set_aside(&mut self, turn: TurnId) -> StoreResult<()> {
        let set = "UPDATE jobs SET unreadable = 1 WHERE id = ?";
        self.run(set, &[&turn]).await
    }

    async fn drop_unread(&mut self, turn: TurnId) -> Found<MessageId> {
        let dropped = "UPDATE jobs SET queued = 0, settled = 1 WHERE id = ? AND queued > 0
            RETURNING id, json_quote(post)";
        self.one(dropped, &[&turn]).await
    }

    async fn message(&mut self, id: MessageId) -> Found<MessageRow> {
        let post = "SELECT id, row FROM posts WHERE id = ?";
        self.one(post, &[&id]).await
    }

    async fn message_index(
        &mut self,
        chat: Option<ConversationId>,
        after: u64,
        limit: u32,
    ) -> Listed<MessageEntry> {
        let index = "SELECT id, json_object('place', n, 'id', id, 'bytes', octet_length(row),
            'hidden', row -> '$.hidden') FROM posts WHERE (?1 = '' OR chat = ?1) AND n > ?2 ORDER BY n LIMIT ?3";
        let chat = chat.map(|id| id.to_string()).unwrap_or_default();
        self.all(index, &[&chat, &after, &limit]).await
    }

    async fn put_message(&mut self, row: MessageRow) -> StoreResult<()> {
        let put = "INSERT INTO posts (id, chat, row) VALUES (?1, ?2, ?3)
            ON CONFLICT (id) DO UPDATE SET row = ?3";
        let (id, chat, json) = (row.message.id, row.message.conversation, to_json(&row)?);
        self.run(put, &[&id, &chat, &json]).await
    }

    async fn file(&mut self, id: AttachmentId) -> Found<Attachment> {
        let upload = "SELECT id, row FROM uploads WHERE id = ?";
        self.one(upload, &[&id]).await
    }

    async fn newest_files(&mut self, chat: ConversationId, limit: u32) -> Listed<Attachment> {
        let newest = "SELECT id, row FROM uploads WHERE chat = ? ORDER BY n DESC LIMIT ?";
        self.all(newest, &[&chat, &limit]).await
    }

    async fn digests_in_use(&mut self, digests: &[Digest]) -> Listed<Digest> {
        let used = "SELECT value, json_quote(value) FROM json_each(?)
            WHERE EXISTS (SELECT 1 FROM uploads WHERE digest = value)";
        self.all(used, &[&to_json(digests)?]).await
    }

    async fn add_file(&mut self, file: Attachment) -> StoreResult<()> {
        let add = "INSERT INTO uploads (id, post, chat, name, digest, row)
            VALUES (?, ?, ?, ?, ?, ?)";
        let (post, chat, json) = (&file.message, &file.conversation, &to_json(&file)?);
        let args: Args<'_> = &[&file.id, post, chat, &file.name, &file.digest, json];
        self.run(add, args).await
    }

    async fn effects(&mut self) -> Listed<Effect> {
        self.all("SELECT id, row FROM todos ORDER BY n", &[]).await
    }

    async fn set_effect(&mut self, id: EffectId, todo: Option<Effect>) -> StoreResult<()> {
        let Some(todo) = todo else {
            return self.run("DELETE FROM todos WHERE id = ?", &[&id]).await;
        };
        let put = "INSERT INTO todos (id, row) VALUES (?1, ?2)
            ON CONFLICT (id) DO UPDATE SET row = ?2";
        self.run(put, &[&id, &to_json(&todo)?]).await
    }

    async fn delete_file(&mut self, id: AttachmentId) -> StoreResult<()> {
        self.run("DELETE FROM uploads WHERE id = ?", &[&id]).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = OwnTables::open(Path::new("own.db"), Arc::new(SystemClock)).await?;
    let customer = Tenant::from("acme");
    let chat = store.open_conversation(&customer, "garden").await?;
    println!("{} is conversation {}", chat.name, chat.id);
    Ok(())
}
