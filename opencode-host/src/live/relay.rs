//! What the two tasks share that speak to other nodes: who watches here, and what runs here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::bus::{BusError, Hint, LiveBus, NodeId};
use super::turns::LiveTurns;
use crate::reporter::Severity;
use crate::store::Store;
use crate::telemetry::Telemetry;

/// How often the bus is asked for one thing at most.
pub(crate) const INTERVAL: Duration = Duration::from_millis(75);

/// How long a bus may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it rests when it does not listen any more.
const DEAF: Duration = Duration::from_secs(1);

/// What a node needs to tell others of its turns, and to hear of theirs.
pub(crate) struct Relay {
    pub(crate) node: NodeId,
    pub(crate) bus: Option<Arc<dyn LiveBus>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) turns: Arc<LiveTurns>,
    pub(crate) telemetry: Telemetry,
    /// How often the rows of watched turns are looked at.
    pub(crate) look_interval: Duration,
    /// There may be messages.
    pub(super) published: Signal,
    /// There may be others who watch.
    pub(super) watched: Signal,
    /// A task looks after the turns that are followed here.
    receiving: Mutex<bool>,
    /// Of the tasks that send, one does.
    pub(super) sending: tokio::sync::Mutex<()>,
    /// Of those that listen, one does, for all.
    listening: tokio::sync::Mutex<()>,
    /// The bus or the store has failed, which was reported.
    failing: AtomicBool,
    /// How often something was asked for.
    asks: AtomicU64,
}

/// Something to look at, until it was.
#[derive(Debug, Default)]
pub(super) struct Signal {
    is_set: AtomicBool,
    changed: Notify,
}

impl Signal {
    pub(super) fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Whether it was set since this was asked last.
    pub(super) fn take(&self) -> bool {
        self.is_set.swap(false, Ordering::AcqRel)
    }

    /// Waits until it is set.
    pub(super) async fn wait(&self) {
        while !self.is_set.load(Ordering::Acquire) {
            self.changed.notified().await;
        }
    }
}

impl Relay {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        bus: Option<Arc<dyn LiveBus>>,
        turns: Arc<LiveTurns>,
        telemetry: Telemetry,
        look_interval: Duration,
    ) -> Self {
        Self {
            node: NodeId::random(),
            bus,
            store,
            turns,
            telemetry,
            look_interval,
            published: Signal::default(),
            watched: Signal::default(),
            receiving: Mutex::default(),
            sending: tokio::sync::Mutex::default(),
            listening: tokio::sync::Mutex::default(),
            failing: AtomicBool::new(false),
            asks: AtomicU64::new(0),
        }
    }

    /// A turn that is followed here runs elsewhere: answers whether a task is to be started that looks after those.
    pub(crate) fn is_to_receive(&self) -> bool {
        let mut receiving = self.receiving();
        !std::mem::replace(&mut *receiving, true)
    }

    /// A turn began to be followed here.
    pub(crate) fn followed(&self) {
        self.published.set();
    }

    /// A claim of a turn began here: others may wait for it.
    pub(crate) fn started(&self) {
        self.watched.set();
    }

    /// A number by which something is asked for that was not used before.
    pub(super) fn next_ask(&self) -> u64 {
        self.asks.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends the task that receives, where nothing is followed any more. Answers whether it is to end.
    pub(super) fn rests(&self) -> bool {
        let mut receiving = self.receiving();
        *receiving = !self.turns.followed_elsewhere().is_empty();
        !*receiving
    }

    /// The task that receives is gone, whatever the reason.
    pub(super) fn stopped_receiving(&self) {
        *self.receiving() = false;
    }

    fn receiving(&self) -> std::sync::MutexGuard<'_, bool> {
        self.receiving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of what others say, for as long as it is waited for.
    pub(super) async fn listen(&self) {
        let Some(bus) = &self.bus else {
            return std::future::pending().await;
        };
        let _alone = self.listening.lock().await;
        let heard = |hint| match hint {
            Hint::Published => self.published.set(),
            Hint::Watched => self.watched.set(),
        };
        loop {
            bus.listen(&heard).await;
            tokio::time::sleep(DEAF).await;
        }
    }

    /// Asks the bus. That it fails is reported once, until it does not; `None` then.
    pub(super) async fn ask<T>(
        &self,
        action: &'static str,
        asking: impl Future<Output = Result<T, BusError>>,
    ) -> Option<T> {
        let asked = tokio::time::timeout(PATIENCE, asking).await;
        let asked =
            asked.unwrap_or_else(|_| Err(BusError::new(format!("no answer in {PATIENCE:?}"))));
        match asked {
            Ok(answer) => {
                self.succeeded();
                Some(answer)
            }
            Err(error) => {
                self.report_once(&error, action);
                None
            }
        }
    }

    /// Reports what fails, until something succeeds.
    pub(super) fn report_once(&self, error: &(dyn std::error::Error + 'static), action: &str) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            let context = [("action", action.into())];
            self.telemetry.report(error, Severity::Warning, context);
        }
    }

    /// What was asked for was had.
    pub(super) fn succeeded(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }
}
