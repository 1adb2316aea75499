//! How a [`Worker`] is built, and why one is refused.

use std::collections::HashMap;
#[cfg(feature = "tools")]
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, Weak};

use opencode_client::reply::Observer;
use opencode_client::{Client, EventHub, HubOptions};

use super::placer::Placer;
use super::shared::Shared;
use super::{ServerOptions, Worker};
use crate::host::Host;
use crate::options::WorkerOptions;
use crate::product::{PlainProduct, Product};
use crate::reporter::Severity;
use crate::saving::Saving;
use crate::store::{Turn, WorkerId};
use crate::sub_agents::SubAgents;
#[cfg(feature = "tools")]
use crate::tools::ToolServer;
use crate::turn::hosted::{Folders, Hosted};
use crate::turn::observing::MakeObserver;
use crate::turn::recent_exchanges::RecentExchanges;
use crate::turn::workshop::Workshop;
use crate::webhooks::Webhooks;

/// Why a worker cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Nobody said where the agents work. Without a folder of their own, all conversations would read and change
    /// each other's files in the server's.
    #[error(
        "the worker has no folders for its agents: give each conversation its own with HostBuilder::sandboxes(root), \
         or name them in Product::directory and say product_folders(), or let all conversations share one with \
         shared_folder()"
    )]
    NoFolders,
}

/// What a [`Worker`] is built from.
#[must_use]
pub struct WorkerBuilder {
    client: Client,
    product: Arc<dyn Product>,
    options: WorkerOptions,
    hub: HubOptions,
    observers: Vec<MakeObserver>,
    id: Option<WorkerId>,
    server: ServerOptions,
    elsewhere: Option<Elsewhere>,
    sub_agents: SubAgents,
    webhooks: Option<Webhooks>,
    #[cfg(feature = "tools")]
    tools_address: SocketAddr,
    #[cfg(feature = "tools")]
    tools_url: Option<String>,
}

/// Where agents work whose host has no sandboxes.
#[derive(Clone, Copy, Debug)]
enum Elsewhere {
    Product,
    Shared,
}

impl std::fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("client", &self.client)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl WorkerBuilder {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            product: Arc::new(PlainProduct),
            options: WorkerOptions::default(),
            hub: HubOptions::default(),
            observers: Vec::new(),
            id: None,
            server: ServerOptions::default(),
            elsewhere: None,
            sub_agents: SubAgents::default(),
            webhooks: None,
            #[cfg(feature = "tools")]
            tools_address: (Ipv4Addr::LOCALHOST, 0).into(),
            #[cfg(feature = "tools")]
            tools_url: None,
        }
    }

    /// The product whose turns these are.
    pub fn product(mut self, product: impl Product) -> Self {
        self.product = Arc::new(product);
        self
    }

    /// How the worker behaves.
    pub fn options(mut self, options: WorkerOptions) -> Self {
        self.options = options;
        self
    }

    /// How the event hub behaves.
    pub fn hub_options(mut self, options: HubOptions) -> Self {
        self.hub = options;
        self
    }

    /// Adds an observer to the reply of every turn that runs here. It hears the changes in order, on a thread of its
    /// own; one that panics, or is 4096 changes behind, is told no more of that turn.
    pub fn observer(
        mut self,
        make: impl Fn(&Turn) -> Box<dyn Observer> + Send + Sync + 'static,
    ) -> Self {
        self.observers.push(Arc::new(make));
        self
    }

    /// Worker id, by which the store names the holder of a lease. Generated if not set.
    pub fn id(mut self, id: WorkerId) -> Self {
        self.id = Some(id);
        self
    }

    /// The server that the client reaches, among others: see [`ServerOptions`]. By default it is the server `default`, for an
    /// application with one.
    pub fn server(mut self, server: ServerOptions) -> Self {
        self.server = server;
        self
    }

    /// Takes every conversation's folder from [`Product::directory`]. A conversation for which the product names
    /// none gets no session, and its turns fail. A host with sandboxes has folders: this changes nothing there.
    pub fn product_folders(mut self) -> Self {
        self.elsewhere = Some(Elsewhere::Product);
        self
    }

    /// Lets all conversations for which [`Product::directory`] names no folder work in the server's own.
    ///
    /// Each of their agents can then read and change what the others made. For one person's
    /// conversations, or for agents without tools.
    pub fn shared_folder(mut self) -> Self {
        self.elsewhere = Some(Elsewhere::Shared);
        self
    }

    /// What becomes of sub-agents where the product's rules hold an `ask`. By default they are off, since OpenCode
    /// asks for nothing that they do.
    pub fn sub_agents(mut self, sub_agents: SubAgents) -> Self {
        self.sub_agents = sub_agents;
        self
    }

    /// Tells endpoints what happens: see [`webhooks`](crate::webhooks). By default nobody is told.
    ///
    /// All workers on a store are given the same endpoints: any of them takes up the end of a turn or a deletion, and one
    /// without webhooks has nobody to tell.
    pub fn webhooks(mut self, webhooks: Webhooks) -> Self {
        self.webhooks = Some(webhooks);
        self
    }

    /// Where the worker listens for calls of [`Product::tools`]. Default: a free port of 127.0.0.1. Nothing is listened to
    /// before a turn has tools.
    ///
    /// Each claim of a turn has an address and a token of its own there, and nothing is answered without the token. That
    /// keeps out other conversations, and not a shell of the Unix user that OpenCode runs as.
    #[cfg(feature = "tools")]
    pub fn tools_address(mut self, address: SocketAddr) -> Self {
        self.tools_address = address;
        self
    }

    /// Where OpenCode reaches [`tools_address`](Self::tools_address), if not there: `https://app.example/tools`, say, with a
    /// proxy that passes on what is below this path. Each worker needs one of its own. Where the token crosses a network,
    /// use https.
    #[cfg(feature = "tools")]
    pub fn tools_url(mut self, url: impl Into<String>) -> Self {
        self.tools_url = Some(url.into());
        self
    }

    /// Makes a worker on the turns of `host`. Nothing is contacted yet.
    ///
    /// # Errors
    /// [`BuildError::NoFolders`] when the host was built without [`sandboxes`](crate::HostBuilder::sandboxes), and
    /// neither [`product_folders`](Self::product_folders) nor [`shared_folder`](Self::shared_folder) was called.
    pub fn build(mut self, host: &Host) -> Result<Worker, BuildError> {
        let front = host.front();
        let folders = match (&front.sandboxes, self.elsewhere) {
            (Some(root), _) => Folders::Sandboxes(root.clone()),
            (None, Some(Elsewhere::Product)) => Folders::Product,
            (None, Some(Elsewhere::Shared)) => Folders::Shared,
            (None, None) => return Err(BuildError::NoFolders),
        };
        let id = self.id.unwrap_or_else(|| {
            let entropy = front.clock.entropy() as u32;
            WorkerId(format!("{}-{entropy:08x}", std::process::id()))
        });
        if self.hub.on_problem.is_none() {
            let telemetry = front.telemetry.clone();
            self.hub.on_problem = Some(Arc::new(move |problem| {
                telemetry.report(problem, Severity::Warning, [("action", "hub".into())]);
            }));
        }
        let telemetry = front.telemetry.clone();
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
        let telemetry = front.telemetry.clone();
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
        let product = Arc::new(Hosted {
            product: self.product,
            budgets: front.budgets.clone(),
            folders,
            telemetry: front.telemetry.clone(),
            limit: self.options.plug_in_limit,
        });
        let saving = Saving::new(
            Arc::clone(&front.store),
            front.telemetry.clone(),
            self.options.snapshot_interval,
        );
        let workshop = Workshop {
            saving: Arc::new(saving),
            hub: EventHub::new(self.client.clone(), self.hub),
            client: self.client,
            server: self.server.name.clone(),
            sub_agents: self.sub_agents,
            tells_requests: self.webhooks.is_some(),
            #[cfg(feature = "tools")]
            tools: ToolServer::new(self.tools_address, self.tools_url),
            options: self.options,
            observers: self.observers,
            exchanges: RecentExchanges::default(),
        };
        let shared = Arc::new(Shared {
            front: Arc::clone(front),
            workshop: Arc::new(workshop),
            product,
            webhooks: self.webhooks.map(Arc::new),
            id,
            server: self.server,
            hears: AtomicBool::new(true),
            standing: Mutex::default(),
            placer: Placer::default(),
            running: Mutex::new(HashMap::new()),
            runs: AtomicU64::new(0),
        });
        let local: Weak<Shared> = Arc::downgrade(&shared);
        front.register(local);
        let host = host.clone();
        Ok(Worker { shared, host })
    }
}
