//! The wiring of a web application with tables of its own: sign in, ask, watch, answer, download.
//!
//! Run an OpenCode server (`opencode serve --port 4096`), then
//! `cargo run -p opencode-host --example axum_integration 3001` and open <http://127.0.0.1:3001>. Without an OpenCode,
//! `cargo run -p opencode-impostor -- serve --port 4096` stands in.

mod chart;
mod failure;
mod files;
mod users;

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{StreamExt as _, stream};
use opencode_host::artifacts::Transform;
use opencode_host::blobs::Blobs;
use opencode_host::client::Client;
use opencode_host::client::reply::PersistedPart;
use opencode_host::client::wire::{PermissionAction, PermissionReply, PermissionRule, Prompt};
use opencode_host::id::TurnId;
use opencode_host::live::Cursor;
use opencode_host::product::{HookError, Product, TurnContext};
use opencode_host::sandbox::{SandboxRoot, default_permission_rules};
use opencode_host::store::{Conversation, Given, MemoryStore, NewAnswer};
use opencode_host::{AnswerError, Host, SubmitError, SubmitOptions, Worker};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use chart::ChartPage;
use failure::Failure;
use files::download;
use users::{User, Users, sign_in};

/// What every request has at hand.
#[derive(Clone)]
pub(crate) struct App {
    host: Host,
    users: Users,
}

/// The feature that talks to the agent.
#[derive(Debug)]
pub(crate) struct Charts;

#[async_trait]
impl Product for Charts {
    async fn system_context(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        let chart = "When numbers are asked for, write chart.json: {\"bars\": [1, 2, 3]}.";
        Ok(Some(chart.to_owned()))
    }

    async fn permission_rules(&self, _: &TurnContext) -> Result<Vec<PermissionRule>, HookError> {
        let mut rules = default_permission_rules();
        rules.push(PermissionRule::all("webfetch", PermissionAction::Ask));
        Ok(rules)
    }

    fn transforms(&self, _: &Conversation) -> Vec<Arc<dyn Transform>> {
        vec![Arc::new(ChartPage)]
    }
}

/// The host of this application, with its files in a data folder, and a worker on a server.
pub(crate) fn host(client: Client, data: &std::path::Path) -> Result<(Host, Worker), HookError> {
    let host = Host::builder(Arc::new(MemoryStore::default()))
        .blobs(Blobs::in_folder(data.join("blobs"))?)
        .sandboxes(SandboxRoot::open(data.join("sandboxes"))?)
        .build();
    let worker = Worker::builder(client).product(Charts).build(&host)?;
    Ok((host, worker))
}

impl App {
    /// Whether a turn is this user's.
    async fn is_of(&self, turn: TurnId, user: &User) -> Result<(), Failure> {
        let row = self.host.store().turn(turn).await?;
        row.filter(|row| row.conversation == user.conversation)
            .map(drop)
            .ok_or(Failure(StatusCode::NOT_FOUND))
    }
}

/// The routes.
pub(crate) fn app(host: Host) -> Router {
    Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .route("/sign-in", post(sign_in))
        .route("/ask", post(ask))
        .route("/turns/{turn}/events", get(events))
        .route("/turns/{turn}/answer", post(answer))
        .route("/files/{file}", get(download))
        .with_state(App {
            host,
            users: Users::default(),
        })
}

#[derive(Deserialize)]
struct Ask {
    text: String,
}

async fn ask(
    State(app): State<App>,
    user: User,
    Form(form): Form<Ask>,
) -> Result<Json<Value>, Failure> {
    let (prompt, options) = (Prompt::text(form.text), SubmitOptions::default());
    let submitted = app.host.submit(user.conversation, prompt, options).await;
    let submitted = submitted.map_err(|error| match error {
        SubmitError::Store(error) => error.into(),
        _ => Failure(StatusCode::UNPROCESSABLE_ENTITY),
    })?;
    Ok(Json(json!({"turn": submitted.turn.id, "user": user.name})))
}

/// The reply as it is, whenever it is another; at the end what came of it.
async fn events(
    State(app): State<App>,
    user: User,
    Path(turn): Path<TurnId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    app.is_of(turn, &user).await?;
    // A browser that comes back says what it has.
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let views = app.host.views(turn, last.unwrap_or(Cursor::START)).await?;
    let shown = views.map(|shown| -> Result<Event, HookError> {
        let (cursor, view) = shown?;
        let texts = view.parts().filter_map(|part| match &part.part {
            PersistedPart::Text { content } => Some(content.as_str()),
            _ => None,
        });
        let text = texts.collect::<Vec<_>>().join("\n\n");
        let requests: Vec<_> = view.requests().collect();
        let data = json!({"text": text, "requests": requests});
        Ok(Event::default().id(cursor.to_string()).json_data(data)?)
    });
    let end = async move {
        let Some(result) = app.host.result(turn).await? else {
            return Ok(Event::default().event("deleted").json_data(())?);
        };
        let files = result.artifacts.iter();
        let files = files.map(|file| json!({"id": file.id, "name": file.name}));
        let data = json!({"text": result.answer.content, "files": files.collect::<Vec<_>>()});
        Ok(Event::default().event("finished").json_data(data)?)
    };
    // After an error the stream ends, and the browser comes back by itself with what it has.
    Ok(Sse::new(shown.chain(stream::once(end)))
        .keep_alive(KeepAlive::default())
        .into_response())
}

/// What somebody says to a request of the agent.
#[derive(Deserialize)]
struct Reply {
    request: String,
    /// To a question: one for each of its questions.
    #[serde(default)]
    words: Vec<String>,
    /// To a request for permission.
    allow: Option<bool>,
}

async fn answer(
    State(app): State<App>,
    user: User,
    Path(turn): Path<TurnId>,
    Json(reply): Json<Reply>,
) -> Result<StatusCode, Failure> {
    app.is_of(turn, &user).await?;
    let words = reply.words.into_iter().map(|word| vec![word]);
    let permission = |reply| Given::Permission {
        reply,
        message: None,
    };
    let given = match reply.allow {
        Some(true) => permission(PermissionReply::Once),
        Some(false) => permission(PermissionReply::Reject),
        None => Given::Answers(words.collect()),
    };
    let answer = NewAnswer::new(reply.request, given).by(user.name);
    match app.host.answer(turn, answer).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(AnswerError::NotWaiting | AnswerError::AlreadyAnswered { .. }) => {
            Err(Failure(StatusCode::CONFLICT))
        }
        Err(error) => Err(error.into()),
    }
}

/// Serves on loopback, and works on the turns.
#[tokio::main]
async fn main() -> Result<(), HookError> {
    let url =
        std::env::var("OPENCODE_BASE_URL").unwrap_or_else(|_| "http://127.0.0.1:4096".to_owned());
    tracing_subscriber::fmt::init();
    // Outside every Git worktree, in which OpenCode would take all of it for the agent's.
    let data = std::env::temp_dir().join("opencode-host-example");
    let (host, worker) = host(Client::builder(url).build()?, &data)?;
    let shutdown = CancellationToken::new();
    let working = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { worker.run(shutdown).await }
    });
    let port: u16 = match std::env::args().nth(1) {
        Some(port) => port.parse()?,
        None => 3001,
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!(
        "http://{}, data in {}",
        listener.local_addr()?,
        data.display()
    );
    // Not a graceful stop of the server: that would wait for those who watch a turn.
    tokio::select! {
        served = axum::serve(listener, app(host)).into_future() => served?,
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    shutdown.cancel();
    Ok(working.await??)
}
