//! What a turn does next.
//!
//! [`plan`] is a pure function from the [`Facts`] to the next step; the driver
//! executes it and learns more. A fresh turn, one taken over from a dead
//! worker, and one that is to be cancelled all start from what their row says
//! and go through the same function, so that there is one set of rules and it
//! can be tested without I/O.
//!
//! The races it answers:
//!
//! * A prompt whose answer was lost may run. Ids are durable before the first
//!   post, so whoever goes on looks for the message and posts only when it is
//!   absent ([`Stage::Recorded`] → [`Step::Look`]).
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

mod step;

use std::time::Duration;

use opencode_client::UpstreamError;
use tokio::time::Instant;

pub(crate) use step::{Ending, Step};

use super::facts::{
    Confirmed, Consulted, Facts, Failure, Funds, Inspection, LastMessage, Names, PromptRun, Stage,
};
use super::unknown_name::is_unknown;
use crate::outcome::{Reason, TurnError};

/// The shortest time before a call that failed is made again.
const SHORT_PAUSE: Duration = Duration::from_millis(250);

/// What a turn says whose server is gone.
const LEFT: &str = "The OpenCode server that was answering is gone. What had come is kept.";

/// What a turn does next.
pub(crate) fn plan(facts: &Facts, now: Instant) -> Step {
    let step = decide(facts, now);
    match facts.pacing.early(now) {
        wait if step.asks() && !wait.is_zero() => Step::Follow { at_most: wait },
        _ => step,
    }
}

fn decide(facts: &Facts, now: Instant) -> Step {
    if facts.orders.lost || facts.orders.release {
        return Step::Leave;
    }
    if facts.claim.elsewhere {
        return Step::End(if facts.orders.cancel {
            Ending::cancelled(Reason::Cancelled)
        } else {
            Ending::own(Reason::Interrupted, LEFT)
        });
    }
    if facts.orders.cancel {
        return stop_prompted(facts, now, Ending::cancelled(Reason::Cancelled));
    }
    if let Some(ending) = &facts.stopping {
        return stop_prompted(facts, now, ending.clone());
    }
    if facts.is_late(now) {
        return stop_prompted(facts, now, overtime(facts));
    }
    if let Some((failure, since)) = facts.failure(now) {
        return recover(facts, failure, since);
    }
    if is_deadly(facts) {
        return stop(facts, now, given_up());
    }
    let unprompted = facts.prompt.stage == Stage::None;
    if unprompted && facts.is_given_up(now) {
        return Step::End(given_up());
    }
    match &facts.claim.verdict {
        Consulted::Unasked => return Step::Consult,
        Consulted::Refused(why) => return Step::End(Ending::own(Reason::Refused, why)),
        Consulted::Failed(why) => return Step::End(Ending::failed(why)),
        Consulted::Go | Consulted::Changed(_) => {}
    }
    match &facts.funds {
        Funds::Unasked if !facts.budget.is_unlimited() => return Step::Reserve,
        Funds::Failed(why) => return stop_prompted(facts, now, Ending::failed(why)),
        // What an earlier worker has prompted may have its answer.
        Funds::Over(why) if unprompted || facts.prompt.fenced.is_some() => {
            let why = format!("The agent was not asked: {why}.");
            return stop(facts, now, Ending::own(Reason::Budget, why));
        }
        Funds::Unasked | Funds::Granted(_) | Funds::Over(_) => {}
    }
    if facts.link.is_none() {
        return Step::Connect;
    }
    if let (Stage::Recorded(_), Names::Unknown(message)) =
        (&facts.prompt.stage, &facts.prompt.names)
    {
        // The post was refused for it.
        return Step::End(Ending::own(Reason::UnknownName, message));
    }
    if let (false, Some(fenced)) = (unprompted, facts.prompt.fenced) {
        return Step::Post { fenced };
    }
    match &facts.prompt.stage {
        Stage::None if facts.owes_transcript() => Step::CarryOver,
        Stage::None => Step::Mint,
        Stage::Recorded(_) => Step::Look,
        Stage::Posted { at, .. } => answer(facts, now, now.duration_since(*at)),
    }
}

/// What kills every worker may be the look itself.
fn is_deadly(facts: &Facts) -> bool {
    facts.claim.attempts > facts.limits.attempts.saturating_mul(2)
}

fn given_up() -> Ending {
    Ending::own(
        Reason::Interrupted,
        "The answer was interrupted several times in a row, and was given up.",
    )
}

/// The prompt is with the server: its answer comes, or does not.
fn answer(facts: &Facts, now: Instant, ago: Duration) -> Step {
    let hopeless = facts.is_given_up(now);
    let (pace, prompt) = (&facts.limits.pace, &facts.prompt);
    let since = |moment: Option<Instant>| moment.map(|moment| now.duration_since(moment));
    match overdue(facts, now, ago) {
        // Nothing ever ran: a fresh session may do better, once.
        Some(ending) if ending.reason == Some(Reason::Stale) && !facts.has_replaced() => {
            return if prompt.aborts.is_some() {
                Step::Recreate
            } else {
                Step::Abort { ending: None }
            };
        }
        Some(ending) => return stop(facts, now, ending),
        None => {}
    }
    let waits = facts.oldest_wait(now);
    if let Some((request, Duration::ZERO)) = waits {
        let request = request.to_owned();
        return Step::Decline { request };
    }
    if prompt.looks.due {
        return Step::Inspect;
    }
    if facts.is_used_up(now) && !is_over(prompt) {
        let Funds::Over(why) = &facts.funds else {
            return Step::Reserve;
        };
        let why = format!("The answer was stopped: {why}. What had come is kept.");
        return stop(facts, now, Ending::own(Reason::Budget, why));
    }
    if let Some((inspection, confirmed)) = prompt.inspection(pace.confirm) {
        let confirmed = if hopeless {
            // There may be no second look.
            Confirmed::Again
        } else {
            confirmed
        };
        match judge(facts, inspection, confirmed, ago) {
            Verdict::End(ending) => return Step::End(ending),
            Verdict::Stop(ending) => return stop(facts, now, ending),
            Verdict::AskNames => return Step::AskNames,
            Verdict::PromptLost if !hopeless => return Step::Look,
            Verdict::GoOn | Verdict::LookAgain | Verdict::PromptLost if hopeless => {
                return stop(facts, now, given_up());
            }
            Verdict::LookAgain => {
                let looked = since(prompt.looks.at).unwrap_or(pace.confirm);
                let pause = pace.confirm.saturating_sub(looked);
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
    if facts.owes_tools() && !hopeless {
        return Step::Offer;
    }
    let heard = since(prompt.heard).unwrap_or(ago);
    let quiet = heard.min(since(prompt.looks.at).unwrap_or(ago));
    let patience = patience(facts);
    if quiet >= patience {
        Step::Inspect
    } else {
        let in_time = waits.map_or(Duration::MAX, |(_, left)| left);
        Step::Follow {
            at_most: patience
                .saturating_sub(quiet)
                .min(in_time)
                .min(facts.granted_time(now)),
        }
    }
}

/// The last look showed an answer with its end, or nobody at work on one.
fn is_over(prompt: &PromptRun) -> bool {
    let look = prompt.looks.last.as_ref().map(|(look, _)| look);
    let is_whole = |last: &LastMessage| last.finished && !last.wants_more;
    look.is_some_and(|look| !look.busy || look.last.as_ref().is_some_and(is_whole))
}

/// How long nothing may be heard before the server is asked. A stream that has
/// not given one event of the session is held for silent after 10 s (1.14.48
/// gives none at all) and the server is asked every 2 s from then on. Silence may
/// also mean that a name is unknown (up to 1.2.27): such a prompt is asked about earlier.
fn patience(facts: &Facts) -> Duration {
    let (pace, prompt) = (&facts.limits.pace, &facts.prompt);
    match (prompt.heard, prompt.looks.at) {
        (None, Some(_)) => pace.confirm,
        (None, None) if prompt.names == Names::Unasked => pace.confirm,
        _ => pace.silence,
    }
}

/// How a turn ends whose time is up.
fn overtime(facts: &Facts) -> Ending {
    let limit = facts.limits.turn.as_secs();
    let late = format!("The answer took longer than {limit} s.");
    match facts.failing() {
        // What went wrong all the time says more.
        Some(Failure::Broken(message) | Failure::Unread(message)) => Ending::failed(message),
        Some(Failure::Unreachable(message) | Failure::Unanswered(message)) => {
            Ending::own(Reason::Timeout, format!("{late} {message}."))
        }
        _ => Ending::own(Reason::Timeout, late),
    }
}

fn overdue(facts: &Facts, now: Instant, ago: Duration) -> Option<Ending> {
    let (limits, prompt) = (&facts.limits, &facts.prompt);
    let seen = |(look, _): &(Inspection, Instant)| look.busy || look.prompt_seen;
    let alive = prompt.heard.is_some() || prompt.looks.last.as_ref().is_some_and(seen);
    if !alive && ago >= limits.first_event {
        return Some(Ending::own(
            Reason::Stale,
            format!(
                "OpenCode gave no sign of life for {} s after it took the prompt.",
                limits.first_event.as_secs()
            ),
        ));
    }
    if facts.waits_for_a_person(now) {
        return None;
    }
    if let (Some(limit), Some(heard)) = (limits.idle, prompt.heard)
        && now.duration_since(heard) >= limit
    {
        return Some(Ending::own(
            Reason::Idle,
            format!("The answer stopped coming for {} s.", limit.as_secs()),
        ));
    }
    if prompt.said.retries > limits.retries {
        return Some(Ending::own(
            Reason::Upstream,
            format!(
                "The model's provider was too busy: OpenCode tried {} times.",
                prompt.said.retries
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

fn judge(facts: &Facts, look: &Inspection, confirmed: Confirmed, ago: Duration) -> Verdict {
    let prompt = &facts.prompt;
    if look.restarts > 0 {
        return Verdict::Stop(Ending::own(
            Reason::Loop,
            "OpenCode answered the same prompt over and over, and was stopped.",
        ));
    }
    let sure = confirmed == Confirmed::Again;
    match &look.last {
        Some(last) if last.error.is_some() => failed_message(prompt, last, look, sure),
        Some(last) if last.finished && !last.wants_more => {
            // It may yet turn out to loop.
            if look.busy && !prompt.orderly_idle && !sure {
                return Verdict::LookAgain;
            }
            finished(prompt, look, last.truncated, sure)
        }
        _ if look.busy => Verdict::GoOn,
        Some(last) if last.finished && look.declined => {
            debug_assert!(
                last.wants_more,
                "a declined answer stops where tools were to run"
            );
            Verdict::End(if prompt.said.text {
                Ending::completed(false)
            } else {
                Ending::cancelled(Reason::Declined)
            })
        }
        // A message that stopped for tools, with no other behind it and nobody
        // at work: the server died in between, or was told to stop there.
        Some(last) if last.finished => match (sure, prompt.orderly_idle) {
            (false, _) => Verdict::LookAgain,
            (true, true) => finished(prompt, look, last.truncated, sure),
            (true, false) => Verdict::End(broken_off(look)),
        },
        Some(_) if sure => Verdict::End(broken_off(look)),
        Some(_) => Verdict::LookAgain,
        None => unanswered(prompt, look, sure && ago >= unseen(facts)),
    }
}

fn failed_message(
    prompt: &PromptRun,
    last: &LastMessage,
    look: &Inspection,
    sure: bool,
) -> Verdict {
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
    reported(prompt, error)
}

/// The provider or the server said what is wrong. What it says of a name that it does not know is told with the
/// names that there are.
fn reported(prompt: &PromptRun, error: &UpstreamError) -> Verdict {
    if !is_unknown(error) {
        return Verdict::End(Ending::error(Reason::Upstream, TurnError::from(error)));
    }
    match &prompt.names {
        Names::Unknown(message) => Verdict::End(Ending::own(Reason::UnknownName, message)),
        Names::Known | Names::Unasked => Verdict::AskNames,
    }
}

fn finished(prompt: &PromptRun, look: &Inspection, truncated: bool, sure: bool) -> Verdict {
    if prompt.said.text || prompt.said.tools {
        return Verdict::End(Ending::completed(truncated));
    }
    if let Some(error) = &prompt.said.error {
        return reported(prompt, error);
    }
    if !sure {
        return Verdict::LookAgain;
    }
    if look.unread && !heard_all(prompt) {
        return Verdict::End(broken_off(look));
    }
    Verdict::End(Ending::own(
        Reason::EmptyReply,
        "The agent ended its turn without a word.",
    ))
}

/// How long a prompt may rest with the server without a sign of work.
fn unseen(facts: &Facts) -> Duration {
    let (pace, prompt) = (&facts.limits.pace, &facts.prompt);
    if prompt.unbroken && !prompt.orderly_idle {
        pace.unseen
    } else {
        pace.lost
    }
}

/// Not busy, and no answer; `sure` when it has been so for long enough.
fn unanswered(prompt: &PromptRun, look: &Inspection, sure: bool) -> Verdict {
    match (&prompt.names, &prompt.said.error) {
        (Names::Unasked, _) => return Verdict::AskNames,
        (Names::Unknown(message), _) => {
            return Verdict::End(Ending::own(Reason::UnknownName, message));
        }
        // Reported, and nothing else ever comes (1.18.33).
        (Names::Known, Some(error)) => return reported(prompt, error),
        (Names::Known, None) => {}
    }
    if !sure {
        return Verdict::LookAgain;
    }
    if look.prompt_seen {
        return Verdict::End(
            if prompt.orderly_idle && (!look.unread || heard_all(prompt)) {
                Ending::own(
                    Reason::EmptyReply,
                    "The agent ended its turn without a word.",
                )
            } else {
                broken_off(look)
            },
        );
    }
    if !prompt.unbroken && !prompt.reposted {
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
fn heard_all(prompt: &PromptRun) -> bool {
    prompt.orderly_idle && prompt.unbroken
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
fn stop(facts: &Facts, now: Instant, ending: Ending) -> Step {
    match facts.link {
        Some(_) => stop_prompted(facts, now, ending),
        None => Step::End(ending),
    }
}

/// The turn ends, whatever it is at. Only a prompt can have the server at work.
fn stop_prompted(facts: &Facts, now: Instant, ending: Ending) -> Step {
    match facts.prompt.stage {
        Stage::None => Step::End(ending),
        _ => stopping(facts, now, ending),
    }
}

/// Tells the server to stop, looks whether it has, and tells it again: the word may have been lost.
fn stopping(facts: &Facts, now: Instant, ending: Ending) -> Step {
    let (pace, prompt) = (&facts.limits.pace, &facts.prompt);
    let tenth = pace.abort / 10;
    let since = |moment| now.duration_since(moment);
    if prompt
        .aborts
        .is_some_and(|aborts| since(aborts.first) >= pace.abort)
    {
        return Step::End(ending);
    }
    if facts.link.is_none() {
        if is_deadly(facts) {
            // Each of the workers that died of it has told the server to stop.
            return Step::End(ending);
        }
        // A worker that takes the turn over: the session is all an abort needs.
        return Step::TakeUp;
    }
    let abort = |ending| Step::Abort {
        ending: Some(ending),
    };
    let Some(aborts) = prompt.aborts else {
        return abort(ending);
    };
    match facts.failure(now) {
        Some((
            Failure::Unreachable(_)
            | Failure::Unanswered(_)
            | Failure::Broken(_)
            | Failure::Unread(_),
            since,
        )) if since < pace.abort => {
            return Step::Wait { pause: tenth };
        }
        Some(_) => return Step::End(ending),
        None => {}
    }
    let looks = &prompt.looks;
    let look = looks.last.as_ref().filter(|_| !looks.due);
    let again = since(aborts.last) >= pace.abort / 5;
    match look {
        // A prompt that is still on its way would run when nobody looks any more.
        Some((look, _)) if !look.busy && (look.prompt_seen || prompt.in_flight.is_none()) => {
            Step::End(ending)
        }
        Some((look, _)) if look.busy && again => abort(ending),
        _ if !aborts.heard && again => abort(ending),
        _ if looks.due || looks.at.is_none_or(|looked| since(looked) >= tenth) => Step::Inspect,
        _ => Step::Follow { at_most: tenth },
    }
}

fn recover(facts: &Facts, failure: &Failure, since: Duration) -> Step {
    let (limits, replaced) = (&facts.limits, facts.has_replaced());
    match failure {
        Failure::SessionLost if replaced => Step::End(Ending::own(
            Reason::Upstream,
            "OpenCode lost the conversation's session twice in a row.",
        )),
        Failure::Unreadable(message) if replaced => Step::End(Ending::own(
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
            Step::End(match facts.prompt.stage {
                Stage::None => Ending::own(Reason::Unreachable, message),
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
