//! The words that conversations are found by.
//!
//! What a word is, the library says ([`searched_words`]); the databases keep words and look for beginnings of them. A row
//! whose words are not written yet says that they are due: rows from before there were words, copies, and prompts until
//! their turn ends.

use std::collections::BTreeSet;

use opencode_host::id::{ConversationId, MessageId};
use opencode_host::store::{
    MAX_SEARCHED_CHARS, Metadata, Search, StoreResult, Tenant, searched_words, title_words,
};

use crate::columns::{Columns, json};
use crate::engine::{Handle, Row, Sql, args, sql};
use crate::failure::SqlResult;

/// How many rows get their words in one transaction.
const BATCH: u32 = 32;

/// What stands before the word that says whose a message is: no letter of a text's words.
const WHOSE: char = '\u{e000}';

macro_rules! due {
    ($whose:literal, $lock:literal) => {
        concat!(
            "SELECT m.seq, m.id, m.conversation, c.tenant, substr(m.content, 1, CAST($1 AS INTEGER)) AS content \
             FROM opencode_messages AS m JOIN opencode_conversations AS c ON c.id = m.conversation \
             WHERE m.due = 1 AND m.status <> 'pending'",
            $whose,
            " ORDER BY m.conversation, m.seq LIMIT $2",
            $lock
        )
    };
}
pub(crate) const DUE: Sql = Sql {
    sqlite: due!("", ""),
    // Another process writes the words of those that it has locked. Nobody waits: a turn's end holds other locks.
    postgres: due!("", " FOR UPDATE OF m SKIP LOCKED"),
};
pub(crate) const DUE_OF_CONVERSATION: Sql = Sql {
    sqlite: due!(" AND m.conversation = $3", ""),
    postgres: due!(" AND m.conversation = $3", " FOR UPDATE OF m SKIP LOCKED"),
};
macro_rules! is_due {
    ($messages:literal, $conversations:literal) => {
        concat!(
            "SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM opencode_messages ",
            $messages,
            " WHERE due = 1 AND status <> 'pending') OR EXISTS (SELECT 1 FROM opencode_conversations ",
            $conversations,
            " WHERE words IS NULL) THEN 1 ELSE 0 END AS BIGINT) AS due"
        )
    };
}
pub(crate) const IS_DUE: Sql = Sql {
    // Left alone, SQLite reads the tables.
    sqlite: is_due!(
        "INDEXED BY opencode_messages_due",
        "INDEXED BY opencode_conversations_due"
    ),
    postgres: is_due!("", ""),
};
const WRITE: Sql = Sql {
    sqlite: "INSERT OR REPLACE INTO opencode_words (rowid, words) VALUES ($1, $2)",
    postgres: "UPDATE opencode_messages SET due = 0, words = array_to_tsvector(string_to_array($2, ' ')) WHERE seq = $1",
};
const DONE: Sql = sql!("UPDATE opencode_messages SET due = 0 WHERE seq = $1 AND due = 1");
const DUE_TITLES: Sql = Sql {
    sqlite: "SELECT id, name, metadata FROM opencode_conversations WHERE words IS NULL LIMIT $1",
    postgres: "SELECT id, name, metadata FROM opencode_conversations WHERE words IS NULL LIMIT $1 FOR UPDATE SKIP LOCKED",
};
const SET_TITLE: Sql = sql!("UPDATE opencode_conversations SET words = $2 WHERE id = $1");

/// The messages, as `m`, in which the words of the JSON array $1 begin words of theirs.
macro_rules! in_messages {
    (sqlite, $words:literal) => {
        concat!(
            "m.seq IN (SELECT w.rowid FROM opencode_words AS w WHERE w.opencode_words MATCH \
               (SELECT group_concat('\"' || value || '\" *', ' AND ') FROM json_each(",
            $words,
            ")))"
        )
    };
    (postgres, $words:literal) => {
        concat!(
            "m.words @@ (SELECT CAST(string_agg(quote_literal(n) || ':*', ' & ') AS TSQUERY) \
               FROM json_array_elements_text(CAST(CAST(",
            $words,
            " AS TEXT) AS JSON)) AS n)"
        )
    };
}
pub(crate) use in_messages;

/// How many words of a JSON array begin words of the conversation `c` itself.
macro_rules! in_title {
    (sqlite, $words:literal) => {
        concat!(
            "(SELECT COUNT(*) FROM json_each(",
            $words,
            ") AS n WHERE c.words LIKE '% ' || n.value || '%')"
        )
    };
    (postgres, $words:literal) => {
        concat!(
            "(SELECT COUNT(*) FROM json_array_elements_text(CAST(CAST(",
            $words,
            " AS TEXT) AS JSON)) AS n \
              WHERE c.words LIKE '% ' || n || '%')"
        )
    };
}
pub(crate) use in_title;

macro_rules! found {
    ($database:ident) => {
        concat!(
            "SELECT m.id FROM opencode_messages AS m WHERE m.conversation = $1 AND m.hidden = 0 AND ",
            in_messages!($database, "$2"),
            " ORDER BY m.seq DESC LIMIT $3"
        )
    };
}
pub(crate) const FOUND: Sql = Sql {
    sqlite: found!(sqlite),
    postgres: found!(postgres),
};

/// The word that a conversation's messages have.
fn of_conversation(id: ConversationId) -> String {
    format!("{WHOSE}c{}", id.as_uuid().simple())
}

/// The word that a tenant's messages have. Two tenants may have one: whose a conversation is, its row says.
fn of_tenant(tenant: &Tenant) -> String {
    let hash = tenant
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    format!("{WHOSE}t{hash:016x}")
}

/// The words of a search, as a JSON array, in messages of a tenant.
pub(crate) fn of_search(search: &Search, tenant: Option<&Tenant>) -> StoreResult<String> {
    let whose = tenant.map(of_tenant);
    let words: Vec<_> = whose.as_deref().into_iter().chain(search.words()).collect();
    json(&words)
}

/// The words of a conversation's row.
pub(crate) fn of_title(name: &str, metadata: &Metadata) -> String {
    let words = title_words(name, metadata);
    words.iter().flat_map(|word| [" ", word]).collect()
}

/// The messages of a conversation that are found.
pub(crate) async fn found(
    on: &mut impl Handle,
    conversation: ConversationId,
    search: &Search,
    limit: u32,
) -> SqlResult<Vec<MessageId>> {
    let whose = of_conversation(conversation);
    let words: Vec<_> = std::iter::once(&*whose).chain(search.words()).collect();
    let args = args![conversation, json(&words)?, limit];
    let rows = on.rows(FOUND, args).await?;
    let ids = rows
        .iter()
        .map(|row| Columns::new(row, "messages", "id")?.id("id"));
    Ok(ids.collect::<StoreResult<_>>()?)
}

/// Whether words are due.
pub(crate) async fn is_due(on: &mut impl Handle) -> SqlResult<bool> {
    let row = on.row(IS_DUE, args![]).await?;
    Ok(row.is_some_and(|row| row.int("due").ok().flatten() == Some(1)))
}

/// A message whose words are due.
struct Due {
    seq: u64,
    words: String,
}

impl Due {
    /// What of a row cannot be read is found by nothing, and is told where it is read.
    fn of(row: &impl Row) -> StoreResult<Self> {
        let columns = Columns::new(row, "messages", "id")?;
        let text = columns.beginning("content").unwrap_or_default();
        let tenant = columns.text("tenant").unwrap_or_default().into();
        let mut words: BTreeSet<String> = searched_words(&text);
        words.extend(columns.id("conversation").ok().map(of_conversation));
        words.insert(of_tenant(&tenant));
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        Ok(Self {
            seq: columns.count("seq")?,
            words: words.join(" "),
        })
    }
}

/// A conversation whose own words are due: its id as it stands, and the words.
fn due_title(row: &impl Row) -> StoreResult<(String, String)> {
    let columns = Columns::new(row, "conversations", "id")?;
    let name = columns.text("name").unwrap_or_default();
    let metadata: Metadata = columns.json("metadata").unwrap_or_default();
    let id = columns.optional_raw("id")?.unwrap_or_default();
    Ok((id, of_title(&name, &metadata)))
}

/// Writes the words of some of those rows that they are due of: false where there were none.
pub(crate) async fn write_due(on: &mut impl Handle) -> SqlResult<bool> {
    let rows = on.rows(DUE_TITLES, args![BATCH]).await?;
    let titles: Vec<_> = rows.iter().map(due_title).collect::<StoreResult<_>>()?;
    drop(rows);
    for (id, words) in &titles {
        on.execute(SET_TITLE, args![&**id, &**words]).await?;
    }
    let rows = on.rows(DUE, args![cut(), BATCH]).await?;
    let messages: Vec<_> = rows.iter().map(Due::of).collect::<StoreResult<_>>()?;
    drop(rows);
    write(on, &messages).await?;
    Ok(!titles.is_empty() || !messages.is_empty())
}

/// Writes the words of a conversation's messages that they are due of.
pub(crate) async fn write_of(on: &mut impl Handle, conversation: ConversationId) -> SqlResult<()> {
    let args = args![cut(), BATCH, conversation];
    let rows = on.rows(DUE_OF_CONVERSATION, args).await?;
    let messages: Vec<_> = rows.iter().map(Due::of).collect::<StoreResult<_>>()?;
    drop(rows);
    write(on, &messages).await
}

/// How much of a column is read: a character may stand there as two.
fn cut() -> u64 {
    2 * MAX_SEARCHED_CHARS as u64
}

async fn write(on: &mut impl Handle, messages: &[Due]) -> SqlResult<()> {
    for Due { seq, words } in messages {
        on.execute(WRITE, args![*seq, &**words]).await?;
        on.execute(DONE, args![*seq]).await?;
    }
    Ok(())
}
