//! What may go wrong with accounts.

use std::time::Duration;

/// The fewest and the most bytes of a password.
pub(super) const MIN_PASSWORD: usize = 8;
pub(super) const MAX_PASSWORD: usize = 1024;

/// What could not be done with accounts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeopleError {
    /// There is a user of this name.
    #[error("there is a user named {0:?} already")]
    Taken(String),
    /// There is no user of this name.
    #[error("there is no user named {0:?}: `opencode-chat user list` lists them")]
    Unknown(String),
    /// This cannot be a name.
    #[error(
        "{0:?} cannot be a user's name: it has 1 to 64 letters a to z, digits, and . _ - + @, and begins with a letter or a \
         digit"
    )]
    Name(String),
    /// This cannot be a password.
    #[error("a password has {MIN_PASSWORD} to {MAX_PASSWORD} bytes")]
    Password,
    /// Somebody has taken over the conversations of the time without accounts.
    #[error("what was said without accounts belongs to {0:?} already")]
    TakenOver(String),
    /// This is not the password, or nobody has this name.
    #[error("this name and this password do not belong together")]
    Wrong,
    /// Too many attempts to sign in have failed.
    #[error("too many attempts have failed: wait {} s", .0.as_secs().max(1))]
    Wait(Duration),
    /// A newer version has made the tables.
    #[error(
        "a newer version of this program has made the tables of accounts (version {found}, known are {known}): use that one"
    )]
    Newer {
        /// The version that is there.
        found: i64,
        /// The newest one that this program knows.
        known: i64,
    },
    /// The database failed.
    #[error("the accounts cannot be read or written: {0}")]
    Database(#[from] sqlx::Error),
    /// A password could not be hashed.
    #[error("a password cannot be checked: {0}")]
    Hash(String),
}
