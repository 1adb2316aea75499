//! A host as one tenant has it: what a handler is given that has learned who asks.
//!
//! A row of another tenant's is answered like one that is not there. A conversation's tenant never changes, so what was
//! looked up once need not be looked up again with the call that follows.

use std::fmt;

use opencode_client::reply::View;
use opencode_client::wire::Prompt;

use super::{AnswerError, Export, Host, LiveStream, SubmitError, SubmitOptions, ViewStream};
use crate::id::{AttachmentId, ConversationId, MessageId, TurnId};
use crate::live::Cursor;
#[cfg(feature = "schedules")]
use crate::store::Schedule;
use crate::store::{
    Attachment, CancelOutcome, Conversation, ConversationFilter, ConversationSummary, Forked,
    Message, Metadata, NewAnswer, Page, Search, StoreError, StoreResult, Submitted, Tenant, Turn,
    TurnVersion,
};
use crate::turn::TurnResult;
use crate::uploads::{UploadError, Uploads};

/// A [`Host`] as one tenant has it: each method finds that tenant's rows and no others.
///
/// What is another tenant's is [`StoreError::NotFound`], in the words for what was never there. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use opencode_host::store::{MemoryStore, StoreError, Tenant};
/// # use opencode_host::Host;
/// let host = Host::builder(Arc::new(MemoryStore::default())).build();
/// let acme = host.of(&Tenant::from("acme"));
/// let conversation = acme.open_conversation("support-42").await?.id;
///
/// let other = host.of(&Tenant::from("other"));
/// let found = other.conversation(conversation).await;
/// assert!(matches!(found, Err(StoreError::NotFound { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TenantHost {
    pub(super) host: Host,
    pub(super) tenant: Tenant,
}

impl Host {
    /// The host as this tenant has it.
    pub fn of(&self, tenant: &Tenant) -> TenantHost {
        TenantHost {
            host: self.clone(),
            tenant: tenant.clone(),
        }
    }
}

/// A row, where it is there and of a conversation of the tenant's.
pub(super) trait Row: Sized {
    const WHAT: &'static str;

    fn conversation(&self) -> ConversationId;
}

macro_rules! rows {
    ($($row:ident $what:literal)+) => {
        $(impl Row for $row {
            const WHAT: &'static str = $what;

            fn conversation(&self) -> ConversationId {
                self.conversation
            }
        })+
    };
}

rows! { Turn "turn" Message "message" Attachment "file" }
#[cfg(feature = "schedules")]
rows! { Schedule "schedule" }

impl TenantHost {
    /// Whose rows are found.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Opens the conversation of this name: [`Host::open_conversation`].
    ///
    /// # Errors
    /// As there.
    pub async fn open_conversation(&self, name: &str) -> StoreResult<Conversation> {
        self.host.open_conversation(&self.tenant, name).await
    }

    /// A part of the list of the tenant's conversations that the filter takes, by when they were used last. Which tenant
    /// the filter names does not matter.
    ///
    /// # Errors
    /// What reading may fail with: see [`store`](crate::store).
    pub async fn conversations(
        &self,
        filter: ConversationFilter,
        page: &Page,
    ) -> StoreResult<Vec<ConversationSummary>> {
        let filter = ConversationFilter {
            tenant: Some(self.tenant.clone()),
            ..filter
        };
        self.host.store().conversations(&filter, page).await
    }

    /// The conversation of this name, if there is one. Unlike [`open_conversation`](Self::open_conversation), none is made.
    ///
    /// # Errors
    /// What reading may fail with: see [`store`](crate::store).
    pub async fn conversation_named(&self, name: &str) -> StoreResult<Option<Conversation>> {
        let store = self.host.store();
        store.conversation_named(&self.tenant, name).await
    }

    /// One conversation.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has none of this id.
    pub async fn conversation(&self, id: ConversationId) -> StoreResult<Conversation> {
        let found = self.host.store().conversation(id).await?;
        let found = found.filter(|found| found.tenant == self.tenant);
        found.ok_or_else(|| StoreError::not_found("conversation", id))
    }

    /// One turn.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has none of this id.
    pub async fn turn(&self, id: TurnId) -> StoreResult<Turn> {
        self.own(self.host.store().turn(id).await?, id).await
    }

    /// One message.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has none of this id.
    pub async fn message(&self, id: MessageId) -> StoreResult<Message> {
        self.own(self.host.store().message(id).await?, id).await
    }

    /// One file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has none of this id.
    pub async fn attachment(&self, id: AttachmentId) -> StoreResult<Attachment> {
        self.own(self.host.store().attachment(id).await?, id).await
    }

    /// The files of a message, in the order they were attached.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such message.
    pub async fn attachments(&self, message: MessageId) -> StoreResult<Vec<Attachment>> {
        self.message(message).await?;
        self.host.store().attachments(message).await
    }

    /// The messages of a conversation, oldest first: at most `limit`, of those after `after`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such conversation, or that has no message `after`.
    pub async fn messages(
        &self,
        conversation: ConversationId,
        after: Option<MessageId>,
        limit: u32,
    ) -> StoreResult<Vec<Message>> {
        self.conversation(conversation).await?;
        let store = self.host.store();
        store.messages(Some(conversation), after, limit).await
    }

    /// The messages of a conversation, newest first: at most `limit`, of those before `before`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such conversation, or that has no message `before`.
    pub async fn messages_before(
        &self,
        conversation: ConversationId,
        before: Option<MessageId>,
        limit: u32,
    ) -> StoreResult<Vec<Message>> {
        self.conversation(conversation).await?;
        let store = self.host.store();
        store.messages_before(conversation, before, limit).await
    }

    /// The messages of a conversation that words are found in, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such conversation.
    pub async fn found(
        &self,
        conversation: ConversationId,
        search: &Search,
        limit: u32,
    ) -> StoreResult<Vec<MessageId>> {
        self.conversation(conversation).await?;
        self.host.store().found(conversation, search, limit).await
    }

    /// The turns of a conversation that are queued or run, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such conversation.
    pub async fn active_turns(
        &self,
        conversation: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Turn>> {
        self.conversation(conversation).await?;
        self.host.store().active_turns(conversation, limit).await
    }

    /// Notes `metadata` at a conversation: [`Host::set_metadata`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such conversation.
    pub async fn set_metadata(
        &self,
        conversation: ConversationId,
        metadata: &Metadata,
    ) -> StoreResult<()> {
        self.conversation(conversation).await?;
        self.host.set_metadata(conversation, metadata).await
    }

    /// Deletes a conversation: [`Host::delete_conversation`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such conversation; else as there.
    pub async fn delete_conversation(&self, id: ConversationId) -> StoreResult<()> {
        self.conversation(id).await?;
        if self.host.delete_conversation(id).await? {
            Ok(())
        } else {
            Err(StoreError::not_found("conversation", id))
        }
    }

    /// All that is stored of a conversation: [`Host::export`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such conversation.
    pub async fn export(&self, id: ConversationId) -> StoreResult<Export> {
        self.conversation(id).await?;
        let export = self.host.export(id).await?;
        export.ok_or_else(|| StoreError::not_found("conversation", id))
    }

    /// Begins to take files for a prompt: [`Host::uploads`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such conversation; else as there.
    pub async fn uploads(&self, conversation: ConversationId) -> Result<Uploads, UploadError> {
        self.conversation(conversation).await?;
        self.host.uploads(conversation).await
    }

    /// Queues a turn: [`Host::submit`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such conversation; else as there.
    pub async fn submit(
        &self,
        conversation: ConversationId,
        prompt: Prompt,
        options: SubmitOptions,
    ) -> Result<Submitted, SubmitError> {
        self.conversation(conversation).await?;
        self.host.submit(conversation, prompt, options).await
    }

    /// Cancels a turn: [`Host::cancel`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such turn; else as there.
    pub async fn cancel(&self, turn: TurnId, reason: Option<&str>) -> StoreResult<CancelOutcome> {
        self.turn(turn).await?;
        self.host.cancel(turn, reason).await
    }

    /// Asks again what a turn has asked, in its place: [`Host::regenerate`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such turn; else as there.
    pub async fn regenerate(
        &self,
        turn: TurnId,
        client_key: Option<String>,
    ) -> Result<Submitted, SubmitError> {
        self.turn(turn).await?;
        self.host.regenerate(turn, client_key).await
    }

    /// Queues a turn with a new prompt in the place of another: [`Host::edit`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such turn; else as there.
    pub async fn edit(
        &self,
        turn: TurnId,
        prompt: Prompt,
        options: SubmitOptions,
    ) -> Result<Submitted, SubmitError> {
        self.turn(turn).await?;
        self.host.edit(turn, prompt, options).await
    }

    /// Shows a turn in the place of its other versions: [`Host::choose`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such turn; else as there.
    pub async fn choose(&self, turn: TurnId) -> StoreResult<()> {
        self.turn(turn).await?;
        self.host.choose(turn).await
    }

    /// A conversation that begins as what led to a turn: [`Host::fork`].
    ///
    /// # Errors
    /// As for [`Host::fork`].
    pub async fn fork(&self, turn: TurnId, name: impl Into<String> + Send) -> StoreResult<Forked> {
        self.turn(turn).await?;
        self.host.fork(turn, name).await
    }

    /// The versions of a turn, itself among them, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such turn.
    pub async fn versions(&self, turn: TurnId) -> StoreResult<Vec<TurnVersion>> {
        self.turn(turn).await?;
        self.host.versions(turn).await
    }

    /// Answers a request of a running turn: [`Host::answer`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such turn; else as there.
    pub async fn answer(&self, turn: TurnId, answer: NewAnswer) -> Result<(), AnswerError> {
        self.turn(turn).await?;
        self.host.answer(turn, answer).await
    }

    /// What came of a turn; `None` while it has not ended.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such turn.
    pub async fn result(&self, turn: TurnId) -> StoreResult<Option<TurnResult>> {
        self.turn(turn).await?;
        self.host.result(turn).await
    }

    /// Watches a turn: [`Host::live`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such turn.
    pub async fn live(&self, turn: TurnId, cursor: Cursor) -> StoreResult<LiveStream> {
        self.turn(turn).await?;
        self.host.live(turn, cursor).await
    }

    /// Watches the reply to a turn: [`Host::views`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such turn.
    pub async fn views(&self, turn: TurnId, cursor: Cursor) -> StoreResult<ViewStream> {
        self.turn(turn).await?;
        self.host.views(turn, cursor).await
    }

    /// Returns the reply to a turn as it is now: [`Host::view`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such turn.
    pub async fn view(&self, turn: TurnId) -> StoreResult<(Cursor, View)> {
        self.turn(turn).await?;
        self.host.view(turn).await
    }

    /// Waits until a turn is settled: [`Host::settled`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such turn, or its conversation is deleted meanwhile.
    pub async fn settled(&self, turn: TurnId) -> StoreResult<TurnResult> {
        self.turn(turn).await?;
        self.host.settled(turn).await
    }

    pub(super) async fn own<R: Row>(
        &self,
        row: Option<R>,
        id: impl fmt::Display,
    ) -> StoreResult<R> {
        let missing = || StoreError::not_found(R::WHAT, id);
        let Some(row) = row else {
            return Err(missing());
        };
        match self.conversation(row.conversation()).await {
            Ok(_) => Ok(row),
            // The words are those for the row that was asked for.
            Err(StoreError::NotFound { .. }) => Err(missing()),
            Err(error) => Err(error),
        }
    }
}
