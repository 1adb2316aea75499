//! Doing what commits owe to the world outside the database.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use opencode_client::Error as ClientError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::hooks::{self, Told};
use super::shared::Shared;
use super::webhooks;
use crate::id::{ConversationId, EffectId};
use crate::product::{Delivery, HookError, PlainProduct};
use crate::reporter::Severity;
use crate::sandbox;
use crate::session::{REMOVING, Session};
use crate::store::{Effect, EffectKind, Lane, SessionRecord, Take, Tried};

/// How long a deletion is its taker's. No try takes longer.
const DELETING: Duration = Duration::from_secs(120);

/// The longest pause between two tries of a deletion.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The longest pause between two tries of what is given up in the end.
const LONGEST_PAUSE_OF_HOOKS: Duration = Duration::from_secs(4 * 3600);

/// How many characters of what kept a try from succeeding are stored.
const MAX_ERROR: usize = 500;

/// How many effects of one lane a worker tries at once.
const AT_ONCE: usize = 16;

/// How long hooks that are being called may go on when their worker shuts down.
const GRACE: Duration = Duration::from_secs(3);

/// Does what is due, again and again, until `shutdown`: each lane by itself, so that none is held up by another's.
pub(super) fn keep_doing(shared: &Arc<Shared>, shutdown: &CancellationToken) -> JoinSet<()> {
    let own = Lane::of_deletions_on(&shared.server.name);
    let mut lanes = vec![Lane::DELETIONS, own, Lane::HOOKS];
    if shared.webhooks.is_some() {
        lanes.push(Lane::REQUESTS);
    }
    let keeping = lanes.into_iter();
    keeping
        .map(|lane| keep_lane(Arc::clone(shared), lane, shutdown.clone()))
        .collect()
}

async fn keep_lane(shared: Arc<Shared>, lane: Lane, shutdown: CancellationToken) {
    let mut trying = JoinSet::new();
    // What is to be done on the server waits for it: no try is lost while it is away.
    let own = Lane::of_deletions_on(&shared.server.name);
    while !shutdown.is_cancelled() {
        // Armed before the look, so that none is missed.
        let noted = shared.front.effect_noted.notified();
        tokio::pin!(noted);
        noted.as_mut().enable();
        while trying.len() < AT_ONCE
            && !shutdown.is_cancelled()
            && (lane != own || shared.hears())
            && let Some(effect) = take(&shared, Take::Due(&lane)).await
        {
            let (shared, over) = (Arc::clone(&shared), shutdown.clone());
            trying.spawn(async move { try_taken(&shared, effect, &over).await });
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = noted => {}
            () = tokio::time::sleep(shared.workshop.options.poll_interval) => {}
            Some(_) = trying.join_next() => {}
        }
    }
    while trying.join_next().await.is_some() {}
}

/// Tries one effect, if it is due, until `shutdown`.
pub(super) async fn do_this(shared: &Shared, id: EffectId, shutdown: &CancellationToken) {
    if let Some(effect) = take(shared, Take::This(id)).await {
        try_taken(shared, effect, shutdown).await;
    }
}

pub(super) async fn take(shared: &Shared, take: Take<'_>) -> Option<Effect> {
    let sending = webhooks::longest_try(shared);
    let hooks = hooks::longest_try(shared.workshop.options.plug_in_limit).max(sending);
    let lease = match take {
        Take::Due(lane) if lane.is_of_deletions() => DELETING,
        Take::Due(_) => hooks,
        Take::This(_) => DELETING.max(hooks),
    };
    match shared.front.store.take_effect(take, lease).await {
        Ok(effect) => effect,
        Err(error) => {
            let context = [("action", "effect.take".into())];
            let telemetry = &shared.front.telemetry;
            telemetry.report(&error, Severity::Error, context);
            None
        }
    }
}

/// Tries an effect that was taken. What fails is reported, and is due again later; what is broken off, at once.
pub(super) async fn try_taken(shared: &Shared, mut effect: Effect, shutdown: &CancellationToken) {
    let (store, telemetry) = (&shared.front.store, &shared.front.telemetry);
    let grace = match &effect.kind {
        EffectKind::Deletion { .. } | EffectKind::LeftSession { .. } => Duration::ZERO,
        EffectKind::TurnEnd { .. } | EffectKind::Asked(_) | EffectKind::Webhook { .. } => GRACE,
    };
    let broken_off = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    let tried = tokio::select! {
        tried = attempt(shared, &mut effect) => Some(tried),
        () = broken_off => None,
    };
    let tried = match tried {
        Some(Ok(tried)) => tried,
        Some(Err(error)) => {
            let tried = failed(shared, &effect, &*error);
            let (action, severity) = match tried {
                Tried::GivenUp { .. } => ("effect.given_up", Severity::Error),
                _ => ("effect", Severity::Warning),
            };
            if severity == Severity::Error || !error.is::<Told>() {
                let context = [
                    (
                        "action",
                        format!("{action}.{}", effect.kind.as_str()).into(),
                    ),
                    ("effect", effect.kind.to_string().into()),
                    ("attempts", effect.attempts.into()),
                ];
                telemetry.report(&*error, severity, context);
            }
            tried
        }
        None => Tried::Again {
            after: Duration::ZERO,
            error: effect.error.clone(),
        },
    };
    if let Err(error) = store.settle_effect(&effect, &tried).await {
        // It is due again when its lease ends.
        let context = [("action", "effect.settle".into())];
        telemetry.report(&error, Severity::Warning, context);
    }
}

/// What becomes of an effect whose try has failed. A deletion is never given up; what was given up and is tried again
/// has as many tries as a new one.
fn failed(shared: &Shared, effect: &Effect, error: &(dyn Error + Send + Sync + 'static)) -> Tried {
    let why = error;
    let error = why.to_string().chars().take(MAX_ERROR).collect();
    let at_most = match &effect.kind {
        EffectKind::Deletion { .. } | EffectKind::LeftSession { .. } => {
            let after = pause(effect.attempts, LONGEST_PAUSE);
            return Tried::Again {
                after,
                error: Some(error),
            };
        }
        EffectKind::TurnEnd { .. } | EffectKind::Asked(_) | EffectKind::Webhook { .. } => {
            shared.workshop.options.hook_attempts.max(1)
        }
    };
    let number = effect.attempts.saturating_sub(1) % at_most + 1;
    let after = pause(number, LONGEST_PAUSE_OF_HOOKS);
    match webhooks::receiver_says(why, after, LONGEST_PAUSE_OF_HOOKS) {
        Some(after) if number < at_most => Tried::Again {
            after,
            error: Some(error),
        },
        _ => Tried::GivenUp { error },
    }
}

/// One second, then twice as long each time.
fn pause(attempts: u32, longest: Duration) -> Duration {
    let seconds = 1_u64.checked_shl(attempts.saturating_sub(1));
    Duration::from_secs(seconds.unwrap_or(u64::MAX)).min(longest)
}

/// Tries an effect, and notes in its kind what need not be done again.
async fn attempt(shared: &Shared, effect: &mut Effect) -> Result<Tried, HookError> {
    // First, so that what hangs or fails below does not hold it up; nor does it hold up that.
    let noted = webhooks::note_for_each(shared, effect).await;
    if let Ok(false) = noted {
        return Ok(Tried::Done);
    }
    let tried = perform(shared, effect).await?;
    match noted {
        Err(error) if tried == Tried::Done => Err(error),
        _ => Ok(tried),
    }
}

async fn perform(shared: &Shared, effect: &mut Effect) -> Result<Tried, HookError> {
    let delivery = Delivery::new(effect.id, effect.attempts);
    match &mut effect.kind {
        EffectKind::Deletion {
            conversation,
            session,
            until,
            ..
        } => {
            // The session first: its agent may be at work in the folder.
            if let Some(session) = session {
                remove_session(shared, *conversation, session).await?;
            }
            remove_sandbox(shared, *conversation).await?;
            let rest = until.since(shared.front.store.now().await?);
            Ok(match rest {
                Duration::ZERO => Tried::Done,
                after => Tried::Again { after, error: None },
            })
        }
        EffectKind::LeftSession {
            conversation,
            session,
            ..
        } => {
            remove_session(shared, *conversation, session).await?;
            Ok(Tried::Done)
        }
        EffectKind::TurnEnd { turn, called, .. } => {
            hooks::call(shared, *turn, called, delivery).await?;
            Ok(Tried::Done)
        }
        EffectKind::Asked(_) => Ok(Tried::Done),
        EffectKind::Webhook { .. } => webhooks::send(shared, effect).await,
    }
}

/// Stops the session and those of its sub-agents, and deletes it.
async fn remove_session(
    shared: &Shared,
    of: ConversationId,
    session: &SessionRecord,
) -> Result<(), ClientError> {
    let workshop = &shared.workshop;
    let client = workshop
        .client
        .with_patience(workshop.options.limits.pace.answer);
    let sessions = Session {
        client: &client,
        server: &workshop.server,
        store: &*shared.front.store,
        product: &PlainProduct,
        sub_agents: &workshop.sub_agents,
        telemetry: &shared.front.telemetry,
    };
    let removing = sessions.remove(of, session);
    let late = |_| ClientError::Timeout {
        call: "DELETE /session".to_owned(),
        seconds: REMOVING.as_secs(),
    };
    let removed = tokio::time::timeout(REMOVING, removing).await;
    removed.map_err(late).flatten()
}

async fn remove_sandbox(
    shared: &Shared,
    of: ConversationId,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    if let Some(root) = shared.front.sandboxes.clone() {
        let sandbox = of.to_string().parse()?;
        sandbox::blocking(move || root.remove(&sandbox)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::DEFAULT_HOOK_ATTEMPTS;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let pauses =
            [0, 1, 2, 3, 9, 10, 64, 65, u32::MAX].map(|n| pause(n, LONGEST_PAUSE).as_secs());
        assert_eq!(pauses, [1, 1, 2, 4, 256, 300, 300, 300, 300]);
    }

    #[test]
    fn hooks_are_tried_for_about_a_day() {
        let pauses = (1..DEFAULT_HOOK_ATTEMPTS).map(|n| pause(n, LONGEST_PAUSE_OF_HOOKS));
        let hours = pauses.sum::<Duration>().as_secs() / 3600;
        assert_eq!(hours, 24);
    }
}
