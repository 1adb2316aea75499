//! What failures of SQLite mean.

use opencode_host::store::StoreError;
use sqlx::error::DatabaseError;

use crate::failure::Failure;

/// What a failure of SQLite means, and what can be done about it.
/// Codes: <https://www.sqlite.org/rescode.html>.
pub(super) fn failure(error: &sqlx::Error, place: &str) -> Failure {
    let told = match error {
        sqlx::Error::Database(error) => from_engine(&**error, place),
        sqlx::Error::PoolTimedOut => {
            StoreError::Unavailable(format!("{place} is busy: no connection was free in time"))
        }
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            StoreError::Unavailable(format!("the connection to {place} is closed"))
        }
        sqlx::Error::Io(error) => {
            StoreError::Unavailable(format!("{place} cannot be read or written: {error}"))
        }
        other => StoreError::Unexpected(format!("{place}: {other}")),
    };
    Failure::Store(told)
}

fn from_engine(error: &dyn DatabaseError, place: &str) -> StoreError {
    let message = error.message();
    let code = error
        .code()
        .and_then(|code| code.parse::<u32>().ok())
        .unwrap_or(1);
    // The low byte is the kind of error, the rest says more about it.
    match code & 0xFF {
        // Of a transaction that began as a reader: to wait would not help.
        _ if code == 517 => StoreError::Unavailable(format!(
            "another transaction has written to {place} since this one has read: roll it back, and run all of it again; begun \
             with BEGIN IMMEDIATE it does not come to that"
        )),
        5 | 6 => StoreError::Unavailable(format!(
            "another process, or another transaction of this one, has been writing to {place} for too long"
        )),
        7 => StoreError::Unavailable(format!("{place}: out of memory")),
        10 => StoreError::Unavailable(format!(
            "{place} cannot be read or written ({message}): check its disk"
        )),
        13 => StoreError::Unavailable(format!("the disk is full: free some space for {place}")),
        3 | 8 | 23 => StoreError::Configuration(format!(
            "{place} may not be written ({message}): check the permissions of the file and of its folder"
        )),
        14 if is_out_of_descriptors() => StoreError::Unavailable(format!(
            "{place} cannot be opened: this process has too many files and connections open"
        )),
        14 => StoreError::Configuration(format!(
            "{place} cannot be opened ({message}): check that it is a file, and the permissions of its folder"
        )),
        26 => {
            StoreError::Configuration(format!("{place} is no SQLite database: name another file"))
        }
        11 => StoreError::Unexpected(format!(
            "{place} is damaged ({message}): restore it from a backup"
        )),
        _ => StoreError::Unexpected(format!("{place}: {message} (code {code})")),
    }
}

/// SQLite does not tell this from a file that is not there.
fn is_out_of_descriptors() -> bool {
    // EMFILE and ENFILE have these numbers on every Unix.
    let codes = [Some(24), Some(23)];
    std::fs::File::open("/dev/null").is_err_and(|error| codes.contains(&error.raw_os_error()))
}
