//! Reading a backup: whether it is whole, and making a new data folder of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use opencode_host::blobs::{Blobs, Digest};
use opencode_sql::{Options, Restore};
use serde_json::Value;
use tar::Entry;
use tokio::runtime::Handle;

use super::pieces::Blocking;
use super::sandboxes::Growing;
use super::sealed::Whole;
use super::{BLOBS, Contents, ROWS, SANDBOXES, USERS};
use crate::exit::Failure;
use crate::people::UserRow;

/// So many rows are inserted at once, or those of so many bytes.
const AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 4 * 1024 * 1024;

/// The server that restored sessions are on. There is none of this name.
const LEFT: &str = "before-the-restore";

/// Reads all of a file, and answers what is in it.
pub(crate) fn check(path: &Path) -> Result<Whole, Failure> {
    Whole::open(path)
}

/// Restores what is in a backup: the bytes first, then the folders, then the rows, all of which are there at once or not. Answers
/// the users too, who are to be added behind that.
pub(crate) fn restore(
    mut backup: Whole,
    database: &str,
    blobs: &Blobs,
    sandbox_root: &Path,
    runtime: &Handle,
) -> Result<(Contents, Vec<UserRow>), Failure> {
    let (options, contents) = (Options::default(), backup.contents.clone());
    let begun = Restore::begin(database, &options, backup.header.schema);
    let mut rows = runtime.block_on(begun)?;
    let lost: BTreeSet<_> = contents.lost.iter().map(String::as_str).collect();
    let folders = |error: io::Error| told_of("the agents' folders", sandbox_root, &error);
    let mut growing = Growing::begin(sandbox_root).map_err(folders)?;
    let mut inserted: BTreeMap<String, u64> = BTreeMap::new();
    let mut users = Vec::new();
    let mut archive = backup.archive().map_err(|error| unread(&error))?;
    for entry in archive.entries().map_err(|error| unread(&error))? {
        let mut entry = entry.map_err(|error| unread(&error))?;
        let path = entry.path().map_err(|error| unread(&error))?.into_owned();
        let mut names = path.iter().filter_map(|name| name.to_str());
        match (names.next(), names.next()) {
            (Some(BLOBS), Some(name)) if lost.contains(name) => {}
            (Some(BLOBS), Some(name)) => keep(&mut entry, name, blobs, runtime)?,
            (Some(SANDBOXES), Some(_)) => growing.take(&mut entry).map_err(folders)?,
            (Some(USERS), None) => users = read_users(&mut entry)?,
            (Some(ROWS), Some(table)) => {
                let count = insert(&mut entry, table, &mut rows, runtime)?;
                *inserted.entry(table.to_owned()).or_default() += count;
            }
            _ => {}
        }
    }
    let expected = |(table, count): (&String, &u64)| {
        inserted.get(table).copied().unwrap_or_default() == *count
    };
    if !contents.rows.iter().all(expected) || contents.users != users.len() as u64 {
        return Err(Failure::error(format!(
            "the backup does not have the rows that it says it has: {inserted:?} instead of {:?}",
            contents.rows
        )));
    }
    growing.place().map_err(folders)?;
    if let Err(error) = runtime.block_on(rows.commit()) {
        growing.take_back();
        return Err(error.into());
    }
    Ok((contents, users))
}

fn read_users(entry: &mut impl Read) -> Result<Vec<UserRow>, Failure> {
    let read = |line: io::Result<String>| {
        let line = line.map_err(|error| unread(&error))?;
        serde_json::from_str(&line).map_err(|error| {
            Failure::error(format!("a user in the backup cannot be read: {error}"))
        })
    };
    BufReader::new(entry).lines().map(read).collect()
}

/// Keeps the bytes of a file, which has to be the one that it is named after.
fn keep<R: Read + Unpin>(
    entry: &mut Entry<'_, R>,
    name: &str,
    blobs: &Blobs,
    runtime: &Handle,
) -> Result<(), Failure> {
    let digest: Digest = name
        .parse()
        .map_err(|error| Failure::error(format!("{name:?} in the backup: {error}")))?;
    let kept = runtime.block_on(blobs.put(Blocking(entry), u64::MAX));
    let kept =
        kept.map_err(|error| Failure::error(format!("a file cannot be kept ({digest}): {error}")))?;
    if kept.digest != digest {
        return Err(Failure::error(format!(
            "the content of a file in the backup is not the one that its row names ({digest})"
        )));
    }
    Ok(())
}

/// Inserts the rows of an entry, and answers how many there were.
fn insert<R: Read>(
    entry: &mut Entry<'_, R>,
    table: &str,
    rows: &mut Restore,
    runtime: &Handle,
) -> Result<u64, Failure> {
    let (mut some, mut bytes, mut count) = (Vec::new(), 0, 0);
    let mut end = |some: &mut Vec<String>| {
        let inserted = runtime.block_on(rows.insert(table, some));
        some.clear();
        inserted
    };
    for line in BufReader::new(entry).lines() {
        let line = left_behind(table, line.map_err(|error| unread(&error))?)?;
        (bytes, count) = (bytes + line.len(), count + 1);
        some.push(line);
        if some.len() >= AT_ONCE || bytes >= BYTES_AT_ONCE {
            end(&mut some)?;
            bytes = 0;
        }
    }
    if !some.is_empty() {
        end(&mut some)?;
    }
    Ok(count)
}

/// A row whose session is on a server that is none of this database's. The sessions of the backup may be the original's
/// still: they are not asked, not prompted and not deleted, and what ran in them ends as interrupted.
fn left_behind(table: &str, row: String) -> Result<String, Failure> {
    let column = match table {
        "sessions" => "session",
        "turns" => "prompted",
        _ => return Ok(row),
    };
    let parsed = |text: &str| -> Result<Value, Failure> {
        serde_json::from_str(text)
            .map_err(|error| Failure::error(format!("a row of {table} cannot be read: {error}")))
    };
    let mut whole = parsed(&row)?;
    let Some(text) = whole[column].as_str() else {
        return Ok(row);
    };
    let mut record = parsed(text)?;
    if let Some(record) = record.as_object_mut() {
        record.insert("server".to_owned(), LEFT.into());
    }
    whole[column] = record.to_string().into();
    Ok(whole.to_string())
}

fn unread(error: &io::Error) -> Failure {
    Failure::error(format!("the backup cannot be read: {error}"))
}

fn told_of(what: &str, place: &Path, error: &io::Error) -> Failure {
    let told = format!("{what} cannot be restored in {}: {error}", place.display());
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::configuration(format!("{told}. Name another place with --sandbox-root"))
        }
        _ => Failure::error(told),
    }
}
