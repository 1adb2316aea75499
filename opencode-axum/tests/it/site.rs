//! The router over a host, on a store in memory unless a test needs another, mounted below `/api`, with a worker on the
//! impostor.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use opencode_axum::{Api, Authorize, Caller, PROBLEM_JSON, Problem, router};
use opencode_client::Client;
use opencode_host::blobs::Blobs;
use opencode_host::budget::{Allowance, Budget, Dollars, Period};
use opencode_host::budgets::{Budgets, Spender};
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::product::HookError;
use opencode_host::sandbox::SandboxRoot;
use opencode_host::store::{MemoryStore, Store, Tenant};
use opencode_host::turn::{Limits, Pace};
use opencode_host::{Host, HostBuilder, HostOptions, Worker, WorkerOptions};
use opencode_impostor::{Impostor, Script, Step};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// No step of a test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The most bytes of a file.
pub(crate) const MAX_UPLOAD: u64 = 1000;

/// The most bytes of another body.
pub(crate) const MAX_BODY: usize = 50_000;

/// Whoever has a token is of the tenant that it names: `acme`, `acme ada` (with a name), `acme ada notes` for who may
/// write metadata, and `acme ada all` for who may also say who answers, and when.
struct Tokens;

#[async_trait]
impl Authorize for Tokens {
    async fn authorize(&self, request: &Parts) -> Result<Caller, Problem> {
        let token = request.headers.get(header::AUTHORIZATION);
        let token = token.and_then(|token| token.to_str().unwrap().strip_prefix("Bearer "));
        let token = token.ok_or_else(|| Problem::unauthenticated("Bearer"))?;
        let mut words = token.split(' ');
        let caller = Caller::new(words.next().unwrap());
        let caller = match words.next() {
            Some(name) => caller.named(name),
            None => caller,
        };
        Ok(match words.next() {
            Some("notes") => caller.may_note(),
            Some("all") => caller.may_note().may_instruct().may_schedule(),
            _ => caller,
        })
    }
}

/// `trial` may use a dollar and a half and an hour a day, `broke` no token.
struct Plans;

#[async_trait]
impl Budgets for Plans {
    async fn budget(&self, of: &Spender) -> Result<Budget, HookError> {
        let unlimited = Allowance::UNLIMITED;
        let day = unlimited.cost(Dollars::new(1.5)?);
        let budget = Budget::default();
        Ok(match of.tenant.as_str() {
            "trial" => budget.tenant(day.time(Duration::from_secs(3600)), Period::Day),
            "broke" => budget.tenant(unlimited.tokens(0), Period::Month),
            _ => budget,
        })
    }
}

/// The router under test.
pub(crate) struct Site {
    pub(crate) impostor: Impostor,
    mounted: Mounted,
}

impl Deref for Site {
    type Target = Mounted;

    fn deref(&self) -> &Mounted {
        &self.mounted
    }
}

/// The router and its host, whatever server there is.
pub(crate) struct Mounted {
    pub(crate) host: Host,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) router: Router,
    pub(crate) folder: TempDir,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Page {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "{error}: {} {:?}",
                self.status,
                String::from_utf8_lossy(&self.body)
            )
        })
    }

    /// What a success says.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.json());
        self.json()
    }

    /// It is a problem document of this status and code.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: StatusCode, code: &str) -> Value {
        let problem = self.json();
        assert_eq!(
            (self.status, &problem["code"]),
            (status, &json!(code)),
            "{problem}"
        );
        assert_eq!(self.header("content-type"), PROBLEM_JSON);
        assert_eq!(problem["status"], status.as_u16());
        assert_eq!(
            problem["type"],
            format!("urn:problem-type:opencode-host:{code}")
        );
        for field in ["title", "detail"] {
            assert!(!problem[field].as_str().unwrap().is_empty(), "{problem}");
        }
        problem
    }
}

/// A request that grows.
pub(crate) struct Asking<'a> {
    site: &'a Mounted,
    request: axum::http::request::Builder,
    body: Body,
}

impl Asking<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        let mut asking = self.header("content-type", "application/json");
        asking.body = Body::from(body.to_string());
        asking
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// The answer, while its body comes.
    pub(crate) async fn begun(self) -> Response {
        let request = self.request.body(self.body).unwrap();
        let answer = self.site.router.clone().oneshot(request);
        timeout(PATIENCE, answer).await.unwrap().unwrap()
    }

    /// The answer, whole.
    pub(crate) async fn page(self) -> Page {
        let (parts, body) = self.begun().await.into_parts();
        let body = timeout(PATIENCE, to_bytes(body, usize::MAX));
        Page {
            status: parts.status,
            headers: parts.headers,
            body: body.await.unwrap().unwrap().into(),
        }
    }

    /// The answer's events, as they come.
    pub(crate) async fn events(self) -> Events {
        let response = self.begun().await;
        assert_eq!(response.status(), StatusCode::OK);
        Events {
            headers: response.headers().clone(),
            body: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }
}

impl Site {
    pub(crate) async fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::scripted(Script::always(steps)).await
    }

    pub(crate) async fn scripted(script: Script) -> Self {
        let site = Self::without_worker(script).await;
        site.work(Client::builder(site.impostor.url()).build().unwrap());
        site
    }

    pub(crate) async fn without_worker(script: Script) -> Self {
        Self::adjusted(script, |api| api).await
    }

    /// On a database that other processes use too, without a worker.
    pub(crate) async fn shared(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = database_in(folder.path());
        let store = opencode_sql::connect(&database).await.unwrap();
        Self::made(script, store, folder, |api| api).await
    }

    pub(crate) async fn adjusted(script: Script, adjust: impl FnOnce(Api) -> Api) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::made(script, Arc::new(MemoryStore::default()), folder, adjust).await
    }

    async fn made(
        script: Script,
        store: Arc<dyn Store>,
        folder: TempDir,
        adjust: impl FnOnce(Api) -> Api,
    ) -> Self {
        let host = in_folder(Host::builder(store.clone()), folder.path());
        Self {
            impostor: Impostor::scripted(script).await.unwrap(),
            mounted: Mounted::new(host, store, folder, adjust),
        }
    }
}

impl Mounted {
    fn new(
        host: HostBuilder,
        store: Arc<dyn Store>,
        folder: TempDir,
        adjust: impl FnOnce(Api) -> Api,
    ) -> Self {
        let options = HostOptions {
            max_upload: MAX_UPLOAD,
            upload_quota: 2 * MAX_UPLOAD,
            max_prompt: 5000,
            poll_interval: Duration::from_millis(50),
            ..HostOptions::default()
        };
        let host = host.options(options).budgets(Plans).build();
        let shutdown = CancellationToken::new();
        let api = Api::new(host.clone(), Tokens)
            .max_body(MAX_BODY)
            .shutdown(shutdown.clone());
        Self {
            router: Router::new().nest("/api", router(adjust(api))),
            host,
            store,
            shutdown,
            folder,
        }
    }

    /// On this store, without folders of their own for conversations: all are in the server's.
    pub(crate) fn without_sandboxes(store: Arc<dyn Store>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::in_folder(folder.path().join("blobs")).unwrap();
        let host = Host::builder(store.clone()).blobs(blobs);
        Self::new(host, store, folder, |api| api)
    }

    /// Has a worker work for it, for as long as the test runs.
    pub(crate) fn work(&self, client: Client) {
        let (worker, shutdown) = (worker(client, &self.host), self.shutdown.clone());
        tokio::spawn(async move { worker.run(shutdown).await.unwrap() });
    }

    /// Serves the router on loopback, for as long as the test runs.
    pub(crate) async fn serve(&self) -> SocketAddr {
        self.serve_with(Router::new()).await
    }

    /// The same, beside routes of an application's.
    pub(crate) async fn serve_with(&self, more: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone().merge(more);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }

    /// A request of `token` to an address below the mount.
    pub(crate) fn ask(&self, token: &str, method: Method, path: &str) -> Asking<'_> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        Asking {
            site: self,
            request,
            body: Body::empty(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Page {
        self.ask("acme", Method::GET, path).page().await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Page {
        let asking = self.ask("acme", Method::POST, path);
        asking.json(body).page().await
    }

    /// A conversation of acme's.
    pub(crate) async fn conversation(&self) -> ConversationId {
        let acme = Tenant::from("acme");
        let opened = self.host.open_conversation(&acme, "garden").await;
        opened.unwrap().id
    }

    /// A turn in a conversation of acme's.
    pub(crate) async fn turn(&self, prompt: &str) -> TurnId {
        let conversation = self.conversation().await;
        let path = format!("/conversations/{conversation}/turns");
        let turn = self.post(&path, &json!({"prompt": prompt})).await;
        assert_eq!(turn.status, StatusCode::CREATED, "{}", turn.json());
        turn.json()["id"].as_str().unwrap().parse().unwrap()
    }

    /// The files that came with the last prompt: their names and contents.
    pub(crate) async fn sent_files(&self) -> Vec<(String, Vec<u8>)> {
        let path = format!("/conversations/{}/messages", self.conversation().await);
        let messages = self.get(&path).await.ok();
        let messages = messages["messages"].as_array().unwrap();
        let prompt = messages.iter().find(|message| message["role"] == "user");
        let mut files = Vec::new();
        for file in prompt.unwrap()["files"].as_array().unwrap() {
            let path = format!("/files/{}", file["id"].as_str().unwrap());
            let content = self.get(&path).await.body;
            files.push((file["name"].as_str().unwrap().to_owned(), content));
        }
        files
    }

    /// What the turn asks a person, once it does: its id.
    pub(crate) async fn request(&self, turn: TurnId) -> String {
        let path = format!("/turns/{turn}/events");
        let mut events = self.ask("acme", Method::GET, &path).events().await;
        loop {
            let event = events.next().await.expect("nothing was asked");
            if let Some(id) = event.data["request"]["id"].as_str() {
                return id.to_owned();
            }
            if let Some(id) = event.data["requests"][0]["id"].as_str() {
                return id.to_owned();
            }
        }
    }
}

/// The database of a site whose folder this is.
pub(crate) fn database_in(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("host.db").display())
}

fn in_folder(host: HostBuilder, folder: &Path) -> HostBuilder {
    host.blobs(Blobs::in_folder(folder.join("blobs")).unwrap())
        .sandboxes(SandboxRoot::open(folder.join("sandboxes")).unwrap())
}

/// A worker at this server, as another process has it: it shares the store and the folders, and nothing else.
pub(crate) fn other_worker(server: &str, store: Arc<dyn Store>, folder: &Path) -> Worker {
    let client = Client::builder(server).build().unwrap();
    worker(client, &in_folder(Host::builder(store), folder).build())
}

fn worker(client: Client, host: &Host) -> Worker {
    let pace = Pace {
        confirm: Duration::from_millis(200),
        unseen: Duration::from_millis(400),
        lost: Duration::from_millis(400),
        ..Pace::default()
    };
    let options = WorkerOptions {
        limits: Limits {
            pace,
            ..Limits::default()
        },
        lease: Duration::from_secs(2),
        poll_interval: Duration::from_millis(50),
        snapshot_interval: Duration::from_millis(20),
        ..WorkerOptions::default()
    };
    // Where there are sandboxes, it changes nothing.
    let worker = Worker::builder(client).options(options).shared_folder();
    worker.build(host).unwrap()
}

/// Server-sent events as they come.
pub(crate) struct Events {
    pub(crate) headers: HeaderMap,
    body: BodyDataStream,
    text: String,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Events {
    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let mut lines = block.lines();
                    lines.find_map(|line| Some(line.strip_prefix(name)?.to_owned()))
                };
                if let Some(data) = field("data: ") {
                    return Some(Event {
                        name: field("event: ").unwrap_or_default(),
                        id: field("id: ").unwrap_or_default(),
                        data: serde_json::from_str(&data).unwrap(),
                    });
                }
            }
            let chunk = timeout(PATIENCE, self.body.next()).await.unwrap()?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// All that come, to the end.
    pub(crate) async fn all(mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

/// The text that changes come to.
pub(crate) fn text_of(events: &[Event]) -> String {
    let deltas = events.iter();
    deltas
        .filter_map(|event| event.data["delta"].as_str())
        .collect()
}
