//! How a [`Host`] is built.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::Host;
use crate::blobs::Blobs;
use crate::budgets::{AskedBudgets, Budgets};
use crate::clock::{Clock, SystemClock};
use crate::front::Front;
use crate::live::{LiveBus, LiveTurns, Relay};
use crate::options::HostOptions;
use crate::reporter::ErrorReporter;
use crate::sandbox::SandboxRoot;
use crate::store::{Checked, Reader, SessionGates, Store};
use crate::telemetry::Telemetry;
use crate::tracer::Tracer;

/// What a [`Host`] is built from.
#[must_use]
pub struct HostBuilder {
    store: Arc<dyn Store>,
    telemetry: Telemetry,
    clock: Arc<dyn Clock>,
    options: HostOptions,
    budgets: AskedBudgets,
    blobs: Option<Blobs>,
    sandboxes: Option<SandboxRoot>,
    live_bus: Option<Arc<dyn LiveBus>>,
}

impl std::fmt::Debug for HostBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostBuilder")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl HostBuilder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store: Arc::new(Checked::new(store)),
            telemetry: Telemetry::default(),
            clock: Arc::new(SystemClock),
            options: HostOptions::default(),
            budgets: AskedBudgets::default(),
            blobs: None,
            sandboxes: None,
            live_bus: None,
        }
    }

    /// Where traced events go, those of this host's workers as well.
    pub fn tracer(mut self, tracer: impl Tracer) -> Self {
        self.telemetry.tracer = Arc::new(tracer);
        self
    }

    /// Where swallowed errors go, those of this host's workers as well.
    pub fn error_reporter(mut self, reporter: impl ErrorReporter) -> Self {
        self.telemetry.reporter = Arc::new(reporter);
        self
    }

    /// Where time and randomness come from.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// What the host takes, and how it follows other processes.
    pub fn options(mut self, options: HostOptions) -> Self {
        self.options = options;
        self
    }

    /// What turns, conversations and tenants may use up: asked at each submit, and by the workers of this host with each
    /// claim. By default nothing is bounded. Say the same in all processes on a store.
    ///
    /// A turn for which nothing is left is refused at its submit, or ends with
    /// [`Reason::Budget`](crate::outcome::Reason::Budget) before anything is asked of a server. One that uses up what it
    /// may is stopped, and what had come is kept; an answer that was complete by then is a complete answer.
    pub fn budgets(mut self, budgets: impl Budgets) -> Self {
        self.budgets = AskedBudgets::new(budgets);
        self
    }

    /// Where the bytes of files are kept. Without it no files are attached.
    pub fn blobs(mut self, blobs: Blobs) -> Self {
        self.blobs = Some(blobs);
        self
    }

    /// Gives each conversation a folder of its own below `sandboxes`, named by its id. The agent works there
    /// unless [`Product::directory`](crate::product::Product::directory) says otherwise, and its files come from
    /// there.
    pub fn sandboxes(mut self, sandboxes: SandboxRoot) -> Self {
        self.sandboxes = Some(sandboxes);
        self
    }

    /// What brings the changes of running turns to the other processes on the store, in the place of what
    /// the store has for that ([`Queue::live_bus`](crate::store::Queue::live_bus)): a store on Postgres has one. The same in all
    /// processes. Without any, those who watch a turn in another process get the reply as it is saved, about once a second.
    pub fn live_bus(mut self, bus: impl LiveBus) -> Self {
        self.live_bus = Some(Arc::new(bus));
        self
    }

    /// Makes the host. Nothing is contacted.
    pub fn build(self) -> Host {
        let live = Arc::<LiveTurns>::default();
        let relay = Relay::new(
            Arc::clone(&self.store),
            self.live_bus.or_else(|| self.store.live_bus()),
            Arc::clone(&live),
            self.telemetry.clone(),
            self.options.poll_interval,
        );
        Host {
            front: Arc::new(Front {
                reader: Reader::new(Arc::clone(&self.store)),
                store: self.store,
                telemetry: self.telemetry,
                clock: self.clock,
                options: self.options,
                budgets: self.budgets,
                blobs: self.blobs,
                sandboxes: self.sandboxes,
                live,
                relay: Arc::new(relay),
                placing: SessionGates::default(),
                listening: tokio::sync::Mutex::default(),
                queue_changed: Arc::new(Notify::new()),
                #[cfg(feature = "schedules")]
                schedules_changed: Arc::default(),
                effect_noted: Arc::default(),
                answered: Arc::default(),
                workers: Mutex::default(),
            }),
        }
    }
}
