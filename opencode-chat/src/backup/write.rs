//! Writing a backup.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use opencode_host::blobs::{BlobError, Blobs, Digest};
use opencode_host::clock::Timestamp;
use opencode_host::store::StoreError;
use opencode_sql::Dump;
use serde::Deserialize;
use serde_json::Value;
use tar::{Builder, EntryType, Header as Head};
use tokio::runtime::Handle;

use super::pieces::{Padded, Waiting};
use super::sealed::Sealing;
use super::{BLOBS, CONTENTS, Contents, FORMAT, HEADER, Header, ROWS, SEAL, USERS, sandboxes};
use crate::exit::Failure;
use crate::people::UserRow;

/// Rows of so many bytes, or one row, are an entry of the archive.
const PIECE: usize = 4 * 1024 * 1024;

/// What a backup was made of.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) contents: Contents,
    /// Digests that the rows name and that had no bytes, or others than they should.
    pub(crate) without_bytes: Vec<Digest>,
    /// What is in the agents' folders and could not be read.
    pub(crate) left_out: u64,
}

/// Writes all there is. Answers what it was, and what it was written to.
pub(crate) fn write<W: Write>(
    to: W,
    mut dump: Dump,
    users: &[UserRow],
    blobs: &Blobs,
    sandbox_root: &Path,
    now: Timestamp,
    runtime: &Handle,
) -> Result<(Written, W), Failure> {
    let mut archive = Archive(Builder::new(Sealing::new(to)));
    archive.json(
        HEADER,
        &Header {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: dump.schema(),
            made_at: now.0,
        },
    )?;
    let mut written = Written {
        contents: Contents::default(),
        without_bytes: Vec::new(),
        left_out: 0,
    };
    let mut named = Named::default();
    for table in Dump::tables() {
        let rows = runtime.block_on(rows(&mut archive, &mut dump, table, &mut named))?;
        written.contents.rows.insert(table.to_owned(), rows);
    }
    // What is written to the database from here on is not held up by this.
    drop(dump);
    if !users.is_empty() {
        archive.users(users)?;
        written.contents.users = users.len() as u64;
    }
    for digest in &named.digests {
        archive.blob(*digest, blobs, runtime, &mut written)?;
    }
    let saved = sandboxes::save(
        &mut archive.0,
        sandbox_root,
        &named.conversations,
        &mut written.contents,
    );
    written.left_out = saved.map_err(Failed::Write)?;
    written.contents.lost = written
        .without_bytes
        .iter()
        .map(Digest::to_string)
        .collect();
    archive.json(CONTENTS, &written.contents)?;
    let seal = archive.0.get_ref().digest();
    archive.entry(SEAL, seal.as_bytes())?;
    let sealed = archive.0.into_inner().map_err(Failed::Write)?;
    let mut to = sealed.into_inner();
    to.flush().map_err(Failed::Write)?;
    Ok((written, to))
}

/// Why a backup was not written.
#[derive(Debug)]
enum Failed {
    Write(io::Error),
    Store(StoreError),
    Blob(Digest, BlobError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Write(error) => Self::error(format!("the backup cannot be written: {error}")),
            Failed::Store(error) => error.into(),
            Failed::Blob(digest, error) => {
                Self::error(format!("a file cannot be copied ({digest}): {error}"))
            }
        }
    }
}

/// What the rows name that is to be copied behind them.
#[derive(Debug, Default)]
struct Named {
    conversations: Vec<String>,
    digests: BTreeSet<Digest>,
}

impl Named {
    fn look(&mut self, table: &str, row: &str) {
        #[derive(Deserialize)]
        struct Names {
            id: Option<String>,
            digest: Option<Digest>,
        }
        if !matches!(table, "conversations" | "attachments") {
            return;
        }
        // One that cannot be read names nothing that could be found.
        let Ok(names) = serde_json::from_str::<Names>(row) else {
            return;
        };
        self.digests.extend(names.digest);
        if table == "conversations" {
            // It is a file's name from here on.
            let ids = names.id.filter(|id| uuid::Uuid::try_parse(id).is_ok());
            self.conversations.extend(ids);
        }
    }
}

/// Copies the rows of a table, in pieces.
async fn rows<W: Write>(
    archive: &mut Archive<W>,
    dump: &mut Dump,
    table: &str,
    named: &mut Named,
) -> Result<u64, Failed> {
    let (mut piece, mut number) = (String::new(), 0);
    let mut end_piece = |piece: &mut String| {
        number += 1;
        let name = format!("{ROWS}/{table}/{number:06}.jsonl");
        let written = archive.entry(&name, piece.as_bytes());
        piece.clear();
        written
    };
    let count = dump
        .rows::<Failed>(table, |row| {
            named.look(table, &row);
            piece.push_str(&row);
            piece.push('\n');
            if piece.len() < PIECE {
                return Ok(());
            }
            end_piece(&mut piece)
        })
        .await?;
    if !piece.is_empty() {
        end_piece(&mut piece)?;
    }
    Ok(count)
}

struct Archive<W: Write>(Builder<Sealing<W>>);

impl<W: Write> Archive<W> {
    fn json(&mut self, name: &str, value: &impl serde::Serialize) -> Result<(), Failed> {
        let value: Value =
            serde_json::to_value(value).map_err(|error| Failed::Write(error.into()))?;
        self.entry(name, format!("{value:#}\n").as_bytes())
    }

    fn users(&mut self, users: &[UserRow]) -> Result<(), Failed> {
        let mut lines = Vec::new();
        for user in users {
            serde_json::to_writer(&mut lines, user).map_err(|error| Failed::Write(error.into()))?;
            lines.push(b'\n');
        }
        self.entry(USERS, &lines)
    }

    fn entry(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failed> {
        let mut head = head(bytes.len() as u64);
        let written = self.0.append_data(&mut head, name, bytes);
        written.map_err(Failed::Write)
    }

    fn blob(
        &mut self,
        digest: Digest,
        blobs: &Blobs,
        runtime: &Handle,
        written: &mut Written,
    ) -> Result<(), Failed> {
        let stream = match runtime.block_on(blobs.get(&digest)) {
            Ok(stream) => stream,
            Err(BlobError::Missing { .. }) => {
                written.without_bytes.push(digest);
                return Ok(());
            }
            Err(error) => return Err(Failed::Blob(digest, error)),
        };
        let size = stream.size;
        let reader = Waiting::new(stream.into_reader(), runtime.clone());
        let mut reader = Padded::new(reader, size);
        let name = format!("{BLOBS}/{digest}");
        let copied = self.0.append_data(&mut head(size), name, &mut reader);
        copied.map_err(Failed::Write)?;
        let ended = match reader.ended() {
            Ok(()) => Ok(()),
            Err(None) => Err(BlobError::Corrupt { digest }),
            Err(Some(error)) => Err(of_reader(digest, error)),
        };
        match ended {
            Ok(()) => {
                written.contents.blobs += 1;
                written.contents.blob_bytes += size;
                Ok(())
            }
            Err(BlobError::Corrupt { .. }) => {
                written.without_bytes.push(digest);
                Ok(())
            }
            Err(error) => Err(Failed::Blob(digest, error)),
        }
    }
}

/// The error of a blob that a reader of it has failed with.
fn of_reader(digest: Digest, error: io::Error) -> BlobError {
    match error.downcast::<BlobError>() {
        Ok(error) => error,
        Err(error) => {
            tracing::debug!(%digest, %error, "no error of the blob storage");
            BlobError::Source(error)
        }
    }
}

fn head(size: u64) -> Head {
    let mut head = Head::new_gnu();
    head.set_entry_type(EntryType::Regular);
    head.set_mode(0o600);
    head.set_size(size);
    head
}
