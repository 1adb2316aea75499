//! What is known about a turn, and what can come next.

use std::time::Duration;

use opencode_client::UpstreamError;

use crate::outcome::{Reason, TurnError};
use crate::store::TurnStatus;

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

/// How far the prompt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompting {
    /// No ids yet, or those of a session that is lost.
    None,
    /// The row has ids; whether they were posted is not known.
    Recorded,
    /// The server has it, or says so.
    Posted {
        /// How long ago.
        ago: Duration,
    },
}

/// Whether the server knows the names in the prompt: the agent's, the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// The prompt has some, and the server was not asked for those that there are.
    Unasked,
    /// Nothing is wrong with them, as far as the server says; or the prompt has none.
    Known,
    /// One is unknown. What to tell the person.
    Unknown(String),
}

/// What the last look at the server showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The session works, by the status map.
    pub busy: bool,
    /// The prompt's message, or an answer to it, is there.
    pub prompt_seen: bool,
    /// The newest message of the answer, if there is one.
    pub last: Option<LastMessage>,
    /// The person declined what the agent asked, and the answer stopped there.
    pub declined: bool,
    /// How often the answer went on after its end.
    pub restarts: usize,
    /// The server does not give the session's history any more: all but `busy` is what streamed.
    pub unread: bool,
}

/// The newest message of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct LastMessage {
    /// Its error.
    pub error: Option<UpstreamError>,
    /// The server is done with it.
    pub finished: bool,
    /// It stopped for tools: another is to follow.
    pub wants_more: bool,
    /// It ran out of output tokens.
    pub truncated: bool,
}

/// What the reply holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Some text.
    pub text: bool,
    /// Some ended tool call.
    pub tools: bool,
}

/// A failed call that a retry will not mend, or has not.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The server does not know the session.
    SessionLost,
    /// The password is wrong.
    Unauthorized(String),
    /// The server refused the request.
    Refused(String),
    /// The server would not do as the rules say.
    Unsafe(String),
    /// The server answers, with errors.
    Broken(String),
    /// The server cannot be reached.
    Unreachable(String),
    /// The server took a call and did not answer it in time.
    Unanswered(String),
    /// The server tells what the session does, and not what it has said; that may pass.
    Unread(String),
    /// It does not tell it any more, and the session was not prompted yet.
    Unreadable(String),
}

/// What is known about a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Situation {
    /// A cancel was asked for.
    pub cancel: bool,
    /// The session is there and listened to.
    pub connected: bool,
    /// The session replaces another, and has not got the transcript yet.
    pub transcript_owed: bool,
    /// How far the prompt is.
    pub prompting: Prompting,
    /// A fresh session was put in a lost one's place already. There is no third.
    pub replaced: bool,
    /// How often in a row the turn was taken up without progress.
    pub attempts: u32,
    /// The last look, and whether another before it said the same at least [`Pace::confirm`] ago.
    pub inspection: Option<(Inspection, Confirmed)>,
    /// Something has happened since that asks for a look.
    pub look_due: bool,
    /// How long ago the last look was.
    pub looked: Option<Duration>,
    /// How long ago an event of the session came, since the prompt.
    pub heard: Option<Duration>,
    /// An idle came on a stream that was live since the prompt: an orderly end.
    pub orderly_idle: bool,
    /// The stream was live from before the post until now: the server that took the prompt is
    /// there still.
    pub unbroken: bool,
    /// The prompt was looked for once more after the server seemed to have lost it.
    pub reposted: bool,
    /// What is known of the names in the prompt.
    pub names: Names,
    /// A person is asked.
    pub waiting: bool,
    /// How long the turn has run, waiting for a person not counted.
    pub elapsed: Duration,
    /// What the session reported.
    pub session_error: Option<UpstreamError>,
    /// How often the provider was waited for.
    pub retries: u32,
    /// What the reply holds.
    pub content: Content,
    /// What keeps failing, and for how long. `None` while it is tried again.
    pub failure: Option<(Failure, Duration)>,
    /// What kept failing last, while it is tried again too.
    pub failing: Option<Failure>,
    /// How the turn ends, once the session that was told to stop has stopped.
    pub stopping: Option<Ending>,
    /// How long ago the session was first told to stop.
    pub aborted: Option<Duration>,
    /// How long ago it was last told so.
    pub aborted_again: Option<Duration>,
    /// It said that it heard it.
    pub abort_heard: bool,
    /// A post was given up without an answer: the prompt may arrive yet.
    pub in_flight: bool,
}

/// Whether a look was repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// Seen once.
    Once,
    /// Seen again, long enough after.
    Again,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ensure the session and listen to it.
    Connect,
    /// Give the fresh session a transcript of the conversation's earlier messages.
    CarryOver,
    /// Take the session as the row has it, without a word to the server: enough to stop it.
    TakeUp,
    /// Mint ids, write them down, and post the prompt.
    Mint,
    /// Look for the recorded prompt upstream, and post it where it is absent.
    Look,
    /// Listen, for so long at most.
    Follow {
        /// At most.
        at_most: Duration,
    },
    /// Read status and exchange.
    Inspect,
    /// Ask for the agents and the models that there are.
    AskNames,
    /// Replace the lost session, and prompt it.
    Recreate,
    /// Tell the session to stop.
    Abort {
        /// How the turn ends once it has; `None` where it goes on elsewhere.
        ending: Option<Ending>,
    },
    /// Wait, then try again what failed.
    Wait {
        /// So long.
        pause: Duration,
    },
    /// The turn is over.
    End(Ending),
}

/// How the turn ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// The result.
    pub status: TurnStatus,
    /// Why, where that needs a word.
    pub reason: Option<Reason>,
    /// What went wrong.
    pub error: Option<TurnError>,
    /// The text is cut.
    pub truncated: bool,
}

impl Ending {
    pub(super) fn completed(truncated: bool) -> Self {
        let reason = truncated.then_some(Reason::Length);
        Self {
            status: TurnStatus::Completed,
            reason,
            error: None,
            truncated,
        }
    }

    pub(super) fn cancelled(reason: Reason) -> Self {
        Self {
            status: TurnStatus::Cancelled,
            reason: Some(reason),
            error: None,
            truncated: false,
        }
    }

    pub(super) fn error(reason: Reason, error: TurnError) -> Self {
        Self {
            status: TurnStatus::Error,
            reason: Some(reason),
            error: Some(error),
            truncated: false,
        }
    }

    pub(super) fn own(reason: Reason, message: impl Into<String>) -> Self {
        Self::error(reason, TurnError::of(reason, message))
    }

    /// Something unexpected: the person gets a fixed text, the reporter the detail.
    pub fn failed(message: impl Into<String>) -> Self {
        let error = TurnError::of(Reason::Internal, message);
        Self {
            status: TurnStatus::Failed,
            reason: Some(Reason::Internal),
            error: Some(error),
            truncated: false,
        }
    }
}
