//! How a store uses its database, and what a database is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opencode_host::clock::{Clock, SystemClock};

/// The prefix that statements and migrations are written with, and that tables have by default.
pub(crate) const PREFIX: &str = "opencode_";

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
    /// not available. [`connect_with`](crate::connect_with) waits as long for a Postgres that is starting.
    pub acquire_timeout: Duration,
    /// How the names of the store's tables begin: a lower-case letter or `_`, then such, or digits; at most 30
    /// characters. Default `opencode_`. Two stores with different prefixes in one database have nothing to do with
    /// each other.
    pub prefix: String,
    /// The schema of the tables, on Postgres. It has to be there. Default: the one on the search path of the first
    /// connection that has the tables, or else the one that new tables come into; every statement names it from then
    /// on.
    pub schema: Option<String>,
    /// Whether to bring the database's schema up to date when it is opened. Default true. Without, one that is not is
    /// refused: run [`migrations`](crate::migrations()) yourself.
    pub migrate: bool,
    /// How long a session lock may be held on Postgres. A holder that takes
    /// longer, or hangs, loses it to the next one.
    pub session_lock_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: LeaseClock::Database,
            prefix: PREFIX.to_owned(),
            schema: None,
            migrate: true,
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

    /// These options with another prefix of the tables.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        Self { prefix, ..self }
    }

    /// These options with a schema for the tables.
    pub fn schema(self, schema: impl Into<String>) -> Self {
        let schema = Some(schema.into());
        Self { schema, ..self }
    }

    /// These options with or without changes to the database's schema.
    pub fn migrate(self, migrate: bool) -> Self {
        Self { migrate, ..self }
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
    /// The newest schema that this version knows, to which [`connect`](fn@crate::connect) brings it.
    pub known_schema: i64,
}
