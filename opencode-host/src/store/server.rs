//! An OpenCode server, as the store knows it: what it is called, what its workers say of it, and how it stands.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Conversation, ServerLabel, ServerName, Turn, WorkerId};
use crate::clock::Timestamp;

/// What a worker says of its server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerReport {
    /// Its name.
    pub name: ServerName,
    /// Where the worker reaches it, without credentials.
    pub address: String,
    /// Its labels.
    pub labels: Vec<ServerLabel>,
    /// How many turns may run on it at once, over all its workers; `None` for no bound.
    pub capacity: Option<NonZeroU32>,
    /// The worker that it has just answered; `None` where it does not answer.
    pub heard_by: Option<WorkerId>,
}

impl ServerReport {
    /// Names a server that does not answer so far.
    pub fn new(name: ServerName, address: impl Into<String>) -> Self {
        Self {
            name,
            address: address.into(),
            labels: Vec::new(),
            capacity: None,
            heard_by: None,
        }
    }

    /// This, of a server that has answered this worker.
    #[must_use]
    pub fn heard_by(self, worker: WorkerId) -> Self {
        Self {
            heard_by: Some(worker),
            ..self
        }
    }
}

/// An OpenCode server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Server {
    /// Its name.
    pub name: ServerName,
    /// Where the worker reaches it that said so last, without credentials.
    pub address: String,
    /// Its labels.
    pub labels: Vec<ServerLabel>,
    /// How many turns may run on it at once, over all its workers; `None` for no bound.
    pub capacity: Option<NonZeroU32>,
    /// Whether it takes no new conversations.
    pub draining: bool,
    /// When it answered one of its workers last; `None` if it never has.
    pub heard_at: Option<Timestamp>,
    /// The worker that heard from it then; `None` where that works there no more.
    pub heard_by: Option<WorkerId>,
    /// Since when it is gone: its conversations go on elsewhere.
    pub gone_at: Option<Timestamp>,
    /// What keeps one of its workers from working there, as that worker said last.
    pub problem: Option<ServerProblem>,
    /// When a worker named it first.
    pub created_at: Timestamp,
}

/// What keeps a worker from working on its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerProblem {
    /// What is wrong, and what to do, for a person.
    pub message: String,
    /// When the worker said so.
    pub at: Timestamp,
}

impl ServerProblem {
    /// A problem that was told at this time.
    pub fn new(message: impl Into<String>, at: Timestamp) -> Self {
        let message = message.into();
        Self { message, at }
    }
}

/// How a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServerState {
    /// It takes conversations.
    Ready,
    /// It takes no new conversations; those that it has go on.
    Draining,
    /// It was silent for too long. What is queued there goes on elsewhere.
    Gone,
}

impl ServerState {
    /// The word that programs read: `ready`, `draining`, `gone`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }
}

impl Server {
    /// The server that a worker names for the first time.
    pub fn new(report: &ServerReport, now: Timestamp) -> Self {
        let mut server = Self {
            name: report.name.clone(),
            address: String::new(),
            labels: Vec::new(),
            capacity: None,
            draining: false,
            heard_at: None,
            heard_by: None,
            gone_at: None,
            problem: None,
            created_at: now,
        };
        server.describe(report);
        server.take(report, now);
        server
    }

    /// How it stands.
    pub fn state(&self) -> ServerState {
        match (self.gone_at, self.draining) {
            (Some(_), _) => ServerState::Gone,
            (None, true) => ServerState::Draining,
            (None, false) => ServerState::Ready,
        }
    }

    /// Takes down what a worker says of it. Only one that hears from it is believed.
    pub fn take(&mut self, report: &ServerReport, now: Timestamp) {
        if report.heard_by.is_some() {
            self.describe(report);
            self.heard_at = Some(now);
            self.heard_by.clone_from(&report.heard_by);
        }
    }

    fn describe(&mut self, report: &ServerReport) {
        self.address.clone_from(&report.address);
        self.labels.clone_from(&report.labels);
        self.capacity = report.capacity;
    }

    /// How long it has been silent.
    pub fn silence(&self, now: Timestamp) -> Duration {
        now.since(self.heard_at.unwrap_or(self.created_at))
    }
}

/// A server, and how much is placed there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerLoad {
    /// The server.
    pub server: Server,
    /// How many turns run there.
    pub running: u64,
    /// How many turns are queued that it is to run.
    pub queued: u64,
}

impl ServerLoad {
    /// A server with so many turns.
    pub fn new(server: Server, running: u64, queued: u64) -> Self {
        Self {
            server,
            running,
            queued,
        }
    }

    /// How many turns it has, running and queued.
    pub fn turns(&self) -> u64 {
        self.running.saturating_add(self.queued)
    }

    /// Whether it has room for another turn.
    pub fn has_room(&self) -> bool {
        let capacity = self.server.capacity;
        capacity.is_none_or(|capacity| self.turns() < u64::from(capacity.get()))
    }
}

/// A conversation that is not placed on a server, with the turn that waits for that.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Unplaced {
    /// The conversation.
    pub conversation: Conversation,
    /// The turn.
    pub turn: Turn,
}

impl Unplaced {
    /// A conversation with the turn that waits.
    pub fn new(conversation: Conversation, turn: Turn) -> Self {
        Self { conversation, turn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_that_hears_from_it_is_believed() {
        let said = |address: &str, answers: bool| ServerReport {
            heard_by: answers.then(|| WorkerId("a".to_owned())),
            ..ServerReport::new(ServerName::default(), address)
        };
        let mut server = Server::new(&said("http://a", false), Timestamp(1));
        assert_eq!((&*server.address, server.heard_at), ("http://a", None));
        server.take(&said("http://b", true), Timestamp(2));
        server.take(&said("http://c", false), Timestamp(3));
        assert_eq!(
            (&*server.address, server.heard_at),
            ("http://b", Some(Timestamp(2)))
        );
        assert_eq!(server.silence(Timestamp(5)), Duration::from_millis(3));
    }
}
