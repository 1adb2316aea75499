//! Postgres: any number of nodes.
//!
//! * Leases expire by the server's clock, which all nodes share.
//! * The session lock is a row lock in a transaction of its own. It ends with
//!   its connection, so a crashed holder does not keep it; a holder that hangs
//!   is sent off by the server (`idle_in_transaction_session_timeout`).
//! * Of the connections at most half hold session locks, so that a burst of
//!   mints does not hold up everything else.
//! * No statement and no wait for a lock is without a bound.

mod bus;
mod copying;
mod error;
mod listen;
mod open;
mod schema;

use std::sync::Arc;
use std::time::{Duration, Instant};

use opencode_host::clock::{Clock, Timestamp};
use opencode_host::id::ConversationId;
use opencode_host::live::LiveBus;
use opencode_host::store::{
    SessionGate, SessionGates, SessionLock, SessionRecord, StoreError, StoreResult, Swapped,
};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Row as _, SqlStr, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use self::bus::PostgresBus;
use self::listen::Heard;
use crate::engine::{Arg, Engine, Handle, Row, Sql, args, sql};
use crate::failure::{Failure, SqlResult};
use crate::names::Names;
use crate::tables::conversations;

pub(crate) use open::{describe, open_to_copy};

/// Settings that hold until the transaction ends.
const LIMITS: Sql = sql!(
    "SELECT set_config('lock_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true)"
);

/// What the connections of [`Whose::Store`] have as settings, for one transaction.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '30s'; \
                     SET LOCAL lock_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// Whose connections they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The store's own, with its settings.
    Store,
    /// The application's, with whatever settings.
    Application,
}

/// A Postgres database.
#[derive(Clone, Debug)]
pub struct PostgresEngine {
    pool: PgPool,
    whose: Whose,
    ids: Arc<dyn Clock>,
    /// The server's clock without one.
    lease_clock: Option<Arc<dyn Clock>>,
    gates: Arc<SessionGates>,
    /// The connections that may hold session locks.
    minting: Arc<Semaphore>,
    session_lock_limit: Duration,
    names: Arc<Names>,
    /// Where it is, for errors.
    place: Arc<str>,
}

#[derive(Debug)]
pub(crate) struct PostgresHandle<'c> {
    on: On<'c>,
    lease_clock: Option<Arc<dyn Clock>>,
    names: Arc<Names>,
    place: Arc<str>,
}

#[derive(Debug)]
enum On<'c> {
    Connection(PoolConnection<Postgres>),
    Transaction(Transaction<'c, Postgres>),
}

impl PostgresEngine {
    fn handle<'c>(&self, on: On<'c>) -> PostgresHandle<'c> {
        PostgresHandle {
            on,
            lease_clock: self.lease_clock.clone(),
            names: Arc::clone(&self.names),
            place: Arc::clone(&self.place),
        }
    }

    fn failure(&self, error: &sqlx::Error) -> Failure {
        error::failure(error, &self.place)
    }
}

impl Engine for PostgresEngine {
    type Handle<'c> = PostgresHandle<'c>;
    type Connection = PgConnection;

    async fn reader(&self) -> SqlResult<PostgresHandle<'static>> {
        let connection = self
            .pool
            .acquire()
            .await
            .map_err(|error| self.failure(&error))?;
        Ok(self.handle(On::Connection(connection)))
    }

    async fn writer(&self) -> SqlResult<PostgresHandle<'static>> {
        if self.whose == Whose::Application {
            // Its limits hold in a transaction.
            return self.transaction().await;
        }
        self.reader().await
    }

    async fn transaction(&self) -> SqlResult<PostgresHandle<'static>> {
        let begun = match self.whose {
            Whose::Store => self.pool.begin().await,
            Whose::Application => self.pool.begin_with(BEGIN).await,
        };
        let transaction = begun.map_err(|error| self.failure(&error))?;
        Ok(self.handle(On::Transaction(transaction)))
    }

    async fn savepoint<'c>(&self, on: &'c mut PgConnection) -> SqlResult<PostgresHandle<'c>> {
        let begun = on.begin().await.map_err(|error| self.failure(&error))?;
        Ok(self.handle(On::Transaction(begun)))
    }

    async fn listen(&self, wake: &(dyn Fn() + Send + Sync)) {
        let wake = |_| wake();
        listen::listen(&self.pool, &self.names, &self.place, &[Heard::Queue], &wake).await;
    }

    fn live_bus(&self) -> Option<Arc<dyn LiveBus>> {
        Some(Arc::new(PostgresBus {
            pool: self.pool.clone(),
            names: Arc::clone(&self.names),
            clock: self.lease_clock.clone(),
            place: Arc::clone(&self.place),
        }))
    }

    fn ids(&self) -> &dyn Clock {
        &*self.ids
    }

    fn session_gates(&self) -> &SessionGates {
        &self.gates
    }

    async fn lock_session(
        &self,
        id: ConversationId,
        wait: Duration,
    ) -> SqlResult<Option<Box<dyn SessionLock>>> {
        let started = Instant::now();
        let left = || wait.saturating_sub(started.elapsed());
        // In this process first: who waits here holds no connection.
        let gate = self.gates.enter(id, wait).await?;
        let permit = timeout(left(), Arc::clone(&self.minting).acquire_owned()).await;
        let permit = permit.map_err(|_| StoreError::LockTimeout)?;
        let permit = permit.map_err(|error| StoreError::Unexpected(error.to_string()))?;
        let mut on = timeout(left(), self.transaction())
            .await
            .map_err(|_| StoreError::LockTimeout)??;
        // Zero would be no limit at all.
        let millis = |limit: Duration| limit.as_millis().clamp(1, 86_400_000).to_string();
        on.rows(
            LIMITS,
            args![millis(left()), millis(self.session_lock_limit)],
        )
        .await?;
        let before = conversations::locked_session(&mut on, id).await?;
        Ok(Some(Box::new(PostgresSessionLock {
            on,
            id,
            before,
            _permit: permit,
            _gate: gate,
        })))
    }
}

impl PostgresHandle<'_> {
    fn connection(&mut self) -> &mut PgConnection {
        match &mut self.on {
            On::Connection(connection) => connection,
            On::Transaction(transaction) => transaction,
        }
    }
}

impl Handle for PostgresHandle<'_> {
    type Row = PgRow;

    async fn rows(&mut self, sql: Sql, args: &[Arg<'_>]) -> SqlResult<Vec<PgRow>> {
        let rows = query(self.names.statement(sql.postgres), args)
            .fetch_all(self.connection())
            .await;
        rows.map_err(|error| error::failure(&error, &self.place))
    }

    async fn execute(&mut self, sql: Sql, args: &[Arg<'_>]) -> SqlResult<u64> {
        let done = query(self.names.statement(sql.postgres), args)
            .execute(self.connection())
            .await;
        Ok(done
            .map_err(|error| error::failure(&error, &self.place))?
            .rows_affected())
    }

    async fn now(&mut self) -> SqlResult<Timestamp> {
        if let Some(clock) = &self.lease_clock {
            return Ok(clock.now());
        }
        let now = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
        let row = sqlx::query(now).fetch_one(self.connection()).await;
        let now = row.and_then(|row| row.try_get(0));
        now.map(Timestamp)
            .map_err(|error| error::failure(&error, &self.place))
    }

    async fn wake(&mut self) -> SqlResult<()> {
        let names = Arc::clone(&self.names);
        let (channel, schema) = listen::address(&names, Heard::Queue);
        self.rows(listen::NOTIFY, args![channel, schema]).await?;
        Ok(())
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

fn query<'q>(sql: SqlStr, args: &[Arg<'_>]) -> Query<'q, Postgres, PgArguments> {
    args.iter().fold(sqlx::query(sql), |query, arg| match arg {
        Arg::Text(value) => query.bind(value.as_deref()),
        Arg::Int(value) => query.bind(*value),
        Arg::Real(value) => query.bind(*value),
    })
}

impl Row for PgRow {
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

/// The row lock lasts as long as the transaction in `on`.
#[derive(Debug)]
struct PostgresSessionLock {
    on: PostgresHandle<'static>,
    id: ConversationId,
    before: Option<SessionRecord>,
    _permit: OwnedSemaphorePermit,
    _gate: SessionGate,
}

#[async_trait::async_trait]
impl SessionLock for PostgresSessionLock {
    fn current(&self) -> Option<&SessionRecord> {
        self.before.as_ref()
    }

    async fn set(self: Box<Self>, session: &SessionRecord) -> StoreResult<Swapped> {
        // The gate stays until the commit.
        let Self {
            mut on,
            id,
            before,
            _permit,
            _gate,
        } = *self;
        let swap = async {
            let swapped =
                conversations::swap_session(&mut on, id, before.as_ref(), session).await?;
            on.commit().await?;
            Ok(swapped)
        };
        swap.await.map_err(Failure::into_error)
    }
}
