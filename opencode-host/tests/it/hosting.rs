//! A host on a store in memory, against the impostor.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use opencode_client::wire::Prompt;
use opencode_client::{Client, HubOptions};
use opencode_host::blobs::Blobs;
use opencode_host::budgets::Budgets;
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::live::{Cursor, LiveBus, LiveEvent};
use opencode_host::product::Product;
use opencode_host::reporter::{ErrorReporter, Severity};
use opencode_host::sandbox::SandboxRoot;
use opencode_host::store::{MemoryStore, MessageStatus, Store, Tenant, TurnStatus};
use opencode_host::sub_agents::SubAgents;
use opencode_host::tracer::Tracer;
use opencode_host::turn::TurnResult;
use opencode_host::turn::{Limits, Pace};
use opencode_host::{
    BuildError, Host, HostBuilder, HostOptions, SubmitOptions, Worker, WorkerBuilder, WorkerOptions,
};
use opencode_impostor::Impostor;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::event_table::unknown_of;

/// No step of a test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps what is traced and reported.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Recorded>>>);

type Recorded = (String, Map<String, Value>);

/// An event, or a field of one, that the table of events does not have.
const UNKNOWN: &str = "not in the table";

impl Recorder {
    pub(crate) fn named(&self, name: &str) -> Vec<Map<String, Value>> {
        let events = self.0.lock().unwrap();
        events
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, fields)| fields.clone())
            .collect()
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.named(name).len()
    }
}

impl Tracer for Recorder {
    fn event(&self, name: &'static str, fields: &Map<String, Value>) {
        let unknown = unknown_of(name, fields);
        if !unknown.is_empty() {
            let told = format!("{name}: {unknown:?}");
            let told = Map::from_iter([("event".to_owned(), told.into())]);
            self.0.lock().unwrap().push((UNKNOWN.to_owned(), told));
        }
        self.0
            .lock()
            .unwrap()
            .push((name.to_owned(), fields.clone()));
    }
}

impl ErrorReporter for Recorder {
    fn report(
        &self,
        error: &(dyn std::error::Error + 'static),
        _: bool,
        _: Severity,
        context: &Map<String, Value>,
    ) {
        let mut fields = context.clone();
        fields.insert("error".to_owned(), error.to_string().into());
        self.0.lock().unwrap().push(("reported".to_owned(), fields));
    }
}

/// What a host and its one worker are built from.
pub(crate) struct Builder {
    host: HostBuilder,
    worker: WorkerBuilder,
}

impl Builder {
    pub(crate) fn new(client: Client, store: Arc<dyn Store>) -> Self {
        Self {
            host: Host::builder(store),
            worker: Worker::builder(client),
        }
    }

    fn host(self, adjust: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        Self {
            host: adjust(self.host),
            ..self
        }
    }

    pub(crate) fn worker(self, adjust: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Self {
        Self {
            worker: adjust(self.worker),
            ..self
        }
    }

    pub(crate) fn recorder(self, recorder: &Recorder) -> Self {
        self.host(|host| {
            host.tracer(recorder.clone())
                .error_reporter(recorder.clone())
        })
    }

    pub(crate) fn telemetry(self, to: impl Tracer + ErrorReporter + Clone) -> Self {
        self.host(|host| host.tracer(to.clone()).error_reporter(to))
    }

    pub(crate) fn error_reporter(self, reporter: impl ErrorReporter) -> Self {
        self.host(|host| host.error_reporter(reporter))
    }

    pub(crate) fn blobs(self, blobs: Blobs) -> Self {
        self.host(|host| host.blobs(blobs))
    }

    pub(crate) fn sandboxes(self, root: SandboxRoot) -> Self {
        self.host(|host| host.sandboxes(root))
    }

    pub(crate) fn live_bus(self, bus: impl LiveBus) -> Self {
        self.host(|host| host.live_bus(bus))
    }

    pub(crate) fn host_options(self, options: HostOptions) -> Self {
        self.host(|host| host.options(options))
    }

    pub(crate) fn budgets(self, budgets: impl Budgets) -> Self {
        self.host(|host| host.budgets(budgets))
    }

    pub(crate) fn product(self, product: impl Product) -> Self {
        self.worker(|worker| worker.product(product))
    }

    pub(crate) fn options(self, options: WorkerOptions) -> Self {
        self.worker(|worker| worker.options(options))
    }

    pub(crate) fn product_folders(self) -> Self {
        self.worker(WorkerBuilder::product_folders)
    }

    pub(crate) fn shared_folder(self) -> Self {
        self.worker(WorkerBuilder::shared_folder)
    }

    pub(crate) fn sub_agents(self, sub_agents: SubAgents) -> Self {
        self.worker(|worker| worker.sub_agents(sub_agents))
    }

    pub(crate) fn build(self) -> Result<(Host, Worker), BuildError> {
        let host = self.host.build();
        let worker = self.worker.build(&host)?;
        Ok((host, worker))
    }
}

/// A host under test, and its worker.
pub(crate) struct Hosting {
    pub(crate) impostor: Impostor,
    pub(crate) host: Host,
    pub(crate) worker: Worker,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) recorder: Recorder,
    pub(crate) conversation: ConversationId,
}

/// Ends all tasks of a process, whose runtime this is, as its death does: behind this it takes and writes nothing any more.
pub(crate) async fn killed(process: tokio::runtime::Runtime) {
    let ending = move || process.shutdown_timeout(Duration::from_secs(5));
    tokio::task::spawn_blocking(ending).await.unwrap();
}

/// Limits that keep tests short. Nothing depends on their exact size.
pub(crate) fn quick() -> WorkerOptions {
    WorkerOptions {
        limits: Limits {
            first_event: Duration::from_secs(3),
            unreachable: Duration::from_secs(2),
            pace: Pace {
                confirm: Duration::from_millis(200),
                unseen: Duration::from_millis(400),
                lost: Duration::from_millis(400),
                abort: Duration::from_secs(3),
                silence: Duration::from_millis(700),
                answer: Duration::from_millis(500),
            },
            ..Limits::default()
        },
        poll_interval: Duration::from_millis(50),
        snapshot_interval: Duration::from_millis(20),
        ..WorkerOptions::default()
    }
}

impl Hosting {
    pub(crate) async fn new(impostor: Impostor) -> Self {
        Self::with(impostor, quick(), |builder| builder).await
    }

    pub(crate) async fn with_timeout(impostor: Impostor, timeout: Duration) -> Self {
        Self::built(impostor, quick(), timeout, |builder| builder).await
    }

    pub(crate) async fn with(
        impostor: Impostor,
        options: WorkerOptions,
        adjust: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        Self::built(impostor, options, Duration::from_secs(5), adjust).await
    }

    async fn built(
        impostor: Impostor,
        options: WorkerOptions,
        timeout: Duration,
        adjust: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let recorder = Recorder::default();
        let client = Client::builder(impostor.url())
            .timeout(timeout)
            .build()
            .unwrap();
        let hub = HubOptions {
            connect_timeout: Duration::from_secs(2),
            ..HubOptions::default()
        };
        let host_options = HostOptions {
            poll_interval: options.poll_interval,
            ..HostOptions::default()
        };
        let builder = Builder::new(client, Arc::clone(&store))
            .recorder(&recorder)
            .host_options(host_options)
            .options(options)
            .worker(|worker| worker.hub_options(hub))
            .shared_folder();
        let (host, worker) = adjust(builder).build().unwrap();
        let conversation = store
            .open_conversation(&Tenant::default(), "test")
            .await
            .unwrap()
            .id;
        Self {
            impostor,
            host,
            worker,
            store,
            recorder,
            conversation,
        }
    }

    /// The same, with another host and worker on this store.
    pub(crate) fn rebuilt(
        self,
        store: Arc<dyn Store>,
        options: WorkerOptions,
        adjust: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let builder = Builder::new(self.worker.client().clone(), store)
            .recorder(&self.recorder)
            .options(options)
            .shared_folder();
        let (host, worker) = adjust(builder).build().unwrap();
        Self {
            host,
            worker,
            ..self
        }
    }

    pub(crate) async fn with_product(impostor: Impostor, product: impl Product) -> Self {
        Self::with(impostor, quick(), |builder| builder.product(product)).await
    }

    pub(crate) async fn submit(&self, text: &str) -> TurnId {
        let submitted = self
            .host
            .submit(
                self.conversation,
                Prompt::text(text),
                SubmitOptions::default(),
            )
            .await;
        submitted.unwrap().turn.id
    }

    /// Works on a turn in the background.
    pub(crate) fn work(&self, turn: TurnId) -> tokio::task::JoinHandle<()> {
        let worker = self.worker.clone();
        tokio::spawn(async move {
            worker
                .run_turn(turn, CancellationToken::new())
                .await
                .unwrap()
        })
    }

    /// One turn, to its end; checks what holds for every turn.
    pub(crate) async fn turn(&self, text: &str) -> TurnResult {
        let turn = self.submit(text).await;
        let working = self.work(turn);
        self.finished(turn, working).await
    }

    pub(crate) async fn finished(
        &self,
        turn: TurnId,
        working: tokio::task::JoinHandle<()>,
    ) -> TurnResult {
        tokio::time::timeout(PATIENCE, working)
            .await
            .expect("the turn did not end")
            .unwrap();
        let result = self
            .host
            .result(turn)
            .await
            .unwrap()
            .expect("the turn has no result");
        let recorded = self.store.turn_events(turn).await.unwrap();
        assert_eq!(
            recorded
                .iter()
                .filter(|event| event.name == "turn.finished")
                .count(),
            1
        );
        let traced = self.recorder.named("turn.finished");
        let traced: Vec<_> = traced
            .iter()
            .filter(|fields| fields["turn"] == turn.to_string())
            .collect();
        assert_eq!(traced.len(), 1);
        assert_eq!(
            traced[0]["status"],
            serde_json::to_value(result.status).unwrap()
        );
        let unknown = self.recorder.named(UNKNOWN);
        assert!(unknown.is_empty(), "{unknown:?}");
        let message = self.store.message(result.message).await.unwrap().unwrap();
        assert_eq!(message.status, MessageStatus::from(result.status));
        result
    }

    /// Waits until a running turn shows this text.
    pub(crate) async fn shown(&self, turn: TurnId, text: &str) {
        let watching = async {
            let mut live = self.host.live(turn, Cursor::START).await.unwrap();
            let mut shown = String::new();
            while let Some(event) = live.try_next().await.unwrap() {
                match event {
                    LiveEvent::Change { change, .. } => {
                        if let opencode_client::reply::Change::PartDelta { delta, .. } = &*change {
                            shown.push_str(delta);
                        }
                    }
                    LiveEvent::Snapshot { view, .. } => shown = format!("{view:?}"),
                    _ => {
                        panic!("the turn ended before it showed {text:?}; it showed {shown:?}")
                    }
                }
                if shown.contains(text) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, watching)
            .await
            .expect("the text was not shown in time");
    }

    /// The server saw exactly one prompt and ran the model once for it.
    pub(crate) fn assert_prompted_once(&self, result: &TurnResult) {
        let ledger = self.impostor.ledger();
        assert_eq!(
            ledger
                .prompts(result.session.as_ref().unwrap().as_str())
                .len(),
            1
        );
        assert_eq!(
            ledger.model_runs(result.prompt.as_ref().unwrap().as_str()),
            1
        );
    }
}

pub(crate) fn assert_ended(
    result: &TurnResult,
    status: TurnStatus,
    reason: Option<&str>,
    content: &str,
) {
    let got = result.answer.reason.map(|reason| reason.as_str());
    assert_eq!(
        (result.status, got, result.answer.content.as_str()),
        (status, reason, content),
        "{:?}",
        result.answer.error
    );
}
