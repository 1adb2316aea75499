//! What a worker's tasks share: which turns run here, and how one is claimed.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opencode_client::Client;

use super::ServerOptions;
use super::placer::Placer;
use super::standing::Standing;
use super::under_way::Sending;
use crate::configuration_guard::{Unguarded, guarded_client};
use crate::front::Front;
use crate::id::TurnId;
use crate::store::{Claim, ClaimedTurn, Conversation, Lease, StoreError, WorkerId};
use crate::turn::control::Control;
use crate::turn::hosted::Hosted;
use crate::turn::workshop::Workshop;
use crate::webhooks::Webhooks;

/// What all clones of a worker and what they have running share.
pub(super) struct Shared {
    pub(super) front: Arc<Front>,
    pub(super) workshop: Arc<Workshop>,
    pub(super) product: Arc<Hosted>,
    /// Who is told what happened, if anybody is.
    pub(super) webhooks: Option<Arc<Webhooks>>,
    pub(super) id: WorkerId,
    pub(super) server: ServerOptions,
    /// The server answered when it was asked last; true before.
    pub(super) hears: AtomicBool,
    /// Whether the server is the one of its name.
    pub(super) standing: Mutex<Standing>,
    pub(super) placer: Placer,
    pub(super) running: Mutex<HashMap<TurnId, Running>>,
    /// How many calls of [`Worker::run`](crate::Worker::run) and [`Worker::run_turn`](crate::Worker::run_turn) there
    /// were.
    pub(super) runs: AtomicU64,
}

/// One call of [`Worker::run`](crate::Worker::run) or [`Worker::run_turn`](crate::Worker::run_turn): it keeps the leases
/// of the turns that it claimed, and gives no others back.
pub(super) type Run = u64;

/// A turn that runs here.
pub(super) struct Running {
    pub(super) run: Run,
    pub(super) control: Control,
    /// The answers on their way to its agent.
    pub(super) sending: Sending,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("server", &self.workshop.client.server())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) async fn claim(
        &self,
        only: Option<TurnId>,
    ) -> Result<Option<ClaimedTurn>, StoreError> {
        if !self.standing().may_claim() {
            return Ok(None);
        }
        let store = &self.front.store;
        let mut claim = Claim::new(self.id.clone(), self.workshop.options.lease);
        claim.only = only;
        claim.share = self.workshop.options.tenant_share;
        if store.keeps_servers() {
            claim = claim.on(&self.server.name, self.server.capacity);
        }
        store.claim(&claim).await
    }

    pub(super) fn standing(&self) -> Standing {
        let standing = self.standing.lock();
        standing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the server answered when it was asked last, and is the one of its name.
    pub(super) fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed) && self.standing().may_claim()
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        let mut known = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        *known = standing;
    }

    pub(super) fn begin_run(&self) -> Run {
        self.runs.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<TurnId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the turns of a run given back.
    pub(super) fn release(&self, run: Run) {
        let running = self.running();
        for turn in running.values().filter(|running| running.run == run) {
            turn.control.order(|orders| orders.release = true);
        }
    }

    /// The leases of the turns that a run works on.
    pub(super) fn leases(&self, run: Run) -> Vec<Lease> {
        let running = self.running();
        let own = running.iter().filter(|(_, running)| running.run == run);
        own.map(|(turn, running)| Lease {
            turn: *turn,
            generation: running.control.generation(),
        })
        .collect()
    }

    /// The client in the folder of the conversation's session, which is guarded first as the product says.
    pub(super) async fn guarded_client(
        &self,
        conversation: &Conversation,
    ) -> Result<Client, Unguarded> {
        let own = self.product.own_configuration(conversation).await;
        let own = own.map_err(|error| Unguarded(error.into()))?;
        guarded_client(&self.front, &self.workshop.client, conversation, own).await
    }
}
