//! Faults at named points: what goes wrong, where, and how often.
//!
//! Faults are set from Rust with [`Faults`] (see [`Impostor::faults`](crate::Impostor::faults)) or stand in a
//! script's `faults`. A request fault names its endpoint as `"METHOD /path"`, where `*` or `:name` stands for one
//! segment and a last `**` for all the rest; without a method every method fits.

use serde::{Deserialize, Serialize};

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl Calls {
    fn includes(self, call: u64) -> bool {
        match self {
            Self::All => true,
            Self::Nth(k) => call == k,
            Self::First(k) => call <= k,
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

/// What the bus does with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EventFate {
    Send,
    Lose,
    Hold { gate: String, following: bool },
}

#[derive(Debug)]
struct Entry {
    id: FaultId,
    fault: Fault,
    seen: u64,
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct FaultTable {
    entries: Vec<Entry>,
    next: u64,
}

impl FaultTable {
    pub(crate) fn add(&mut self, fault: Fault) -> FaultId {
        self.next += 1;
        let id = FaultId(self.next);
        self.entries.push(Entry { id, fault, seen: 0 });
        id
    }

    pub(crate) fn remove(&mut self, id: FaultId) {
        self.entries.retain(|entry| entry.id != id);
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// What befalls this call. Counts it.
    pub(crate) fn on_request(&mut self, method: &str, path: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        for entry in &mut self.entries {
            if let Fault::Request { on, calls, action } = &entry.fault
                && endpoint_matches(on, method, path)
            {
                entry.seen += 1;
                if calls.includes(entry.seen) {
                    actions.push(action.clone());
                }
            }
        }
        actions
    }

    /// After how many events a stream that opens now is cut. Counts the stream.
    pub(crate) fn cut_after(&mut self, path: &str) -> Option<u64> {
        self.entries.iter_mut().find_map(|entry| {
            let Fault::DropStreams {
                after,
                path: only,
                times,
            } = &entry.fault
            else {
                return None;
            };
            if only.as_deref().is_some_and(|only| only != path)
                || times.is_some_and(|times| entry.seen >= times)
            {
                return None;
            }
            entry.seen += 1;
            Some(*after)
        })
    }

    /// Whether streams of this path are silent; `Some(true)` when they still carry heartbeats.
    pub(crate) fn silence(&self, path: &str) -> Option<bool> {
        self.entries.iter().find_map(|entry| match &entry.fault {
            Fault::SilentStreams {
                path: only,
                heartbeats,
            } if only.as_deref().is_none_or(|only| only == path) => Some(*heartbeats),
            _ => None,
        })
    }

    /// What becomes of an event. Counts it.
    pub(crate) fn on_event(&mut self, kind: &str, role: Option<&str>) -> EventFate {
        for entry in &mut self.entries {
            let (Fault::LoseEvents { events } | Fault::HoldEvents { events, .. }) = &entry.fault
            else {
                continue;
            };
            if events.event != kind
                || events
                    .role
                    .as_deref()
                    .is_some_and(|want| role != Some(want))
                || events.times.is_some_and(|times| entry.seen >= times)
            {
                continue;
            }
            entry.seen += 1;
            return match &entry.fault {
                Fault::HoldEvents {
                    gate, following, ..
                } => EventFate::Hold {
                    gate: gate.clone(),
                    following: *following,
                },
                _ => EventFate::Lose,
            };
        }
        EventFate::Send
    }

    /// Whether any fault looks at events at all.
    pub(crate) fn touches_events(&self) -> bool {
        self.entries.iter().any(|entry| {
            matches!(
                entry.fault,
                Fault::LoseEvents { .. } | Fault::HoldEvents { .. }
            )
        })
    }

    pub(crate) fn late_idle(&self) -> Option<String> {
        self.entries.iter().find_map(|entry| match &entry.fault {
            Fault::LateIdle { gate } => Some(gate.clone()),
            _ => None,
        })
    }

    pub(crate) fn prompt_gate(&self) -> Option<String> {
        self.entries.iter().find_map(|entry| match &entry.fault {
            Fault::HoldPrompts { gate } => Some(gate.clone()),
            _ => None,
        })
    }

    pub(crate) fn refuses_auth(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.fault == Fault::RefuseAuth)
    }
}

/// Whether a request is one that `pattern` means.
pub(crate) fn endpoint_matches(pattern: &str, method: &str, path: &str) -> bool {
    let pattern = pattern.trim();
    let (want_method, want_path) = match pattern.split_once(char::is_whitespace) {
        Some((want_method, rest)) => (want_method, rest.trim()),
        None => ("*", pattern),
    };
    if want_method != "*" && !want_method.eq_ignore_ascii_case(method) {
        return false;
    }
    let mut have = path.split('/').filter(|segment| !segment.is_empty());
    for want in want_path.split('/').filter(|segment| !segment.is_empty()) {
        if want == "**" {
            return true;
        }
        let Some(segment) = have.next() else {
            return false;
        };
        if want != "*" && !want.starts_with(':') && want != segment {
            return false;
        }
    }
    have.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::{Action, Calls, EventFate, Events, Fault, FaultTable, endpoint_matches};

    #[test]
    fn patterns_mean_what_they_say() {
        let path = "/session/ses_1/prompt_async";
        assert!(endpoint_matches(
            "POST /session/:id/prompt_async",
            "POST",
            path
        ));
        assert!(endpoint_matches("/session/*/prompt_async", "GET", path));
        assert!(endpoint_matches("* /session/**", "GET", path));
        assert!(!endpoint_matches(
            "GET /session/:id/prompt_async",
            "POST",
            path
        ));
        assert!(!endpoint_matches("POST /session/:id", "POST", path));
        assert!(!endpoint_matches(
            "POST /session/:id/prompt_async/x",
            "POST",
            path
        ));
    }

    #[test]
    fn a_fault_befalls_the_calls_it_names() {
        let mut table = FaultTable::default();
        table.add(Fault::Request {
            on: "GET /event".into(),
            calls: Calls::Nth(2),
            action: Action::LoseRequest,
        });
        let hits: Vec<bool> = (0..3)
            .map(|_| !table.on_request("GET", "/event").is_empty())
            .collect();
        assert_eq!(hits, [false, true, false]);
    }

    #[test]
    fn events_are_lost_as_often_as_said() {
        let mut table = FaultTable::default();
        table.add(Fault::LoseEvents {
            events: Events::first("message.part.updated").role("user"),
        });
        assert_eq!(
            table.on_event("message.part.updated", Some("assistant")),
            EventFate::Send
        );
        assert_eq!(
            table.on_event("message.part.updated", Some("user")),
            EventFate::Lose
        );
        assert_eq!(
            table.on_event("message.part.updated", Some("user")),
            EventFate::Send
        );
    }
}
