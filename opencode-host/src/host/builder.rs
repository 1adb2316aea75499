use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use opencode_client::reply::Observer;
use opencode_client::{Client, EventHub, HubOptions};
use tokio::sync::Notify;

use super::hosted::{Folders, Hosted};
use super::{Host, HostOptions, MakeObserver, Shared};
use crate::blobs::Blobs;
use crate::clock::{Clock, SystemClock};
use crate::live::LiveTurns;
use crate::product::{PlainProduct, Product};
use crate::reporter::{ErrorReporter, Severity};
use crate::sandbox::SandboxRoot;
use crate::store::{Checked, Reader, Store, Turn, WorkerId};
use crate::sub_agents::SubAgents;
use crate::telemetry::Telemetry;
use crate::tracer::Tracer;

/// Why a host cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Nobody said where the agents work. Without a folder of their own, all conversations would read and change
    /// each other's files in the server's.
    #[error(
        "the host has no folders for its agents: give each conversation its own with sandboxes(root), or name them \
         in Product::directory and say product_folders(), or let all conversations share one with shared_folder()"
    )]
    NoFolders,
}

/// What a [`Host`] is built from.
#[must_use]
pub struct HostBuilder {
    client: Client,
    store: Arc<dyn Store>,
    product: Arc<dyn Product>,
    telemetry: Telemetry,
    clock: Arc<dyn Clock>,
    options: HostOptions,
    hub: HubOptions,
    observers: Vec<MakeObserver>,
    worker: Option<WorkerId>,
    blobs: Option<Blobs>,
    folders: Option<Folders>,
    sub_agents: SubAgents,
}

impl std::fmt::Debug for HostBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostBuilder")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl HostBuilder {
    pub(super) fn new(client: Client, store: Arc<dyn Store>) -> Self {
        Self {
            client,
            store: Arc::new(Checked::new(store)),
            product: Arc::new(PlainProduct),
            telemetry: Telemetry::default(),
            clock: Arc::new(SystemClock),
            options: HostOptions::default(),
            hub: HubOptions::default(),
            observers: Vec::new(),
            worker: None,
            blobs: None,
            folders: None,
            sub_agents: SubAgents::default(),
        }
    }

    /// The product whose turns these are.
    pub fn product(mut self, product: impl Product) -> Self {
        self.product = Arc::new(product);
        self
    }

    /// Where traced events go.
    pub fn tracer(mut self, tracer: impl Tracer) -> Self {
        self.telemetry.tracer = Arc::new(tracer);
        self
    }

    /// Where swallowed errors go.
    pub fn error_reporter(mut self, reporter: impl ErrorReporter) -> Self {
        self.telemetry.reporter = Arc::new(reporter);
        self
    }

    /// Where time and randomness come from.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How the host behaves.
    pub fn options(mut self, options: HostOptions) -> Self {
        self.options = options;
        self
    }

    /// How the event hub behaves.
    pub fn hub_options(mut self, options: HubOptions) -> Self {
        self.hub = options;
        self
    }

    /// Adds an observer to the reply of every turn that runs here.
    pub fn observer(
        mut self,
        make: impl Fn(&Turn) -> Box<dyn Observer> + Send + Sync + 'static,
    ) -> Self {
        self.observers.push(Box::new(make));
        self
    }

    /// This process's name among the workers; made up without one.
    pub fn worker(mut self, worker: WorkerId) -> Self {
        self.worker = Some(worker);
        self
    }

    /// Where the bytes of files are kept. Without it no files are attached.
    pub fn blobs(mut self, blobs: Blobs) -> Self {
        self.blobs = Some(blobs);
        self
    }

    /// Gives each conversation a folder of its own below `sandboxes`, named by its id. The agent works there
    /// unless [`Product::directory`] says otherwise, and its files come from there.
    pub fn sandboxes(mut self, sandboxes: SandboxRoot) -> Self {
        self.folders = Some(Folders::Sandboxes(sandboxes));
        self
    }

    /// Takes every conversation's folder from [`Product::directory`]. A conversation for which the product names
    /// none gets no session, and its turns fail.
    pub fn product_folders(mut self) -> Self {
        self.folders = Some(Folders::Product);
        self
    }

    /// Lets all conversations for which [`Product::directory`] names no folder work in the server's own.
    ///
    /// Each of their agents can then read and change what the others made. For one person's
    /// conversations, or for agents without tools.
    pub fn shared_folder(mut self) -> Self {
        self.folders = Some(Folders::Shared);
        self
    }

    /// What becomes of sub-agents where the product's rules hold an `ask`. By default they are off, since OpenCode
    /// asks for nothing that they do.
    pub fn sub_agents(mut self, sub_agents: SubAgents) -> Self {
        self.sub_agents = sub_agents;
        self
    }

    /// Makes the host. Nothing is contacted yet.
    ///
    /// # Errors
    /// [`BuildError::NoFolders`] when none of [`sandboxes`](Self::sandboxes),
    /// [`product_folders`](Self::product_folders) and [`shared_folder`](Self::shared_folder) was called.
    pub fn build(mut self) -> Result<Host, BuildError> {
        let folders = self.folders.ok_or(BuildError::NoFolders)?;
        let worker = self.worker.unwrap_or_else(|| {
            WorkerId(format!(
                "{}-{:08x}",
                std::process::id(),
                self.clock.entropy() as u32
            ))
        });
        if self.hub.on_problem.is_none() {
            let telemetry = self.telemetry.clone();
            self.hub.on_problem = Some(Arc::new(move |problem| {
                telemetry.report(problem, Severity::Warning, [("action", "hub".into())]);
            }));
        }
        let telemetry = self.telemetry.clone();
        self.client = self.client.also_on_request(move |trace| {
            telemetry.event(
                "request",
                [
                    ("method", trace.method.into()),
                    ("path", trace.path.into()),
                    ("status", trace.status.into()),
                    ("duration_ms", (trace.duration.as_millis() as u64).into()),
                ],
            );
        });
        let telemetry = self.telemetry.clone();
        self.client = self.client.also_on_skipped(move |source, skipped| {
            for (kind, count) in skipped.iter() {
                telemetry.event(
                    "wire.skipped",
                    [
                        ("source", source.into()),
                        ("kind", kind.as_str().into()),
                        ("count", count.into()),
                    ],
                );
            }
        });
        let sandboxes = folders.sandboxes().cloned();
        let product = Arc::new(Hosted {
            product: self.product,
            folders,
            telemetry: self.telemetry.clone(),
        });
        Ok(Host {
            shared: Arc::new(Shared {
                hub: EventHub::new(self.client.clone(), self.hub),
                client: self.client,
                reader: Reader::new(Arc::clone(&self.store)),
                store: self.store,
                product,
                sub_agents: self.sub_agents,
                telemetry: self.telemetry,
                clock: self.clock,
                options: self.options,
                observers: self.observers,
                blobs: self.blobs,
                sandboxes,
                live: LiveTurns::default(),
                worker,
                running: Mutex::new(HashMap::new()),
                placing: tokio::sync::Mutex::default(),
                queue_changed: Notify::new(),
            }),
        })
    }
}
