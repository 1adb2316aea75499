//! A backup: one file with all rows, the bytes of all files, and the agents' folders.
//!
//! It is a tar archive, so that other programs can look into it:
//!
//! | entry | what it is |
//! | --- | --- |
//! | `backup.json` | what made it, and the version of the schema ([`Header`]) |
//! | `rows/TABLE/NUMBER.jsonl` | rows of a table, as they were at one moment: a JSON object in a line |
//! | `users.jsonl` | who has an account, with the hash of the password: a JSON object in a line; not there without accounts |
//! | `blobs/DIGEST` | a file that a row names |
//! | `sandboxes/CONVERSATION/…` | a conversation's folder |
//! | `contents.json` | how much there is of each ([`Contents`]) |
//! | `SHA256` | the digest of all that stands before it |
//!
//! Rows come first: what they name is copied behind them, and is not removed before a day has gone. The last entry tells a
//! whole backup from one that was cut off, and from one that was changed.
//!
//! Everything here blocks, and has a thread of its own.

mod pieces;
mod read;
mod sandboxes;
mod sealed;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use read::{check, restore};
pub(crate) use write::write;

use crate::exit::Failure;

/// The format. One that is not known is refused.
const FORMAT: u32 = 1;
const HEADER: &str = "backup.json";
const ROWS: &str = "rows";
const USERS: &str = "users.jsonl";
const BLOBS: &str = "blobs";
const SANDBOXES: &str = "sandboxes";
const CONTENTS: &str = "contents.json";
const SEAL: &str = "SHA256";

/// What stands first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The format of the archive.
    pub(crate) format: u32,
    /// The version of the program that made it.
    pub(crate) version: String,
    /// The version of the rows' schema.
    pub(crate) schema: i64,
    /// Milliseconds since 1970 (UTC).
    pub(crate) made_at: i64,
}

/// How much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    /// Rows by table.
    pub(crate) rows: BTreeMap<String, u64>,
    /// People who have an account.
    #[serde(default)]
    pub(crate) users: u64,
    /// Files that rows name.
    pub(crate) blobs: u64,
    /// Bytes of them.
    pub(crate) blob_bytes: u64,
    /// Conversations' folders.
    pub(crate) sandboxes: u64,
    /// Files in them.
    pub(crate) sandbox_files: u64,
    /// Bytes of them.
    pub(crate) sandbox_bytes: u64,
    /// Digests of files that rows name and whose bytes were lost before.
    pub(crate) lost: Vec<String>,
}

impl Contents {
    /// How much it is, for people.
    pub(crate) fn in_words(&self) -> String {
        let of = |table: &str| self.rows.get(table).copied().unwrap_or_default();
        format!(
            "{}{} conversations, {} messages, {} files ({} bytes), {} folders of agents with {} files ({} bytes)",
            match self.users {
                0 => String::new(),
                users => format!("{users} users, "),
            },
            of("conversations"),
            of("messages"),
            self.blobs,
            self.blob_bytes,
            self.sandboxes,
            self.sandbox_files,
            self.sandbox_bytes
        )
    }
}

/// Runs what blocks on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::error(format!("the work was broken off: {error}")))?
}
