//! Accounts: who may use the chat, kept in tables of the application's own beside the library's, on SQLite and on
//! Postgres.
//!
//! A user is a tenant: the rows that they see are those of [`User::tenant`]. Where there is no user, there are no accounts,
//! and the chat knows one local person, who is the default tenant. The first user may take over what that person has.
//!
//! The tables have the prefix `chat_`. Secrets are stored as hashes alone: passwords by Argon2, what a browser or a program
//! shows by SHA-256, since it is random.

mod copied;
mod database;
mod error;
mod password;
mod secret;
mod sessions;
mod users;

use std::sync::Arc;

use opencode_host::clock::{Clock, SystemClock};

use database::Database;

pub(crate) use copied::UserRow;
pub use error::PeopleError;
pub use sessions::{Known, SESSION_KEPT};
pub use users::{NewUser, Role, User, UserId};

/// The accounts of a database.
#[derive(Clone, Debug)]
pub struct Accounts {
    database: Database,
    clock: Arc<dyn Clock>,
}

impl Accounts {
    /// Opens the accounts of a database, and brings their tables up to date. A SQLite file must be there.
    ///
    /// # Errors
    /// [`PeopleError::Database`] when the database cannot be reached, [`PeopleError::Newer`] when a newer version has made
    /// its tables.
    pub async fn open(url: &str) -> Result<Self, PeopleError> {
        Self::with_clock(url, Arc::new(SystemClock)).await
    }

    /// The same, by another clock.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub async fn with_clock(url: &str, clock: Arc<dyn Clock>) -> Result<Self, PeopleError> {
        let database = Database::open(url).await?;
        Ok(Self { database, clock })
    }
}
