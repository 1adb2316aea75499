//! One HTTP call: sent, its body read within bounds, its refusal told from another's, traced.

use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::client::Client;
use super::settings::RequestTrace;
use crate::error::{BODY_EXCERPT_CHARS, Error, cut, excerpt};
use crate::id::SessionId;
use crate::tolerant::{self, Many, Skipped, Wire};

/// How a 404 of a session's path begins that is not about the session.
const OF_OTHERS: [&str; 4] = [
    "Message not found",
    "Agent not found",
    "Model not found",
    "Provider not found",
];

/// The most bytes of an answer that are read. The messages of a turn with many pictures are the largest.
pub(crate) const MAX_BODY: usize = 128 << 20;
/// The most bytes that are read of an answer which is a refusal.
const MAX_REFUSAL: usize = 64 << 10;

/// A call under construction.
pub(super) struct Call<'a> {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    session: Option<&'a SessionId>,
    not_after: Option<Instant>,
}

/// An answer with a good status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            body: None,
            session: None,
            not_after: None,
        }
    }

    /// A call about a session: 404 then means that the session is unknown.
    pub(super) fn on_session(method: Method, session: &'a SessionId, rest: &str) -> Self {
        let mut call = Self::new(
            method,
            format!("/session/{}{rest}", path_segment(session.as_str())),
        );
        call.session = Some(session);
        call
    }

    /// The call is not sent any more behind this moment.
    pub(super) fn not_after(mut self, moment: Instant) -> Self {
        self.not_after = Some(moment);
        self
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Percent-encodes what an id from outside could smuggle into a path.
pub(super) fn path_segment(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect()
}

/// How long a call waits for its turn where many are under way.
const TURN: Duration = Duration::from_secs(1);

/// Bytes that a slow connection moves in a second, one way.
const SLOW: usize = 64 << 10;

/// The time that so many bytes may take beside what a call may take.
fn time_for(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / SLOW as f64)
}

impl Client {
    /// The URL of `path`, with this client's directory and workspace.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.settings.base_url.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}{path}"));
        if self.directory.is_some() || self.settings.workspace.is_some() {
            let mut query = url.query_pairs_mut();
            if let Some(directory) = &self.directory {
                query.append_pair("directory", directory);
            }
            if let Some(workspace) = &self.settings.workspace {
                query.append_pair("workspace", workspace);
            }
        }
        url
    }

    /// What every call and every event stream carries.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.settings.headers
    }

    /// Whether event streams go through the general HTTP client, not over a connection of their own.
    pub(crate) fn is_general(&self) -> bool {
        self.settings.is_general
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(super) async fn json<T: Wire>(&self, call: Call<'_>) -> Result<T, Error> {
        self.json_within(call, self.settings.timeout).await
    }

    pub(super) async fn json_within<T: Wire>(
        &self,
        call: Call<'_>,
        limit: Duration,
    ) -> Result<T, Error> {
        let name = call.name();
        let answer = self.send_within(call, limit).await?;
        self.parse(&name, &answer)
    }

    /// As [`Self::json`], for an answer of many of which one is looked for: `None`, unread, where its text stands nowhere in
    /// it.
    pub(super) async fn json_with<T: Many>(
        &self,
        call: Call<'_>,
        text: &str,
    ) -> Result<Option<T>, Error> {
        let name = call.name();
        let answer = self.send(call).await?;
        if tolerant::lacks(&answer.body, T::BEGIN, text) {
            return Ok(None);
        }
        self.parse(&name, &answer).map(Some)
    }

    /// Reads a good answer's body, and tells what of it was skipped.
    pub(super) fn parse<T: Wire>(&self, call: &str, answer: &Answer) -> Result<T, Error> {
        let mut skipped = Skipped::default();
        let refused = |detail: &dyn std::fmt::Display| Error::Server {
            call: call.to_owned(),
            status: answer.status.as_u16(),
            message: cut(
                &format!(
                    "not the JSON expected here ({detail}): {}",
                    excerpt(&answer.body)
                ),
                BODY_EXCERPT_CHARS,
            ),
        };
        let value = match tolerant::value(&answer.body, &mut skipped) {
            Ok(value) => value,
            Err(tolerant::Unreadable::TooMany) => {
                return Err(Error::TooLarge {
                    call: call.to_owned(),
                });
            }
            Err(error) => return Err(refused(&error)),
        };
        let read = T::read(value, &mut skipped);
        self.skipped(call, &skipped);
        read.ok_or_else(|| refused(&"of another shape"))
    }

    pub(super) async fn send(&self, call: Call<'_>) -> Result<Answer, Error> {
        self.send_within(call, self.settings.timeout).await
    }

    pub(super) async fn send_within(
        &self,
        call: Call<'_>,
        limit: Duration,
    ) -> Result<Answer, Error> {
        // Thousands of turns that start at once are no reason for thousands of connections. A call that has waited
        // for long goes all the same: those before it may hang.
        let waiting = tokio::time::timeout(TURN, self.settings.in_flight.acquire());
        let _permit = waiting.await.ok();
        let started = Instant::now();
        let outcome = self.round_trip(&call, limit).await;
        let status = match &outcome {
            Ok(answer) => Some(answer.status.as_u16()),
            Err(Error::SessionNotFound { .. }) => Some(404),
            Err(Error::Unauthorized { .. }) => Some(401),
            Err(Error::BadRequest { status, .. } | Error::Server { status, .. }) => Some(*status),
            Err(Error::TooLarge { .. }) => Some(200),
            Err(_) => None,
        };
        let trace = RequestTrace {
            method: call.method.as_str(),
            path: &call.path,
            status,
            duration: started.elapsed(),
        };
        tracing::debug!(
            method = trace.method,
            path = trace.path,
            status = trace.status,
            duration_ms = trace.duration.as_millis() as u64,
            "request"
        );
        if let Some(listener) = &self.settings.on_request {
            listener(&trace);
        }
        outcome
    }

    /// A call may take `limit`, and be without a sign of the server for the client's patience.
    async fn round_trip(&self, call: &Call<'_>, limit: Duration) -> Result<Answer, Error> {
        let silence = self.patience.map_or(limit, |patience| patience.min(limit));
        let late = |limit: Duration| Error::Timeout {
            call: call.name(),
            seconds: limit.as_secs_f64().ceil() as u64,
        };
        let mut url = self.url(&call.path);
        for (name, value) in &call.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = self.http.request(call.method.clone(), url);
        request = request.headers(self.headers().clone());
        let sent = call.body.as_ref().map(Value::to_string);
        let sending = time_for(sent.as_ref().map_or(0, String::len));
        if let Some(body) = sent {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let connection = |error: reqwest::Error| Error::Connection {
            server: self.settings.server.clone(),
            detail: network_detail(&error),
        };
        // The last word before it goes: the process may have been stopped since it was decided.
        if call.not_after.is_some_and(|moment| Instant::now() > moment) {
            return Err(Error::Timeout {
                call: call.name(),
                seconds: 0,
            });
        }
        let started = tokio::time::Instant::now();
        let unanswered = silence.saturating_add(sending);
        let answering = tokio::time::timeout(unanswered, request.send()).await;
        let mut response = answering
            .map_err(|_| late(unanswered))?
            .map_err(connection)?;
        let status = response.status();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        let most = if status.is_success() {
            MAX_BODY
        } else {
            MAX_REFUSAL
        };
        loop {
            let moving = sending + time_for(body.len());
            let left = limit
                .saturating_add(moving)
                .saturating_sub(started.elapsed());
            let reading = tokio::time::timeout(silence.min(left), response.chunk()).await;
            let chunk = reading
                .map_err(|_| late(if left < silence { limit } else { silence }))?
                .map_err(connection)?;
            let Some(chunk) = chunk else { break };
            if body.len() + chunk.len() > most {
                if !status.is_success() {
                    break;
                }
                return Err(Error::TooLarge { call: call.name() });
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            Ok(Answer {
                status,
                headers,
                body,
            })
        } else {
            Err(self.refusal(call, status, &body))
        }
    }

    fn refusal(&self, call: &Call<'_>, status: StatusCode, body: &[u8]) -> Error {
        let parsed = tolerant::value(body, &mut Skipped::default()).ok();
        let said = parsed.as_ref().and_then(|error| {
            error["data"]["message"]
                .as_str()
                .or_else(|| error["message"].as_str())
                .or_else(|| error["error"].as_str())
        });
        let message =
            said.map_or_else(|| excerpt(body), |message| cut(message, BODY_EXCERPT_CHARS));
        match (status.as_u16(), call.session) {
            (401 | 403, _) => Error::Unauthorized {
                server: self.settings.server.clone(),
            },
            (404, Some(session)) if !OF_OTHERS.iter().any(|of| message.starts_with(of)) => {
                Error::SessionNotFound {
                    session: session.clone(),
                }
            }
            (code @ 400..=499, _) => Error::BadRequest {
                call: call.name(),
                status: code,
                message,
            },
            (code, _) => Error::Server {
                call: call.name(),
                status: code,
                message,
            },
        }
    }
}

/// The innermost cause: reqwest's own text repeats the URL, query included.
pub(crate) fn network_detail(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if std::ptr::eq(
        cause,
        std::ptr::from_ref(error) as *const dyn std::error::Error,
    ) {
        return if error.is_timeout() {
            "timed out"
        } else {
            "the connection failed"
        }
        .to_owned();
    }
    cut(&cause.to_string(), BODY_EXCERPT_CHARS)
}
