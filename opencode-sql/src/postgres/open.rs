//! Opening Postgres: limits of a connection, and a schema that many nodes bring up at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opencode_host::store::{StoreError, StoreResult};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Row as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::schema::placed;
use super::{PostgresEngine, Whose};
use crate::migrate::{Schema as _, find, migrate};
use crate::names::Names;
use crate::options::{Description, Dialect, Options};
use crate::schema::newest;

/// The longest statement. None of the store's takes a fraction of it.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
/// The longest wait for a row that another transaction has locked.
const LOCK_LIMIT: Duration = Duration::from_secs(10);
/// The longest pause in a transaction; its process hangs, or is gone.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// How long nodes that start together may take with the schema.
const MIGRATION_LIMIT: Duration = Duration::from_secs(120);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl PostgresEngine {
    /// Connects and brings the schema up to date. Waits a while for a server that is starting.
    pub(crate) async fn open(target: PgConnectOptions, options: Options) -> StoreResult<Self> {
        let place = place(&target);
        let mut first = first_connection(&target, options.acquire_timeout, &place).await?;
        let names = Names::new(&options, Dialect::Postgres)?;
        let names = prepare(&mut first, names, options.migrate, &place).await?;
        first
            .close()
            .await
            .map_err(|error| PgConnection::told(&error, &place))?;

        let millis = |limit: Duration| limit.as_millis().to_string();
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections.max(2))
            .acquire_timeout(options.acquire_timeout)
            .connect_lazy_with(target.options([
                // Row locks and conditional updates decide; whatever this database's default is.
                ("default_transaction_isolation", "read committed".to_owned()),
                ("statement_timeout", millis(STATEMENT_LIMIT)),
                ("lock_timeout", millis(LOCK_LIMIT)),
                ("idle_in_transaction_session_timeout", millis(IDLE_LIMIT)),
            ]));
        Ok(Self::on(pool, Whose::Store, &options, names, place))
    }

    /// Brings the schema up to date in the database of an application's pool.
    pub(crate) async fn on_pool(pool: PgPool, options: Options) -> StoreResult<Self> {
        let place = place(&pool.connect_options());
        let connections = pool.options().get_max_connections();
        if connections < 2 {
            return Err(StoreError::Configuration(format!(
                "{place}: the pool has one connection at most, and the store needs two: make it with max_connections(2) or more"
            )));
        }
        let names = Names::new(&options, Dialect::Postgres)?;
        let mut connection = pool
            .acquire()
            .await
            .map_err(|error| PgConnection::told(&error, &place))?;
        let names = prepare(&mut connection, names, options.migrate, &place).await?;
        drop(connection);
        let options = options.max_connections(connections);
        Ok(Self::on(pool, Whose::Application, &options, names, place))
    }

    fn on(pool: PgPool, whose: Whose, options: &Options, names: Names, place: String) -> Self {
        let connections = options.max_connections.max(2);
        Self {
            pool,
            whose,
            ids: options.clock.or_machine(),
            lease_clock: options.clock.given(),
            gates: Arc::default(),
            minting: Arc::new(Semaphore::new(connections as usize / 2)),
            session_lock_limit: options.session_lock_limit,
            names: Arc::new(names),
            place: place.into(),
        }
    }
}

/// Finds the schema that the tables are in, and brings it up to date.
async fn prepare(
    connection: &mut PgConnection,
    names: Names,
    may_change: bool,
    place: &str,
) -> StoreResult<Names> {
    let preparing = async {
        let names = placed(connection, names, place).await?;
        migrate(connection, &names, may_change, place).await?;
        Ok(names)
    };
    let too_long = |_| {
        StoreError::Unavailable(format!(
            "{place}: another process has been changing the schema for too long"
        ))
    };
    timeout(MIGRATION_LIMIT, preparing)
        .await
        .map_err(too_long)?
}

/// Where the database is, without user or password.
fn place(target: &PgConnectOptions) -> String {
    let name = target.get_database().unwrap_or(target.get_username());
    match target.get_socket() {
        Some(socket) => format!("postgres at {}/{name}", socket.display()),
        None => format!(
            "postgres at {}:{}/{name}",
            target.get_host(),
            target.get_port()
        ),
    }
}

async fn first_connection(
    target: &PgConnectOptions,
    patience: Duration,
    place: &str,
) -> StoreResult<PgConnection> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let left = patience.saturating_sub(started.elapsed());
        let error = match timeout(left, target.connect()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => PgConnection::told(&error, place),
            Err(_) => StoreError::Unavailable(format!("{place} does not answer")),
        };
        if !error.is_transient() || started.elapsed() + pause >= patience {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Looks at a database without changing it.
pub(crate) async fn describe(
    target: &PgConnectOptions,
    options: &Options,
) -> StoreResult<Description> {
    let place = place(target);
    let names = Names::new(options, Dialect::Postgres)?;
    let told = |error: sqlx::Error| PgConnection::told(&error, &place);
    let mut connection = first_connection(target, Duration::from_secs(5), &place).await?;
    let row = sqlx::query("SELECT current_setting('server_version')")
        .fetch_one(&mut connection)
        .await
        .map_err(told)?;
    let engine_version = row.try_get(0).map_err(told)?;
    let names = placed(&mut connection, names, &place).await?;
    let schema = find(&mut connection, &names, &place).await?.schema();
    connection.close().await.map_err(told)?;
    Ok(Description {
        dialect: Dialect::Postgres,
        place: place.clone(),
        engine_version,
        journal_mode: None,
        schema,
        known_schema: newest(),
    })
}

/// A connection of its own, with the names that the tables have or would get.
pub(crate) async fn open_to_copy(
    target: &PgConnectOptions,
    options: &Options,
) -> StoreResult<(PgConnection, Names, String)> {
    let place = place(target);
    let names = Names::new(options, Dialect::Postgres)?;
    let mut on = first_connection(target, options.acquire_timeout, &place).await?;
    let names = placed(&mut on, names, &place).await?;
    Ok((on, names, place))
}
