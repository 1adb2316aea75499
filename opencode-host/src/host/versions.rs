//! More than one answer: turns that take the place of others, which stay readable as versions of them.
//!
//! The session that the conversation has knows what was shown before. Another one takes its place with the next prompt, and
//! gets a transcript of what is shown.

use opencode_client::wire::Prompt;

use super::prepared::budget_of;
use super::{Host, SubmitError, SubmitOptions};
use crate::id::{AttachmentId, ConversationId, TurnId};
use crate::store::{
    AttachmentSource, Forked, NewAttachment, NewFork, NewTurn, NewUploads, StoreError, StoreResult,
    Submitted, TurnVersion,
};

impl Host {
    /// Queues a turn that asks again what `turn` has asked, with its files and metadata, in its place. The conversation shows
    /// the new turn from then on; the other one and those behind it stay readable: see [`versions`](Self::versions) and
    /// [`choose`](Self::choose).
    ///
    /// With the client key of a turn that is there, that one is the answer, as with [`Host::submit`].
    ///
    /// ```
    /// # use opencode_host::{Host, SubmitError, id::TurnId};
    /// async fn another_answer(host: &Host, turn: TurnId) -> Result<TurnId, SubmitError> {
    ///     Ok(host.regenerate(turn, None).await?.turn.id)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the turn; [`StoreError::Busy`] while it or another turn of its conversation is
    /// queued or runs; [`StoreError::TooLong`] for a long client key; what budgets refuse as for [`Host::submit`].
    pub async fn regenerate(
        &self,
        turn: TurnId,
        client_key: Option<String>,
    ) -> Result<Submitted, SubmitError> {
        let (store, clock) = (&self.front.store, &*self.front.clock);
        let missing = || StoreError::not_found("turn", turn);
        let again = store.turn(turn).await?.ok_or_else(missing)?;
        let user = store.message(again.user_message).await?;
        let said = user.ok_or_else(missing)?.answer.content;
        let files = store.attachments(again.user_message).await?;
        let files = files
            .into_iter()
            .filter(|file| file.source == AttachmentSource::Upload);
        let files: Vec<_> = files
            .map(|file| {
                let mut new = NewAttachment::new(
                    AttachmentId::from_uuid(clock.new_uuid()),
                    // Whose it is becomes known with the submit.
                    file.message,
                    file.name,
                    file.digest,
                    file.size,
                    file.mime_type,
                    file.source,
                );
                new.trust = file.trust;
                new.place = file.place;
                new
            })
            .collect();
        let mut new = NewTurn::new(again.conversation, again.prompt, clock);
        new.client_key = client_key;
        new.metadata = again.metadata;
        new.deadlines = again.deadlines;
        new.instead_of = Some(turn);
        if !files.is_empty() {
            // Their bytes are there already, so no quota is asked.
            new.uploads = Some(NewUploads {
                said,
                files,
                quota: None,
            });
        }
        new.budget = Box::pin(budget_of(&self.front, &new)).await?.map(Box::new);
        let submitted = store.submit(&new).await;
        self.wake();
        Ok(submitted?)
    }

    /// Queues a turn with a new prompt in the place of `turn`, as [`regenerate`](Self::regenerate) does with the same one.
    ///
    /// # Errors
    /// As for [`Host::submit`] and [`regenerate`](Self::regenerate).
    pub async fn edit(
        &self,
        turn: TurnId,
        prompt: Prompt,
        options: SubmitOptions,
    ) -> Result<Submitted, SubmitError> {
        let of = self.front.store.turn(turn).await?;
        let of = of.ok_or_else(|| StoreError::not_found("turn", turn))?;
        let options = SubmitOptions {
            instead_of: Some(turn),
            ..options
        };
        self.submit(of.conversation, prompt, options).await
    }

    /// Has a conversation show a turn in the place of its other versions, with those before it and, behind it, the newest
    /// that goes on from it. The next prompt goes on from there.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the turn; [`StoreError::Busy`] while a turn of the conversation is queued or
    /// runs.
    pub async fn choose(&self, turn: TurnId) -> StoreResult<()> {
        self.front.store.choose(turn).await
    }

    /// Makes a conversation of the same tenant that begins with a copy of what led to a turn, and of that: its messages, files
    /// and metadata. Either goes on by itself from then on, whatever becomes of the other. The new one has a folder and a
    /// session of its own: with its first prompt the agent is told what was said, and finds the files of the messages in its
    /// folder where it works in a sandbox.
    ///
    /// A name is given once: a fork of the same turn that has it already is the answer, as for
    /// [`open_conversation`](Self::open_conversation).
    ///
    /// ```
    /// # use opencode_host::{Host, id::{ConversationId, TurnId}, store::StoreResult};
    /// async fn try_something_else(host: &Host, turn: TurnId) -> StoreResult<ConversationId> {
    ///     Ok(host.fork(turn, "Holiday (2)").await?.conversation.id)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the turn; [`StoreError::Busy`] while it is not settled; [`StoreError::NameTaken`] where
    /// another conversation of the tenant has the name; [`StoreError::TooLong`] for a long name.
    pub async fn fork(&self, turn: TurnId, name: impl Into<String> + Send) -> StoreResult<Forked> {
        let front = &self.front;
        let id = ConversationId::from_uuid(front.clock.new_uuid());
        front.store.fork(&NewFork::new(id, turn, name)).await
    }

    /// The versions of a turn, itself among them, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the turn.
    pub async fn versions(&self, turn: TurnId) -> StoreResult<Vec<TurnVersion>> {
        self.front.store.versions(turn).await
    }
}
