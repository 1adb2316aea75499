//! The one terminal state of a turn.

use std::time::Duration;

use opencode_client::reply::{ReplyResult, is_blank};
use serde_json::json;

use super::ears::Ears;
use super::facts::Facts;
use super::follow::write;
use super::history::give_session_up;
use super::leaving::{Driven, leave};
use super::names::keeps_unknown_model;
use super::plan::Ending;
use super::settle::settle;
use super::tools::{Tools, Trouble};
use crate::outcome::{Answer, Reason, Usage};
use crate::reporter::Severity;
use crate::store::{Finish, Finished, StoreError, TurnStatus};

/// What a message says that was stopped before its first word.
const STOPPED: &str = "Response was stopped.";
/// What a message says whose question was declined.
const DECLINED: &str = "The question was declined, so there is no answer.";
/// What a message says whose turn the application refused.
const REFUSED: &str = "This was not passed on to the agent.";
/// What a message says that failed before its first word.
const FAILED: &str = "Sorry, an error occurred while generating this response.";

/// How long the end of a turn is tried to be written before the turn is left to the next worker.
const PERSISTENCE: Duration = Duration::from_secs(60);

/// Writes the end, then settles the turn.
pub(super) async fn end(
    tools: &Tools,
    facts: &Facts,
    ears: &mut Ears,
    mut ending: Ending,
) -> Driven {
    if ears
        .reply
        .as_ref()
        .is_some_and(opencode_client::Reply::is_cut)
    {
        ending.truncated = true;
        ending.reason.get_or_insert(Reason::Oversized);
    }
    let unreadable = facts
        .prompt
        .looks
        .unread
        .is_some_and(|unread| unread.believed);
    if unreadable {
        // Nobody else can read it from the server.
        let written = write(tools, ears).await;
        if let Err(Trouble::Store(StoreError::LeaseLost { .. })) = written {
            return Driven::Lost;
        }
    }
    let keeps_name = keeps_unknown_model(tools, facts, ears, &ending);
    trace_end(tools, ears, &ending);
    let finish = finish_of(tools, ears, ending);
    let started = tokio::time::Instant::now();
    let control = tools.control.clone();
    loop {
        let finished = tokio::select! {
            biased;
            () = control.leaves() => return leave(tools, ears).await,
            finished = tools.front.store.finish(&tools.lease, &finish) => finished,
        };
        match finished {
            Ok(Finished::Stored(_) | Finished::Already(_)) => {
                if unreadable || keeps_name {
                    give_session_up(tools).await;
                }
                return settle(tools, ears).await;
            }
            Err(StoreError::LeaseLost { .. }) => return Driven::Lost,
            Err(error) => {
                tools.report(&error);
                if !error.is_transient() || started.elapsed() >= PERSISTENCE {
                    return Driven::Lost;
                }
                tokio::select! {
                    () = control.leaves() => return leave(tools, ears).await,
                    () = tokio::time::sleep(Duration::from_millis(250)) => {}
                }
            }
        }
    }
}

fn trace_end(tools: &Tools, ears: &Ears, ending: &Ending) {
    let turn = tools.turn.id.to_string();
    if let Some(reply) = &ears.reply {
        tools.front.telemetry.event(
            "stream.completed",
            [
                ("turn", turn.clone().into()),
                ("duration_ms", (duration(tools).as_millis() as u64).into()),
                (
                    "first_token_ms",
                    ears.first_token
                        .map(|first| first.as_millis() as u64)
                        .into(),
                ),
                ("event_count", ears.events.into()),
                ("tool_count", reply.tool_count().into()),
            ],
        );
        if reply.is_cut() || reply.is_trimmed() {
            tools.front.telemetry.event(
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
        tools.front.telemetry.event(
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
    tools.front.telemetry.event(
        "response.error",
        [
            ("turn", turn.into()),
            ("reason", json!(ending.reason)),
            ("message", tools.turn.message.to_string().into()),
        ],
    );
    let severity = if ending.status == TurnStatus::Failed {
        Severity::Error
    } else {
        Severity::Warning
    };
    tools.front.telemetry.report(
        &TurnEnded {
            name: error.name.clone(),
            message: error.message.clone(),
        },
        severity,
        [
            ("turn", tools.turn.id.to_string().into()),
            ("reason", json!(ending.reason)),
        ],
    );
}

fn finish_of(tools: &Tools, ears: &Ears, ending: Ending) -> Finish {
    let result = ears
        .reply
        .as_ref()
        .map(opencode_client::Reply::result)
        .filter(|result| !result.parts.is_empty())
        // A fresh session said nothing: what the lost one had said is kept.
        .unwrap_or_else(|| ReplyResult::of(ears.salvage.parts()));
    let result = if result.parts.is_empty() {
        // It ended before the reply was taken up where another worker left it.
        ReplyResult::of(ears.checkpoint.parts())
    } else {
        result
    };
    let mut answer = Answer::text(content(&ending, &result));
    answer.parts = result.parts;
    answer.reasoning = result.reasoning_text;
    answer.usage = usage(ears);
    answer.truncated = ending.truncated;
    answer.reason = ending.reason;
    answer.error = ending.error;
    let mut finish = Finish::new(ending.status, answer, duration(tools));
    finish.first_token = ears.first_token;
    finish.spent = ears.spent_with(&finish.answer.usage);
    finish
}

/// From the first claim until now.
fn duration(tools: &Tools) -> Duration {
    tools.before + tools.started.elapsed()
}

/// Over all messages of the turn; what was streamed, where the server has lost it.
fn usage(ears: &Ears) -> Usage {
    let streamed = ears
        .reply
        .as_ref()
        .map(opencode_client::Reply::usage)
        .unwrap_or_default();
    let upstream = ears
        .exchange
        .as_ref()
        .map(|exchange| (exchange.cost(), exchange.tokens()));
    let (cost, tokens) = upstream
        .filter(|(cost, tokens)| *cost > 0.0 || tokens.output > 0)
        .unwrap_or(streamed);
    Usage::new(cost, tokens)
}

fn content(ending: &Ending, result: &ReplyResult) -> String {
    if !is_blank(&result.full_text) {
        return result.full_text.clone();
    }
    match (ending.status, ending.reason) {
        (TurnStatus::Completed, _) => String::new(),
        (TurnStatus::Cancelled, Some(Reason::Declined)) => DECLINED.to_owned(),
        (_, Some(Reason::Refused)) => REFUSED.to_owned(),
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
