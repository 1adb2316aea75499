//! Listening to the session while its answer comes.

use std::sync::Arc;
use std::time::Duration;

use opencode_client::Reply;
use tokio::time::Instant;

use super::ears::{Ears, Signals};
use super::facts::{Facts, Learned};
use super::tools::{Outcome, Tools, Trouble};
use crate::product::Product as _;
use crate::reporter::Severity;
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
    loop {
        let wake = next_write(tools, ears).map_or(until, |write| write.min(until));
        let Some(subscription) = &mut ears.subscription else {
            tokio::time::sleep_until(wake).await;
            write_if_due(tools, ears).await?;
            return Ok(Learned::Nothing);
        };
        let over = tokio::select! {
            biased;
            () = tokio::time::sleep_until(wake) => wake == until,
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
        write_if_due(tools, ears).await?;
        tick_activity(tools, ears);
        if over {
            return Ok(Learned::Nothing);
        }
    }
}

/// When what has come must be saved; `None` while nothing has.
fn next_write(tools: &Tools, ears: &Ears) -> Option<Instant> {
    let changes = ears.reply.as_ref().map_or(0, Reply::changes);
    match ears.written {
        Some((_, written)) if written == changes => None,
        Some((at, _)) => Some(at + tools.workshop.options.snapshot_interval),
        None if changes == 0 => None,
        None => Some(tools.started),
    }
}

async fn write_if_due(tools: &Tools, ears: &mut Ears) -> Result<(), Trouble> {
    if next_write(tools, ears).is_none_or(|due| due > Instant::now()) {
        return Ok(());
    }
    write(tools, ears).await
}

/// Saves what has come so far. A database that is away for a moment costs nothing but the checkpoint.
pub(super) async fn write(tools: &Tools, ears: &mut Ears) -> Result<(), Trouble> {
    let Some(reply) = &ears.reply else {
        return Ok(());
    };
    ears.written = Some((Instant::now(), reply.changes()));
    let checkpoint = reply.checkpoint();
    let noting = Note::Checkpoint(&checkpoint);
    let noted = match tools.front.store.note(&tools.lease, noting).await {
        Ok(()) => note_spent(tools, ears).await,
        Err(error) => Err(error),
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

/// Tells the ledger what the turn has used, where it keeps to a budget.
async fn note_spent(tools: &Tools, ears: &mut Ears) -> Result<(), StoreError> {
    let spent = ears.spent();
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
