//! What a turn does next.
//!
//! [`plan`] is a pure function from what is known to the next step; the driver
//! executes it and learns more. A fresh turn, one taken over from a dead
//! worker, and one that is to be cancelled all start from what their row says
//! and go through the same function, so that there is one set of rules and it
//! can be tested without I/O.
//!
//! The races it answers:
//!
//! * A prompt whose answer was lost may run. Ids are durable before the first
//!   post, so whoever goes on looks for the message and posts only when it is
//!   absent ([`Prompting::Recorded`] → [`Step::Look`]).
//! * An idle event may be late, and of an earlier turn. It is a reason to look
//!   ([`Step::Inspect`]), never an end; what the server's messages and its
//!   status map say decides.
//! * Right after an idle the messages may still lag (an aborted message gets
//!   its error only after the first idle), and right after a 204 neither
//!   message nor status shows (1.5 s were seen). So a look that says that
//!   something went wrong is repeated before it is believed ([`Pace::confirm`]).
//! * A busy machine can sit on a prompt for long before it runs. As long as the
//!   stream has not broken since, the server is there and is waited for
//!   ([`Pace::unseen`]); where it has, the prompt may have died with the server
//!   that took it, and is looked for and posted once more ([`Pace::lost`]).
//! * A server can sit on a prompt for ever because it knows no agent of that
//!   name (204 and silence up to 1.2.27). So a look that finds nothing asks for
//!   the names that there are ([`Step::AskNames`]) before anybody waits.

mod situation;

use std::time::Duration;

use opencode_client::UpstreamError;

pub use situation::{
    Confirmed, Content, Ending, Failure, Inspection, LastMessage, Limits, Names, Pace, Prompting,
    Situation, Step,
};

use super::names;
use crate::outcome::{Reason, TurnError};

/// The shortest time before a call that failed is made again.
const SHORT_PAUSE: Duration = Duration::from_millis(250);

/// What a turn does next.
pub fn plan(now: &Situation, limits: &Limits) -> Step {
    if now.cancel {
        return cancel(now, &limits.pace);
    }
    if let Some(ending) = &now.stopping {
        if now.prompting == Prompting::None {
            return Step::End(ending.clone());
        }
        return stopping(now, ending.clone(), &limits.pace);
    }
    if let Some(ending) = overtime(now, limits) {
        return match now.prompting {
            Prompting::None => Step::End(ending),
            _ => stopping(now, ending, &limits.pace),
        };
    }
    if let Some((failure, since)) = &now.failure {
        return recover(now, failure, *since, limits);
    }
    // What kills every worker may be the look itself.
    if now.attempts > limits.attempts.saturating_mul(2) {
        return stop(now, given_up(), &limits.pace);
    }
    if now.prompting == Prompting::None && is_given_up(now, limits) {
        return Step::End(given_up());
    }
    if !now.connected {
        return Step::Connect;
    }
    if let (Prompting::Recorded, Names::Unknown(message)) = (now.prompting, &now.names) {
        // The post was refused for it.
        return Step::End(Ending::own(Reason::UnknownName, message));
    }
    match now.prompting {
        Prompting::None if now.transcript_owed => Step::CarryOver,
        Prompting::None => Step::Mint,
        Prompting::Recorded => Step::Look,
        Prompting::Posted { ago } => answer(now, ago, limits),
    }
}

/// No more is waited for. What the server has of the answer is still taken.
fn is_given_up(now: &Situation, limits: &Limits) -> bool {
    now.attempts > limits.attempts && !now.waiting
}

fn given_up() -> Ending {
    Ending::own(
        Reason::Interrupted,
        "The answer was interrupted several times in a row, and was given up.",
    )
}

/// The prompt is with the server: its answer comes, or does not.
fn answer(now: &Situation, ago: Duration, limits: &Limits) -> Step {
    let hopeless = is_given_up(now, limits);
    match overdue(now, ago, limits) {
        // Nothing ever ran: a fresh session may do better, once.
        Some(ending) if ending.reason == Some(Reason::Stale) && !now.replaced => {
            return if now.aborted.is_some() {
                Step::Recreate
            } else {
                Step::Abort { ending: None }
            };
        }
        Some(ending) => return stop(now, ending, &limits.pace),
        None => {}
    }
    if now.look_due {
        return Step::Inspect;
    }
    if let Some((inspection, confirmed)) = &now.inspection {
        let confirmed = if hopeless {
            // There may be no second look.
            Confirmed::Again
        } else {
            *confirmed
        };
        match judge(now, inspection, confirmed, ago, &limits.pace) {
            Verdict::End(ending) => return Step::End(ending),
            Verdict::Stop(ending) => return stop(now, ending, &limits.pace),
            Verdict::AskNames => return Step::AskNames,
            Verdict::PromptLost if !hopeless => return Step::Look,
            Verdict::GoOn | Verdict::LookAgain | Verdict::PromptLost if hopeless => {
                return stop(now, given_up(), &limits.pace);
            }
            Verdict::LookAgain => {
                let confirm = limits.pace.confirm;
                let pause = confirm.saturating_sub(now.looked.unwrap_or(confirm));
                return if pause.is_zero() {
                    Step::Inspect
                } else {
                    Step::Follow { at_most: pause }
                };
            }
            Verdict::GoOn | Verdict::PromptLost => {}
        }
    } else if hopeless {
        return Step::Inspect;
    }
    let quiet = now.heard.unwrap_or(ago).min(now.looked.unwrap_or(ago));
    let patience = patience(now, &limits.pace);
    if quiet >= patience {
        Step::Inspect
    } else {
        Step::Follow {
            at_most: patience.saturating_sub(quiet),
        }
    }
}

/// How long nothing may be heard before the server is asked. A stream that has
/// not given one event of the session is held for silent after 10 s (1.14.48
/// gives none at all) and the server is asked every 2 s from then on. Silence may
/// also mean that a name is unknown (up to 1.2.27): such a prompt is asked about earlier.
fn patience(now: &Situation, pace: &Pace) -> Duration {
    match (now.heard, now.looked) {
        (None, Some(_)) => pace.confirm,
        (None, None) if now.names == Names::Unasked => pace.confirm,
        _ => pace.silence,
    }
}

/// The turn's time is up, whatever it is at.
fn overtime(now: &Situation, limits: &Limits) -> Option<Ending> {
    let late = || format!("The answer took longer than {} s.", limits.turn.as_secs());
    (now.elapsed >= limits.turn && !now.waiting).then(|| match &now.failing {
        // What went wrong all the time says more.
        Some(Failure::Broken(message) | Failure::Unread(message)) => Ending::failed(message),
        Some(Failure::Unreachable(message) | Failure::Unanswered(message)) => {
            Ending::own(Reason::Timeout, format!("{} {message}.", late()))
        }
        _ => Ending::own(Reason::Timeout, late()),
    })
}

fn overdue(now: &Situation, ago: Duration, limits: &Limits) -> Option<Ending> {
    let alive = now.heard.is_some()
        || now
            .inspection
            .as_ref()
            .is_some_and(|(look, _)| look.busy || look.prompt_seen);
    if !alive && ago >= limits.first_event {
        return Some(Ending::own(
            Reason::Stale,
            format!(
                "OpenCode gave no sign of life for {} s after it took the prompt.",
                limits.first_event.as_secs()
            ),
        ));
    }
    if now.waiting {
        return None;
    }
    if let (Some(limit), Some(heard)) = (limits.idle, now.heard)
        && heard >= limit
    {
        return Some(Ending::own(
            Reason::Idle,
            format!("The answer stopped coming for {} s.", limit.as_secs()),
        ));
    }
    if now.retries > limits.retries {
        return Some(Ending::own(
            Reason::Upstream,
            format!(
                "The model's provider was too busy: OpenCode tried {} times.",
                now.retries
            ),
        ));
    }
    None
}

enum Verdict {
    End(Ending),
    /// As `End`, and the server is to stop.
    Stop(Ending),
    LookAgain,
    /// The server that took the prompt is gone, and the prompt with it.
    PromptLost,
    /// The name of the agent or the model may be why.
    AskNames,
    GoOn,
}

fn judge(
    now: &Situation,
    look: &Inspection,
    confirmed: Confirmed,
    ago: Duration,
    pace: &Pace,
) -> Verdict {
    if look.restarts > 0 {
        return Verdict::Stop(Ending::own(
            Reason::Loop,
            "OpenCode answered the same prompt over and over, and was stopped.",
        ));
    }
    let sure = confirmed == Confirmed::Again;
    match &look.last {
        Some(last) if last.error.is_some() => failed_message(now, last, look, sure),
        Some(last) if last.finished && !last.wants_more => {
            // It may yet turn out to loop.
            if look.busy && !now.orderly_idle && !sure {
                return Verdict::LookAgain;
            }
            finished(now, look, last.truncated, sure)
        }
        _ if look.busy => Verdict::GoOn,
        Some(last) if last.finished && look.declined => {
            debug_assert!(
                last.wants_more,
                "a declined answer stops where tools were to run"
            );
            Verdict::End(if now.content.text {
                Ending::completed(false)
            } else {
                Ending::cancelled(Reason::Declined)
            })
        }
        // A message that stopped for tools, with no other behind it and nobody
        // at work: the server died in between, or was told to stop there.
        Some(last) if last.finished => match (sure, now.orderly_idle) {
            (false, _) => Verdict::LookAgain,
            (true, true) => finished(now, look, last.truncated, sure),
            (true, false) => Verdict::End(broken_off(look)),
        },
        Some(_) if sure => Verdict::End(broken_off(look)),
        Some(_) => Verdict::LookAgain,
        None => unanswered(now, look, sure && ago >= unseen(now, pace)),
    }
}

fn failed_message(now: &Situation, last: &LastMessage, look: &Inspection, sure: bool) -> Verdict {
    let Some(error) = &last.error else {
        return Verdict::GoOn;
    };
    if error.is_abort() {
        // Stopped from elsewhere, such as a terminal on the same session.
        return Verdict::End(Ending::cancelled(Reason::Cancelled));
    }
    if look.busy && !sure {
        return Verdict::LookAgain;
    }
    reported(now, error)
}

/// The provider or the server said what is wrong. What it says of a name that it does not know is told with the
/// names that there are.
fn reported(now: &Situation, error: &UpstreamError) -> Verdict {
    if !names::is_unknown(error) {
        return Verdict::End(Ending::error(Reason::Upstream, TurnError::from(error)));
    }
    match &now.names {
        Names::Unknown(message) => Verdict::End(Ending::own(Reason::UnknownName, message)),
        Names::Known | Names::Unasked => Verdict::AskNames,
    }
}

fn finished(now: &Situation, look: &Inspection, truncated: bool, sure: bool) -> Verdict {
    if now.content.text || now.content.tools {
        return Verdict::End(Ending::completed(truncated));
    }
    if let Some(error) = &now.session_error {
        return reported(now, error);
    }
    if !sure {
        return Verdict::LookAgain;
    }
    if look.unread && !heard_all(now) {
        return Verdict::End(broken_off(look));
    }
    Verdict::End(Ending::own(
        Reason::EmptyReply,
        "The agent ended its turn without a word.",
    ))
}

/// How long a prompt may rest with the server without a sign of work.
fn unseen(now: &Situation, pace: &Pace) -> Duration {
    if now.unbroken && !now.orderly_idle {
        pace.unseen
    } else {
        pace.lost
    }
}

/// Not busy, and no answer; `sure` when it has been so for long enough.
fn unanswered(now: &Situation, look: &Inspection, sure: bool) -> Verdict {
    match (&now.names, &now.session_error) {
        (Names::Unasked, _) => return Verdict::AskNames,
        (Names::Unknown(message), _) => {
            return Verdict::End(Ending::own(Reason::UnknownName, message));
        }
        // Reported, and nothing else ever comes (1.18.33).
        (Names::Known, Some(error)) => return reported(now, error),
        (Names::Known, None) => {}
    }
    if !sure {
        return Verdict::LookAgain;
    }
    if look.prompt_seen {
        return Verdict::End(if now.orderly_idle && (!look.unread || heard_all(now)) {
            Ending::own(
                Reason::EmptyReply,
                "The agent ended its turn without a word.",
            )
        } else {
            broken_off(look)
        });
    }
    if !now.unbroken && !now.reposted {
        return Verdict::PromptLost;
    }
    if look.unread {
        return Verdict::End(broken_off(look));
    }
    Verdict::End(Ending::error(
        Reason::Upstream,
        TurnError::of(
            Reason::Upstream,
            "OpenCode took the prompt and never ran it. Try again; if it stays, restart OpenCode.",
        ),
    ))
}

/// Nothing of the answer can have been missed: who posted the prompt heard the session until it was idle.
fn heard_all(now: &Situation) -> bool {
    now.orderly_idle && now.unbroken
}

/// The answer stopped before its end, as far as can be known.
fn broken_off(look: &Inspection) -> Ending {
    if look.unread {
        return Ending::own(
            Reason::Upstream,
            "OpenCode cannot read the messages of this conversation's session any more, so the end of the answer is \
             not known. What had come is kept; the next message goes to a fresh session that is told what was said.",
        );
    }
    Ending::own(
        Reason::Interrupted,
        "OpenCode stopped in the middle of the answer. What had come is kept.",
    )
}

/// The turn ends while the server may still be at work: stop it first.
fn stop(now: &Situation, ending: Ending, pace: &Pace) -> Step {
    if now.prompting == Prompting::None || !now.connected {
        return Step::End(ending);
    }
    stopping(now, ending, pace)
}

/// Tells the server to stop, looks whether it has, and tells it again: the word may have been lost.
fn stopping(now: &Situation, ending: Ending, pace: &Pace) -> Step {
    let tenth = pace.abort / 10;
    if now.aborted.is_some_and(|ago| ago >= pace.abort) {
        return Step::End(ending);
    }
    if !now.connected {
        // A worker that takes the turn over: the session is all an abort needs.
        return Step::TakeUp;
    }
    let abort = |ending| Step::Abort {
        ending: Some(ending),
    };
    if now.aborted.is_none() {
        return abort(ending);
    }
    match &now.failure {
        Some((
            Failure::Unreachable(_)
            | Failure::Unanswered(_)
            | Failure::Broken(_)
            | Failure::Unread(_),
            since,
        )) if *since < pace.abort => {
            return Step::Wait { pause: tenth };
        }
        Some(_) => return Step::End(ending),
        None => {}
    }
    let look = match &now.inspection {
        Some((look, _)) if !now.look_due => Some(look),
        _ => None,
    };
    let again = now.aborted_again.is_some_and(|ago| ago >= pace.abort / 5);
    match look {
        // A prompt that is still on its way would run when nobody looks any more.
        Some(look) if !look.busy && (look.prompt_seen || !now.in_flight) => Step::End(ending),
        Some(look) if look.busy && again => abort(ending),
        _ if !now.abort_heard && again => abort(ending),
        _ if now.look_due || now.looked.is_none_or(|looked| looked >= tenth) => Step::Inspect,
        _ => Step::Follow { at_most: tenth },
    }
}

fn cancel(now: &Situation, pace: &Pace) -> Step {
    let ending = Ending::cancelled(Reason::Cancelled);
    if now.prompting == Prompting::None {
        return Step::End(ending);
    }
    stopping(now, ending, pace)
}

fn recover(now: &Situation, failure: &Failure, since: Duration, limits: &Limits) -> Step {
    match failure {
        Failure::SessionLost if now.replaced => Step::End(Ending::own(
            Reason::Upstream,
            "OpenCode lost the conversation's session twice in a row.",
        )),
        Failure::Unreadable(message) if now.replaced => Step::End(Ending::own(
            Reason::Upstream,
            format!("OpenCode cannot read the messages of a fresh session either: {message}"),
        )),
        Failure::SessionLost | Failure::Unreadable(_) => Step::Recreate,
        Failure::Unauthorized(message) => Step::End(Ending::own(Reason::Unauthorized, message)),
        Failure::Unsafe(message) => Step::End(Ending::own(Reason::UnsafeServer, message)),
        Failure::Refused(message) => Step::End(Ending::own(Reason::Upstream, message)),
        Failure::Broken(message) if since >= limits.unreachable => {
            Step::End(Ending::failed(message))
        }
        Failure::Unreachable(message) | Failure::Unanswered(message)
            if since >= limits.unreachable =>
        {
            Step::End(match now.prompting {
                Prompting::None => Ending::own(Reason::Unreachable, message),
                _ => Ending::own(
                    Reason::Interrupted,
                    format!("{message}. The answer was interrupted; what had come is kept."),
                ),
            })
        }
        // Doubling from a quarter of a second to one.
        Failure::Broken(_) | Failure::Unreachable(_) | Failure::Unread(_) => Step::Wait {
            pause: since.clamp(SHORT_PAUSE, Duration::from_secs(1)),
        },
        // It was waited for already.
        Failure::Unanswered(_) => Step::Wait { pause: SHORT_PAUSE },
    }
}

#[cfg(test)]
mod tests;
