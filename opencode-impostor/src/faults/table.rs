//! The faults in force.

use serde_json::Value;

use super::records::Counter;
use super::{Action, Calls, Fault, FaultId, List, Record, Seen};

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
    /// Of an odd record.
    counter: Counter,
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
        self.entries.push(Entry {
            id,
            fault,
            seen: 0,
            counter: Counter::default(),
        });
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

    /// The server has died: what is counted by life begins again.
    pub(crate) fn died(&mut self) {
        for entry in &mut self.entries {
            let by_life = matches!(
                entry.fault,
                Fault::Request {
                    calls: Calls::FirstOfLife(_),
                    ..
                } | Fault::HistoryFails {
                    calls: Calls::FirstOfLife(_)
                }
            );
            if by_life {
                entry.seen = 0;
            }
        }
    }

    /// Whether this look at a session's messages fails. Counts it.
    pub(crate) fn history_fails(&mut self) -> bool {
        let mut fails = false;
        for entry in &mut self.entries {
            if let Fault::HistoryFails { calls } = entry.fault {
                entry.seen += 1;
                fails |= calls.includes(entry.seen);
            }
        }
        fails
    }

    /// A record as it is sent. `role` is that of the message it belongs to.
    pub(crate) fn alter(&mut self, kind: Record, seen: Seen, role: &str, record: &mut Value) {
        let id = record["id"].as_str().unwrap_or_default().to_owned();
        for entry in &mut self.entries {
            if let Fault::Odd(odd) = &entry.fault {
                entry
                    .counter
                    .apply(odd, (kind, seen), role, (&id, &mut *record));
            }
        }
    }

    /// Whether records are sent otherwise than they are kept.
    pub(crate) fn touches_records(&self) -> bool {
        self.entries.iter().any(|entry| {
            matches!(
                entry.fault,
                Fault::Odd(_) | Fault::Stray { .. } | Fault::RepeatMessages
            )
        })
    }

    /// A list as it is answered.
    pub(crate) fn alter_list(&self, list: List, records: &mut Vec<Value>) {
        for entry in &self.entries {
            match &entry.fault {
                Fault::Stray { among, record } if *among == list => {
                    records.insert(0, record.clone());
                    records.push(record.clone());
                }
                Fault::RepeatMessages if list == List::Messages => {
                    *records = records
                        .drain(..)
                        .flat_map(|record| [record.clone(), record])
                        .collect();
                }
                _ => {}
            }
        }
    }

    pub(crate) fn forgets_sessions(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.fault == Fault::ForgetSessions)
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
    use super::{Action, Calls, EventFate, Fault, FaultTable, endpoint_matches};
    use crate::faults::Events;

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
