//! The worked store on tables of an application's own keeps every promise.

use std::sync::Arc;

use opencode_host::clock::ManualClock;
use opencode_host::id::TurnId;
use opencode_host::store::Store;
use opencode_host::store::conformance::Fixture;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;

use crate::fixture::clock;

#[path = "../../examples/own_store.rs"]
#[expect(dead_code, reason = "its main is the example's")]
mod example;

struct Own {
    folder: TempDir,
    clock: Arc<ManualClock>,
    store: Arc<example::OwnStore>,
}

impl Own {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(open(&self.folder, &self.clock).await)
    }
}

async fn open(folder: &TempDir, clock: &Arc<ManualClock>) -> example::OwnStore {
    let path = folder.path().join("own.db");
    example::OwnTables::open(&path, clock.clone())
        .await
        .unwrap()
}

#[async_trait::async_trait]
impl Fixture for Own {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn another(&self) -> Arc<dyn Store> {
        self.open().await
    }

    async fn make_unreadable(&self, turn: TurnId) -> bool {
        let url = format!("sqlite://{}", self.folder.path().join("own.db").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let broken = "UPDATE jobs SET row = json_set(row, '$.turn.prompt', 7) WHERE id = ?";
        let update = sqlx::query(broken).bind(turn.to_string());
        let updated = update.execute(&mut connection).await.unwrap();
        assert_eq!(updated.rows_affected(), 1);
        connection.close().await.unwrap();
        true
    }
}

async fn own() -> Own {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = Arc::new(open(&folder, &clock).await);
    Own {
        folder,
        clock,
        store,
    }
}

opencode_host::store_conformance!(own());
