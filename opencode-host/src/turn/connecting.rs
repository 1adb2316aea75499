//! The turn's session: found or minted, listened to, replaced, stopped.

use opencode_client::Error as ClientError;
use tokio::time::{Instant, sleep};

use super::ears::Ears;
use super::facts::{Facts, Learned};
use super::tools::{Outcome, Tools, Trouble};
use crate::store::{Note, SessionRecord};

/// Ensures the session and listens to it.
pub(super) async fn connect(tools: &Tools, facts: &Facts, ears: &mut Ears) -> Outcome {
    tools.guard().await?;
    // A session that was prompted is looked at, whatever the next prompt goes to.
    let prompted = facts.prompt.record();
    let sessions = tools.sessions();
    let ensuring = sessions.ensure_for(&tools.context, prompted.map(|record| &record.session));
    let ensured = ensuring.await?;
    let session = ensured.record;
    if ensured.just_created {
        tools.front.telemetry.event(
            "session.created",
            [
                ("session", session.id.to_string().into()),
                (
                    "conversation",
                    tools.context.conversation.id.to_string().into(),
                ),
            ],
        );
    }
    let live = listen(tools, ears, &session).await?;
    match prompted {
        Some(prompted) if prompted.session == session.id => ears.take_up_unheard(tools, prompted),
        Some(_) => ears.lose_session(),
        None => {}
    }
    Ok(Learned::Connected { session, live })
}

/// Takes the session as the row has it, to stop what it does. Nothing is asked of the server for that.
pub(super) fn take_up(tools: &Tools, facts: &Facts, ears: &mut Ears) -> Learned {
    if let (Some(session), Some(prompted)) = (&facts.session, facts.prompt.record())
        && session.id == prompted.session
    {
        ears.take_up_unheard(tools, prompted);
    }
    Learned::TakenUp
}

/// Listens to the session. Returns whether its stream is connected.
async fn listen(
    tools: &Tools,
    ears: &mut Ears,
    session: &SessionRecord,
) -> Result<bool, ClientError> {
    let subscribing = tools
        .workshop
        .hub
        .subscribe(&session.id, session.directory.as_deref());
    let subscription = match tools.telling(subscribing).await {
        Ok(subscription) => Some(subscription),
        Err(error @ (ClientError::Unauthorized { .. } | ClientError::Connection { .. })) => {
            return Err(error);
        }
        // A server without a working stream can still be asked.
        Err(error) => {
            tools.report(&error);
            None
        }
    };
    let live = subscription.is_some();
    ears.listen_to(subscription);
    Ok(live)
}

/// Replaces the lost session.
pub(super) async fn recreate(tools: &Tools, facts: &Facts, ears: &mut Ears) -> Outcome {
    let Some(session) = &facts.session else {
        return Ok(Learned::Done);
    };
    let lost = session.id.clone();
    // Durable before the mint: a turn replaces one session, however many workers take it up.
    let noting = Note::Replacement(&lost);
    tools.front.store.note(&tools.lease, noting).await?;
    // The claim told what earlier workers had noted, and nobody else notes anything now.
    let replaced = facts.claim.replaced.as_ref();
    if replaced.is_some_and(|replaced| *replaced != lost) {
        return Err(ClientError::SessionNotFound { session: lost }.into());
    }
    let sessions = tools.sessions();
    let session = sessions.recreate(&tools.context, &lost).await?.record;
    let live = listen(tools, ears, &session).await?;
    ears.lose_session();
    if facts.prompt.record().is_some() {
        tools.front.telemetry.event(
            "session.recreated_with_resend",
            [
                ("session", session.id.to_string().into()),
                ("lost", lost.to_string().into()),
                (
                    "conversation",
                    tools.context.conversation.id.to_string().into(),
                ),
            ],
        );
    }
    Ok(Learned::Recreated {
        lost,
        session,
        live,
    })
}

/// Tells the session to stop.
pub(super) async fn abort(tools: &Tools, facts: &Facts) -> Outcome {
    if let Some(session) = facts.linked_session() {
        let sessions = tools.sessions();
        sessions
            .abort(tools.context.conversation.id, session)
            .await?;
    }
    Ok(Learned::Aborted)
}

/// Sees to it that nothing of an earlier turn works in the session any more: a turn can end while the server is
/// out of reach, or deaf.
pub(super) async fn stop_leftover(tools: &Tools, session: &SessionRecord) -> Result<(), Trouble> {
    let pace = tools.workshop.options.limits.pace;
    let client = session.client(&tools.server);
    let began = Instant::now();
    let mut told = false;
    while client.status(&session.id).await?.is_busy() && began.elapsed() < pace.abort {
        // What has just ended may show as busy for a moment.
        if !told && began.elapsed() >= pace.abort / 5 {
            let sessions = tools.sessions();
            let aborted = sessions.abort(tools.context.conversation.id, session).await;
            told = aborted.is_ok();
        }
        sleep(pace.abort / 20).await;
    }
    Ok(())
}
