//! What the two databases have in common, as far as the work on rows needs it.
//!
//! This is no general database layer: a few kinds of values, statements whose
//! text is known when this crate is compiled, rows read by column name. The
//! rules of the store are written once against it, in [`crate::tables`], so
//! that the two databases cannot come to differ in them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opencode_host::clock::{Clock, Timestamp};
use opencode_host::id::{ConversationId, MessageId, TurnId};
use opencode_host::live::LiveBus;
use opencode_host::store::{SessionGates, SessionLock};

use crate::failure::SqlResult;

/// One statement. Parameters are `$1`, `$2`, … on both databases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sql {
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "the other database's")
    )]
    pub(crate) sqlite: &'static str,
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "the other database's")
    )]
    pub(crate) postgres: &'static str,
}

/// A statement of the same text on both databases, in pieces that are joined.
macro_rules! sql {
    ($($piece:expr),+ $(,)?) => {
        $crate::engine::Sql { sqlite: concat!($($piece),+), postgres: concat!($($piece),+) }
    };
}

/// A `SELECT` whose rows nobody else changes until the transaction ends: by row
/// locks on Postgres; SQLite has one writer at a time anyway.
macro_rules! locking {
    ($($piece:expr),+ $(,)?) => {
        $crate::engine::Sql {
            sqlite: concat!($($piece),+),
            postgres: concat!($($piece),+, " FOR UPDATE"),
        }
    };
}

pub(crate) use {locking, sql};

/// A parameter of a statement.
#[derive(Clone, Debug)]
pub(crate) enum Arg<'a> {
    Text(Option<Cow<'a, str>>),
    Int(Option<i64>),
    Real(f64),
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(value)))
    }
}

impl From<String> for Arg<'_> {
    fn from(value: String) -> Self {
        Self::Text(Some(Cow::Owned(value)))
    }
}

impl<'a> From<Cow<'a, str>> for Arg<'a> {
    fn from(value: Cow<'a, str>) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Arg<'_> {
    fn from(value: Option<String>) -> Self {
        Self::Text(value.map(Cow::Owned))
    }
}

impl From<ConversationId> for Arg<'_> {
    fn from(value: ConversationId) -> Self {
        value.to_string().into()
    }
}

impl From<MessageId> for Arg<'_> {
    fn from(value: MessageId) -> Self {
        value.to_string().into()
    }
}

impl From<TurnId> for Arg<'_> {
    fn from(value: TurnId) -> Self {
        value.to_string().into()
    }
}

impl From<i64> for Arg<'_> {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<u32> for Arg<'_> {
    fn from(value: u32) -> Self {
        i64::from(value).into()
    }
}

impl From<bool> for Arg<'_> {
    fn from(value: bool) -> Self {
        i64::from(value).into()
    }
}

/// Counts beyond the largest integer of both databases are stored as that one.
impl From<u64> for Arg<'_> {
    fn from(value: u64) -> Self {
        i64::try_from(value).unwrap_or(i64::MAX).into()
    }
}

impl From<Timestamp> for Arg<'_> {
    fn from(value: Timestamp) -> Self {
        value.0.into()
    }
}

impl From<f64> for Arg<'_> {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// The parameters of a statement, in order.
macro_rules! args {
    ($($value:expr),* $(,)?) => {
        &[$($crate::engine::Arg::from($value)),*]
    };
}

pub(crate) use args;

/// A row, read by column name. The error says what is wrong.
pub(crate) trait Row: Send {
    fn text(&self, column: &str) -> Result<Option<String>, String>;
    fn int(&self, column: &str) -> Result<Option<i64>, String>;
    fn real(&self, column: &str) -> Result<f64, String>;
}

/// A connection, or a transaction on one. A transaction that is dropped leaves
/// no trace, but may hold its locks for a moment longer.
pub(crate) trait Handle: Send + Sized {
    type Row: Row;

    fn rows(
        &mut self,
        sql: Sql,
        args: &[Arg<'_>],
    ) -> impl Future<Output = SqlResult<Vec<Self::Row>>> + Send;

    /// Answers how many rows were changed.
    fn execute(
        &mut self,
        sql: Sql,
        args: &[Arg<'_>],
    ) -> impl Future<Output = SqlResult<u64>> + Send;

    /// The time by the clock that leases expire by.
    fn now(&mut self) -> impl Future<Output = SqlResult<Timestamp>> + Send;

    /// Tells other processes, once this is committed, that there may be a turn to be claimed. Where nothing can tell
    /// them, they look from time to time.
    fn wake(&mut self) -> impl Future<Output = SqlResult<()>> + Send {
        async { Ok(()) }
    }

    fn commit(self) -> impl Future<Output = SqlResult<()>> + Send;

    /// Lets go of a transaction's locks. When that fails the connection is
    /// broken, and the locks are gone with it.
    fn rollback(self) -> impl Future<Output = ()> + Send;

    /// The one row that a statement gives, if any.
    fn row(
        &mut self,
        sql: Sql,
        args: &[Arg<'_>],
    ) -> impl Future<Output = SqlResult<Option<Self::Row>>> + Send {
        async move { Ok(self.rows(sql, args).await?.pop()) }
    }
}

/// One of the two databases.
pub(crate) trait Engine: fmt::Debug + Send + Sync + 'static {
    type Handle<'c>: Handle;
    type Connection: Send;

    /// A connection for single statements that read.
    fn reader(&self) -> impl Future<Output = SqlResult<Self::Handle<'static>>> + Send;

    /// A connection for single statements that write.
    fn writer(&self) -> impl Future<Output = SqlResult<Self::Handle<'static>>> + Send;

    /// A transaction that writes.
    fn transaction(&self) -> impl Future<Output = SqlResult<Self::Handle<'static>>> + Send;

    /// A transaction within the application's own one on this connection.
    fn savepoint<'c>(
        &self,
        on: &'c mut Self::Connection,
    ) -> impl Future<Output = SqlResult<Self::Handle<'c>>> + Send;

    /// Calls `wake` for each [`Handle::wake`] of another process, for as long as it is waited for.
    fn listen(&self, wake: &(dyn Fn() + Send + Sync)) -> impl Future<Output = ()> + Send {
        let _ = wake;
        std::future::pending()
    }

    /// What brings the changes of running turns to other nodes, where the database can.
    fn live_bus(&self) -> Option<Arc<dyn LiveBus>> {
        None
    }

    /// Where new ids come from.
    fn ids(&self) -> &dyn Clock;

    /// The locks of this process for session locks.
    fn session_gates(&self) -> &SessionGates;

    /// Locks a session against other processes too. `None`, the default, where there are no row locks.
    fn lock_session(
        &self,
        _id: ConversationId,
        _wait: Duration,
    ) -> impl Future<Output = SqlResult<Option<Box<dyn SessionLock>>>> + Send {
        async { Ok(None) }
    }
}
