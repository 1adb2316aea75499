//! The one terminal state of a turn.

use std::time::Duration;

use opencode_client::reply::{PersistedPart, ReplyResult, is_blank};
use serde_json::json;

use super::driver::{Driven, Driver, Trouble};
use super::plan::Ending;
use super::result::FinishedEvent;
use crate::outcome::Reason;
use crate::reporter::Severity;
use crate::store::{Finish, Finished, StoreError, TurnState, TurnStatus, Usage};

/// What a message says that was stopped before its first word.
const STOPPED: &str = "Response was stopped.";
/// What a message says whose question was declined.
const DECLINED: &str = "The question was declined, so there is no answer.";
/// What a message says that failed before its first word.
const FAILED: &str = "Sorry, an error occurred while generating this response.";

/// How long the end of a turn is tried to be written before the turn is left to the next worker.
const PERSISTENCE: Duration = Duration::from_secs(60);

impl Driver {
    /// Writes the end, then settles the turn.
    pub(super) async fn end(&mut self, mut ending: Ending) -> Driven {
        if self
            .reply
            .as_ref()
            .is_some_and(opencode_client::Reply::is_cut)
        {
            ending.truncated = true;
            ending.reason.get_or_insert(Reason::Oversized);
        }
        let unreadable = self.unread.is_some_and(|unread| unread.believed);
        if unreadable {
            // Nobody else can read it from the server.
            let written = self.write().await;
            if let Err(Trouble::Store(StoreError::LeaseLost { .. })) = written {
                return Driven::Lost;
            }
        }
        let keeps_name = self.keeps_unknown_model(&ending);
        self.trace_end(&ending);
        let finish = self.finish_of(ending);
        let started = tokio::time::Instant::now();
        let control = self.control.clone();
        loop {
            let finished = tokio::select! {
                biased;
                () = control.leaves() => return self.leave().await,
                finished = self.host.store.finish(&self.lease, &finish) => finished,
            };
            match finished {
                Ok(Finished::Stored(status) | Finished::Already(status)) => {
                    self.turn.state = TurnState::Finished {
                        status,
                        settled: false,
                    };
                    if unreadable || keeps_name {
                        self.give_session_up().await;
                    }
                    return self.settle().await;
                }
                Err(StoreError::LeaseLost { .. }) => return Driven::Lost,
                Err(error) => {
                    self.report(&error);
                    if !error.is_transient() || started.elapsed() >= PERSISTENCE {
                        return Driven::Lost;
                    }
                    tokio::select! {
                        () = control.leaves() => return self.leave().await,
                        () = tokio::time::sleep(Duration::from_millis(250)) => {}
                    }
                }
            }
        }
    }

    /// Ends the turn where it cannot be driven any further, with what was written down of it.
    pub(crate) async fn fail(mut self, why: &str) -> Driven {
        match self.turn.state {
            TurnState::Finished { .. } => Driven::Lost,
            _ => self.end(Ending::failed(why)).await,
        }
    }

    fn trace_end(&self, ending: &Ending) {
        let turn = self.turn.id.to_string();
        if let Some(reply) = &self.reply {
            self.host.telemetry.event(
                "stream.completed",
                [
                    ("turn", turn.clone().into()),
                    ("duration_ms", (self.duration().as_millis() as u64).into()),
                    (
                        "first_token_ms",
                        self.first_token
                            .map(|first| first.as_millis() as u64)
                            .into(),
                    ),
                    ("event_count", self.events.into()),
                    ("tool_count", reply.tool_count().into()),
                ],
            );
            if reply.is_cut() || reply.is_trimmed() {
                self.host.telemetry.event(
                    "reply.cut",
                    [
                        ("turn", turn.clone().into()),
                        ("words", reply.is_cut().into()),
                        ("details", reply.is_trimmed().into()),
                    ],
                );
            }
        }
        let Some(error) = &ending.error else { return };
        if ending.reason == Some(Reason::Upstream) {
            self.host.telemetry.event(
                "response.upstream_error",
                [
                    ("turn", turn.clone().into()),
                    ("error_name", error.name.clone().into()),
                    (
                        "error_message",
                        error.message.chars().take(200).collect::<String>().into(),
                    ),
                    ("status_code", error.status_code.into()),
                    ("provider_url", error.url.clone().into()),
                ],
            );
        }
        self.host.telemetry.event(
            "response.error",
            [
                ("turn", turn.into()),
                ("reason", json!(ending.reason)),
                ("message", self.turn.message.to_string().into()),
            ],
        );
        let severity = if ending.status == TurnStatus::Failed {
            Severity::Error
        } else {
            Severity::Warning
        };
        self.host.telemetry.report(
            &TurnEnded {
                name: error.name.clone(),
                message: error.message.clone(),
            },
            severity,
            [
                ("turn", self.turn.id.to_string().into()),
                ("reason", json!(ending.reason)),
            ],
        );
    }

    fn finish_of(&self, ending: Ending) -> Finish {
        let result = self
            .reply
            .as_ref()
            .map(opencode_client::Reply::result)
            .filter(|result| !result.parts.is_empty())
            // A fresh session said nothing: what the lost one had said is kept.
            .unwrap_or_else(|| ReplyResult::of(self.salvage.parts()));
        let result = if result.parts.is_empty() {
            // It ended before the reply was taken up where another worker left it.
            ReplyResult::of(self.turn.checkpoint.parts())
        } else {
            result
        };
        let usage = self.usage();
        let tool_count = result
            .parts
            .iter()
            .filter(|part| matches!(part, PersistedPart::Tool(_)))
            .count();
        let event = FinishedEvent {
            status: ending.status,
            reason: ending.reason,
            usage,
            error: ending.error.as_ref(),
            tool_count,
            duration: self.duration(),
            first_token: self.first_token,
        };
        Finish {
            status: ending.status,
            reason: ending.reason,
            content: content(&ending, &result),
            usage,
            truncated: ending.truncated,
            event: event.payload(),
            error: ending.error,
            parts: result.parts,
            reasoning: result.reasoning_text,
        }
    }

    /// From the first claim until now.
    fn duration(&self) -> Duration {
        self.before + self.started.elapsed()
    }

    /// Over all messages of the turn; what was streamed, where the server has lost it.
    fn usage(&self) -> Usage {
        let streamed = self
            .reply
            .as_ref()
            .map(opencode_client::Reply::usage)
            .unwrap_or_default();
        let upstream = self
            .exchange
            .as_ref()
            .map(|exchange| (exchange.cost(), exchange.tokens()));
        let (cost, tokens) = upstream
            .filter(|(cost, tokens)| *cost > 0.0 || tokens.output > 0)
            .unwrap_or(streamed);
        Usage::new(cost, tokens)
    }
}

fn content(ending: &Ending, result: &ReplyResult) -> String {
    if !is_blank(&result.full_text) {
        return result.full_text.clone();
    }
    match (ending.status, ending.reason) {
        (TurnStatus::Completed, _) => String::new(),
        (TurnStatus::Cancelled, Some(Reason::Declined)) => DECLINED.to_owned(),
        (TurnStatus::Cancelled, _) => STOPPED.to_owned(),
        (TurnStatus::Error | TurnStatus::Failed, _) => FAILED.to_owned(),
    }
}

/// A turn's error, for the reporter.
#[derive(Debug, thiserror::Error)]
#[error("the turn ended with {name}: {message}")]
struct TurnEnded {
    name: String,
    message: String,
}
