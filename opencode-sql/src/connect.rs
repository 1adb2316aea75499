//! Opening a store by its URL, and how it uses its database.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opencode_host::clock::{Clock, SystemClock};
use opencode_host::store::{Store, StoreResult};

#[cfg(feature = "postgres")]
use crate::postgres::PostgresEngine;
#[cfg(feature = "sqlite")]
use crate::sqlite::SqliteEngine;
use crate::store::SqlStore;
use crate::target::Target;

/// Whose clock leases expire by.
#[derive(Clone, Debug, Default)]
pub enum LeaseClock {
    /// The database's: the server's own on Postgres, the machine's on SQLite.
    /// Every worker on the database sees the same one.
    #[default]
    Database,
    /// This one; new ids come from it too. For tests.
    Given(Arc<dyn Clock>),
}

impl LeaseClock {
    pub(crate) fn given(&self) -> Option<Arc<dyn Clock>> {
        match self {
            Self::Database => None,
            Self::Given(clock) => Some(Arc::clone(clock)),
        }
    }

    pub(crate) fn or_machine(&self) -> Arc<dyn Clock> {
        self.given().unwrap_or_else(|| Arc::new(SystemClock))
    }
}

/// How a store uses its database.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Whose clock leases expire by.
    pub clock: LeaseClock,
    /// The most connections at once, at least 2. On SQLite these read; one more writes.
    pub max_connections: u32,
    /// How long a call waits for a connection before the database counts as
    /// not available. [`connect_with`] waits as long for a Postgres that is starting.
    pub acquire_timeout: Duration,
    /// How long a session lock may be held on Postgres. A holder that takes
    /// longer, or hangs, loses it to the next one.
    pub session_lock_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: LeaseClock::Database,
            max_connections: 10,
            acquire_timeout: Duration::from_secs(10),
            session_lock_limit: Duration::from_secs(60),
        }
    }
}

impl Options {
    /// These options with another lease clock.
    pub fn clock(self, clock: LeaseClock) -> Self {
        Self { clock, ..self }
    }

    /// These options with another number of connections.
    pub fn max_connections(self, max_connections: u32) -> Self {
        Self {
            max_connections,
            ..self
        }
    }

    /// These options with another time to wait for a connection.
    pub fn acquire_timeout(self, acquire_timeout: Duration) -> Self {
        Self {
            acquire_timeout,
            ..self
        }
    }

    /// These options with another bound on the session lock.
    pub fn session_lock_limit(self, session_lock_limit: Duration) -> Self {
        Self {
            session_lock_limit,
            ..self
        }
    }
}

/// Opens a store, and brings its schema up to date: `sqlite://PATH`, a bare path
/// of a SQLite file (made when there is none, its folder too, both for this user alone),
/// `sqlite::memory:` for one that is gone with the store, or `postgres://…`.
///
/// # Errors
/// [`Configuration`](opencode_host::store::StoreError::Configuration) when the URL, the file or the
/// password is wrong, [`NewerSchema`](opencode_host::store::StoreError::NewerSchema) when a newer version has
/// made the database, [`Unavailable`](opencode_host::store::StoreError::Unavailable) when it cannot be reached in time.
/// No error holds a password.
pub async fn connect(url: &str) -> StoreResult<Arc<dyn Store>> {
    connect_with(url, Options::default()).await
}

/// [`connect`] with [`Options`].
///
/// # Errors
/// See [`connect`].
pub async fn connect_with(url: &str, options: Options) -> StoreResult<Arc<dyn Store>> {
    Ok(match Target::parse(url)? {
        #[cfg(feature = "sqlite")]
        Target::File(path) => Arc::new(SqlStore(SqliteEngine::open(Some(&path), &options).await?)),
        #[cfg(feature = "sqlite")]
        Target::Memory => Arc::new(SqlStore(SqliteEngine::open(None, &options).await?)),
        #[cfg(feature = "postgres")]
        Target::Postgres(target) => {
            Arc::new(SqlStore(PostgresEngine::open(*target, options).await?))
        }
    })
}

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// Postgres.
    Postgres,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "Postgres",
        })
    }
}

/// What a database is, for a person who wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// The kind of database.
    pub dialect: Dialect,
    /// Where it is: the path, or `host:port/name`. Never a password.
    pub place: String,
    /// The version of the engine or server, such as `3.50.4`.
    pub engine_version: String,
    /// How SQLite keeps its journal: `wal` once a store was opened.
    pub journal_mode: Option<String>,
    /// The version of the database's schema; `None` when there is none yet.
    pub schema: Option<i64>,
    /// The newest schema that this version knows, to which [`connect`] brings it.
    pub known_schema: i64,
}

/// Looks at a database without changing anything.
///
/// # Errors
/// See [`connect`]; a newer schema is no error here.
pub async fn describe(url: &str) -> StoreResult<Description> {
    match Target::parse(url)? {
        #[cfg(feature = "sqlite")]
        Target::File(path) => crate::sqlite::describe(Some(&path)).await,
        #[cfg(feature = "sqlite")]
        Target::Memory => crate::sqlite::describe(None).await,
        #[cfg(feature = "postgres")]
        Target::Postgres(target) => crate::postgres::describe(&target).await,
    }
}

/// What a SQLite file has of damage, the first of it: empty for a sound one, one that is not there yet, and for Postgres, which
/// looks after itself. Reads all of the file, and changes nothing.
///
/// # Errors
/// [`Configuration`](opencode_host::store::StoreError::Configuration) when it is no database or cannot be opened,
/// [`Unexpected`](opencode_host::store::StoreError::Unexpected) when it is damaged so that it cannot be looked at.
pub async fn damage(url: &str) -> StoreResult<Vec<String>> {
    match Target::parse(url)? {
        #[cfg(feature = "sqlite")]
        Target::File(path) => crate::sqlite::damage(&path).await,
        #[cfg(feature = "sqlite")]
        Target::Memory => Ok(Vec::new()),
        #[cfg(feature = "postgres")]
        Target::Postgres(_) => Ok(Vec::new()),
    }
}
