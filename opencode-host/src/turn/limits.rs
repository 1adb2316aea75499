//! How long a turn may take, and how patient it is on its way.

use std::time::Duration;

/// How patient a turn is with what servers do in passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A look that says that the turn went wrong is repeated after so long
    /// before it is believed. Default 2 s.
    pub confirm: Duration,
    /// How long the server may sit on a prompt that it took, neither at work nor
    /// with a message (seen: 1.5 s on an idle machine with 1.18.33, far more on a busy one).
    /// Default 30 s.
    pub unseen: Duration,
    /// The same once the session was idle, or the stream was lost: the server
    /// that took the prompt may be gone. Default 5 s.
    pub lost: Duration,
    /// How long an abort may take to show. Default 3 s.
    pub abort: Duration,
    /// How long nothing may be heard of the session before the server is asked.
    /// Default 10 s.
    pub silence: Duration,
    /// How long a look at the server may be without an answer before it is made again; twice
    /// as long each time, until one is answered. A prompt's post gets twice the time of a look.
    /// Default 1.5 s (1.17.19, 1.18.33 and 1.18.34 never answer some calls in their first seconds).
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            confirm: Duration::from_secs(2),
            unseen: Duration::from_secs(30),
            lost: Duration::from_secs(5),
            abort: Duration::from_secs(3),
            silence: Duration::from_secs(10),
            answer: Duration::from_millis(1500),
        }
    }
}

/// The limits of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the prompt to the first sign of life of the session.
    pub first_event: Duration,
    /// Between two events of the session, while the server is alive. Off by default.
    pub idle: Option<Duration>,
    /// The whole turn, waiting for a person not counted; a worker that takes it
    /// over counts anew. Whatever the turn does then is broken off.
    pub turn: Duration,
    /// How long the server may be out of reach.
    pub unreachable: Duration,
    /// How often the server may say that it waits for its provider.
    pub retries: u32,
    /// How often in a row workers may take the turn up without any progress.
    pub attempts: u32,
    /// How patient the turn is.
    pub pace: Pace,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_event: Duration::from_secs(120),
            idle: None,
            turn: Duration::from_secs(600),
            unreachable: Duration::from_secs(20),
            retries: 10,
            attempts: 5,
            pace: Pace::default(),
        }
    }
}
