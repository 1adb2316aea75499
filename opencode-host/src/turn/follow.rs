//! Listening to the session while its answer comes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use opencode_client::Reply;
use tokio::time::Instant;

use super::ears::{BeingSaved, Ears, Signals, Stored};
use super::facts::{Facts, Learned};
use super::tools::{Outcome, Tools, Trouble};
use crate::budget::Spent;
use crate::product::Product as _;
use crate::reporter::Severity;
use crate::saving::Saved;
use crate::store::{Note, StoreError};

/// How often the activity hook runs at most.
const ACTIVITY_INTERVAL: Duration = Duration::from_secs(300);

/// Running time alone is noted when it is so much more.
const NOTED_TIME: Duration = Duration::from_secs(5);

/// Listens until something asks for a new plan, `at_most` at the longest. What is heard meanwhile, the facts ask the
/// ears for.
pub(super) async fn follow(
    tools: &Tools,
    facts: &Facts,
    ears: &mut Ears,
    at_most: Duration,
) -> Outcome {
    let until = Instant::now() + at_most;
    // One timer, set where its time changes: setting one for each delta costs as much as the delta.
    let mut timer = pin!(tokio::time::sleep_until(until));
    loop {
        let wake = next_write(tools, ears).map_or(until, |write| write.min(until));
        if timer.deadline() != wake {
            timer.as_mut().reset(wake);
        }
        let Some(subscription) = &mut ears.subscription else {
            tokio::select! {
                biased;
                () = timer.as_mut() => {}
                saved = told(&mut ears.saving, &mut ears.stored) => {
                    take_in(tools, ears, saved).await?;
                    continue;
                }
            }
            write_if_due(tools, ears);
            return Ok(Learned::Nothing);
        };
        let over = tokio::select! {
            biased;
            () = timer.as_mut() => wake == until,
            saved = told(&mut ears.saving, &mut ears.stored) => {
                take_in(tools, ears, saved).await?;
                continue;
            }
            signal = subscription.next() => {
                let mut signals = Signals::woken_by(&signal);
                signals.take(signal, &mut ears.reply);
                // What is here already costs no further wake-up.
                while !signals.plan {
                    let Some(signal) = subscription.try_next() else { break };
                    signals.take(signal, &mut ears.reply);
                }
                let (over, reached) = (signals.plan, signals.reached);
                ears.take(&signals, tools);
                // Where calls fail, they know better when that is over.
                if let Some(reached) = reached
                    && !(reached && facts.failing().is_some())
                {
                    tools.tell_unreachable(!reached).await;
                }
                over
            }
        };
        write_if_due(tools, ears);
        tick_activity(tools, ears);
        if over {
            return Ok(Learned::Nothing);
        }
    }
}

/// When what has come must be saved; `None` while nothing has, or something is being saved.
fn next_write(tools: &Tools, ears: &Ears) -> Option<Instant> {
    if ears.saving.is_some() {
        return None;
    }
    let changes = ears.reply.as_ref().map_or(0, Reply::changes);
    match ears.written {
        Some((_, written)) if written == changes => None,
        Some((at, _)) => Some(at + tools.workshop.options.snapshot_interval),
        None if changes == 0 => None,
        None => Some(tools.started),
    }
}

fn write_if_due(tools: &Tools, ears: &mut Ears) {
    if next_write(tools, ears).is_some_and(|due| due <= Instant::now()) {
        begin_write(tools, ears);
    }
}

/// Has saved what has come so far. Whether there was anything to save.
fn begin_write(tools: &Tools, ears: &mut Ears) -> bool {
    let Some(reply) = &ears.reply else {
        return false;
    };
    ears.written = Some((Instant::now(), reply.changes()));
    let spent = ears.spent();
    let Some((unsaved, then)) = ears.unsaved() else {
        return false;
    };
    ears.saving = Some(BeingSaved {
        told: tools.workshop.saving.save(tools.lease, unsaved),
        then: Some(then),
        spent,
    });
    true
}

/// Saves what has come so far, before anything else. A database that is away for a moment costs nothing but the
/// checkpoint.
pub(super) async fn write(tools: &Tools, ears: &mut Ears) -> Result<(), Trouble> {
    finish_write(tools, ears).await?;
    if begin_write(tools, ears) {
        finish_write(tools, ears).await
    } else {
        let spent = ears.spent();
        take_in(tools, ears, (Saved::Kept, spent)).await
    }
}

async fn finish_write(tools: &Tools, ears: &mut Ears) -> Result<(), Trouble> {
    if ears.saving.is_none() {
        return Ok(());
    }
    tools.workshop.saving.hurry();
    let saved = told(&mut ears.saving, &mut ears.stored).await;
    take_in(tools, ears, saved).await
}

/// What became of what is being saved, and what the turn had used when it was taken; never, where nothing is.
async fn told(saving: &mut Option<BeingSaved>, stored: &mut Option<Stored>) -> (Saved, Spent) {
    let Some(BeingSaved { told, then, spent }) = saving else {
        return std::future::pending().await;
    };
    // Who was to say is gone: a store that panics.
    let saved = told.await.unwrap_or(Saved::Failed);
    let spent = *spent;
    *stored = then.take().filter(|_| saved == Saved::Kept);
    *saving = None;
    (saved, spent)
}

async fn take_in(
    tools: &Tools,
    ears: &mut Ears,
    (saved, spent): (Saved, Spent),
) -> Result<(), Trouble> {
    let noted = match saved {
        Saved::Kept => note_spent(tools, ears, spent).await,
        Saved::Lost => Err(tools.lease.lost()),
        Saved::Failed => Ok(()),
    };
    match noted {
        Ok(()) => Ok(()),
        Err(error @ StoreError::LeaseLost { .. }) => Err(error.into()),
        Err(error) => {
            tools.report(&error);
            Ok(())
        }
    }
}

/// Tells the ledger what the turn had used when what is saved was taken, where it keeps to a budget. Of what has come since,
/// whoever takes the turn over finds nothing saved: told now, it would be counted once more when the server tells of it again.
async fn note_spent(tools: &Tools, ears: &mut Ears, spent: Spent) -> Result<(), StoreError> {
    let more = spent.minus(ears.noted);
    if tools.product.policy.budget.is_unlimited()
        || (more.timed(Duration::ZERO).is_nothing() && more.time < NOTED_TIME)
    {
        return Ok(());
    }
    let noting = Note::Spent(&spent);
    tools.front.store.note(&tools.lease, noting).await?;
    ears.noted = spent;
    Ok(())
}

fn tick_activity(tools: &Tools, ears: &mut Ears) {
    if ears.activity.elapsed() < ACTIVITY_INTERVAL {
        return;
    }
    ears.activity = Instant::now();
    let (product, conversation) = (
        Arc::clone(&tools.product),
        tools.context.conversation.clone(),
    );
    let telemetry = tools.front.telemetry.clone();
    // The turn does not wait for it.
    tokio::spawn(async move {
        if let Err(error) = product.on_activity(&conversation).await {
            let context = [("hook", "on_activity".into())];
            telemetry.report(error.as_ref(), Severity::Warning, context);
        }
    });
}
