//! Doing what commits owe to the world outside the database.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use opencode_client::Error as ClientError;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::id::ConversationId;
use crate::product::PlainProduct;
use crate::reporter::Severity;
use crate::sandbox;
use crate::session::{REMOVING, Session};
use crate::store::{Effect, EffectKind, SessionRecord, Tried};

/// How long an effect is its taker's. No try takes longer.
const LEASE: Duration = Duration::from_secs(120);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How many are tried in a row before others of the process get a look at the store.
const IN_A_ROW: usize = 100;

/// Does what is due, again and again, until `shutdown`.
pub(super) async fn keep_doing(shared: Arc<Shared>, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        // Armed before the look, so that none is missed.
        let noted = shared.front.effect_noted.notified();
        tokio::pin!(noted);
        noted.as_mut().enable();
        do_due(&shared, &shutdown).await;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = noted => {}
            () = tokio::time::sleep(shared.workshop.options.poll_interval) => {}
        }
    }
}

/// Tries what is due, until `shutdown`. What fails is reported, and is due again later; what is broken off, at once.
pub(super) async fn do_due(shared: &Shared, shutdown: &CancellationToken) {
    let (store, telemetry) = (&shared.front.store, &shared.front.telemetry);
    for _ in 0..IN_A_ROW {
        if shutdown.is_cancelled() {
            return;
        }
        let effect = match store.take_effect(LEASE).await {
            Ok(Some(effect)) => effect,
            Ok(None) => return,
            Err(error) => {
                let context = [("action", "effect.take".into())];
                telemetry.report(&error, Severity::Error, context);
                return;
            }
        };
        let tried = tokio::select! {
            tried = attempt(shared, &effect) => tried,
            () = shutdown.cancelled() => Ok(Tried::Again {
                after: Duration::ZERO,
                error: effect.error.clone(),
            }),
        };
        let tried = match tried {
            Ok(tried) => tried,
            Err(error) => {
                let context = [
                    ("action", format!("effect.{}", effect.kind.as_str()).into()),
                    ("effect", effect.kind.to_string().into()),
                    ("attempts", effect.attempts.into()),
                ];
                telemetry.report(&*error, Severity::Warning, context);
                Tried::Again {
                    after: pause(effect.attempts),
                    error: Some(error.to_string()),
                }
            }
        };
        if let Err(error) = store.settle_effect(&effect, &tried).await {
            // It is due again when its lease ends.
            let context = [("action", "effect.settle".into())];
            telemetry.report(&error, Severity::Warning, context);
        }
    }
}

/// One second, then twice as long each time.
fn pause(attempts: u32) -> Duration {
    let seconds = 1_u64.checked_shl(attempts.saturating_sub(1));
    Duration::from_secs(seconds.unwrap_or(u64::MAX)).min(LONGEST_PAUSE)
}

async fn attempt(shared: &Shared, effect: &Effect) -> Result<Tried, Box<dyn Error + Send + Sync>> {
    match &effect.kind {
        EffectKind::Deletion {
            conversation,
            session,
            until,
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

    #[test]
    fn pauses_grow_and_are_bounded() {
        let pauses =
            [0, 1, 2, 3, 9, 10, 64, 65, u32::MAX].map(|attempts| pause(attempts).as_secs());
        assert_eq!(pauses, [1, 1, 2, 4, 256, 300, 300, 300, 300]);
    }
}
