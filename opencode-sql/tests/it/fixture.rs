//! Fresh databases, and the rest of what the conformance suite wants.

use std::path::PathBuf;
use std::sync::Arc;

use opencode_client::wire::Prompt;
use opencode_host::clock::{ManualClock, SystemClock, Timestamp};
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::store::conformance::Fixture;
use opencode_host::store::{NewTurn, Store};
use opencode_sql::{LeaseClock, Options, connect_with};
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

/// Where Postgres is, with the right to make databases.
const POSTGRES: &str = "OPENCODE_HOST_TEST_POSTGRES";

/// A clock that stands still at some time in 2027.
pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)))
}

/// A store on a database, with a clock of the test's.
pub(crate) async fn open(url: &str, clock: &Arc<ManualClock>) -> Arc<dyn Store> {
    let options = Options::default()
        .max_connections(4)
        .clock(LeaseClock::Given(clock.clone()));
    connect_with(url, options).await.unwrap()
}

/// A turn to be, with fresh ids.
pub(crate) fn new_turn(conversation: ConversationId) -> NewTurn {
    NewTurn::new(conversation, Prompt::text("Hello"), &SystemClock)
}

/// A folder for a SQLite file.
#[derive(Debug)]
pub(crate) struct SqliteFile {
    folder: TempDir,
}

impl SqliteFile {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("host.db")
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }

    /// A connection beside the store.
    pub(crate) async fn connection(&self) -> SqliteConnection {
        SqliteConnection::connect(&self.url()).await.unwrap()
    }
}

/// A Postgres database of one test's own.
#[derive(Debug)]
pub(crate) struct PostgresDatabase {
    server: Url,
    name: String,
}

impl PostgresDatabase {
    /// Makes an empty database.
    pub(crate) async fn new() -> Self {
        let server = std::env::var(POSTGRES).unwrap_or_else(|_| {
            panic!(
                "{POSTGRES} is not set: run `cargo xtask test`, or `cargo xtask pg --run cargo test -p opencode-sql`"
            )
        });
        let name = format!("test_{}", Uuid::new_v4().simple());
        let database = Self {
            server: server.parse().unwrap(),
            name,
        };
        database
            .on_server(format!("CREATE DATABASE {}", database.name))
            .await;
        database
    }

    pub(crate) fn url(&self) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url.to_string()
    }

    /// Drops it, whoever is still connected.
    pub(crate) async fn remove(&self) {
        self.on_server(format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await;
    }

    async fn on_server(&self, sql: String) {
        let mut connection = PgConnection::connect(self.server.as_str()).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    /// Gives connections to come another setting.
    pub(crate) async fn set(&self, setting: &str) {
        self.on_server(format!("ALTER DATABASE {} SET {setting}", self.name))
            .await;
    }

    /// A connection beside the store.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }
}

/// Runs a test on a fresh database, which is gone afterwards in any case.
pub(crate) async fn on_postgres(test: impl AsyncFnOnce(&PostgresDatabase)) {
    use futures_util::FutureExt as _;
    let database = PostgresDatabase::new().await;
    let outcome = std::panic::AssertUnwindSafe(test(&database))
        .catch_unwind()
        .await;
    database.remove().await;
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed);
    }
}

/// A store on a database of its own.
#[derive(Debug)]
pub(crate) struct OnDatabase<D> {
    pub(crate) database: D,
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
}

pub(crate) async fn sqlite() -> OnDatabase<SqliteFile> {
    let (database, clock) = (SqliteFile::new(), clock());
    let store = open(&database.url(), &clock).await;
    OnDatabase {
        database,
        clock,
        store,
    }
}

pub(crate) async fn postgres() -> OnDatabase<PostgresDatabase> {
    postgres_on(PostgresDatabase::new().await).await
}

pub(crate) async fn postgres_on(database: PostgresDatabase) -> OnDatabase<PostgresDatabase> {
    let clock = clock();
    let store = open(&database.url(), &clock).await;
    OnDatabase {
        database,
        clock,
        store,
    }
}

#[async_trait::async_trait]
impl Fixture for OnDatabase<SqliteFile> {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn another(&self) -> Arc<dyn Store> {
        open(&self.database.url(), &self.clock).await
    }

    async fn make_unreadable(&self, turn: TurnId) -> bool {
        let mut connection = SqliteConnection::connect(&self.database.url())
            .await
            .unwrap();
        let update = sqlx::query("UPDATE opencode_turns SET version = 99 WHERE id = $1")
            .bind(turn.to_string());
        assert_eq!(
            update
                .execute(&mut connection)
                .await
                .unwrap()
                .rows_affected(),
            1
        );
        connection.close().await.unwrap();
        true
    }
}

#[async_trait::async_trait]
impl Fixture for OnDatabase<PostgresDatabase> {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn another(&self) -> Arc<dyn Store> {
        open(&self.database.url(), &self.clock).await
    }

    async fn make_unreadable(&self, turn: TurnId) -> bool {
        let mut connection = self.database.connection().await;
        let update = sqlx::query("UPDATE opencode_turns SET version = 99 WHERE id = $1")
            .bind(turn.to_string());
        assert_eq!(
            update
                .execute(&mut connection)
                .await
                .unwrap()
                .rows_affected(),
            1
        );
        connection.close().await.unwrap();
        true
    }

    async fn close(&self) {
        self.database.remove().await;
    }
}
