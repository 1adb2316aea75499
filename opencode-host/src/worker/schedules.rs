//! Submits the prompts of schedules when their time has come.
//!
//! Any worker does. The turn's client key is made of the schedule and its time, so that it is one turn whoever submits it, and
//! however often; what became of it, and when the schedule is due next, is written behind the submit, by one of them.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::clock::Timestamp;
use crate::host::{Host, SubmitError, SubmitOptions};
use crate::id::TurnId;
use crate::recurrence::Recurrence;
use crate::reporter::Severity;
use crate::store::{
    MAX_MISSED, Phase, Schedule, ScheduleOutcome, ScheduleRun, StoreError, StoreResult,
};

/// How many schedules are read at a time.
const PAGE: u32 = 64;

/// Submits what is due until `shutdown`.
pub(super) async fn keep_submitting(shared: Arc<Shared>, host: Host, shutdown: CancellationToken) {
    let front = &shared.front;
    if !front.store.keeps_schedules() {
        return;
    }
    let interval = shared.workshop.options.poll_interval;
    while !shutdown.is_cancelled() {
        // Armed before the look, so that no change is missed.
        let changed = front.schedules_changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let pause = match submit_due(&shared, &host).await {
            Ok(until) => until.map_or(interval, |until| until.min(interval)),
            Err(error) => {
                let context = [("action", "schedules".into())];
                front.telemetry.report(&error, Severity::Error, context);
                interval
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = changed => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Submits what is due, and answers in how long there is more to do.
async fn submit_due(shared: &Shared, host: &Host) -> StoreResult<Option<Duration>> {
    let store = &shared.front.store;
    let due = store.due_schedules(PAGE).await?;
    let (mut is_more, mut is_stuck) = (due.len() == PAGE as usize, false);
    for schedule in due {
        if let Err(error) = submit(shared, host, &schedule).await {
            // It stays due, and holds up no other.
            is_stuck = true;
            let context = [
                ("action", "schedule".into()),
                ("schedule", schedule.id.to_string().into()),
            ];
            let telemetry = &shared.front.telemetry;
            telemetry.report(&error, Severity::Error, context);
        }
    }
    is_more &= !is_stuck;
    if is_more {
        return Ok(Some(Duration::ZERO));
    }
    let next = store.next_schedule_due().await?;
    let Some(next) = next.filter(|_| !is_stuck) else {
        return Ok(None);
    };
    // Of two clocks with milliseconds, one may be almost one behind.
    let until = next.since(store.now().await?);
    Ok(Some(until + Duration::from_millis(1)))
}

/// Sees to one time of a schedule, and moves it on to the next one.
async fn submit(shared: &Shared, host: &Host, schedule: &Schedule) -> Result<(), SubmitError> {
    let store = &shared.front.store;
    let Some(due) = schedule.next_at else {
        return Ok(());
    };
    let now = store.now().await?;
    let (outcome, mut coming) = match Recurrence::parse(&schedule.cron, &schedule.time_zone) {
        // As it may be: another version knows other time zones.
        Err(error) => (refused(error.to_string()), Coming::default()),
        Ok(recurrence) => {
            let coming = Coming::behind(&recurrence, due, now);
            let Some(outcome) = outcome(shared, host, schedule, due).await? else {
                return Ok(());
            };
            (outcome, coming)
        }
    };
    if matches!(outcome, ScheduleOutcome::Skipped { .. }) {
        coming.missed += 1;
    }
    let mut moved = schedule.clone();
    moved.next_at = coming.at;
    moved.last = Some(ScheduleRun::new(due, now, outcome, coming.missed));
    if store.swap_schedule(schedule, &moved).await? {
        tell(shared, &moved);
    }
    Ok(())
}

/// What comes of one time; `None` where the conversation is gone, and the schedule with it.
async fn outcome(
    shared: &Shared,
    host: &Host,
    schedule: &Schedule,
    due: Timestamp,
) -> Result<Option<ScheduleOutcome>, SubmitError> {
    if let Some(unfinished) = unfinished(shared, schedule).await? {
        return Ok(Some(ScheduleOutcome::Skipped { unfinished }));
    }
    let options = SubmitOptions {
        client_key: Some(schedule.client_key(due)),
        metadata: schedule.metadata.clone(),
        deadlines: schedule.deadlines,
        priority: schedule.priority,
        ..SubmitOptions::default()
    };
    let submitting = host.submit(schedule.conversation, schedule.prompt.clone(), options);
    match submitting.await {
        Ok(submitted) => {
            let turn = submitted.turn.id;
            Ok(Some(ScheduleOutcome::Submitted { turn }))
        }
        Err(SubmitError::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(error) if may_pass(&error) => Err(error),
        Err(error) => Ok(Some(refused(error.to_string()))),
    }
}

/// The turn that the schedule has submitted before, if that has not ended.
async fn unfinished(shared: &Shared, schedule: &Schedule) -> StoreResult<Option<TurnId>> {
    let last = schedule.last.as_ref().and_then(|last| last.outcome.turn());
    let Some(turn) = last else { return Ok(None) };
    let row = shared.front.store.turn(turn).await?;
    let unfinished = row.filter(|row| !matches!(row.phase(), Phase::Finished { .. }));
    Ok(unfinished.map(|row| row.id))
}

/// Whether the same prompt may be taken a moment later.
fn may_pass(error: &SubmitError) -> bool {
    match error {
        SubmitError::NoBudget => true,
        SubmitError::Store(error) => {
            error.is_transient()
                || matches!(
                    error,
                    StoreError::Unexpected(_) | StoreError::Corrupt { .. }
                )
        }
        _ => false,
    }
}

fn refused(why: String) -> ScheduleOutcome {
    ScheduleOutcome::Refused { why }
}

fn tell(shared: &Shared, schedule: &Schedule) {
    let Some(last) = &schedule.last else { return };
    let telemetry = &shared.front.telemetry;
    let (id, conversation) = (schedule.id.to_string(), schedule.conversation.to_string());
    if let ScheduleOutcome::Refused { why } = &last.outcome {
        telemetry.event(
            "schedule.refused",
            [
                ("schedule", id.clone().into()),
                ("conversation", conversation.clone().into()),
                ("error", why.as_str().into()),
            ],
        );
    }
    if last.missed > 0 {
        telemetry.event(
            "schedule.missed",
            [
                ("schedule", id.into()),
                ("conversation", conversation.into()),
                ("missed", last.missed.into()),
            ],
        );
    }
}

/// The times of a schedule behind the one that is seen to.
#[derive(Debug, Default)]
struct Coming {
    /// The first one that has not come yet.
    at: Option<Timestamp>,
    /// How many have passed.
    missed: u32,
}

impl Coming {
    fn behind(recurrence: &Recurrence, due: Timestamp, now: Timestamp) -> Self {
        let mut coming = Self {
            at: recurrence.after(due),
            missed: 0,
        };
        while coming.at.is_some_and(|at| at <= now) {
            coming.missed += 1;
            coming.at = if coming.missed < MAX_MISSED {
                coming.at.and_then(|at| recurrence.after(at))
            } else {
                recurrence.after(now)
            };
        }
        coming
    }
}
