//! What was asked of the impostor, and whether it was asked well.
//!
//! Every request is recorded. Requests that a careful client never makes are collected as violations, and
//! [`Impostor::assert_clean`](crate::Impostor::assert_clean) fails a test that caused one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::faults::endpoint_matches;
use crate::ids;

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Milliseconds since the impostor started.
    pub at_ms: u64,
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, as it stood in the request; empty when there was none.
    pub query: String,
    /// The body; [`Value::Null`] when there was none, a string when it was not JSON.
    pub body: Value,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No answer yet, or the client left before there was one.
    Pending,
    /// Answered with this HTTP status.
    Answered(u16),
    /// A fault lost it before anything was done.
    RequestLost,
    /// It was done, and a fault lost the answer.
    ResponseLost,
}

/// One accepted prompt.
#[derive(Debug, Clone)]
pub struct PromptPost {
    /// The session.
    pub session: String,
    /// The user message's id; the server's own choice when the client sent none.
    pub message_id: String,
    /// The text of its text parts, joined by line breaks.
    pub text: String,
    /// The request, as an index into [`Ledger::requests`].
    pub request: usize,
    /// Whether the message was new; a repeated post changes nothing.
    pub fresh: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Alive,
    Deleted,
    Forgotten,
}

/// All requests, the counters, and the violations.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    requests: Vec<Request>,
    posts: Vec<PromptPost>,
    /// Messages that nobody answers.
    notes: Vec<PromptPost>,
    fates: BTreeMap<String, Fate>,
    created: usize,
    runs: HashMap<String, usize>,
    busy: BTreeSet<String>,
    open_streams: BTreeMap<&'static str, usize>,
    all_streams: BTreeMap<&'static str, usize>,
    pub(crate) questions: BTreeSet<String>,
    pub(crate) permissions: BTreeSet<String>,
    waiting: BTreeMap<String, usize>,
    deaths: usize,
    /// How many requests there had been at the last death.
    before_death: usize,
    violations: Vec<String>,
    pub(crate) allow_concurrent_prompts: bool,
}

impl Ledger {
    /// Every request, in order of arrival.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The requests of one endpoint: `"POST /session/:id/prompt_async"`. `:name` and `*` stand for one segment.
    pub fn requests_of(&self, endpoint: &str) -> Vec<&Request> {
        self.requests
            .iter()
            .filter(|request| endpoint_matches(endpoint, &request.method, &request.path))
            .collect()
    }

    /// How many requests an endpoint got.
    pub fn count(&self, endpoint: &str) -> usize {
        self.requests_of(endpoint).len()
    }

    /// Sessions created by `POST /session` (children of sub-agents not counted).
    pub fn sessions_created(&self) -> usize {
        self.created
    }

    /// The sessions created by clients that still exist, oldest first.
    pub fn sessions_alive(&self) -> Vec<&str> {
        let mut alive: Vec<&str> = self
            .fates
            .iter()
            .filter(|(_, fate)| **fate == Fate::Alive)
            .map(|(id, _)| id.as_str())
            .collect();
        // Session ids descend.
        alive.reverse();
        alive
    }

    /// Every accepted prompt, repeated ones too.
    pub fn prompt_posts(&self) -> &[PromptPost] {
        &self.posts
    }

    /// The accepted prompts of a session, repeated ones too.
    pub fn prompts(&self, session: &str) -> Vec<&PromptPost> {
        self.posts
            .iter()
            .filter(|post| post.session == session)
            .collect()
    }

    /// The accepted messages of a session that nobody answers (`noReply`), repeated ones too. They are no prompts.
    pub fn notes(&self, session: &str) -> Vec<&PromptPost> {
        self.notes
            .iter()
            .filter(|post| post.session == session)
            .collect()
    }

    /// How often the model was asked to answer this user message: 1 unless something ran twice.
    pub fn model_runs(&self, message_id: &str) -> usize {
        self.runs.get(message_id).copied().unwrap_or(0)
    }

    /// Model runs of all user messages.
    pub fn all_model_runs(&self) -> usize {
        self.runs.values().sum()
    }

    /// Whether the session has a prompt under way.
    pub fn is_busy(&self, session: &str) -> bool {
        self.busy.contains(session)
    }

    /// The sessions that have a prompt under way.
    pub fn busy(&self) -> Vec<&str> {
        self.busy.iter().map(String::as_str).collect()
    }

    /// Event streams open now, of both paths.
    pub fn streams_open(&self) -> usize {
        self.open_streams.values().sum()
    }

    /// Event streams ever opened on this path (`/event` or `/global/event`).
    pub fn streams_opened(&self, path: &str) -> usize {
        self.all_streams.get(path).copied().unwrap_or(0)
    }

    /// Ids of the questions that wait for an answer.
    pub fn questions(&self) -> Vec<&str> {
        self.questions.iter().map(String::as_str).collect()
    }

    /// Ids of the permissions that wait for a reply.
    pub fn permissions(&self) -> Vec<&str> {
        self.permissions.iter().map(String::as_str).collect()
    }

    /// How many steps and requests wait at this gate.
    pub fn waiting_at(&self, gate: &str) -> usize {
        self.waiting.get(gate).copied().unwrap_or(0)
    }

    /// How often the server has died.
    pub fn deaths(&self) -> usize {
        self.deaths
    }

    /// What clients did that they must not do.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    pub(crate) fn record(&mut self, request: Request) -> usize {
        self.requests.push(request);
        self.requests.len() - 1
    }

    pub(crate) fn set_outcome(&mut self, request: usize, outcome: Outcome) {
        if let Some(request) = self.requests.get_mut(request) {
            request.outcome = outcome;
        }
    }

    pub(crate) fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    pub(crate) fn session_created(&mut self, id: &str, by_client: bool) {
        if by_client {
            self.created += 1;
            self.fates.insert(id.to_owned(), Fate::Alive);
        }
    }

    pub(crate) fn session_deleted(&mut self, id: &str) {
        if let Some(fate) = self.fates.get_mut(id) {
            *fate = Fate::Deleted;
        }
    }

    pub(crate) fn session_forgotten(&mut self, id: &str) {
        self.fates.insert(id.to_owned(), Fate::Forgotten);
    }

    /// A call named a session that is not there.
    pub(crate) fn unknown_session(&mut self, endpoint: &str, id: &str, deleted_is_fine: bool) {
        match self.fates.get(id) {
            Some(Fate::Forgotten) => {}
            Some(Fate::Deleted) if deleted_is_fine => {}
            Some(_) => self.violation(format!("{endpoint}: session {id} was deleted")),
            None => self.violation(format!("{endpoint}: there never was a session {id}")),
        }
    }

    /// Checks and records an accepted prompt. `newest` is the newest message id of the session.
    pub(crate) fn prompt(
        &mut self,
        post: PromptPost,
        no_reply: bool,
        newest: Option<&str>,
        parts: &[Value],
    ) {
        let id = post.message_id.as_str();
        let session = post.session.as_str();
        let mut wrong = Vec::new();
        for part in parts {
            if part.get("id").and_then(Value::as_str).is_none() {
                wrong.push(format!(
                    "prompt {id}: a part has no id, so a repeat appends it again"
                ));
            }
        }
        let posts = if no_reply { &self.notes } else { &self.posts };
        let answered = posts.iter().any(|earlier| {
            earlier.message_id == id
                && earlier.session == session
                // What a server takes and does not write down dies with it.
                && !(post.fresh && earlier.request < self.before_death)
                && matches!(
                    self.requests
                        .get(earlier.request)
                        .map(|request| request.outcome),
                    Some(Outcome::Answered(_))
                )
        });
        if answered {
            wrong.push(format!(
                "prompt {id} was posted again although the earlier post was answered"
            ));
        }
        if post.fresh {
            if self.busy.contains(session) && !self.allow_concurrent_prompts {
                wrong.push(format!(
                    "prompt {id} was posted while session {session} was busy with another one"
                ));
            }
            if let Some(newest) = newest
                && ids::order(id) <= ids::order(newest)
            {
                wrong.push(format!(
                    "prompt {id} sorts before the newest message {newest} of its session"
                ));
            }
        }
        self.violations.append(&mut wrong);
        if no_reply {
            self.notes.push(post);
        } else {
            self.posts.push(post);
        }
    }

    pub(crate) fn model_run(&mut self, message_id: &str) {
        *self.runs.entry(message_id.to_owned()).or_default() += 1;
    }

    pub(crate) fn set_busy(&mut self, session: &str, busy: bool) {
        if busy {
            self.busy.insert(session.to_owned());
        } else {
            self.busy.remove(session);
        }
    }

    pub(crate) fn stream_opened(&mut self, path: &'static str) {
        *self.open_streams.entry(path).or_default() += 1;
        *self.all_streams.entry(path).or_default() += 1;
    }

    pub(crate) fn stream_closed(&mut self, path: &'static str) {
        if let Some(open) = self.open_streams.get_mut(path) {
            *open = open.saturating_sub(1);
        }
    }

    pub(crate) fn waits_at(&mut self, gate: &str, more: bool) {
        let waiting = self.waiting.entry(gate.to_owned()).or_default();
        *waiting = if more {
            *waiting + 1
        } else {
            waiting.saturating_sub(1)
        };
    }

    pub(crate) fn died(&mut self) {
        self.deaths += 1;
        self.before_death = self.requests.len();
        self.busy.clear();
        self.questions.clear();
        self.permissions.clear();
        self.waiting.clear();
    }

    /// A few lines that tell what happened so far, for the message of a wait that ran out.
    pub(crate) fn summary(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!(
            "{} requests, {} sessions created, {} prompts, {} model runs, busy {:?}, {} streams open, waiting at {:?}",
            self.requests.len(),
            self.created,
            self.posts.len(),
            self.all_model_runs(),
            self.busy,
            self.streams_open(),
            self.waiting,
        );
        for request in self.requests.iter().rev().take(10).rev() {
            write!(
                text,
                "\n  {:>6} ms {} {} {:?}",
                request.at_ms, request.method, request.path, request.outcome
            )
            .ok();
        }
        text
    }
}
