//! Faults at named points: what goes wrong, where, and how often.
//!
//! Faults are set from Rust with [`Faults`] (see [`Impostor::faults`](crate::Impostor::faults)) or stand in a
//! script's `faults`. A request fault names its endpoint as `"METHOD /path"`, where `*` or `:name` stands for one
//! segment and a last `**` for all the rest; without a method every method fits.

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod records;
mod table;

pub use records::{OddRecord, Oddity, Record, Seen};
pub(crate) use table::{EventFate, FaultTable, endpoint_matches};

/// Something that goes wrong.
///
/// A script file writes a fault as its name in snake case, with its fields: `"refuse_auth"`,
/// `{"stray": {"among": "messages", "record": {}}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// A request is treated badly.
    Request {
        /// Which endpoint: `"POST /session/:id/prompt_async"`.
        on: String,
        /// Which calls of it, counted from when the fault is set.
        #[serde(default)]
        calls: Calls,
        /// What happens.
        action: Action,
    },
    /// Event streams are cut after this many events each.
    DropStreams {
        /// Events a stream may carry, `server.connected` not counted.
        after: u64,
        /// `/event` or `/global/event`; absent: both.
        #[serde(default)]
        path: Option<String>,
        /// How many streams this happens to; absent: every one.
        #[serde(default)]
        times: Option<u64>,
    },
    /// Event streams send `server.connected` and then nothing (`/event` of 1.14.48 does).
    SilentStreams {
        /// `/event` or `/global/event`; absent: both.
        #[serde(default)]
        path: Option<String>,
        /// Whether heartbeats still come.
        #[serde(default)]
        heartbeats: bool,
    },
    /// Events of a type are never sent.
    LoseEvents {
        /// Which events.
        #[serde(flatten)]
        events: Events,
    },
    /// Events of a type are held until a gate opens.
    HoldEvents {
        /// Which events.
        #[serde(flatten)]
        events: Events,
        /// The gate.
        gate: String,
        /// Whether all that comes after a held event is held too.
        #[serde(default)]
        following: bool,
    },
    /// After an abort, the second `idle` waits for this gate.
    LateIdle {
        /// The gate.
        gate: String,
    },
    /// `prompt_async` answers 204 at once, but the prompt shows and runs only when this gate opens.
    HoldPrompts {
        /// The gate.
        gate: String,
    },
    /// Every request is answered 401 from now on.
    RefuseAuth,
    /// The history of every session answers 500, as after a stored NaN (anomalyco/opencode#38703): `GET …/message`
    /// from the named call on. One session's: [`Step::BreakHistory`](crate::Step::BreakHistory).
    HistoryFails {
        /// Which calls.
        #[serde(default)]
        calls: Calls,
    },
    /// The server forgets each session as soon as it has answered its creation.
    ForgetSessions,
    /// Records are odd: they lack fields, or hold what no client expects.
    Odd(OddRecord),
    /// A list begins and ends with a record that is none.
    Stray {
        /// Which list.
        among: List,
        /// What stands there: `null`, `{}`, a text, a record without what makes it one.
        record: Value,
    },
    /// The list of a session's messages names each of them twice.
    RepeatMessages,
}

/// A list that the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum List {
    /// `GET /session/:id/message`
    Messages,
    /// The `parts` of each message there.
    Parts,
    /// `GET /session` and `GET /session/:id/children`
    Sessions,
    /// `GET /question` and `GET /permission`
    Requests,
}

/// A choice of events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// The event's type: `session.idle`, `message.part.updated`, …
    pub event: String,
    /// The role of the message that an event must belong to: `user` or `assistant`; absent: any.
    #[serde(default)]
    pub role: Option<String>,
    /// How many of them; absent: all.
    #[serde(default)]
    pub times: Option<u64>,
}

impl Events {
    /// Every event of this type.
    pub fn of(event: impl Into<String>) -> Self {
        Self {
            event: event.into(),
            ..Self::default()
        }
    }

    /// The first event of this type.
    pub fn first(event: impl Into<String>) -> Self {
        Self {
            times: Some(1),
            ..Self::of(event)
        }
    }

    /// Only those of messages with this role.
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }
}

/// Which calls of an endpoint a fault befalls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calls {
    /// Every call.
    #[default]
    All,
    /// The k-th call alone, counted from 1.
    Nth(u64),
    /// The first k calls.
    First(u64),
    /// Every call after the first k.
    After(u64),
    /// The first k calls after each start of the server.
    FirstOfLife(u64),
}

impl Calls {
    fn includes(self, call: u64) -> bool {
        match self {
            Self::All => true,
            Self::Nth(k) => call == k,
            Self::First(k) | Self::FirstOfLife(k) => call <= k,
            Self::After(k) => call > k,
        }
    }
}

/// What befalls a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// The connection is closed before anything is done.
    LoseRequest,
    /// The request is done, and the connection closed without an answer.
    LoseResponse,
    /// Half of the answer arrives, then the connection is closed.
    CutResponse,
    /// The request is accepted, nothing is done, and no answer ever comes (1.17.19, 1.18.33 and 1.18.34 do this in
    /// their first seconds).
    Swallow,
    /// The request is done, and no answer ever comes.
    SwallowResponse,
    /// An informational answer of this status (100 to 199) comes before the answer itself.
    Informational(u16),
    /// Waits this many milliseconds before anything is done.
    Delay(u64),
    /// The request is done, and its answer waits this many milliseconds.
    DelayResponse(u64),
    /// Nothing is done until this gate opens.
    Hold(String),
    /// The request is done, and its answer waits until this gate opens.
    HoldResponse(String),
    /// Nothing is done, and this is answered.
    Answer {
        /// HTTP status.
        status: u16,
        /// `Content-Type`.
        content_type: String,
        /// The body.
        body: String,
    },
    /// The request is done, and this is answered instead of its answer.
    AnswerAfter {
        /// HTTP status.
        status: u16,
        /// `Content-Type`.
        content_type: String,
        /// The body.
        body: String,
    },
}

impl Action {
    /// An error page as a proxy in front of the server makes it.
    pub fn html(status: u16) -> Self {
        Self::Answer {
            status,
            content_type: "text/html".into(),
            body: format!(
                "<!doctype html><html><head><title>{status}</title></head><body><h1>Error {status}</h1></body></html>"
            ),
        }
    }

    /// 200 with a body that is not JSON.
    pub fn garbage() -> Self {
        Self::Answer {
            status: 200,
            content_type: "application/json".into(),
            body: "{\"this is\": not JSON".into(),
        }
    }

    /// An error in the server's own shape.
    pub fn error(status: u16, name: &str, message: &str) -> Self {
        Self::Answer {
            status,
            content_type: "application/json".into(),
            body: serde_json::json!({"name": name, "data": {"message": message}}).to_string(),
        }
    }
}

/// Names a fault that was set, to take it away again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultId(u64);
