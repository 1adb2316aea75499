//! A store in an application's own database.

use opencode_host::store::{NewTurn, Store, StoreResult, Submitted};
#[cfg(feature = "postgres")]
use sqlx::{PgConnection, PgPool};
#[cfg(feature = "sqlite")]
use sqlx::{SqliteConnection, SqlitePool};

use crate::options::Options;
#[cfg(feature = "postgres")]
use crate::postgres::PostgresEngine;
use crate::ready::ready;
#[cfg(feature = "sqlite")]
use crate::sqlite::SqliteEngine;
use crate::store::{SqlStore, submit_within};

/// A store on SQLite, of [`from_pool`].
#[cfg(feature = "sqlite")]
pub type SqliteStore = SqlStore<SqliteEngine>;

/// A store on Postgres, of [`from_pool`].
#[cfg(feature = "postgres")]
pub type PostgresStore = SqlStore<PostgresEngine>;

/// Opens a store in the database of an application's pool, and brings the store's schema up to date there. The
/// [crate](crate#in-your-applications-database) has a guide.
///
/// Migrations and tables of the application's own are not touched, whichever are made first: the store's have a
/// [prefix](Options::prefix), and a table of migrations of their own.
///
/// On **Postgres** the store uses the pool itself, whatever the settings of its connections: it sets its own for each
/// transaction. One more connection listens. [`Options::max_connections`] and [`Options::acquire_timeout`] are the
/// pool's.
///
/// On **SQLite** the store opens connections of its own to the pool's file, with the pool's options and what it
/// stands on itself: foreign keys, a busy timeout of 5 s, `synchronous = FULL`. The journal stays as the application
/// has it; with the write-ahead log (`SqliteJournalMode::Wal`) readers need not wait for writers. A database in
/// memory is used through the pool, which may have one connection.
///
/// # Errors
/// [`Configuration`](opencode_host::store::StoreError::Configuration) for a prefix or schema that cannot be or is not
/// there, for tables of these names that are not a store's, and for a pool whose database cannot be used: the error
/// names the setting. [`NewerSchema`](opencode_host::store::StoreError::NewerSchema) when a newer version has made
/// the store's tables, [`Unavailable`](opencode_host::store::StoreError::Unavailable) when the database cannot be
/// reached in time.
pub async fn from_pool<P: Pool>(pool: P, options: Options) -> StoreResult<P::Store> {
    pool.open(options).await
}

/// A pool that a store can be opened on: [`SqlitePool`](sqlx::SqlitePool) and [`PgPool`](sqlx::PgPool). No others can
/// be.
pub trait Pool: sealed::Sealed + Send + Sized {
    /// The store on it.
    type Store: Store + Clone;

    #[doc(hidden)]
    fn open(self, options: Options) -> impl Future<Output = StoreResult<Self::Store>> + Send;
}

mod sealed {
    pub trait Sealed {}

    #[cfg(feature = "sqlite")]
    impl Sealed for sqlx::SqlitePool {}

    #[cfg(feature = "postgres")]
    impl Sealed for sqlx::PgPool {}
}

#[cfg(feature = "sqlite")]
impl Pool for SqlitePool {
    type Store = SqliteStore;

    async fn open(self, options: Options) -> StoreResult<SqliteStore> {
        ready(SqliteEngine::on_pool(self, &options).await?).await
    }
}

#[cfg(feature = "postgres")]
impl Pool for PgPool {
    type Store = PostgresStore;

    async fn open(self, options: Options) -> StoreResult<PostgresStore> {
        ready(PostgresEngine::on_pool(self, options).await?).await
    }
}

#[cfg(feature = "sqlite")]
impl SqliteStore {
    /// Submits a turn within a transaction of the application's: it is there when the transaction is committed, and
    /// not otherwise. What makes the turn is [`Host::prepare`](opencode_host::Host::prepare).
    ///
    /// The transaction is one of the store's database. Begin it with `BEGIN IMMEDIATE`: one that has read before it
    /// writes is refused when another one has written meanwhile. All other writers wait until it ends, the store's
    /// workers among them: do not wait for anything in it, and make this call its last.
    ///
    /// # Errors
    /// As [`Queue::submit`](opencode_host::store::Queue::submit), and
    /// [`TooLong`](opencode_host::store::StoreError::TooLong) for a client key or a file name. What fails leaves
    /// nothing in the transaction, which can go on. After one that is
    /// [transient](opencode_host::store::StoreError::is_transient), roll it back and run all of it again.
    pub async fn submit_in(
        &self,
        transaction: &mut SqliteConnection,
        turn: &NewTurn,
    ) -> StoreResult<Submitted> {
        submit_within(&self.0, transaction, turn).await
    }
}

#[cfg(feature = "postgres")]
impl PostgresStore {
    /// Submits a turn within a transaction of the application's: it is there when the transaction is committed, and
    /// not otherwise. Workers on all nodes are told of it then. What makes the turn is
    /// [`Host::prepare`](opencode_host::Host::prepare).
    ///
    /// The transaction is one of the store's database. Other submits to the conversation wait until it ends, 10 s at
    /// most: do not wait for anything in it, and make this call its last.
    ///
    /// # Errors
    /// As [`Queue::submit`](opencode_host::store::Queue::submit), and
    /// [`TooLong`](opencode_host::store::StoreError::TooLong) for a client key or a file name. What fails leaves
    /// nothing in the transaction, which can go on. After one that is
    /// [transient](opencode_host::store::StoreError::is_transient), roll it back and run all of it again.
    pub async fn submit_in(
        &self,
        transaction: &mut PgConnection,
        turn: &NewTurn,
    ) -> StoreResult<Submitted> {
        submit_within(&self.0, transaction, turn).await
    }
}
