//! The pages of a host on a store in memory, against the impostor.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use opencode_host::artifacts::Transform;
use opencode_host::blobs::Blobs;
use opencode_host::budget::Budget;
use opencode_host::client::Client;
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::product::{HookError, Product, TurnContext, Verdict};
use opencode_host::sandbox::SandboxRoot;
use opencode_host::store::{
    self, Conversation, ConversationFilter, ConversationSummary, MemoryStore, Message, MessageRole,
    MessageStatus,
};
use opencode_host::turn::{Limits, Pace};
use opencode_host::{Host, HostOptions, Worker, WorkerOptions};
use opencode_impostor::{Impostor, Script, Step};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use opencode_chat::chart::ChartPage;
use opencode_chat::people::Accounts;
use opencode_chat::web::{self, BasePath, router};

/// No step of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most bytes of a file.
pub(super) const MAX_UPLOAD: u64 = 1000;

/// A product that draws charts, of anything but secrets.
#[derive(Debug)]
struct Drawing;

#[async_trait]
impl Product for Drawing {
    fn transforms(&self, _: &Conversation) -> Vec<Arc<dyn Transform>> {
        vec![Arc::new(ChartPage)]
    }

    async fn before_turn(&self, turn: &TurnContext) -> Result<Verdict, HookError> {
        Ok(if turn.prompt.text.contains("secret") {
            Verdict::Refuse("Secrets are <not> drawn.".to_owned())
        } else {
            Verdict::Go
        })
    }
}

/// A site under test.
pub(super) struct Site {
    pub(super) impostor: Impostor,
    pub(super) host: Host,
    /// What the host keeps its rows in, for writing beside it.
    pub(super) store: Arc<MemoryStore>,
    pub(super) shutdown: CancellationToken,
    router: Router,
    settings: web::Site,
    /// Where files are: `sandboxes` and `blobs`.
    pub(super) folder: TempDir,
    worker: Worker,
    working: Option<JoinHandle<()>>,
}

/// What a request was answered with.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Page {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The conversation that a form led to.
    #[track_caller]
    pub(super) fn conversation(&self) -> ConversationId {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.text);
        let path = self.header("location").split('#').next().unwrap();
        path.rsplit('/').next().unwrap().parse().unwrap()
    }

    /// The page's text holds all of these, in this order.
    #[track_caller]
    pub(super) fn shows(&self, wanted: &[&str]) {
        // The icons on every page are of no interest.
        let mut rest =
            self.text
                .split_once("</symbol>\n</svg>")
                .map_or(self.text.as_str(), |(head, body)| {
                    if wanted.first().is_some_and(|first| head.contains(first)) {
                        &self.text
                    } else {
                        body
                    }
                });
        for wanted in wanted {
            let at = rest
                .find(wanted)
                .unwrap_or_else(|| panic!("no {wanted:?} in {rest}"));
            rest = &rest[at + wanted.len()..];
        }
    }

    #[track_caller]
    pub(super) fn lacks(&self, unwanted: &str) {
        assert!(
            !self.text.contains(unwanted),
            "{unwanted:?} in {}",
            self.text
        );
    }

    /// What stands between `before` and `after`.
    #[track_caller]
    pub(super) fn between(&self, before: &str, after: &str) -> String {
        let (_, rest) = self
            .text
            .split_once(before)
            .unwrap_or_else(|| panic!("no {before:?} in {}", self.text));
        rest.split_once(after)
            .unwrap_or_else(|| panic!("no {after:?} in {rest}"))
            .0
            .to_owned()
    }
}

impl Site {
    pub(super) async fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::on(Impostor::scripted(Script::always(steps)).await.unwrap())
    }

    pub(super) async fn standard() -> Self {
        Self::on(Impostor::start().await.unwrap())
    }

    pub(super) fn on(impostor: Impostor) -> Self {
        let mut site = Self::without_worker(impostor);
        let (worker, shutdown) = (site.worker.clone(), site.shutdown.clone());
        site.working = Some(tokio::spawn(
            async move { worker.run(shutdown).await.unwrap() },
        ));
        site
    }

    pub(super) fn without_worker(impostor: Impostor) -> Self {
        let client = Client::builder(impostor.url())
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let pace = Pace {
            confirm: Duration::from_millis(200),
            unseen: Duration::from_millis(400),
            lost: Duration::from_millis(400),
            ..Pace::default()
        };
        let taken = HostOptions {
            max_upload: MAX_UPLOAD,
            upload_quota: 2 * MAX_UPLOAD + 500,
            poll_interval: Duration::from_millis(50),
            ..HostOptions::default()
        };
        let options = WorkerOptions {
            limits: Limits {
                pace,
                ..Limits::default()
            },
            poll_interval: Duration::from_millis(50),
            ..WorkerOptions::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let sandboxes = SandboxRoot::open(folder.path().join("sandboxes")).unwrap();
        let store = Arc::new(MemoryStore::default());
        let host = Host::builder(store.clone())
            .options(taken)
            .blobs(Blobs::in_folder(folder.path().join("blobs")).unwrap())
            .sandboxes(sandboxes)
            .build();
        let worker = Worker::builder(client)
            .options(options)
            .product(Drawing)
            .build(&host)
            .unwrap();
        let shutdown = CancellationToken::new();
        let settings = web::Site {
            host: host.clone(),
            product: Arc::new(Drawing),
            base: BasePath::default(),
            stand_in: false,
            max_upload: MAX_UPLOAD,
            allowed_hosts: Vec::new(),
            accounts: None,
            open_to_network: false,
            unasked: false,
            streams: 8,
            wholes: 2,
        };
        Self {
            impostor,
            host,
            store,
            router: router(settings.clone(), shutdown.clone()),
            shutdown,
            settings,
            worker,
            working: None,
            folder,
        }
    }

    /// The same, told that a stand-in answers.
    pub(super) fn with_stand_in(self) -> Self {
        let settings = web::Site {
            stand_in: true,
            ..self.settings.clone()
        };
        self.with(settings)
    }

    /// The same, with sub-agents that ask for nothing.
    pub(super) fn unasked(self) -> Self {
        let settings = web::Site {
            unasked: true,
            ..self.settings.clone()
        };
        self.with(settings)
    }

    /// The same, told that a network reaches it.
    pub(super) fn open_to_network(self) -> Self {
        let settings = web::Site {
            open_to_network: true,
            ..self.settings.clone()
        };
        self.with(settings)
    }

    /// The same, whose prompts are within this budget.
    pub(super) fn within(self, budget: Budget) -> Self {
        let host = Host::builder(self.store.clone()).budgets(budget).build();
        let settings = web::Site {
            host,
            ..self.settings.clone()
        };
        self.with(settings)
    }

    /// The same, seen by browsers below this path.
    pub(super) fn below(self, base: &str) -> Self {
        let settings = web::Site {
            base: base.parse().unwrap(),
            ..self.settings.clone()
        };
        self.with(settings)
    }

    /// The same, for these users.
    pub(super) fn used_by(self, accounts: Accounts) -> Self {
        let settings = web::Site {
            accounts: Some(accounts),
            ..self.settings.clone()
        };
        self.with(settings)
    }

    fn with(mut self, settings: web::Site) -> Self {
        self.router = router(settings.clone(), self.shutdown.clone());
        self.settings = settings;
        self
    }

    /// The answer to a request, its body still to come.
    pub(super) async fn respond(&self, mut request: Request<Body>) -> Response {
        // As every client of HTTP/1.1 does.
        let host = request.headers_mut().entry(header::HOST);
        host.or_insert(HeaderValue::from_static("localhost:3000"));
        self.respond_as_it_is(request).await
    }

    /// The same, without a header that the request does not have.
    pub(super) async fn respond_as_it_is(&self, request: Request<Body>) -> Response {
        let answered = tower::ServiceExt::oneshot(self.router.clone(), request);
        timeout(PATIENCE, answered)
            .await
            .expect("an answer in time")
            .unwrap()
    }

    pub(super) async fn request(&self, request: Request<Body>) -> Page {
        let response = self.respond(request).await;
        let (parts, body) = response.into_parts();
        let bytes = timeout(PATIENCE, to_bytes(body, usize::MAX))
            .await
            .expect("a body in time")
            .unwrap();
        Page {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Page {
        self.request(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    /// Sends a form as a browser without a script does.
    pub(super) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.request(form(path, fields, "text/html,*/*;q=0.8"))
            .await
    }

    /// Sends a form as the script does.
    pub(super) async fn send(&self, path: &str, fields: &[(&str, &str)]) -> (StatusCode, Value) {
        let page = self.request(form(path, fields, "application/json")).await;
        (
            page.status,
            serde_json::from_str(&page.text).unwrap_or_else(|_| panic!("JSON, not {}", page.text)),
        )
    }

    /// Begins a conversation.
    pub(super) async fn begin(&self, prompt: &str) -> (ConversationId, TurnId) {
        let page = self
            .post("/conversations", &[("prompt", prompt), ("key", "begin")])
            .await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
        let conversation: ConversationId = page.conversation();
        (conversation, self.answer(conversation).await.turn)
    }

    /// The conversations there are, the one used last first.
    pub(super) async fn conversations(&self) -> Vec<ConversationSummary> {
        let (all, page) = (ConversationFilter::default(), store::Page::newest(10));
        self.host.store().conversations(&all, &page).await.unwrap()
    }

    /// Nothing was begun.
    pub(super) async fn has_no_conversation(&self) {
        let begun = self.conversations().await;
        assert!(begun.is_empty(), "{begun:?}");
    }

    pub(super) async fn messages(&self, conversation: ConversationId) -> Vec<Message> {
        self.host
            .store()
            .messages(Some(conversation), None, 1000)
            .await
            .unwrap()
    }

    /// The newest answer.
    pub(super) async fn answer(&self, conversation: ConversationId) -> Message {
        let mut messages = self.messages(conversation).await;
        messages.retain(|message| message.role == MessageRole::Assistant);
        messages.pop().unwrap()
    }

    /// The newest answer, once it has ended.
    pub(super) async fn ended(&self, conversation: ConversationId) -> Message {
        let turn = self.answer(conversation).await.turn;
        // The stream says when.
        self.watch(turn, None).await.until_done().await;
        let answer = self.answer(conversation).await;
        assert_ne!(answer.status, MessageStatus::Pending);
        answer
    }

    /// The conversation's page.
    pub(super) async fn page(&self, conversation: ConversationId) -> Page {
        let page = self.get(&format!("/conversations/{conversation}")).await;
        assert_eq!(page.status, StatusCode::OK);
        page
    }

    /// The stream of a turn, from the event of this id on.
    pub(super) async fn watch(&self, turn: TurnId, last: Option<&str>) -> Watch {
        let mut request = Request::get(format!("/turns/{turn}/events"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = self.respond(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/event-stream"
        );
        Watch {
            body: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    /// The stream of how the conversations stand.
    pub(super) async fn board(&self) -> Standings {
        let request = Request::get("/conversations/events");
        let response = self.respond(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        Standings(response.into_body().into_data_stream())
    }

    /// Stops the worker.
    pub(super) async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(working) = self.working.take() {
            timeout(PATIENCE, working)
                .await
                .expect("the worker stops")
                .unwrap();
        }
    }
}

pub(super) fn form(path: &str, fields: &[(&str, &str)], accept: &str) -> Request<Body> {
    let escape = |text: &str| -> String {
        let bytes = text.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        });
        bytes.collect()
    };
    let body: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", escape(value)))
        .collect();
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, "localhost:3000")
        .header(header::ORIGIN, "http://localhost:3000")
        .header(header::ACCEPT, accept)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body.join("&")))
        .unwrap()
}

/// How the conversations stand, again and again.
pub(super) struct Standings(BodyDataStream);

impl Standings {
    /// The next word of it, which comes whole.
    pub(super) async fn next(&mut self) -> Value {
        loop {
            let chunk = timeout(PATIENCE, self.0.next())
                .await
                .expect("a word in time");
            let text = String::from_utf8(chunk.unwrap().unwrap().to_vec()).unwrap();
            if let Some(data) = text.trim().strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

/// A stream that is read.
pub(super) struct Watch {
    body: BodyDataStream,
    text: String,
}

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) id: Option<String>,
    /// `[operation, target, html]`; of one that grows what is kept of the HTML, as a number, stands before the rest of it.
    pub(super) patches: Vec<Vec<String>>,
}

impl Seen {
    /// All HTML of the event.
    pub(super) fn html(&self) -> String {
        self.patches
            .iter()
            .filter_map(|patch| patch.get(2..).and_then(<[_]>::last))
            .map(String::as_str)
            .collect()
    }
}

impl Watch {
    /// The next event with data; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Option<Seen> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.text = rest;
                let mut seen = Seen::default();
                let mut has_data = false;
                for line in frame.lines() {
                    match line.split_once(": ") {
                        Some(("event", name)) => name.clone_into(&mut seen.name),
                        Some(("id", id)) => seen.id = Some(id.to_owned()),
                        Some(("data", data)) => {
                            has_data = true;
                            let patches: Vec<Vec<Value>> = serde_json::from_str(data).unwrap();
                            let words = |value: &Value| match value.as_str() {
                                Some(words) => words.to_owned(),
                                None => value.to_string(),
                            };
                            let patches = patches.iter();
                            seen.patches = patches
                                .map(|patch| patch.iter().map(words).collect())
                                .collect();
                        }
                        _ => {}
                    }
                }
                if has_data && seen.name != "beat" {
                    return Some(seen);
                }
                continue;
            }
            let chunk = timeout(PATIENCE, self.body.next())
                .await
                .expect("an event in time")?
                .unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads until an event's HTML holds this; returns all events up to it.
    pub(super) async fn until(&mut self, wanted: &str) -> Vec<Seen> {
        let mut events = Vec::new();
        loop {
            let seen = self
                .next()
                .await
                .unwrap_or_else(|| panic!("the stream ended without {wanted:?}: {events:?}"));
            let found = seen.html().contains(wanted);
            events.push(seen);
            if found {
                return events;
            }
        }
    }

    /// Reads to the end, which is told.
    pub(super) async fn until_done(&mut self) -> Vec<Seen> {
        let mut events = Vec::new();
        while let Some(seen) = self.next().await {
            events.push(seen);
        }
        assert_eq!(
            events.last().map(|last| last.name.as_str()),
            Some("done"),
            "{events:?}"
        );
        events
    }
}
