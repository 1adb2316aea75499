//! A receiver of webhooks on loopback that keeps what comes and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use opencode_host::webhooks::{Received, WebhookSecret};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::hosting::PATIENCE;

pub(super) fn secret() -> WebhookSecret {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()
}

/// What a receiver answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Status(u16),
    Redirect(String),
    /// Not now, with this `Retry-After`.
    Later(String),
    /// The connection stays open, and nothing comes.
    Nothing,
}

/// A webhook that came.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) timestamp: String,
    signature: String,
    raw: Bytes,
    pub(super) body: Value,
}

impl Event {
    /// Verifies it as a receiver does at this moment.
    pub(super) fn verify(&self, now: u64) {
        let received = Received {
            id: &self.id,
            timestamp: &self.timestamp,
            signature: &self.signature,
            body: &self.raw,
        };
        let now = UNIX_EPOCH + Duration::from_secs(now);
        assert_eq!(received.verify(&secret(), now), Ok(()), "{self:?}");
    }
}

#[derive(Debug, Default)]
struct Heard {
    events: Mutex<Vec<Event>>,
    answers: Mutex<VecDeque<Answer>>,
    came: Notify,
}

#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) url: String,
    heard: Arc<Heard>,
    serving: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// One that takes everything.
    pub(super) async fn new() -> Self {
        Self::answering([]).await
    }

    /// One that answers this first, one after the other.
    pub(super) async fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let heard = Arc::new(Heard::default());
        heard.answers.lock().unwrap().extend(answers);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/hooks", post(take))
            .with_state(Arc::clone(&heard));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            heard,
            serving,
        }
    }

    pub(super) fn received(&self) -> Vec<Event> {
        self.heard.events.lock().unwrap().clone()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.received().into_iter().map(|event| event.id).collect()
    }

    /// Waits until so many have come.
    pub(super) async fn heard(&self, count: usize) -> Vec<Event> {
        let hearing = async {
            loop {
                let came = self.heard.came.notified();
                tokio::pin!(came);
                came.as_mut().enable();
                let received = self.received();
                if received.len() >= count {
                    return received;
                }
                came.await;
            }
        };
        let heard = tokio::time::timeout(PATIENCE, hearing).await;
        heard.unwrap_or_else(|_| panic!("{count} are missing: {:?}", self.received()))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(heard): State<Arc<Heard>>, headers: HeaderMap, raw: Bytes) -> Response {
    let header = |name| headers[name].to_str().unwrap().to_owned();
    let event = Event {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: serde_json::from_slice(&raw).unwrap(),
        raw,
    };
    assert_eq!(headers["content-type"], "application/json");
    heard.events.lock().unwrap().push(event);
    heard.came.notify_waiters();
    let answer = heard.answers.lock().unwrap().pop_front();
    match answer {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Answer::Status(status)) => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Answer::Redirect(to)) => {
            (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response()
        }
        Some(Answer::Later(after)) => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", after)]).into_response()
        }
        Some(Answer::Nothing) => std::future::pending().await,
    }
}
