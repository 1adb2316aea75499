//! The tables of accounts, in the database of the turns: SQLite or Postgres, by the same statements.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};

use super::error::PeopleError;

/// How long is waited for a connection, or for another process that writes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections to Postgres.
const CONNECTIONS: u32 = 4;
/// Locks the migrations of the accounts on Postgres: any number that nobody else takes.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7301294485120663)";

const KNOWN: &str =
    "CREATE TABLE IF NOT EXISTS chat_migrations (version BIGINT NOT NULL PRIMARY KEY)";

/// The steps of the schema, of either database. A step only adds: processes of the version before go on.
const STEPS: &[&[&str]] = &[&[
    // What is 0 or 1 is a BIGINT, as both databases know it. `number` counts the user's passwords.
    "CREATE TABLE chat_users (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        tenant TEXT NOT NULL UNIQUE,
        is_admin BIGINT NOT NULL,
        may_run BIGINT NOT NULL,
        password_hash TEXT NOT NULL,
        number BIGINT NOT NULL,
        created_at BIGINT NOT NULL
    )",
    "CREATE TABLE chat_sessions (
        token_hash TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES chat_users (id) ON DELETE CASCADE,
        number BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL
    )",
    "CREATE INDEX chat_sessions_user ON chat_sessions (user_id)",
    "CREATE TABLE chat_attempts (
        subject TEXT NOT NULL PRIMARY KEY,
        failed BIGINT NOT NULL,
        until BIGINT NOT NULL
    )",
]];

/// Connections to a database.
#[derive(Clone, Debug)]
pub(super) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Reads rows with the same statement on either database.
macro_rules! rows {
    ($database:expr, $query:expr $(, $value:expr)* $(,)?) => {
        match $database {
            $crate::people::database::Database::Sqlite(pool) => {
                sqlx::query_as($query)$(.bind($value))*.fetch_all(pool).await
            }
            $crate::people::database::Database::Postgres(pool) => {
                sqlx::query_as($query)$(.bind($value))*.fetch_all(pool).await
            }
        }
    };
}

/// Changes rows with the same statement on either database: how many.
macro_rules! change {
    ($database:expr, $query:expr $(, $value:expr)* $(,)?) => {
        match $database {
            $crate::people::database::Database::Sqlite(pool) => {
                sqlx::query($query)$(.bind($value))*.execute(pool).await.map(|done| done.rows_affected())
            }
            $crate::people::database::Database::Postgres(pool) => {
                sqlx::query($query)$(.bind($value))*.execute(pool).await.map(|done| done.rows_affected())
            }
        }
    };
}
pub(super) use {change, rows};

/// Brings the schema up to date within a transaction.
macro_rules! bring_up {
    ($transaction:expr) => {{
        sqlx::query(KNOWN).execute(&mut *$transaction).await?;
        let newest = "SELECT MAX(version) FROM chat_migrations";
        let newest: (Option<i64>,) = sqlx::query_as(newest).fetch_one(&mut *$transaction).await?;
        let (found, known) = (newest.0.unwrap_or(0), STEPS.len() as i64);
        if found > known {
            return Err(PeopleError::Newer { found, known });
        }
        for (step, version) in STEPS
            .iter()
            .zip(1_i64..)
            .filter(|(_, version)| *version > found)
        {
            for statement in *step {
                sqlx::query(*statement).execute(&mut *$transaction).await?;
            }
            let note = "INSERT INTO chat_migrations (version) VALUES ($1)";
            sqlx::query(note)
                .bind(version)
                .execute(&mut *$transaction)
                .await?;
        }
        $transaction.commit().await?;
    }};
}

impl Database {
    /// Opens the database of this URL, as the store of the turns takes it.
    pub(super) async fn open(url: &str) -> Result<Self, PeopleError> {
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let pool = PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(PATIENCE)
                .connect_lazy_with(PgConnectOptions::from_str(url)?);
            let mut transaction = pool.begin().await?;
            sqlx::query(LOCK).execute(&mut *transaction).await?;
            bring_up!(transaction);
            return Ok(Self::Postgres(pool));
        }
        let path = url.strip_prefix("sqlite:").unwrap_or(url);
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = path.strip_suffix("?mode=rwc").unwrap_or(path);
        let only = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE);
        let pool = if path == ":memory:" {
            // The one connection is the database.
            let lasting = only
                .min_connections(1)
                .idle_timeout(None)
                .max_lifetime(None);
            lasting.connect_lazy_with(SqliteConnectOptions::new().in_memory(true))
        } else {
            let options = SqliteConnectOptions::new()
                .filename(path)
                .foreign_keys(true)
                .busy_timeout(PATIENCE)
                .synchronous(SqliteSynchronous::Full);
            only.connect_lazy_with(options)
        };
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
        bring_up!(transaction);
        Ok(Self::Sqlite(pool))
    }
}
