//! Several OpenCode servers on one store: each conversation is placed on one, and stays there for as long as it is not gone.

mod drained;
mod gone;
mod placing;
mod strange;

use std::sync::Arc;
use std::time::Duration;

use opencode_client::Client;
use opencode_client::wire::Prompt;
use opencode_host::clock::{Clock as _, ManualClock, Timestamp};
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::store::{
    Conversation, MemoryStore, ServerLoad, ServerName, ServerState, Store, StoreResult, Tenant,
    TurnStatus,
};
use opencode_host::turn::TurnResult;
use opencode_host::{Host, ServerOptions, SubmitOptions, Worker, WorkerOptions};
use opencode_impostor::{Impostor, Script, Step};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::hosting::{Builder, PATIENCE, Recorder, quick};

/// After so long a server is gone, by the store's clock. Beats come eight times as often, by the machine's.
const BOUND: Duration = Duration::from_millis(800);

/// A store with a clock that stands, and a host on it without a worker.
struct Place {
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    front: Host,
}

/// A server, and a process with a worker of it.
struct Node {
    impostor: Impostor,
    host: Host,
    recorder: Recorder,
    shutdown: CancellationToken,
    working: JoinHandle<StoreResult<()>>,
}

fn name(name: &str) -> ServerName {
    name.parse().unwrap()
}

fn named(name: &str) -> ServerOptions {
    ServerOptions::new(name).unwrap()
}

fn options() -> WorkerOptions {
    WorkerOptions {
        server_gone_after: BOUND,
        ..quick()
    }
}

/// Waits until something is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .expect("it did not come about");
}

async fn echoing() -> Impostor {
    Impostor::scripted(Script::always([Step::Echo]))
        .await
        .unwrap()
}

impl Place {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let front = Host::builder(Arc::clone(&store)).build();
        Self {
            clock,
            store,
            front,
        }
    }

    /// A host and a worker of this server.
    fn build(
        &self,
        impostor: &Impostor,
        server: ServerOptions,
        recorder: &Recorder,
        adjust: impl FnOnce(Builder) -> Builder,
    ) -> (Host, Worker) {
        let client = Client::builder(impostor.url());
        let client = client.timeout(Duration::from_secs(5)).build().unwrap();
        let builder = Builder::new(client, Arc::clone(&self.store))
            .recorder(recorder)
            .options(options())
            .worker(|worker| worker.server(server))
            .shared_folder();
        adjust(builder).build().unwrap()
    }

    /// Has a worker work for this server.
    fn node(&self, impostor: Impostor, server: ServerOptions) -> Node {
        self.node_with(impostor, server, |builder| builder)
    }

    fn node_with(
        &self,
        impostor: Impostor,
        server: ServerOptions,
        adjust: impl FnOnce(Builder) -> Builder,
    ) -> Node {
        let recorder = Recorder::default();
        let (host, worker) = self.build(&impostor, server, &recorder, adjust);
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let working = tokio::spawn(async move { worker.run(stop).await });
        Node {
            impostor,
            host,
            recorder,
            shutdown,
            working,
        }
    }

    async fn open(&self, name: &str) -> ConversationId {
        let opened = self.store.open_conversation(&Tenant::default(), name).await;
        opened.unwrap().id
    }

    async fn submit(&self, conversation: ConversationId, text: &str) -> TurnId {
        let options = SubmitOptions::default();
        let submitted = self.front.submit(conversation, Prompt::text(text), options);
        submitted.await.unwrap().turn.id
    }

    /// A turn's result, once it is settled.
    async fn result(&self, turn: TurnId) -> TurnResult {
        until(async || {
            let row = self.store.turn(turn).await.unwrap().unwrap();
            let phase = row.phase();
            matches!(
                phase,
                opencode_host::store::Phase::Finished { settled: true, .. }
            )
        })
        .await;
        self.front.result(turn).await.unwrap().unwrap()
    }

    async fn turn(&self, conversation: ConversationId, text: &str) -> TurnResult {
        let turn = self.submit(conversation, text).await;
        self.result(turn).await
    }

    async fn row(&self, conversation: ConversationId) -> Conversation {
        self.store
            .conversation(conversation)
            .await
            .unwrap()
            .unwrap()
    }

    async fn placed_on(&self, conversation: ConversationId) -> Option<ServerName> {
        self.row(conversation).await.server
    }

    async fn load(&self, server: &str) -> Option<ServerLoad> {
        let servers = self.front.servers().await.unwrap();
        servers
            .into_iter()
            .find(|load| load.server.name == name(server))
    }

    /// Waits until a server is known to answer.
    async fn heard(&self, server: &str) {
        until(async || {
            let load = self.load(server).await;
            load.is_some_and(|load| load.server.heard_at.is_some())
        })
        .await;
    }

    /// Lets time go by, a beat of `heard` after the other, until `server` is gone.
    async fn lose(&self, server: &str, heard: &str) {
        let state = async || self.load(server).await.unwrap().server.state();
        let looking = async {
            while state().await != ServerState::Gone {
                self.beat(heard).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking)
            .await
            .expect("it is not gone");
    }

    /// Lets an eighth of the bound go by, and waits until a server was heard then.
    async fn beat(&self, heard: &str) {
        self.clock.advance(BOUND / 8);
        until(async || {
            let server = self.load(heard).await.unwrap().server;
            server.heard_at == Some(self.clock.now()) || server.state() == ServerState::Gone
        })
        .await;
    }
}

impl Node {
    /// The prompts that its server had, of this text.
    fn prompts(&self, text: &str) -> usize {
        let ledger = self.impostor.ledger();
        let posts = ledger.prompt_posts().iter();
        posts.filter(|post| post.fresh && post.text == text).count()
    }

    fn sessions(&self) -> usize {
        self.impostor.ledger().sessions_alive().len()
    }

    /// Ends its worker, as a process ends that is told to.
    async fn stop(self) -> Impostor {
        self.shutdown.cancel();
        self.working.await.unwrap().unwrap();
        self.impostor
    }

    /// Ends its worker as its death does, and keeps its server.
    async fn killed(self) -> Impostor {
        self.working.abort();
        let _ = self.working.await;
        self.impostor
    }
}

fn assert_completed(result: &TurnResult, text: &str) {
    assert_eq!(
        (result.status, &*result.answer.content),
        (TurnStatus::Completed, text),
        "{:?}",
        result.answer.error
    );
}
