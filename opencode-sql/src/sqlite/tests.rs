//! A database in memory: its one connection must suffice for everything.

mod full_disk;

use opencode_host::clock::{ManualClock, Timestamp};
use opencode_host::id::TurnId;
use opencode_host::store::conformance::Fixture;
use opencode_host::store::{Store, StoreError};
use sqlx::{ConnectOptions as _, Executor as _};

use super::*;
use crate::options::{LeaseClock, Options};
use crate::store::SqlStore;

#[derive(Debug)]
struct InMemory {
    clock: Arc<ManualClock>,
    engine: SqliteEngine,
    store: Arc<dyn Store>,
}

async fn in_memory() -> InMemory {
    let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
    let options = Options::default().clock(LeaseClock::Given(clock.clone()));
    let engine = SqliteEngine::open(None, &options).await.unwrap();
    InMemory {
        clock,
        store: Arc::new(SqlStore(engine.clone())),
        engine,
    }
}

#[async_trait::async_trait]
impl Fixture for InMemory {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn another(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn make_unreadable(&self, turn: TurnId) -> bool {
        let mut connection = self.engine.writer.acquire().await.unwrap();
        let update = sqlx::query("UPDATE opencode_turns SET version = 99 WHERE id = $1")
            .bind(turn.to_string());
        assert_eq!(
            update
                .execute(&mut *connection)
                .await
                .unwrap()
                .rows_affected(),
            1
        );
        true
    }
}

mod conformance {
    use super::in_memory;

    opencode_host::store_conformance!(in_memory());
}

/// A commit is on the disk before it is answered, on the connection that writes.
#[tokio::test]
async fn commits_are_durable() {
    let folder = tempfile::TempDir::new().unwrap();
    let engine = SqliteEngine::open(Some(&folder.path().join("host.db")), &Options::default())
        .await
        .unwrap();
    let mut connection = engine.writer.acquire().await.unwrap();
    let row = connection.fetch_one("PRAGMA journal_mode").await.unwrap();
    assert_eq!(row.get::<String, _>(0), "wal");
    let row = connection.fetch_one("PRAGMA synchronous").await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 2, "2 is FULL");
    let mut reader = engine.readers.acquire().await.unwrap();
    assert!(
        reader.execute("DELETE FROM opencode_turns").await.is_err(),
        "readers only read"
    );
}

/// What a statement on a small disk fails with, as the caller is told.
#[tokio::test]
async fn a_full_disk_is_told_as_such() {
    let small = sqlx::sqlite::SqliteConnectOptions::new()
        .in_memory(true)
        .pragma("max_page_count", "4");
    let mut connection = small.connect().await.unwrap();
    connection.execute("CREATE TABLE t (c)").await.unwrap();
    let full = connection
        .execute("INSERT INTO t VALUES (randomblob(100000))")
        .await
        .unwrap_err();
    match error::failure(&full, "host.db") {
        Failure::Store(StoreError::Unavailable(why)) => {
            assert_eq!(why, "the disk is full: free some space for host.db")
        }
        other => panic!("{other:?}"),
    }
}
