//! SQLite: one file, any number of processes of one machine.
//!
//! * The journal is a write-ahead log, so that readers never wait for the writer.
//! * `synchronous = FULL`: a commit is on the disk before it is answered. With
//!   `NORMAL` the last ones could be lost with the machine's power, the ids of a
//!   prompt among them that has been posted, and it would be posted once more.
//! * One connection writes, in transactions that take the write lock at their
//!   start (`BEGIN IMMEDIATE`): within the process writers queue fairly for that
//!   connection, between processes they wait for at most [`BUSY_TIMEOUT`]. A
//!   transaction that began as a reader would fail at once instead.
//! * A file that is removed or replaced is noticed before each piece of work: nothing is written to a file that nobody
//!   will find again.
//! * There are no row locks: the session lock holds within the process, and a
//!   swap of what is expected decides between processes.

mod copying;
mod error;
mod file;
mod open;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use opencode_host::clock::{Clock, Timestamp};
use opencode_host::store::SessionGates;
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    Connection as _, Executor as _, Row as _, SqlSafeStr as _, SqlStr, Sqlite, SqliteConnection,
    SqlitePool, Transaction,
};

use crate::engine::{Arg, Engine, Handle, Row, Sql};
use crate::failure::{Failure, SqlResult};
use crate::names::Names;
use file::OpenedFile;

pub(crate) use open::{damage, describe, open_to_read, open_to_write};

/// How long another process may hold the write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A SQLite database.
#[derive(Clone, Debug)]
pub struct SqliteEngine {
    writer: SqlitePool,
    /// The same pool as `writer` where the database is in memory, and one connection's only.
    readers: SqlitePool,
    clock: Arc<dyn Clock>,
    gates: Arc<SessionGates>,
    names: Arc<Names>,
    /// The file that was opened; none for a database in memory.
    file: Option<Arc<OpenedFile>>,
    /// Where it is, for errors.
    place: Arc<str>,
}

#[derive(Debug)]
pub(crate) struct SqliteHandle<'c> {
    on: On<'c>,
    clock: Arc<dyn Clock>,
    names: Arc<Names>,
    place: Arc<str>,
}

#[derive(Debug)]
enum On<'c> {
    Connection(PoolConnection<Sqlite>),
    Transaction(Transaction<'c, Sqlite>),
}

impl SqliteEngine {
    fn handle<'c>(&self, on: On<'c>) -> SqliteHandle<'c> {
        SqliteHandle {
            on,
            clock: Arc::clone(&self.clock),
            names: Arc::clone(&self.names),
            place: Arc::clone(&self.place),
        }
    }

    /// Refuses to go on with a file that is not at its path any more: what is written to it would be gone, and a new
    /// connection would open another.
    fn check_file(&self) -> SqlResult<()> {
        match &self.file {
            Some(file) => Ok(file.check()?),
            None => Ok(()),
        }
    }

    fn failure(&self, error: &sqlx::Error) -> Failure {
        error::failure(error, &self.place)
    }
}

impl Engine for SqliteEngine {
    type Handle<'c> = SqliteHandle<'c>;
    type Connection = SqliteConnection;

    async fn reader(&self) -> SqlResult<SqliteHandle<'static>> {
        self.check_file()?;
        let connection = self
            .readers
            .acquire()
            .await
            .map_err(|error| self.failure(&error))?;
        Ok(self.handle(On::Connection(connection)))
    }

    async fn writer(&self) -> SqlResult<SqliteHandle<'static>> {
        self.check_file()?;
        let connection = self
            .writer
            .acquire()
            .await
            .map_err(|error| self.failure(&error))?;
        Ok(self.handle(On::Connection(connection)))
    }

    async fn transaction(&self) -> SqlResult<SqliteHandle<'static>> {
        self.check_file()?;
        let begun = async {
            let mut connection = self.writer.acquire().await?;
            forget_ended(&mut connection).await?;
            let begin = "BEGIN IMMEDIATE".into_sql_str();
            Transaction::begin(connection, Some(begin)).await
        };
        let transaction = begun.await.map_err(|error| self.failure(&error))?;
        Ok(self.handle(On::Transaction(transaction)))
    }

    async fn savepoint<'c>(&self, on: &'c mut SqliteConnection) -> SqlResult<SqliteHandle<'c>> {
        self.check_file()?;
        let begun = on.begin().await.map_err(|error| self.failure(&error))?;
        Ok(self.handle(On::Transaction(begun)))
    }

    fn ids(&self) -> &dyn Clock {
        &*self.clock
    }

    fn session_gates(&self) -> &SessionGates {
        &self.gates
    }
}

/// Brings sqlx's count of open transactions back to SQLite's own.
///
/// SQLite ends a transaction by itself when the disk is full or fails
/// (<https://www.sqlite.org/lang_transaction.html>, "Response To Errors Within A Transaction").
/// The `ROLLBACK` that follows then fails, sqlx 0.9 goes on counting the transaction, and every later
/// one on that connection would be refused.
async fn forget_ended(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    if !connection.is_in_transaction() {
        return Ok(());
    }
    // A rollback may be under way: the answer comes behind it.
    connection.ping().await?;
    if connection.is_in_transaction() {
        // Something to roll back, and somebody who does: what cannot begin here is rolled back when dropped.
        connection.execute("BEGIN").await?;
        drop(connection.begin_with("BEGIN").await);
        connection.ping().await?;
    }
    Ok(())
}

impl SqliteHandle<'_> {
    fn connection(&mut self) -> &mut SqliteConnection {
        match &mut self.on {
            On::Connection(connection) => connection,
            On::Transaction(transaction) => transaction,
        }
    }
}

impl Handle for SqliteHandle<'_> {
    type Row = SqliteRow;

    async fn rows(&mut self, sql: Sql, args: &[Arg<'_>]) -> SqlResult<Vec<SqliteRow>> {
        let rows = query(self.names.statement(sql.sqlite), args)
            .fetch_all(self.connection())
            .await;
        rows.map_err(|error| error::failure(&error, &self.place))
    }

    async fn execute(&mut self, sql: Sql, args: &[Arg<'_>]) -> SqlResult<u64> {
        let done = query(self.names.statement(sql.sqlite), args)
            .execute(self.connection())
            .await;
        Ok(done
            .map_err(|error| error::failure(&error, &self.place))?
            .rows_affected())
    }

    async fn now(&mut self) -> SqlResult<Timestamp> {
        Ok(self.clock.now())
    }

    async fn commit(self) -> SqlResult<()> {
        match self.on {
            On::Connection(_) => Ok(()),
            On::Transaction(transaction) => transaction
                .commit()
                .await
                .map_err(|error| error::failure(&error, &self.place)),
        }
    }

    async fn rollback(self) {
        if let On::Transaction(transaction) = self.on
            && let Err(error) = transaction.rollback().await
        {
            tracing::debug!(place = &*self.place, %error, "no rollback");
        }
    }
}

fn query<'q>(sql: SqlStr, args: &[Arg<'_>]) -> Query<'q, Sqlite, SqliteArguments> {
    args.iter().fold(sqlx::query(sql), |query, arg| match arg {
        Arg::Text(value) => query.bind(value.as_deref()),
        Arg::Int(value) => query.bind(*value),
        Arg::Real(value) => query.bind(*value),
    })
}

impl Row for SqliteRow {
    fn text(&self, column: &str) -> Result<Option<String>, String> {
        self.try_get(column).map_err(|error| error.to_string())
    }

    fn int(&self, column: &str) -> Result<Option<i64>, String> {
        self.try_get(column).map_err(|error| error.to_string())
    }

    fn real(&self, column: &str) -> Result<f64, String> {
        self.try_get(column).map_err(|error| error.to_string())
    }
}
