//! One database, SQLite or Postgres: the help desk's own tables, and the store of the agent's turns beside them.

use std::str::FromStr as _;
use std::sync::Arc;

use anyhow::{Result, bail};
use opencode_host::{Host, HostBuilder, Prepared};
use opencode_sql::{Options, PostgresStore, SqliteStore, from_pool};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{PgPool, SqlitePool};

/// A pool of the application's, and the store in the same database.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    Sqlite(SqlitePool, SqliteStore),
    Postgres(PgPool, PostgresStore),
}

/// Reads rows with the same statement on either database.
macro_rules! rows {
    ($database:expr, $query:expr $(, $value:expr)*) => {
        match $database {
            $crate::database::Database::Sqlite(pool, _) => sqlx::query_as($query)$(.bind($value))*.fetch_all(pool).await,
            $crate::database::Database::Postgres(pool, _) => sqlx::query_as($query)$(.bind($value))*.fetch_all(pool).await,
        }
    };
}
pub(crate) use rows;

#[derive(Clone, Debug, serde::Serialize, sqlx::FromRow)]
pub(crate) struct Ticket {
    pub(crate) id: String,
    pub(crate) company: String,
    pub(crate) title: String,
    pub(crate) conversation: String,
    /// Its first turn.
    pub(crate) turn: String,
    /// The newest answer; empty while there is none.
    pub(crate) answer: String,
}

impl Database {
    /// Brings the application's tables and the store's up to date, each by its own migrations. Either may be first.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url)?.create_if_missing(true);
            let pool =
                SqlitePool::connect_with(options.journal_mode(SqliteJournalMode::Wal)).await?;
            sqlx::migrate!().run(&pool).await?;
            let store = from_pool(pool.clone(), Options::default()).await?;
            return Ok(Self::Sqlite(pool, store));
        }
        if !url.starts_with("postgres") {
            bail!("DATABASE_URL is {url}: give sqlite://FILE or postgres://…");
        }
        let pool = PgPool::connect(url).await?;
        sqlx::migrate!().run(&pool).await?;
        let store = from_pool(pool.clone(), Options::default()).await?;
        Ok(Self::Postgres(pool, store))
    }

    /// A host of the turns in this database.
    pub(crate) fn host(&self) -> HostBuilder {
        match self.clone() {
            Self::Sqlite(_, store) => Host::builder(Arc::new(store)),
            Self::Postgres(_, store) => Host::builder(Arc::new(store)),
        }
    }

    pub(crate) async fn tickets(&self, company: &str) -> sqlx::Result<Vec<Ticket>> {
        let query = "SELECT * FROM tickets WHERE company = $1 ORDER BY id DESC LIMIT 50";
        rows!(self, query, company)
    }

    /// Writes a ticket and its turn in one transaction: both are there, or neither.
    pub(crate) async fn open_ticket(&self, ticket: &Ticket, turn: Prepared) -> Result<()> {
        macro_rules! write {
            ($transaction:expr, $store:expr) => {{
                let mut transaction = $transaction.await?;
                let insert = "INSERT INTO tickets (id, company, title, conversation, turn) VALUES ($1, $2, $3, $4, $5)";
                let insert = sqlx::query(insert).bind(&ticket.id).bind(&ticket.company).bind(&ticket.title);
                let insert = insert.bind(&ticket.conversation).bind(&ticket.turn);
                insert.execute(&mut *transaction).await?;
                let submitted = $store.submit_in(&mut transaction, &turn).await?;
                transaction.commit().await?;
                submitted
            }};
        }
        let submitted = match self {
            Self::Sqlite(pool, store) => write!(pool.begin_with("BEGIN IMMEDIATE"), store),
            Self::Postgres(pool, store) => write!(pool.begin(), store),
        };
        // Has workers look for the turn at once.
        turn.committed(&submitted);
        Ok(())
    }
}
