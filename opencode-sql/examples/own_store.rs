//! A store on tables that an application has already: `chats`, `jobs`, `posts` and `uploads`, on SQLite through sqlx.
//!
//! What the application asks its tables about is a column. What only opencode-host reads is JSON in the column `row`, so
//! that a field which a later version adds is kept without a migration. The rules of the queue are [`TurnRow`]'s: each
//! method reads a row, lets the rule change it, and writes it back, in one transaction that has SQLite's write lock from
//! its start. Names, keys and the waits for a session are checked by the host around the store.
//!
//! `tests/it/own_store.rs` runs the conformance suite on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opencode_host::blobs::Digest;
use opencode_host::clock::{Clock, SystemClock, Timestamp};
use opencode_host::id::{AttachmentId, ConversationId, MessageId, TurnId};
use opencode_host::store::column::{from_json, to_json};
use opencode_host::store::{
    AnswerOutcome, AnswerState, Attached, Attachment, CancelOutcome, Changed, Claim, ClaimedTurn,
    Conversation, ConversationSummary, Conversations, Files, Finish, Finished, Lease, LeaseStatus,
    Message, MessageEntry, MessageWrite, Messages, NewAnswer, NewAttachment, NewTurn, Note, OnBusy,
    Queue, RequestAnswer, SessionGates, SessionRecord, StoreError, StoreResult, Submitted, Swapped,
    Turn, TurnEvent, TurnRow,
};
use serde::de::DeserializeOwned;
use sqlx::error::ErrorKind;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{Row as _, Sqlite, SqliteConnection, SqlitePool, Transaction};

const SCHEMA: &str = r"
CREATE TABLE IF NOT EXISTS chats (
    id TEXT PRIMARY KEY, title TEXT NOT NULL UNIQUE, preview TEXT, used INTEGER NOT NULL, row TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, chat TEXT NOT NULL REFERENCES chats ON DELETE CASCADE,
    ending TEXT, unreadable INTEGER NOT NULL DEFAULT 0, row TEXT NOT NULL,
    key TEXT AS (row -> '$.turn.client_key'), state TEXT AS (row -> '$.turn.state'),
    settled INTEGER AS (COALESCE(row ->> '$.turn.state.finished.settled', 0)),
    leased_at INTEGER AS (row ->> '$.lease.taken_at'),
    lease_end INTEGER AS (COALESCE(row ->> '$.lease.expires_at', 0)));
CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_key ON jobs (chat, key) WHERE key <> 'null';
CREATE INDEX IF NOT EXISTS jobs_open ON jobs (chat, n) WHERE settled = 0;
CREATE TABLE IF NOT EXISTS posts (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, chat TEXT NOT NULL REFERENCES chats ON DELETE CASCADE,
    cost TEXT NOT NULL DEFAULT '0', row TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS posts_by_chat ON posts (chat, n);
CREATE TABLE IF NOT EXISTS uploads (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, post TEXT NOT NULL REFERENCES posts (id) ON DELETE CASCADE,
    chat TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, row TEXT NOT NULL, UNIQUE (post, name));
CREATE INDEX IF NOT EXISTS uploads_by_chat ON uploads (chat, n);
CREATE INDEX IF NOT EXISTS uploads_by_digest ON uploads (digest);
";
const CHAT: &str = "SELECT id, row FROM chats WHERE id = ?";
const TITLED: &str = "SELECT id, row FROM chats WHERE title = ?";
const JOB: &str = "SELECT id, row FROM jobs WHERE id = ?";
const POST: &str = "SELECT id, row FROM posts WHERE id = ?";
/// Left behind by a worker, or the first of its chat. `?2` is one job, or empty.
const CLAIMABLE: &str = r#"SELECT id, row FROM jobs AS j
    WHERE settled = 0 AND unreadable = 0 AND lease_end <= ?1 AND (?2 = '' OR id = ?2)
      AND NOT EXISTS (SELECT 1 FROM jobs AS e WHERE e.chat = j.chat AND e.settled = 0 AND e.n < j.n)
    ORDER BY state = '"queued"', lease_end, n LIMIT 1"#;
/// The clock was put back since.
const CUT_LEASES: &str =
    "UPDATE jobs SET row = json_set(row, '$.lease.taken_at', CAST(?1 AS INTEGER),
    '$.lease.expires_at', ?1 + lease_end - leased_at) WHERE settled = 0 AND leased_at > ?1";

/// Cancels a job that nobody has prompted, whatever else its row holds.
const CANCEL_UNREAD: &str = r#"UPDATE jobs SET row = json_set(row, '$.turn.state',
    json('{"finished": {"status": "cancelled", "settled": true}}')) WHERE id = ? AND state = '"queued"'"#;

/// The store.
pub(crate) struct OwnStore {
    db: SqlitePool,
    clock: Arc<dyn Clock>,
    gates: SessionGates,
}

type Db = SqliteConnection;
type Sql = &'static str;
/// The parameters of a statement. SQLite compares each as the column it is held against.
type Args<'a> = &'a [&'a (dyn ToString + Sync)];

fn bound<'q>(sql: Sql, args: Args<'_>) -> Query<'q, Sqlite, SqliteArguments> {
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

async fn run(on: &mut Db, sql: Sql, args: Args<'_>) -> StoreResult<()> {
    bound(sql, args).execute(on).await.map(drop).map_err(told)
}

/// The rows of a query for an id and JSON.
async fn read<T: DeserializeOwned>(on: &mut Db, sql: Sql, args: Args<'_>) -> StoreResult<Vec<T>> {
    let rows = bound(sql, args).fetch_all(on).await.map_err(told)?;
    let parsed = rows.iter().map(|row| {
        let id: String = row.try_get(0).map_err(told)?;
        let json: String = row.try_get(1).map_err(told)?;
        let table = "turns";
        from_json(&json).map_err(|detail| StoreError::Corrupt { table, id, detail })
    });
    parsed.collect()
}

async fn one<T: DeserializeOwned>(on: &mut Db, sql: Sql, args: Args<'_>) -> StoreResult<Option<T>> {
    Ok(read(on, sql, args).await?.pop())
}

/// Writes a turn, and what its change means for its message and its record.
async fn save(
    on: &mut Db,
    row: &TurnRow,
    write: Option<&MessageWrite>,
    now: Timestamp,
) -> StoreResult<()> {
    let (set, turn) = ("UPDATE jobs SET row = ? WHERE id = ?", row.turn.id);
    run(on, set, &[&to_json(row)?, &turn]).await?;
    let message = one(on, POST, &[&row.turn.message]).await?;
    match (write, message) {
        (Some(write), Some(message)) => answer(on, turn, message, write, now).await,
        _ => Ok(()),
    }
}

/// Writes to a turn's message and its record. JSON is not read to the last bit of a number, which money is worth.
async fn answer(
    on: &mut Db,
    turn: TurnId,
    mut message: Message,
    write: &MessageWrite,
    now: Timestamp,
) -> StoreResult<()> {
    write.apply(&mut message, now);
    let (set, json) = (
        "UPDATE posts SET row = ?, cost = ? WHERE id = ?",
        to_json(&message)?,
    );
    run(on, set, &[&json, &message.answer.usage.cost, &message.id]).await?;
    if let Some(event) = write.event(now) {
        let set = "UPDATE jobs SET ending = ? WHERE id = ?";
        run(on, set, &[&to_json(&event)?, &turn]).await?;
    }
    Ok(())
}

async fn upload(on: &mut Db, new: &NewAttachment, now: Timestamp) -> StoreResult<Attached> {
    let known = "SELECT id, row FROM uploads WHERE post = ? AND name = ?";
    if let Some(known) = one(on, known, &[&new.message, &new.name]).await? {
        return Ok(Attached::known(known));
    }
    let post: Option<Message> = one(on, POST, &[&new.message]).await?;
    let post = post.ok_or_else(|| StoreError::not_found("message", new.message))?;
    let file = new.attached(post.conversation, now);
    let add = "INSERT INTO uploads (id, post, chat, name, digest, row) VALUES (?, ?, ?, ?, ?, ?)";
    let (post, chat, json) = (&file.message, &file.conversation, &to_json(&file)?);
    run(
        on,
        add,
        &[&file.id, post, chat, &file.name, &file.digest, json],
    )
    .await?;
    Ok(Attached::new(file))
}

impl OwnStore {
    /// Opens the file, and makes it when there is none. Leases expire by `clock`.
    pub(crate) async fn open(path: &Path, clock: Arc<dyn Clock>) -> StoreResult<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true);
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePoolOptions::new().max_connections(1);
        let db = pool.connect_with(options).await.map_err(told)?;
        sqlx::raw_sql(SCHEMA).execute(&db).await.map_err(told)?;
        let gates = SessionGates::default();
        Ok(Self { db, clock, gates })
    }

    async fn begin(&self) -> StoreResult<Transaction<'static, Sqlite>> {
        self.db.begin_with("BEGIN IMMEDIATE").await.map_err(told)
    }

    async fn all<T: DeserializeOwned>(&self, sql: Sql, args: Args<'_>) -> StoreResult<Vec<T>> {
        read(&mut *self.db.acquire().await.map_err(told)?, sql, args).await
    }

    async fn find<T: DeserializeOwned>(&self, sql: Sql, args: Args<'_>) -> StoreResult<Option<T>> {
        Ok(self.all(sql, args).await?.pop())
    }

    /// A person can stop what a worker cannot read.
    async fn cancel_unread(&self, turn: TurnId) -> StoreResult<CancelOutcome> {
        let (mut on, now) = (self.begin().await?, self.clock.now());
        run(&mut on, CANCEL_UNREAD, &[&turn]).await?;
        let pending =
            "SELECT p.id, p.row FROM posts AS p JOIN jobs AS j ON p.id = j.row ->> '$.turn.message'
            WHERE j.id = ? AND j.settled = 1 AND j.ending IS NULL";
        let Some(message) = one::<Message>(&mut on, pending, &[&turn]).await? else {
            return Ok(CancelOutcome::Requested);
        };
        let finish = Finish::never_started(now.since(message.created_at));
        let end = MessageWrite::End(Box::new(finish));
        answer(&mut on, turn, message, &end, now).await?;
        on.commit().await.map_err(told)?;
        Ok(CancelOutcome::Cancelled)
    }

    /// Lets a rule change a turn.
    async fn change<A>(
        &self,
        turn: TurnId,
        missing: StoreError,
        rule: impl FnOnce(&mut TurnRow, Timestamp) -> StoreResult<Changed<A>>,
    ) -> StoreResult<A> {
        let (mut on, now) = (self.begin().await?, self.clock.now());
        let mut row = one(&mut on, JOB, &[&turn]).await?.ok_or(missing)?;
        let Changed { answer, message } = rule(&mut row, now)?;
        save(&mut on, &row, message.as_ref(), now).await?;
        on.commit().await.map_err(told)?;
        Ok(answer)
    }
}

#[async_trait]
impl Conversations for OwnStore {
    async fn open_conversation(&self, name: &str) -> StoreResult<Conversation> {
        let (mut on, now) = (self.begin().await?, self.clock.now());
        if let Some(known) = one(&mut on, TITLED, &[&name]).await? {
            return Ok(known);
        }
        let id = ConversationId::from_uuid(self.clock.new_uuid());
        let chat = Conversation::new(id, name, now);
        let add = "INSERT INTO chats (id, title, used, row) VALUES (?, ?, ?, ?)";
        run(&mut on, add, &[&id, &name, &now.0, &to_json(&chat)?]).await?;
        on.commit().await.map_err(told)?;
        Ok(chat)
    }

    async fn conversation(&self, id: ConversationId) -> StoreResult<Option<Conversation>> {
        self.find(CHAT, &[&id]).await
    }

    async fn conversation_named(&self, name: &str) -> StoreResult<Option<Conversation>> {
        self.find(TITLED, &[&name]).await
    }

    async fn conversations(&self, limit: u32) -> StoreResult<Vec<ConversationSummary>> {
        let newest = r#"SELECT id, json_object('conversation', json(row), 'excerpt', preview, 'used_at', used,
            'busy', json(iif(EXISTS (SELECT 1 FROM jobs WHERE chat = c.id AND settled = 0
              AND state IN ('"queued"', '"running"')), 'true', 'false')))
            FROM chats AS c ORDER BY used DESC, id DESC LIMIT ?"#;
        self.all(newest, &[&limit]).await
    }

    async fn delete_conversation(&self, id: ConversationId) -> StoreResult<Option<Conversation>> {
        let mut on = self.begin().await?;
        let chat = one(&mut on, CHAT, &[&id]).await?;
        run(&mut on, "DELETE FROM chats WHERE id = ?", &[&id]).await?;
        on.commit().await.map_err(told)?;
        Ok(chat)
    }

    async fn swap_session(
        &self,
        id: ConversationId,
        expected: Option<&SessionRecord>,
        new: &SessionRecord,
    ) -> StoreResult<Swapped> {
        let mut on = self.begin().await?;
        let chat: Option<Conversation> = one(&mut on, CHAT, &[&id]).await?;
        let mut chat = chat.ok_or_else(|| StoreError::not_found("conversation", id))?;
        if chat.session.as_ref() != expected {
            return Ok(Swapped::No(chat.session.map(Box::new)));
        }
        chat.session = Some(new.clone());
        let (set, json) = ("UPDATE chats SET row = ? WHERE id = ?", to_json(&chat)?);
        run(&mut on, set, &[&json, &id]).await?;
        on.commit().await.map_err(told)?;
        Ok(Swapped::Yes)
    }

    fn session_gates(&self) -> &SessionGates {
        &self.gates
    }
}

#[async_trait]
impl Queue for OwnStore {
    async fn now(&self) -> StoreResult<Timestamp> {
        Ok(self.clock.now())
    }

    async fn submit(&self, new: &NewTurn) -> StoreResult<Submitted> {
        let (mut on, now, chat) = (self.begin().await?, self.clock.now(), new.conversation);
        let known: Option<Conversation> = one(&mut on, CHAT, &[&chat]).await?;
        known.ok_or_else(|| StoreError::not_found("conversation", chat))?;
        let same =
            "SELECT id, row FROM jobs WHERE id = ?1 OR (chat = ?2 AND key = ?3 AND key <> 'null')";
        let key = to_json(&new.client_key)?;
        if let Some(TurnRow { turn, .. }) = one(&mut on, same, &[&new.id, &chat, &key]).await? {
            return Ok(Submitted::known(turn));
        }
        let uploads = "SELECT id, row FROM uploads WHERE chat = ?";
        new.check_quota(Attachment::uploaded_bytes(
            &read(&mut on, uploads, &[&chat]).await?,
        ))?;
        let unfinished = r#"SELECT id, row FROM jobs WHERE chat = ? AND settled = 0
            AND state IN ('"queued"', '"running"') ORDER BY n"#;
        let unfinished: Vec<TurnRow> = read(&mut on, unfinished, &[&chat]).await?;
        match (new.on_busy, unfinished.first()) {
            (OnBusy::Reject, Some(row)) => return Err(StoreError::Busy { turn: row.turn.id }),
            (OnBusy::Interrupt, _) => {
                for mut row in unfinished {
                    let cancelled = row.cancel(now);
                    save(&mut on, &row, cancelled.message.as_ref(), now).await?;
                }
            }
            _ => {}
        }
        for post in new.messages(now) {
            let add = "INSERT INTO posts (id, chat, row) VALUES (?, ?, ?)";
            run(&mut on, add, &[&post.id, &chat, &to_json(&post)?]).await?;
        }
        for file in new.files() {
            upload(&mut on, &file, now).await?;
        }
        let row = TurnRow::queued(new, now);
        let add = "INSERT INTO jobs (id, chat, row) VALUES (?, ?, ?)";
        run(&mut on, add, &[&new.id, &chat, &to_json(&row)?]).await?;
        let used = "UPDATE chats SET used = ?, preview = COALESCE(preview, ?) WHERE id = ?";
        let excerpt = ConversationSummary::excerpt_of(new.said());
        run(&mut on, used, &[&now.0, &excerpt, &chat]).await?;
        on.commit().await.map_err(told)?;
        Ok(Submitted::new(row.turn))
    }

    async fn request_cancel(&self, turn: TurnId) -> StoreResult<CancelOutcome> {
        let missing = StoreError::not_found("turn", turn);
        let cancelled = self.change(turn, missing, |row, now| Ok(row.cancel(now)));
        match cancelled.await {
            Err(StoreError::Corrupt { .. }) => self.cancel_unread(turn).await,
            told => told,
        }
    }

    async fn answer(&self, turn: TurnId, new: &NewAnswer) -> StoreResult<AnswerOutcome> {
        let missing = StoreError::not_found("turn", turn);
        let rule = |row: &mut TurnRow, now| Ok(row.answer(new, now));
        self.change(turn, missing, rule).await
    }

    async fn answered(
        &self,
        lease: &Lease,
        request: &str,
        state: Option<&AnswerState>,
    ) -> StoreResult<()> {
        let rule = |row: &mut TurnRow, _| row.answered(lease, request, state);
        self.change(lease.turn, lease.lost(), rule).await
    }

    async fn claim(&self, claim: &Claim) -> StoreResult<Option<ClaimedTurn>> {
        let (mut on, now) = (self.begin().await?, self.clock.now());
        run(&mut on, CUT_LEASES, &[&now.0]).await?;
        let only = claim.only.map(|turn| turn.to_string()).unwrap_or_default();
        let next = match one::<TurnRow>(&mut on, CLAIMABLE, &[&now.0, &only]).await {
            Err(StoreError::Corrupt { table, id, detail }) => {
                run(
                    &mut on,
                    "UPDATE jobs SET unreadable = 1 WHERE id = ?",
                    &[&id],
                )
                .await?;
                Err(StoreError::Corrupt { table, id, detail })
            }
            Ok(Some(mut row)) => {
                let lease = row.claim(claim, now);
                save(&mut on, &row, None, now).await?;
                let chat = one(&mut on, CHAT, &[&row.turn.conversation]).await?;
                Ok(chat.map(|chat| ClaimedTurn::new(lease, row.turn, chat, now)))
            }
            other => other.map(|_| None),
        };
        on.commit().await.map_err(told)?;
        next
    }

    async fn renew(&self, leases: &[Lease], length: Duration) -> StoreResult<Vec<LeaseStatus>> {
        let (mut on, now) = (self.begin().await?, self.clock.now());
        let mut statuses = Vec::new();
        for lease in leases {
            let mut status = LeaseStatus::Lost;
            if let Some(mut row) = one::<TurnRow>(&mut on, JOB, &[&lease.turn]).await? {
                status = row.renew(lease, length, now);
                save(&mut on, &row, None, now).await?;
            }
            statuses.push(status);
        }
        on.commit().await.map_err(told)?;
        Ok(statuses)
    }

    async fn check(&self, leases: &[Lease]) -> StoreResult<Vec<LeaseStatus>> {
        let mut statuses = Vec::new();
        for lease in leases {
            let row: Option<TurnRow> = self.find(JOB, &[&lease.turn]).await?;
            statuses.push(row.map_or(LeaseStatus::Lost, |row| row.status(lease)));
        }
        Ok(statuses)
    }

    async fn release(&self, lease: &Lease) -> StoreResult<()> {
        let rule = |row: &mut TurnRow, _| row.release(lease);
        self.change(lease.turn, lease.lost(), rule).await
    }

    async fn note(&self, lease: &Lease, note: Note<'_>) -> StoreResult<()> {
        let rule = |row: &mut TurnRow, now| row.note(lease, note, now);
        self.change(lease.turn, lease.lost(), rule).await
    }

    async fn finish(&self, lease: &Lease, end: &Finish) -> StoreResult<Finished> {
        let rule = |row: &mut TurnRow, now| row.finish(lease, end, now);
        self.change(lease.turn, lease.lost(), rule).await
    }

    async fn settle(&self, lease: &Lease) -> StoreResult<bool> {
        let rule = |row: &mut TurnRow, _| row.settle(lease);
        self.change(lease.turn, lease.lost(), rule).await
    }
}

#[async_trait]
impl Messages for OwnStore {
    async fn message(&self, id: MessageId) -> StoreResult<Option<Message>> {
        let post = "SELECT id, json_array(json(row), cost) FROM posts WHERE id = ?";
        let post: Option<(Message, String)> = self.find(post, &[&id]).await?;
        Ok(post.map(|(mut message, cost)| {
            message.answer.usage.cost = cost.parse().unwrap_or_default();
            message
        }))
    }

    async fn message_index(
        &self,
        chat: Option<ConversationId>,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<MessageEntry>> {
        let chat = chat.map(|id| id.to_string()).unwrap_or_default();
        let index =
            "SELECT id, json_object('place', n, 'id', id, 'bytes', octet_length(row)) FROM posts
            WHERE (?1 = '' OR chat = ?1) AND n > ?2 ORDER BY n LIMIT ?3";
        self.all(index, &[&chat, &after, &limit]).await
    }

    async fn turn(&self, id: TurnId) -> StoreResult<Option<Turn>> {
        Ok(self.find(JOB, &[&id]).await?.map(|row: TurnRow| row.turn))
    }

    async fn turn_events(&self, id: TurnId) -> StoreResult<Vec<TurnEvent>> {
        let events = "SELECT id, ending FROM jobs WHERE id = ? AND ending IS NOT NULL";
        self.all(events, &[&id]).await
    }

    async fn answers(&self, turn: TurnId) -> StoreResult<Vec<RequestAnswer>> {
        let row: Option<TurnRow> = self.find(JOB, &[&turn]).await?;
        Ok(row.map(|row| row.answers).unwrap_or_default())
    }

    async fn turn_ahead(&self, id: TurnId) -> StoreResult<Option<TurnId>> {
        let ahead = "SELECT e.id, json_quote(e.id) FROM jobs AS j JOIN jobs AS e
            ON e.chat = j.chat AND e.settled = 0 AND e.n < j.n WHERE j.id = ? ORDER BY e.n LIMIT 1";
        self.find(ahead, &[&id]).await
    }
}

#[async_trait]
impl Files for OwnStore {
    async fn attach(&self, file: &NewAttachment) -> StoreResult<Attached> {
        let mut on = self.begin().await?;
        let attached = upload(&mut on, file, self.clock.now()).await?;
        on.commit().await.map_err(told)?;
        Ok(attached)
    }

    async fn attachment(&self, id: AttachmentId) -> StoreResult<Option<Attachment>> {
        self.find("SELECT id, row FROM uploads WHERE id = ?", &[&id])
            .await
    }

    async fn attachments(&self, post: MessageId) -> StoreResult<Vec<Attachment>> {
        self.all(
            "SELECT id, row FROM uploads WHERE post = ? ORDER BY n",
            &[&post],
        )
        .await
    }

    async fn newest_attachments(
        &self,
        chat: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Attachment>> {
        let newest = "SELECT id, row FROM uploads WHERE chat = ? ORDER BY n DESC LIMIT ?";
        self.all(newest, &[&chat, &limit]).await
    }

    async fn digests_in_use(&self, digests: &[Digest]) -> StoreResult<Vec<Digest>> {
        let used = "SELECT value, json_quote(value) FROM json_each(?)
            WHERE EXISTS (SELECT 1 FROM uploads WHERE digest = value)";
        self.all(used, &[&to_json(digests)?]).await
    }

    async fn detach(&self, id: AttachmentId) -> StoreResult<Option<Attachment>> {
        self.find("DELETE FROM uploads WHERE id = ? RETURNING id, row", &[&id])
            .await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = OwnStore::open(Path::new("own.db"), Arc::new(SystemClock)).await?;
    let chat = store.open_conversation("garden").await?;
    println!("{} is conversation {}", chat.name, chat.id);
    Ok(())
}
