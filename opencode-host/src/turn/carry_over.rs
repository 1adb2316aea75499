//! Giving a fresh session the conversation so far.
//!
//! A session that takes the place of another knows nothing of the conversation, nor does the first one of a fork. Before its first prompt it gets one
//! message that nobody answers, with a [`Transcript`] of the earlier messages. That it is owed stands in the
//! session's row from the mint on, and the message's ids before the post: whoever goes on looks for that message,
//! and posts the same one where it is absent.

use std::time::Duration;

use opencode_client::{Error as ClientError, PromptIds};
use tokio::time::Instant;

use super::earlier::Earlier;
use super::facts::{Facts, Learned};
use super::prompting::prompt;
use super::restoring::restore;
use super::tools::{Outcome, Tools, Trouble};
use super::transcript::Transcript;
use crate::reporter::Severity;
use crate::store::{LeaseStatus, MessageRole, Owed, SessionRecord, StoreError};

/// How long the server may take to store the transcript (seen: 7 s for the first message of a new folder).
const POST: Duration = Duration::from_secs(6);

/// After so many failures the turn goes on without the transcript.
const TRIES: u32 = 3;

/// A turn goes on in a session that does not know the conversation.
#[derive(Debug, thiserror::Error)]
#[error(
    "the fresh session did not get the conversation's earlier messages, and answers without them: {0}"
)]
struct NotCarriedOver(ClientError);

/// Gives the session the transcript that it is owed. Where the server does not take it, the turn goes on
/// without, which is reported and traced.
pub(super) async fn carry_over(tools: &Tools, facts: &Facts) -> Outcome {
    let (Some(session), Some(link)) = (facts.linked_session(), facts.link) else {
        return Ok(Learned::Done);
    };
    // Before the folder is looked through for what would configure the server.
    if matches!(&session.owed, Some(Owed::Transcript { files: true, .. })) {
        restore(tools).await?;
    }
    tools.guard().await?;
    let transcript = transcript(tools).await?;
    let Some((transcript, text)) = transcript.and_then(|transcript| {
        let text = transcript.text()?;
        Some((transcript, text))
    }) else {
        let (row, _) = no_transcript_owed(tools, session).await?;
        return Ok(Learned::Row(row));
    };
    let refused = match store_upstream(tools, facts, session, &text).await {
        Ok(None) => None,
        // Somebody else has seen to it, or to another session.
        Ok(Some(row)) => return Ok(Learned::Row(row)),
        Err(Trouble::Upstream(error)) => {
            let given_up = match error {
                ClientError::BadRequest { .. } | ClientError::TooLarge { .. } => true,
                ClientError::Server { .. } | ClientError::Timeout { .. } => {
                    link.not_carried + 1 >= TRIES
                }
                _ => false,
            };
            if !given_up {
                return Ok(Learned::NotCarriedOver(tools.failure(&error)));
            }
            Some(error)
        }
        Err(trouble) => return Err(trouble),
    };
    let (row, changed) = no_transcript_owed(tools, session).await?;
    match refused {
        Some(error) if changed => tell_not_carried_over(tools, session, error),
        None if changed => tools.front.telemetry.event(
            "session.carried_over",
            [
                ("turn", tools.turn.id.to_string().into()),
                ("session", session.id.to_string().into()),
                (
                    "conversation",
                    tools.context.conversation.id.to_string().into(),
                ),
                ("bytes", text.len().into()),
                ("messages", transcript.messages().into()),
                ("cut", transcript.is_cut().into()),
            ],
        ),
        _ => {}
    }
    Ok(Learned::Row(row))
}

/// The conversation before this turn; `None` where the options want none.
async fn transcript(tools: &Tools) -> Result<Option<Transcript>, StoreError> {
    let Some(mut transcript) = Transcript::new(tools.workshop.options.max_transcript) else {
        return Ok(None);
    };
    let mut earlier = Earlier::than(tools);
    while let Some(more) = earlier.more().await? {
        for (mut message, files) in more {
            if message.role == MessageRole::User {
                let turn = tools.front.store.turn(message.turn).await?;
                let prompted = turn.and_then(|turn| turn.prompted);
                if let Some(changed) = prompted.and_then(|prompted| prompted.changed) {
                    message.answer.content = changed.text;
                }
            }
            if !transcript.add(&message, &files) {
                return Ok(Some(transcript));
            }
        }
    }
    Ok(Some(transcript))
}

/// Sees to it that the session has the transcript. Returns the row when it has another session, or owes this one
/// nothing any more.
async fn store_upstream(
    tools: &Tools,
    facts: &Facts,
    session: &SessionRecord,
    text: &str,
) -> Result<Option<SessionRecord>, Trouble> {
    let client = tools.client(facts);
    let recorded = match &session.owed {
        Some(Owed::Transcript { ids: Some(ids), .. }) => Some(ids.clone()),
        _ => None,
    };
    let (ids, fresh) = match recorded {
        Some(ids) => (ids, false),
        None => {
            let entropy = tools.front.clock.entropy();
            let minted = client.mint_prompt_ids(&session.id, entropy).await?;
            let row = record_transcript(tools, session, minted.clone()).await?;
            match &row.owed {
                Some(Owed::Transcript { ids: Some(ids), .. }) if row.id == session.id => {
                    (ids.clone(), *ids == minted)
                }
                _ => return Ok(Some(row)),
            }
        }
    };
    if !fresh && client.message(&session.id, &ids.message).await?.is_some() {
        return Ok(None);
    }
    // Still ours? Whoever else has the turn may have prompted the session meanwhile.
    let fenced = Instant::now();
    let lease = tools.front.store.check(&[tools.lease]).await?;
    if !matches!(lease.first(), Some(LeaseStatus::Held { .. })) {
        return Err(StoreError::LeaseLost {
            turn: tools.turn.id,
        }
        .into());
    }
    let not_after = fenced + tools.workshop.options.lease / 2;
    let model = prompt(tools, facts).model;
    client
        .with_patience(POST)
        .add_message(
            &session.id,
            &ids,
            text,
            model.as_ref(),
            not_after.into(),
            POST,
        )
        .await?;
    Ok(None)
}

/// Writes the transcript's ids to the row, unless it has some. Returns the row.
async fn record_transcript(
    tools: &Tools,
    session: &SessionRecord,
    minted: PromptIds,
) -> Result<SessionRecord, StoreError> {
    let record = move |owed| match owed {
        Some(Owed::Transcript { ids: None, .. }) => Some(Owed::Transcript {
            ids: Some(minted),
            // They were put there before.
            files: false,
        }),
        other => other,
    };
    let sessions = tools.sessions();
    let noting = sessions.note_owed(tools.context.conversation.id, &session.id, record);
    Ok(noting.await?.0)
}

/// Writes down that the session is owed no transcript any more. Returns the row, and whether this call did.
async fn no_transcript_owed(
    tools: &Tools,
    session: &SessionRecord,
) -> Result<(SessionRecord, bool), StoreError> {
    let settle = |owed| match owed {
        Some(Owed::Transcript { .. }) => None,
        other => other,
    };
    let sessions = tools.sessions();
    let noting = sessions.note_owed(tools.context.conversation.id, &session.id, settle);
    noting.await
}

fn tell_not_carried_over(tools: &Tools, session: &SessionRecord, error: ClientError) {
    tools.front.telemetry.event(
        "session.not_carried_over",
        [
            ("turn", tools.turn.id.to_string().into()),
            ("session", session.id.to_string().into()),
            (
                "conversation",
                tools.context.conversation.id.to_string().into(),
            ),
            ("error", error.name().into()),
        ],
    );
    tools.front.telemetry.report(
        &NotCarriedOver(error),
        Severity::Warning,
        [
            ("turn", tools.turn.id.to_string().into()),
            ("session", session.id.to_string().into()),
        ],
    );
}
