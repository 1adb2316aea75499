//! The reading half of a store, for what answers requests: a handler cannot claim a turn or end one.

use std::sync::Arc;

use super::{
    Account, Attachment, Conversation, ConversationFilter, ConversationSummary, Effect, Message,
    MessageEntry, Page, RequestAnswer, Schedule, Search, Store, StoreResult, Tenant, Turn,
    TurnEvent, TurnVersion,
};
use crate::budget::Spending;
use crate::clock::Timestamp;
use crate::id::{AttachmentId, ConversationId, MessageId, ScheduleId, TurnId};

/// The reading half of a store. Cheap to clone.
///
/// What an application writes goes through [`Host`](crate::Host).
///
/// ```
/// # use opencode_host::{Host, id::ConversationId, store::{StoreResult, Turn}};
/// async fn answers(host: &Host, conversation: ConversationId) -> StoreResult<Vec<String>> {
///     let messages = host.store().messages(Some(conversation), None, 100).await?;
///     Ok(messages.into_iter().map(|message| message.answer.content).collect())
/// }
/// ```
///
/// A turn cannot be ended through it:
///
/// ```compile_fail,E0599
/// # use opencode_host::{Host, store::{Finish, Lease}};
/// async fn end(host: &Host, lease: &Lease, finish: &Finish) {
///     host.store().finish(lease, finish).await;
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Reader(Arc<dyn Store>);

impl Reader {
    /// Reads `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }
}

macro_rules! reads {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)+) => {
        impl Reader {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// What every method of a store may answer: see the [module](crate::store).
            pub async fn $name(&self $(, $arg: $type)*) -> StoreResult<$answer> {
                self.0.$name($($arg),*).await
            })+
        }
    };
}

reads! {
    /// The time by the clock that leases expire by.
    now() -> Timestamp;
    /// One conversation.
    conversation(id: ConversationId) -> Option<Conversation>;
    /// The tenant's conversation of this name.
    conversation_named(tenant: &Tenant, name: &str) -> Option<Conversation>;
    /// A part of the list of those conversations that the filter takes, by when they were used last.
    conversations(filter: &ConversationFilter, page: &Page) -> Vec<ConversationSummary>;
    /// One message.
    message(id: MessageId) -> Option<Message>;
    /// A page of messages, oldest first, of those that are shown. See [`Messages::messages`](super::Messages::messages).
    messages(conversation: Option<ConversationId>, after: Option<MessageId>, limit: u32) -> Vec<Message>;
    /// Where messages are and how large, oldest first. See [`Messages::message_index`](super::Messages::message_index).
    message_index(conversation: Option<ConversationId>, after: u64, limit: u32) -> Vec<MessageEntry>;
    /// The messages that a conversation shows, newest first: at most `limit`, of those before `before`.
    messages_before(conversation: ConversationId, before: Option<MessageId>, limit: u32) -> Vec<Message>;
    /// The messages of a conversation that words are found in, newest first. See [`Messages::found`](super::Messages::found).
    found(conversation: ConversationId, search: &Search, limit: u32) -> Vec<MessageId>;
    /// One turn.
    turn(id: TurnId) -> Option<Turn>;
    /// The turns that go on from the same place as this one, itself among them, oldest first.
    versions(id: TurnId) -> Vec<TurnVersion>;
    /// The turns of a conversation that are queued or run, oldest first, at most `limit`.
    active_turns(conversation: ConversationId, limit: u32) -> Vec<Turn>;
    /// The events recorded for a turn, oldest first.
    turn_events(id: TurnId) -> Vec<TurnEvent>;
    /// The answers that people gave to what the turn's agent asked, oldest first.
    answers(turn: TurnId) -> Vec<RequestAnswer>;
    /// The oldest turn that has to be settled before this one can be claimed.
    turn_ahead(id: TurnId) -> Option<TurnId>;
    /// What commits owe to the world outside and what is not done yet, oldest first, at most `limit`: deletions that go
    /// on, hooks that are called again. What is given up is among them.
    effects(limit: u32) -> Vec<Effect>;
    /// Of these, what failed too often and is not tried any more, unless [`Host::retry_effect`](crate::Host::retry_effect)
    /// says so.
    given_up_effects(limit: u32) -> Vec<Effect>;
    /// What the turns of a tenant or a conversation have used that were begun at `since` or later, and what those that run
    /// have reserved. See [`Ledger::spending`](super::Ledger::spending).
    spending(of: &Account, since: Timestamp) -> Spending;
    /// One schedule.
    schedule(id: ScheduleId) -> Option<Schedule>;
    /// The schedules of a conversation, oldest first.
    schedules(conversation: ConversationId) -> Vec<Schedule>;
    /// One file.
    attachment(id: AttachmentId) -> Option<Attachment>;
    /// The files of a message, in the order they were attached.
    attachments(message: MessageId) -> Vec<Attachment>;
    /// The bytes of all uploads of a conversation's messages.
    uploaded_bytes(conversation: ConversationId) -> u64;
    /// The files attached last to a conversation's messages, newest first, at most `limit`.
    newest_attachments(conversation: ConversationId, limit: u32) -> Vec<Attachment>;
}
