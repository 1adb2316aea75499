//! A model provider that always says the same: an OpenAI-compatible endpoint on loopback.
//!
//! It makes a real OpenCode server deterministic. What it answers is a [`ModelScript`]: the first rule whose marker
//! is in the newest user message gives the rounds; round 0 answers the prompt, round 1 what comes after the first
//! tool results, and so on, the last one for ever. Requests without tools are OpenCode's title generator and get a
//! short title.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use opencode_impostor::{ModelServer, real::RealServer};
//!
//! let model = ModelServer::start().await?;
//! let opencode = RealServer::start(&model.opencode_config()).await?;
//! // prompt `opencode.url()` with "[[write]]", "[[question]]", …
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::gates::Gates;
use crate::ports;

mod request;
mod script;

pub use script::{ModelRule, ModelScript, Round};

use request::Asked;

/// A running model provider. It stops when this is dropped.
pub struct ModelServer {
    shared: Arc<Shared>,
    port: u16,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for ModelServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelServer")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    script: ModelScript,
    requests: Vec<Value>,
    gates: Gates,
    waiting: HashMap<String, usize>,
    /// How often the very same request came: a retry repeats it.
    tries: HashMap<u64, u32>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let result = change(&mut self.lock());
        self.changes.send_modify(|count| *count += 1);
        result
    }

    async fn until(&self, mut look: impl FnMut(&mut Inner) -> bool) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if look(&mut self.lock()) {
                return;
            }
            changes.changed().await.ok();
        }
    }
}

impl ModelServer {
    /// A provider with the standard script on a free port.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start() -> std::io::Result<Self> {
        Self::scripted(ModelScript::standard()).await
    }

    /// A provider with this script on a free port.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn scripted(script: ModelScript) -> std::io::Result<Self> {
        Self::on_port(0, script).await
    }

    /// A provider on this port of 127.0.0.1.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn on_port(port: u16, script: ModelScript) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                script,
                ..Inner::default()
            }),
            changes: watch::Sender::new(0),
        });
        let router = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/chat/completions", post(complete))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(shared.clone());
        let listener = ports::listen(port).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.ok();
        });
        Ok(Self { shared, port, task })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT/v1`, what OpenAI-compatible clients call the base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// The configuration that makes OpenCode use this provider; see [`opencode_config`].
    pub fn opencode_config(&self) -> Value {
        opencode_config(&self.url())
    }

    /// Replaces the script.
    pub fn set_script(&self, script: ModelScript) {
        self.shared.update(|inner| inner.script = script);
    }

    /// The bodies of all requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<Value> {
        self.shared.lock().requests.clone()
    }

    /// How many requests (title generation apart) had this text in their newest user message.
    pub fn runs(&self, text: &str) -> usize {
        self.shared
            .lock()
            .requests
            .iter()
            .map(Asked::of)
            .filter(|asked| asked.has_tools && asked.prompt.contains(text))
            .count()
    }

    /// Waits until a round waits at this gate.
    pub async fn reached(&self, gate: &str) {
        self.shared
            .until(|inner| inner.waiting.get(gate).is_some_and(|waiting| *waiting > 0))
            .await;
    }

    /// Opens a gate: rounds that hold there go on, and later ones do not wait.
    pub fn open(&self, gate: &str) {
        self.shared.update(|inner| inner.gates.open(gate));
    }
}

/// The configuration for `OPENCODE_CONFIG_CONTENT` that makes OpenCode use a local provider at `base_url`
/// (`http://127.0.0.1:PORT/v1`).
///
/// The model is `local/scripted`; `local/gpt-5-scripted` is the same one, for which OpenCode offers `apply_patch`
/// instead of `write` and `edit` (seen on 1.18.33), and `local/seeing` takes pictures and PDFs. A prompt costs 1 and an answer 2 dollars a million tokens.
pub fn opencode_config(base_url: &str) -> Value {
    let model = |id: &str| {
        json!({
            "id": id, "name": id, "tool_call": true, "limit": {"context": 200_000, "output": 8000},
            "cost": {"input": 1, "output": 2},
        })
    };
    let mut seeing = model("seeing");
    seeing["attachment"] = true.into();
    seeing["modalities"] = json!({"input": ["text", "image", "pdf"], "output": ["text"]});
    json!({
        "formatter": false, "lsp": false, "share": "disabled",
        "model": "local/scripted", "small_model": "local/scripted",
        "provider": {"local": {
            "npm": "@ai-sdk/openai-compatible", "env": [],
            "options": {"apiKey": "none", "baseURL": base_url},
            "models": {
                "scripted": model("scripted"), "gpt-5-scripted": model("gpt-5-scripted"), "seeing": seeing,
            },
        }},
    })
}

async fn models() -> Json<Value> {
    let model = |id: &str| json!({"id": id, "object": "model", "owned_by": "impostor"});
    Json(
        json!({"object": "list", "data": [model("scripted"), model("gpt-5-scripted"), model("seeing")]}),
    )
}

async fn complete(State(shared): State<Arc<Shared>>, Json(body): Json<Value>) -> Response {
    let asked = Asked::of(&body);
    let round = shared.update(|inner| {
        let mut hasher = DefaultHasher::new();
        body["messages"].to_string().hash(&mut hasher);
        asked.has_tools.hash(&mut hasher);
        let tries = inner.tries.entry(hasher.finish()).or_default();
        *tries += 1;
        let attempt = *tries;
        inner.requests.push(body.clone());
        inner.script.round(&asked, attempt)
    });
    if let Some(status) = round.status {
        let error = json!({"error": {"message": round.error_message(), "type": "x"}});
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (status, Json(error)).into_response();
    }
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    if body["stream"] != true {
        return Json(whole(&model, &round, &asked)).into_response();
    }
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        // A client that leaves ends the stream.
        stream(&shared, &model, &round, &asked, &sender).await;
    });
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
        let frame = receiver.recv().await?;
        Some((Ok::<Bytes, std::io::Error>(frame), receiver))
    });
    let mut response = Body::from_stream(frames).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    response
}

fn usage() -> Value {
    json!({"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70})
}

fn call(index: usize, at: usize, name: &str, arguments: &Value, asked: &Asked) -> Value {
    // Ids must differ between the rounds of a turn.
    json!({
        "index": index, "id": format!("call_{}_{at}", asked.rounds + 1), "type": "function",
        "function": {"name": name, "arguments": arguments.to_string()},
    })
}

fn whole(model: &str, round: &Round, asked: &Asked) -> Value {
    let calls: Vec<Value> = round
        .calls
        .iter()
        .enumerate()
        .map(|(at, (name, arguments))| call(at, at, name, &asked.fill(arguments), asked))
        .collect();
    let mut message = json!({"role": "assistant", "content": asked.fill_text(&round.text)});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    json!({
        "id": "chatcmpl-impostor", "object": "chat.completion", "created": 1, "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": round.finish()}], "usage": usage(),
    })
}

/// Sends the chunks of a round; returns early when nobody listens any more.
async fn stream(
    shared: &Shared,
    model: &str,
    round: &Round,
    asked: &Asked,
    sender: &mpsc::Sender<Bytes>,
) -> Option<()> {
    let chunk = |delta: Value, finish: Option<&str>| {
        json!({
            "id": "chatcmpl-impostor", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    };
    let send = async |chunk: Value| sender.send(framed(&chunk.to_string())).await.ok();
    send(chunk(json!({"role": "assistant", "content": ""}), None)).await?;
    for (field, text) in [
        ("reasoning_content", &round.reasoning),
        ("content", &round.text),
    ] {
        let text: Vec<char> = asked.fill_text(text).chars().collect();
        for piece in text.chunks(round.chunk_chars.max(1)) {
            if round.delay_ms > 0 {
                tokio::time::sleep(Duration::from_millis(round.delay_ms)).await;
            }
            let piece: String = piece.iter().collect();
            send(chunk(json!({ field: piece }), None)).await?;
        }
    }
    if let Some(gate) = &round.gate {
        hold(shared, gate, sender).await?;
    }
    for (at, (name, arguments)) in round.calls.iter().enumerate() {
        let call = call(at, at, name, &asked.fill(arguments), asked);
        send(chunk(json!({"tool_calls": [call]}), None)).await?;
    }
    let mut last = chunk(json!({}), Some(round.finish()));
    last["usage"] = usage();
    send(last).await?;
    sender.send(framed("[DONE]")).await.ok()
}

fn framed(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

async fn hold(shared: &Shared, gate: &str, sender: &mpsc::Sender<Bytes>) -> Option<()> {
    shared.update(|inner| *inner.waiting.entry(gate.to_owned()).or_default() += 1);
    let passed = tokio::select! {
        () = shared.until(|inner| inner.gates.try_pass(gate)) => Some(()),
        () = sender.closed() => None,
    };
    shared.update(|inner| {
        if let Some(waiting) = inner.waiting.get_mut(gate) {
            *waiting = waiting.saturating_sub(1);
        }
    });
    passed
}
