//! The store in memory keeps every promise of a store.

mod broken;

use std::sync::Arc;

use opencode_host::clock::{ManualClock, Timestamp};
use opencode_host::store::conformance::Fixture;
use opencode_host::store::{MemoryStore, Store};

#[derive(Debug)]
struct Memory {
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
}

#[async_trait::async_trait]
impl Fixture for Memory {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn another(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
}

fn manual_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)))
}

fn memory() -> Memory {
    let clock = manual_clock();
    let store = Arc::new(MemoryStore::new(clock.clone()));
    Memory { clock, store }
}

opencode_host::store_conformance!(async { memory() });
