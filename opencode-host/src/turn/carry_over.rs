//! Giving a fresh session the conversation so far.
//!
//! A session that takes the place of another knows nothing of the conversation. Before its first prompt it gets one
//! message that nobody answers, with a [`Transcript`] of the earlier messages. That it is owed stands in the
//! session's row from the mint on, and the message's ids before the post: whoever goes on looks for that message,
//! and posts the same one where it is absent.

use std::time::Duration;

use opencode_client::{Error as ClientError, PromptIds};
use tokio::time::Instant;

use super::driver::{Driver, Trouble};
use super::transcript::Transcript;
use crate::reporter::Severity;
use crate::store::{LeaseStatus, Owed, SessionRecord, StoreError};

/// How many messages are read at a time.
const PAGE: u32 = 16;

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

impl Driver {
    /// Gives the session the transcript that it is owed. Where the server does not take it, the turn goes on
    /// without, which is reported and traced.
    pub(super) async fn carry_over(&mut self) -> Result<(), Trouble> {
        let Some(session) = self.session.clone() else {
            return Ok(());
        };
        self.guard().await?;
        let Some(transcript) = self.transcript().await? else {
            return self.no_transcript_owed(&session).await.map(drop);
        };
        let Some(text) = transcript.text() else {
            return self.no_transcript_owed(&session).await.map(drop);
        };
        match self.store_upstream(&session, &text).await {
            Ok(true) => {}
            // Somebody else has seen to it, or to another session.
            Ok(false) => return Ok(()),
            Err(Trouble::Upstream(error)) => {
                self.not_carried += 1;
                let given_up = match error {
                    ClientError::BadRequest { .. } | ClientError::TooLarge { .. } => true,
                    ClientError::Server { .. } | ClientError::Timeout { .. } => {
                        self.not_carried >= TRIES
                    }
                    _ => false,
                };
                if !given_up {
                    return Err(error.into());
                }
                if self.no_transcript_owed(&session).await? {
                    self.tell_not_carried_over(&session, error);
                }
                return Ok(());
            }
            Err(trouble) => return Err(trouble),
        }
        if self.no_transcript_owed(&session).await? {
            self.host.telemetry.event(
                "session.carried_over",
                [
                    ("turn", self.turn.id.to_string().into()),
                    ("session", session.id.to_string().into()),
                    ("conversation", self.conversation.id.to_string().into()),
                    ("bytes", text.len().into()),
                    ("messages", transcript.messages().into()),
                    ("cut", transcript.is_cut().into()),
                ],
            );
        }
        Ok(())
    }

    /// The conversation before this turn; `None` where the options want none.
    async fn transcript(&self) -> Result<Option<Transcript>, StoreError> {
        let Some(mut transcript) = Transcript::new(self.host.options.max_transcript) else {
            return Ok(None);
        };
        let store = &self.host.store;
        let mut before = self.turn.user_message;
        loop {
            let page = store.messages_before(before, PAGE).await?;
            let Some(oldest) = page.last() else {
                return Ok(Some(transcript));
            };
            before = oldest.id;
            for message in &page {
                let files = store.attachments(message.id).await?;
                if !transcript.add(message, &files) {
                    return Ok(Some(transcript));
                }
            }
        }
    }

    /// Sees to it that the session has the transcript. False when the row has another session, or owes this one
    /// nothing any more.
    async fn store_upstream(
        &mut self,
        session: &SessionRecord,
        text: &str,
    ) -> Result<bool, Trouble> {
        let client = self.client();
        let recorded = match &session.owed {
            Some(Owed::Transcript { ids: Some(ids) }) => Some(ids.clone()),
            _ => None,
        };
        let (ids, fresh) = match recorded {
            Some(ids) => (ids, false),
            None => {
                let minted = client
                    .mint_prompt_ids(&session.id, self.host.clock.entropy())
                    .await?;
                let Some(recorded) = self.record_transcript(session, minted.clone()).await? else {
                    return Ok(false);
                };
                let fresh = recorded == minted;
                (recorded, fresh)
            }
        };
        if !fresh && client.message(&session.id, &ids.message).await?.is_some() {
            return Ok(true);
        }
        // Still ours? Whoever else has the turn may have prompted the session meanwhile.
        let fenced = Instant::now();
        let lease = self.host.store.check(&[self.lease]).await?;
        if !matches!(lease.first(), Some(LeaseStatus::Held { .. })) {
            return Err(StoreError::LeaseLost { turn: self.turn.id }.into());
        }
        let not_after = fenced + self.host.options.lease / 2;
        let model = self.prompt().model;
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
        Ok(true)
    }

    /// Writes the transcript's ids to the row; answers those that the row has.
    async fn record_transcript(
        &mut self,
        session: &SessionRecord,
        minted: PromptIds,
    ) -> Result<Option<PromptIds>, StoreError> {
        let record = move |owed| match owed {
            Some(Owed::Transcript { ids: None }) => Some(Owed::Transcript { ids: Some(minted) }),
            other => other,
        };
        let (row, _) = self
            .sessions()
            .note_owed(self.conversation.id, &session.id, record)
            .await?;
        let ids = match &row.owed {
            Some(Owed::Transcript { ids }) => ids.clone(),
            _ => None,
        };
        let ids = ids.filter(|_| row.id == session.id);
        self.take_row(row);
        Ok(ids)
    }

    /// Writes down that the session is owed no transcript any more; whether this call did.
    async fn no_transcript_owed(&mut self, session: &SessionRecord) -> Result<bool, Trouble> {
        let settle = |owed| match owed {
            Some(Owed::Transcript { .. }) => None,
            other => other,
        };
        let (row, changed) = self
            .sessions()
            .note_owed(self.conversation.id, &session.id, settle)
            .await?;
        self.take_row(row);
        Ok(changed)
    }

    /// Goes on with the session as the row has it; connects anew where that is another one.
    fn take_row(&mut self, row: SessionRecord) {
        let same = self
            .session
            .as_ref()
            .is_some_and(|session| session.id == row.id);
        self.conversation.session = Some(row.clone());
        self.session = same.then_some(row);
    }

    fn tell_not_carried_over(&self, session: &SessionRecord, error: ClientError) {
        self.host.telemetry.event(
            "session.not_carried_over",
            [
                ("turn", self.turn.id.to_string().into()),
                ("session", session.id.to_string().into()),
                ("conversation", self.conversation.id.to_string().into()),
                ("error", error.name().into()),
            ],
        );
        self.host.telemetry.report(
            &NotCarriedOver(error),
            Severity::Warning,
            [
                ("turn", self.turn.id.to_string().into()),
                ("session", session.id.to_string().into()),
            ],
        );
    }
}
