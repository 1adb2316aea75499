//! What a host and the workers of its process share.
//!
//! The host calls its workers through [`LocalWorker`], so that it knows nothing of how turns are driven: workers know
//! the front, and the front knows no worker.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::blobs::{Blobs, SweepError, Swept};
use crate::budgets::AskedBudgets;
use crate::clock::Clock;
use crate::id::{EffectId, TurnId};
use crate::live::{LiveTurns, Relay};
use crate::options::HostOptions;
use crate::sandbox::SandboxRoot;
use crate::store::{Reader, ServerName, SessionGates, Store};
use crate::telemetry::Telemetry;

/// A worker of the host's own process: what need not wait for its next look at the store.
#[async_trait]
pub(crate) trait LocalWorker: Send + Sync {
    /// The name of its server.
    fn server(&self) -> &ServerName;

    /// Has a turn cancelled, where it runs here.
    fn cancel(&self, turn: TurnId);

    /// Sends the answers that wait for a turn, where it runs here. Does not wait for them.
    fn send_answers(self: Arc<Self>, turn: TurnId);

    /// Tries what a commit owes to the world outside, if it is due, for so long at most.
    async fn do_effect(&self, id: EffectId, at_most: Duration);
}

/// What all clones of a host share, and the workers of its process with them: what keeps turns, and who hears of them.
pub(crate) struct Front {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) reader: Reader,
    pub(crate) telemetry: Telemetry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: HostOptions,
    /// What turns may use up.
    pub(crate) budgets: AskedBudgets,
    pub(crate) blobs: Option<Blobs>,
    pub(crate) sandboxes: Option<SandboxRoot>,
    pub(crate) live: Arc<LiveTurns>,
    /// What other nodes hear of the turns here, and this one of theirs.
    pub(crate) relay: Arc<Relay>,
    /// Files are given their names in a conversation's sandbox by one submit at a time.
    pub(crate) placing: SessionGates,
    /// Of the workers of this process one hears of other processes' turns, for all.
    pub(crate) listening: tokio::sync::Mutex<()>,
    /// A turn was submitted or settled in this process.
    pub(crate) queue_changed: Arc<Notify>,
    /// A schedule was added or changed in this process.
    #[cfg(feature = "schedules")]
    pub(crate) schedules_changed: Arc<Notify>,
    /// A commit of this process owes something to the world outside.
    pub(crate) effect_noted: Arc<Notify>,
    /// A worker of this process has learned what became of an answer.
    pub(crate) answered: Arc<Notify>,
    /// The workers of this process. They keep the front alive, not the front them.
    pub(crate) workers: Mutex<Vec<Weak<dyn LocalWorker>>>,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Front {
    /// The workers of this process.
    pub(crate) fn workers(&self) -> Vec<Arc<dyn LocalWorker>> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|worker| worker.strong_count() > 0);
        workers.iter().filter_map(Weak::upgrade).collect()
    }

    /// Has a worker of this process hear of cancels and deletions.
    pub(crate) fn register(&self, worker: Weak<dyn LocalWorker>) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(worker);
    }

    /// Removes bytes that are older than `age` and that no message names, and uploads that were never finished.
    pub(crate) async fn sweep_blobs(&self, age: Duration) -> Result<Swept, SweepError> {
        match &self.blobs {
            Some(blobs) => blobs.sweep(&*self.store, age).await,
            None => Ok(Swept::default()),
        }
    }
}
