//! What a worker remembers of servers and of what the product said, so that neither is asked for each conversation.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::id::ConversationId;
use crate::placement::{Choice, Placement, choose};
use crate::store::{ServerLoad, ServerName, Store, StoreError, StoreResult};

/// How old what is known of the servers may be.
const SEEN: Duration = Duration::from_secs(1);

/// For how long a product's word holds for a conversation that no server fits.
const ASKED: Duration = Duration::from_secs(10);

/// What a worker remembers of servers and of what the product said.
#[derive(Debug, Default)]
pub(super) struct Placer {
    servers: Mutex<Option<Seen>>,
    asked: Mutex<HashMap<ConversationId, (Placement, Instant)>>,
}

/// The servers, as they were a moment ago, and what was placed there since.
#[derive(Debug)]
struct Seen {
    loads: Vec<ServerLoad>,
    now: Timestamp,
    at: Instant,
}

impl Placer {
    /// What the product said of a conversation a moment ago.
    pub(super) async fn said(&self, id: ConversationId) -> Option<Placement> {
        let mut asked = self.asked.lock().await;
        asked.retain(|_, (_, at)| at.elapsed() < ASKED);
        asked.get(&id).map(|(placement, _)| placement.clone())
    }

    pub(super) async fn says(&self, id: ConversationId, placement: Placement) {
        let said = (placement, Instant::now());
        self.asked.lock().await.insert(id, said);
    }

    pub(super) async fn choose(
        &self,
        store: &dyn Store,
        placement: &Placement,
        own: &ServerName,
        silence: Duration,
    ) -> StoreResult<Choice> {
        let mut servers = self.servers.lock().await;
        if servers
            .as_ref()
            .is_none_or(|seen| seen.at.elapsed() >= SEEN)
        {
            let at = Instant::now();
            let (loads, now) = (store.servers().await?, store.now().await?);
            *servers = Some(Seen { loads, now, at });
        }
        let Some(seen) = &*servers else {
            return Err(StoreError::Unexpected("no servers were read".to_owned()));
        };
        Ok(choose(placement, &seen.loads, own, silence, seen.now))
    }

    pub(super) async fn placed(&self, id: ConversationId, server: &ServerName) {
        self.asked.lock().await.remove(&id);
        if let Some(seen) = &mut *self.servers.lock().await {
            let mut loads = seen.loads.iter_mut();
            if let Some(load) = loads.find(|load| load.server.name == *server) {
                load.queued += 1;
            }
        }
    }

    pub(super) async fn forget_servers(&self) {
        *self.servers.lock().await = None;
    }
}
