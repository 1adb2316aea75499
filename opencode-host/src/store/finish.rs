//! The end of a turn, and the one event that records it.

use std::time::Duration;

use opencode_client::reply::PersistedPart;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::TurnStatus;
use crate::budget::Spent;
use crate::clock::Timestamp;
use crate::outcome::{Answer, Reason};

/// The end of a turn.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Finish {
    /// How it ended.
    pub status: TurnStatus,
    /// What it came to.
    pub answer: Answer,
    /// From the first claim to the end; from the submit where it was never claimed.
    pub duration: Duration,
    /// From the first claim to the first word, if there was one.
    pub first_token: Option<Duration>,
    /// Why the turn was cancelled, or by whom. The store sets it, from the row.
    pub cancel_reason: Option<String>,
    /// What the turn has used, for the [`Ledger`](super::Ledger). As the answer's usage and the duration say, unless set.
    pub spent: Spent,
}

/// What is written where a turn was cancelled before anything came of it.
const NEVER_STARTED: &str = "Cancelled before it started.";

impl Finish {
    /// The event that a turn's one terminal state is recorded by.
    pub const EVENT: &'static str = "turn.finished";

    /// The end of a turn that ran for `duration`.
    pub fn new(status: TurnStatus, answer: Answer, duration: Duration) -> Self {
        Self {
            status,
            spent: Spent::of(&answer.usage, duration),
            answer,
            duration,
            first_token: None,
            cancel_reason: None,
        }
    }

    /// The end of a turn that was cancelled in the queue, `waited` after its submit.
    pub fn never_started(waited: Duration) -> Self {
        let mut answer = Answer::text(NEVER_STARTED);
        answer.reason = Some(Reason::Cancelled);
        Self {
            spent: Spent::default(),
            ..Self::new(TurnStatus::Cancelled, answer, waited)
        }
    }

    /// This end for a turn whose cancel was asked for before, with its reason: a completion
    /// becomes cancelled; any other end stays as it is.
    #[must_use]
    pub fn after_cancel(mut self, reason: Option<String>) -> Self {
        self.cancel_reason = reason;
        if self.status == TurnStatus::Completed {
            self.status = TurnStatus::Cancelled;
            self.answer.reason = Some(Reason::Cancelled);
        }
        self
    }

    /// The payload of the [`EVENT`](Self::EVENT). What there is not is left out: `reason`, `cancel_reason`,
    /// `first_token_ms`, `error` (its name) and `error_message` (200 characters at most).
    pub fn event(&self) -> Value {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let is_tool = |part: &&PersistedPart| matches!(part, PersistedPart::Tool(_));
        let mut payload = Map::new();
        let mut put = |name: &str, value: Value| payload.insert(name.to_owned(), value);
        put("status", json!(self.status));
        put("duration_ms", json!(millis(self.duration)));
        put(
            "tool_count",
            json!(self.answer.parts.iter().filter(is_tool).count()),
        );
        let usage = &self.answer.usage;
        put("cost", json!(usage.cost));
        put("input_tokens", json!(usage.input_tokens));
        put("output_tokens", json!(usage.output_tokens));
        put("cache_read_tokens", json!(usage.cache_read_tokens));
        put("cache_write_tokens", json!(usage.cache_write_tokens));
        if let Some(reason) = self.answer.reason {
            put("reason", json!(reason));
        }
        if let Some(reason) = &self.cancel_reason {
            put("cancel_reason", json!(reason));
        }
        if let Some(first_token) = self.first_token {
            put("first_token_ms", json!(millis(first_token)));
        }
        if let Some(error) = &self.answer.error {
            let message: String = error.message.chars().take(200).collect();
            put("error", json!(error.name));
            put("error_message", json!(message));
        }
        Value::Object(payload)
    }
}

/// A traced event that is part of the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnEvent {
    /// The event, such as `turn.finished`.
    pub name: String,
    /// Its payload.
    pub payload: Value,
    /// When.
    pub at: Timestamp,
}

impl TurnEvent {
    /// An event.
    pub fn new(name: impl Into<String>, payload: Value, at: Timestamp) -> Self {
        Self {
            name: name.into(),
            payload,
            at,
        }
    }

    /// The event that records a turn's end.
    pub fn end(finish: &Finish, now: Timestamp) -> Self {
        Self {
            name: Finish::EVENT.to_owned(),
            payload: finish.event(),
            at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::TurnError;

    #[test]
    fn an_event_has_what_there_is_and_nothing_else() {
        let waited = Finish::never_started(Duration::from_secs(2));
        let nothing = json!({
            "status": "cancelled", "reason": "cancelled", "duration_ms": 2000, "tool_count": 0, "cost": 0.0,
            "input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0, "cache_write_tokens": 0,
        });
        assert_eq!(waited.event(), nothing);

        let mut answer = Answer::text("Hi");
        answer.error = Some(TurnError::of(Reason::Internal, "x".repeat(300)));
        let mut end = Finish::new(TurnStatus::Failed, answer, Duration::from_millis(12));
        end.first_token = Some(Duration::from_millis(3));
        let event = end.event();
        assert_eq!(event["first_token_ms"], 3);
        assert_eq!(event["error"], "internal");
        assert_eq!(event["error_message"], "x".repeat(200));
        assert_eq!(event.get("reason"), None);
    }

    #[test]
    fn a_completion_behind_a_cancel_is_cancelled_in_its_event_too() {
        let end = |status| {
            Finish::new(status, Answer::text("Hi"), Duration::ZERO)
                .after_cancel(Some("ada".to_owned()))
        };
        let event = end(TurnStatus::Completed).event();
        assert_eq!(
            (&event["status"], &event["reason"], &event["cancel_reason"]),
            (&json!("cancelled"), &json!("cancelled"), &json!("ada"))
        );
        assert_eq!(end(TurnStatus::Error).event()["status"], "error");
    }
}
