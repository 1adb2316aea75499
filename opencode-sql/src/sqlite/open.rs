//! Opening a file of SQLite: made private, looked over for damage, its schema brought up.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opencode_host::store::{StoreError, StoreResult};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    ConnectOptions as _, Connection as _, Decode, Row as _, Sqlite, SqliteConnection, SqlitePool,
    Type,
};

use super::file::OpenedFile;
use super::{BUSY_TIMEOUT, SqliteEngine};
use crate::migrate::{Schema as _, find, migrate};
use crate::names::Names;
use crate::options::{Description, Dialect, Options};
use crate::schema::newest;

/// How long processes that start at once get out of each other's way: while one
/// switches the journal or changes the schema, SQLite sends the others off
/// without waiting.
const START_PATIENCE: Duration = Duration::from_secs(30);
const START_PAUSE: Duration = Duration::from_millis(50);

/// How much of what is wrong with a file is told.
const MAX_DAMAGE: u32 = 3;

impl SqliteEngine {
    /// Opens the file, or a database in memory, and brings its schema up to date.
    pub(crate) async fn open(path: Option<&Path>, options: &Options) -> StoreResult<Self> {
        let connecting = connect_options(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A log that grew in a busy hour gives its space back.
            .pragma("journal_size_limit", "67108864");
        if let Some(path) = path {
            make_private(path)?;
            return Self::on_file(path, connecting, options).await;
        }
        // The one connection is the database: it is never let go.
        let only = pool(options).max_connections(1).min_connections(1);
        Self::in_memory(only.connect_lazy_with(connecting), options).await
    }

    /// Opens the database of an application's pool, and brings its schema up to date. A file gets connections of the
    /// store's own beside the pool's, with the settings that the store stands on: those of the application stay as
    /// they are.
    pub(crate) async fn on_pool(pool: SqlitePool, options: &Options) -> StoreResult<Self> {
        let place = pool.connect_options().get_filename().display().to_string();
        let told = |error: sqlx::Error| SqliteConnection::told(&error, &place);
        let mut connection = pool.acquire().await.map_err(told)?;
        let file = "SELECT file FROM pragma_database_list WHERE name = 'main'";
        let file: Option<String> = pragma(&mut connection, file).await.map_err(told)?;
        let locking = "SELECT locking_mode FROM pragma_locking_mode";
        let locking: String = pragma(&mut connection, locking).await.map_err(told)?;
        let keys = "SELECT foreign_keys FROM pragma_foreign_keys";
        let keys: i64 = pragma(&mut connection, keys).await.map_err(told)?;
        drop(connection);
        if locking == "exclusive" {
            return Err(StoreError::Configuration(format!(
                "{place} is locked by the pool that it was opened with (locking_mode is exclusive): open it with \
                 SqliteLockingMode::Normal"
            )));
        }
        let Some(path) = file.filter(|file| !file.is_empty()) else {
            if pool.options().get_max_connections() != 1 {
                return Err(StoreError::Configuration(
                    "a database in memory is one connection's: make the pool with max_connections(1), or take a file".to_owned(),
                ));
            }
            if keys != 1 {
                return Err(StoreError::Configuration(
                    "the pool's connection has foreign_keys off: open it with SqliteConnectOptions::foreign_keys(true)"
                        .to_owned(),
                ));
            }
            return Self::in_memory(pool, options).await;
        };
        let path = Path::new(&path);
        let connecting = (*pool.connect_options()).clone().filename(path);
        Self::on_file(path, connecting, options).await
    }

    async fn on_file(
        path: &Path,
        connecting: SqliteConnectOptions,
        options: &Options,
    ) -> StoreResult<Self> {
        let place = place(Some(path));
        let names = Names::new(options, Dialect::Sqlite)?;
        let connecting = connecting
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .synchronous(SqliteSynchronous::Full);
        migrate_patiently(&connecting, &names, options.migrate, &place).await?;
        let opened = OpenedFile::at(path).map_err(|error| {
            StoreError::Unavailable(format!("{place} cannot be looked at: {error}"))
        })?;
        // From here on a file that is not there was removed.
        let connecting = connecting.create_if_missing(false);
        let writer = pool(options).max_connections(1);
        let readers = pool(options).max_connections(options.max_connections.max(2));
        let reading = connecting.clone().pragma("query_only", "ON");
        Ok(Self {
            writer: writer.connect_lazy_with(connecting),
            readers: readers.connect_lazy_with(reading),
            clock: options.clock.or_machine(),
            gates: Arc::default(),
            names: Arc::new(names),
            file: Some(Arc::new(opened)),
            place: place.into(),
        })
    }

    async fn in_memory(only: SqlitePool, options: &Options) -> StoreResult<Self> {
        let place = place(None);
        let names = Names::new(options, Dialect::Sqlite)?;
        let mut connection = only
            .acquire()
            .await
            .map_err(|error| SqliteConnection::told(&error, &place))?;
        migrate(&mut *connection, &names, options.migrate, &place).await?;
        drop(connection);
        Ok(Self {
            writer: only.clone(),
            readers: only,
            clock: options.clock.or_machine(),
            gates: Arc::default(),
            names: Arc::new(names),
            file: None,
            place: place.into(),
        })
    }
}

fn pool(options: &Options) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// The one value that a pragma has.
async fn pragma<T>(on: &mut SqliteConnection, query: &'static str) -> sqlx::Result<T>
where
    T: for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
{
    sqlx::query(query).fetch_one(on).await?.try_get(0)
}

/// Makes the file, and the folders above it, for this user alone; what is there stays as it is. SQLite gives the files
/// it puts beside a database the database's own mode.
fn make_private(path: &Path) -> StoreResult<()> {
    if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
        let mut folders = DirBuilder::new();
        let made = folders.recursive(true).mode(0o700).create(folder);
        made.map_err(|error| {
            StoreError::Configuration(format!(
                "the folder {} cannot be made: {error}",
                folder.display()
            ))
        })?;
    }
    let mut file = OpenOptions::new();
    // What fails here fails again where SQLite opens the file, which says it better.
    let _ = file.write(true).create_new(true).mode(0o600).open(path);
    Ok(())
}

fn place(path: Option<&Path>) -> String {
    path.map_or_else(
        || "the database in memory".to_owned(),
        |path| path.display().to_string(),
    )
}

fn connect_options(path: Option<&Path>) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true);
    match path {
        Some(path) => options.filename(path),
        None => options.in_memory(true),
    }
}

/// Brings the schema up to date, again and again while other processes are in the way.
async fn migrate_patiently(
    connecting: &SqliteConnectOptions,
    names: &Names,
    may_change: bool,
    place: &str,
) -> StoreResult<()> {
    let started = Instant::now();
    loop {
        match migrate_once(connecting, names, may_change, place).await {
            Err(StoreError::Unavailable(why)) if started.elapsed() < START_PATIENCE => {
                tracing::debug!(place, why, "not opened yet, once more");
                tokio::time::sleep(START_PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn migrate_once(
    connecting: &SqliteConnectOptions,
    names: &Names,
    may_change: bool,
    place: &str,
) -> StoreResult<()> {
    let told = |error: sqlx::Error| SqliteConnection::told(&error, place);
    let mut connection = connecting.connect().await.map_err(told)?;
    let migrated = migrate(&mut connection, names, may_change, place).await;
    connection.close().await.map_err(told)?;
    migrated
}

/// Looks at a file, or at nothing, without changing it.
pub(crate) async fn describe(path: Option<&Path>, options: &Options) -> StoreResult<Description> {
    let place = place(path);
    let names = Names::new(options, Dialect::Sqlite)?;
    let told = |error: sqlx::Error| SqliteConnection::told(&error, &place);
    let there = path.filter(|path| path.exists());
    let looking = connect_options(there).read_only(there.is_some());
    let mut connection = looking.connect().await.map_err(told)?;
    let row = sqlx::query("SELECT sqlite_version()")
        .fetch_one(&mut connection)
        .await
        .map_err(told)?;
    let engine_version = row.try_get(0).map_err(told)?;
    let schema = find(&mut connection, &names, &place).await?.schema();
    let row = sqlx::query("PRAGMA journal_mode")
        .fetch_one(&mut connection)
        .await
        .map_err(told)?;
    let journal_mode = there
        .is_some()
        .then(|| row.try_get(0))
        .transpose()
        .map_err(told)?;
    connection.close().await.map_err(told)?;
    Ok(Description {
        dialect: Dialect::Sqlite,
        place: place.clone(),
        engine_version,
        journal_mode,
        schema,
        known_schema: newest(),
    })
}

/// A connection to a file that is there, which changes nothing.
pub(crate) async fn open_to_read(
    path: &Path,
    options: &Options,
) -> StoreResult<(SqliteConnection, Names, String)> {
    let place = place(Some(path));
    let names = Names::new(options, Dialect::Sqlite)?;
    if !path.exists() {
        return Err(StoreError::Configuration(format!(
            "there is no database {place}"
        )));
    }
    let reading = connect_options(Some(path)).read_only(true).connect().await;
    let on = reading.map_err(|error| SqliteConnection::told(&error, &place))?;
    Ok((on, names, place))
}

/// A connection to a file, made where there is none, for this user alone.
pub(crate) async fn open_to_write(
    path: &Path,
    options: &Options,
) -> StoreResult<(SqliteConnection, Names, String)> {
    let place = place(Some(path));
    let names = Names::new(options, Dialect::Sqlite)?;
    make_private(path)?;
    let writing = connect_options(Some(path))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let on = writing.connect().await;
    let on = on.map_err(|error| SqliteConnection::told(&error, &place))?;
    Ok((on, names, place))
}

/// What SQLite finds wrong with a file, the first of it. It reads all of it, and changes nothing.
pub(crate) async fn damage(path: &Path) -> StoreResult<Vec<String>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let place = place(Some(path));
    let told = |error: sqlx::Error| SqliteConnection::told(&error, &place);
    let looking = connect_options(Some(path)).read_only(true);
    let mut connection = looking.connect().await.map_err(told)?;
    let check = format!("PRAGMA quick_check({MAX_DAMAGE})");
    let rows = sqlx::query(sqlx::AssertSqlSafe(check))
        .fetch_all(&mut connection)
        .await
        .map_err(told)?;
    let _ = connection.close().await;
    let mut found: Vec<String> = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(told)?;
    found.retain(|line| line != "ok");
    Ok(found)
}
