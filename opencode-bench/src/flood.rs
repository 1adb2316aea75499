//! A paced load server: it speaks as much of OpenCode's protocol (as 1.18.33 does) as a host needs for turns of plain
//! text, and costs a fraction of what it drives.
//!
//! All sessions' deltas of a tick are one buffer, which every event stream is sent: a delta costs the copying of its
//! frame. Each begins with the microsecond it was made in, so that who reads it can say how late it came.

mod frames;
mod pace;
mod session;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use clap::Args;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

pub(crate) use pace::Pace;
use session::Session;

/// How often deltas are sent.
const TICK: Duration = Duration::from_millis(5);

/// How many buffers a reader of events may be behind: a minute. One that is slower is cut off, not waited for.
const BEHIND: usize = 12_000;

/// What `flood` is told.
#[derive(Clone, Debug, Args)]
pub(crate) struct FloodArgs {
    /// The port on loopback; 0 for one that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[command(flatten)]
    pace: Pace,
}

/// The server's state.
struct Flood {
    pace: Pace,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By their ids, which begin with the time.
    sessions: BTreeMap<String, Session>,
    /// The sessions whose answer is under way.
    busy: Vec<String>,
    streams: Vec<mpsc::Sender<Bytes>>,
}

impl Flood {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn send(&mut self, frames: Vec<u8>) {
        let frames = Bytes::from(frames);
        self.streams
            .retain(|stream| stream.try_send(frames.clone()).is_ok());
    }

    /// The deltas that are due, and the ends of answers.
    fn tick(&mut self, pace: &Pace, now_us: u64) {
        let mut frames = Vec::new();
        let sessions = &mut self.sessions;
        self.busy.retain(|id| {
            sessions
                .get_mut(id)
                .is_some_and(|session| session.tick(pace, now_us, &mut frames))
        });
        if !frames.is_empty() {
            self.send(frames);
        }
    }
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// Serves until it is ended, after a line that says where.
pub(crate) async fn run(args: &FloodArgs) -> anyhow::Result<Infallible> {
    let flood = Arc::new(Flood {
        pace: args.pace,
        inner: Mutex::default(),
    });
    let listener = TcpListener::bind(("127.0.0.1", args.port))
        .await
        .with_context(|| format!("cannot listen on port {} of loopback", args.port))?;
    println!("http://{}", listener.local_addr()?);
    let serving = axum::serve(listener, routes(Arc::clone(&flood)));
    let ticking = async {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            flood.lock().tick(&flood.pace, now_us());
        }
    };
    tokio::select! {
        served = serving => {
            served?;
            anyhow::bail!("the listener ended")
        }
        never = ticking => never,
    }
}

type Shared = State<Arc<Flood>>;

fn routes(flood: Arc<Flood>) -> Router {
    Router::new()
        .route(
            "/global/health",
            get(|| async { Json(json!({"healthy": true, "version": "1.18.33"})) }),
        )
        .route("/global/event", get(events))
        .route("/event", get(events))
        .route("/session", get(list).post(create))
        .route("/session/status", get(statuses))
        .route("/session/{id}", get(session).patch(patch).delete(delete))
        .route("/session/{id}/children", get(nothing))
        .route("/session/{id}/todo", get(nothing))
        .route("/session/{id}/message", get(messages))
        .route("/session/{id}/prompt_async", post(prompt))
        .route("/session/{id}/abort", post(abort))
        .route("/agent", get(nothing))
        .route("/question", get(nothing))
        .route("/permission", get(nothing))
        .route(
            "/config/providers",
            get(|| async { Json(json!({"providers": [], "default": {}})) }),
        )
        .layer(DefaultBodyLimit::disable())
        .with_state(flood)
}

async fn nothing() -> Json<Value> {
    Json(json!([]))
}

async fn events(State(flood): Shared) -> Response {
    let (stream, mut frames) = mpsc::channel(BEHIND);
    // The channel is empty.
    let _sent = stream.try_send(Bytes::from_static(frames::CONNECTED));
    flood.lock().streams.push(stream);
    let frames = futures_util::stream::poll_fn(move |context| {
        let next = frames.poll_recv(context);
        next.map(|frames| frames.map(Ok::<_, Infallible>))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream")];
    (headers, Body::from_stream(frames)).into_response()
}

async fn list(State(flood): Shared, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let limit = query.get("limit").and_then(|limit| limit.parse().ok());
    let inner = flood.lock();
    let sessions = inner.sessions.values().rev().map(Session::info);
    Json(sessions.take(limit.unwrap_or(usize::MAX)).collect())
}

async fn create(
    State(flood): Shared,
    Query(query): Query<HashMap<String, String>>,
    Json(body): Json<Value>,
) -> Json<Value> {
    let directory = query.get("directory").map_or("/", String::as_str);
    let mut inner = flood.lock();
    let number = inner.sessions.len() as u64;
    let rules = body["permission"].clone();
    let session = Session::new(number, directory, now_us() / 1000, rules);
    let info = session.info();
    inner.sessions.insert(session.id.clone(), session);
    Json(info)
}

async fn statuses(State(flood): Shared) -> Json<Value> {
    let inner = flood.lock();
    let busy = inner.busy.iter();
    Json(Value::Object(
        busy.map(|id| (id.clone(), json!({"type": "busy"})))
            .collect(),
    ))
}

/// 404 for a session that is not there.
struct Unknown(String);

impl IntoResponse for Unknown {
    fn into_response(self) -> Response {
        let message = format!("Session not found: {}", self.0);
        let body = json!({"name": "NotFoundError", "data": {"message": message}});
        (StatusCode::NOT_FOUND, Json(body)).into_response()
    }
}

async fn session(State(flood): Shared, Path(id): Path<String>) -> Result<Json<Value>, Unknown> {
    let inner = flood.lock();
    let session = inner.sessions.get(&id).ok_or(Unknown(id))?;
    Ok(Json(session.info()))
}

/// Keeps more permission rules, as hosts look for them.
async fn patch(
    State(flood): Shared,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Unknown> {
    let mut inner = flood.lock();
    let session = inner.sessions.get_mut(&id).ok_or(Unknown(id))?;
    session.add_rules(&body["permission"]);
    Ok(Json(session.info()))
}

async fn delete(State(flood): Shared, Path(id): Path<String>) -> Result<Json<bool>, Unknown> {
    let removed = flood.lock().sessions.remove(&id);
    removed.map(|_| Json(true)).ok_or(Unknown(id))
}

async fn messages(State(flood): Shared, Path(id): Path<String>) -> Result<Response, Unknown> {
    let inner = flood.lock();
    let session = inner.sessions.get(&id).ok_or(Unknown(id))?;
    Ok(Json(session.messages(&flood.pace)).into_response())
}

async fn prompt(
    State(flood): Shared,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Response, Unknown> {
    let (Some(message), true) = (body["messageID"].as_str(), body["parts"].is_array()) else {
        let why =
            json!({"name": "BadRequest", "data": {"message": "messageID and parts are wanted"}});
        return Ok((StatusCode::BAD_REQUEST, Json(why)).into_response());
    };
    let mut inner = flood.lock();
    let inner = &mut *inner;
    let session = inner.sessions.get_mut(&id).ok_or(Unknown(id.clone()))?;
    let frames = session.begin(message, &body["parts"], now_us());
    if !inner.busy.contains(&id) {
        inner.busy.push(id);
    }
    inner.send(frames);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn abort(State(flood): Shared, Path(id): Path<String>) -> Json<bool> {
    let mut inner = flood.lock();
    let inner = &mut *inner;
    let mut frames = Vec::new();
    if let Some(session) = inner.sessions.get_mut(&id) {
        session.abort(&flood.pace, now_us(), &mut frames);
    }
    inner.busy.retain(|busy| *busy != id);
    inner.send(frames);
    Json(true)
}
