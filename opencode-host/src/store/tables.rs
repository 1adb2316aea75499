//! What a store of one's own has to do: find rows, and write them.
//!
//! [`RowStore`](super::RowStore) makes a [`Store`](super::Store) of it: it knows what becomes of the rows.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::ledger::no_ledger;
use super::schedules::no_schedules;
use super::servers::no_servers;
use super::share::no_shares;
use super::{
    Account, Attachment, Conversation, ConversationCursor, Effect, Lease, LeaseStatus, LedgerRow,
    Message, MessageEntry, Order, Page, Schedule, Server, ServerName, StoreResult, Tenant,
    TenantRow, TurnRow,
};
use crate::blobs::Digest;
use crate::budget::Spending;
use crate::clock::{Clock, Timestamp};
use crate::id::{AttachmentId, ConversationId, EffectId, MessageId, ScheduleId, TurnId};

/// How many conversations a default method reads at a time.
const PAGE: u32 = 64;

/// Tables for conversations, turns, messages and files.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    /// A transaction on the tables.
    type Rows: Rows;

    /// Begins a transaction. Of two that touch the same rows, the later one waits for the earlier one to end before it
    /// reads them, or fails and leaves no trace.
    async fn begin(&self) -> StoreResult<Self::Rows>;

    /// Begins a transaction that reads only. This default begins one that might write.
    async fn begin_reading(&self) -> StoreResult<Self::Rows> {
        self.begin().await
    }

    /// Whether the rows have a ledger. Not by default: the methods of [`Rows`] for it are all implemented, or none.
    fn keeps_ledger(&self) -> bool {
        false
    }

    /// Whether the rows have servers. Not by default: the methods of [`Rows`] for them are all implemented, or none.
    fn keeps_servers(&self) -> bool {
        false
    }

    /// Whether the rows have shares of tenants. Not by default: the methods of [`Rows`] for them are all implemented, or none.
    /// Without them the oldest turn of the highest priority is next, whosever it is.
    fn keeps_shares(&self) -> bool {
        false
    }

    /// Whether the rows have schedules. Not by default: the methods of [`Rows`] for them are all implemented, or none.
    fn keeps_schedules(&self) -> bool {
        false
    }

    /// The clock that leases expire by, and where new ids come from. All processes on the tables need the same time.
    fn clock(&self) -> &dyn Clock;
}

/// The rows, in one transaction. Dropped without a [`commit`](Self::commit), it leaves no trace.
#[async_trait]
pub trait Rows: Send {
    /// Writes for good what was put.
    async fn commit(self) -> StoreResult<()>;

    /// The conversation of this id.
    async fn conversation(&mut self, id: ConversationId) -> StoreResult<Option<ConversationRow>>;

    /// The tenant's conversation of this name.
    async fn conversation_named(
        &mut self,
        tenant: &Tenant,
        name: &str,
    ) -> StoreResult<Option<ConversationRow>>;

    /// The conversations before a place, by [`used_at`](ConversationRow::used_at) and then id, newest first, at most
    /// `limit`.
    async fn newest_conversations(
        &mut self,
        before: ConversationCursor,
        limit: u32,
    ) -> StoreResult<Vec<ConversationRow>>;

    /// A part of the list of the tenant's conversations, or of all. This default passes over those of others one by one,
    /// and over all that are newer where the oldest come first.
    async fn conversations(
        &mut self,
        tenant: Option<&Tenant>,
        page: &Page,
    ) -> StoreResult<Vec<ConversationRow>> {
        let limit = page.limit as usize;
        let is_wanted = |row: &ConversationRow| {
            tenant.is_none_or(|tenant| *tenant == row.conversation.tenant)
                && page.is_behind(row.cursor())
        };
        let (mut found, mut before) = (Vec::new(), ConversationCursor::NEWEST);
        if let (Order::NewestFirst, Some(after)) = (page.order, page.after) {
            before = after;
        }
        while page.order == Order::OldestFirst || found.len() < limit {
            let rows = self.newest_conversations(before, PAGE).await?;
            let Some(last) = rows.last() else { break };
            before = last.cursor();
            found.extend(rows.into_iter().filter(is_wanted));
        }
        if page.order == Order::OldestFirst {
            found.reverse();
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Writes a conversation, in the place of the one of its id.
    async fn put_conversation(&mut self, row: ConversationRow) -> StoreResult<()>;

    /// Deletes a conversation with its turns, messages, files and schedules.
    async fn delete_conversation(&mut self, id: ConversationId) -> StoreResult<()>;

    /// The turn of this id.
    ///
    /// # Errors
    /// [`Corrupt`](super::StoreError::Corrupt) for a row that this version cannot read, with `turns` as its table.
    async fn turn(&mut self, id: TurnId) -> StoreResult<Option<TurnRow>>;

    /// The turn of this conversation with this client key.
    async fn turn_with_key(
        &mut self,
        conversation: ConversationId,
        key: &str,
    ) -> StoreResult<Option<TurnRow>>;

    /// The turns of a conversation that are not [settled](TurnRow::is_settled), oldest first.
    async fn unsettled(&mut self, conversation: ConversationId) -> StoreResult<Vec<TurnId>>;

    /// Which turn to look at for a claim: of those that are [claimable](TurnRow::is_claimable), and have no unsettled turn
    /// of their conversation before them, the one with the least [`TurnRow::precedence`]; of equals the oldest. Only
    /// `only` where that is given, and none that was [set aside](Self::set_aside).
    async fn next_turn(
        &mut self,
        now: Timestamp,
        only: Option<TurnId>,
    ) -> StoreResult<Option<TurnId>>;

    /// As [`next_turn`](Self::next_turn), of turns whose conversation is placed on this server; and of those whose
    /// conversation is not placed and that [need none](TurnRow::needs_no_server). Without `queued`, no queued one of that
    /// server. This default, for rows without servers, is for any turn.
    async fn next_turn_on(
        &mut self,
        server: &ServerName,
        queued: bool,
        now: Timestamp,
        only: Option<TurnId>,
    ) -> StoreResult<Option<TurnId>> {
        let _ = (server, queued);
        self.next_turn(now, only).await
    }

    /// Writes a turn, in the place of the one of its id.
    async fn put_turn(&mut self, row: TurnRow) -> StoreResult<()>;

    /// Keeps a turn whose row cannot be read from being the next one. It goes on to hold up those behind it.
    async fn set_aside(&mut self, turn: TurnId) -> StoreResult<()>;

    /// Settles a turn whose row cannot be read, if it is queued; answers the message it was to fill, or nothing.
    async fn drop_unread(&mut self, turn: TurnId) -> StoreResult<Option<MessageId>>;

    /// The message of this id.
    async fn message(&mut self, id: MessageId) -> StoreResult<Option<MessageRow>>;

    /// Where messages are, and which are [hidden](Message::hidden); see
    /// [`Messages::message_index`](super::Messages::message_index).
    async fn message_index(
        &mut self,
        conversation: Option<ConversationId>,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<MessageEntry>>;

    /// Writes a message, in the place of the one of its id.
    async fn put_message(&mut self, row: MessageRow) -> StoreResult<()>;

    /// The file of this id.
    async fn file(&mut self, id: AttachmentId) -> StoreResult<Option<Attachment>>;

    /// The files of a message, in the order they were added. This default reads all files of the conversation.
    async fn files(&mut self, message: MessageId) -> StoreResult<Vec<Attachment>> {
        let Some(row) = self.message(message).await? else {
            return Ok(Vec::new());
        };
        let mut files = self
            .newest_files(row.message.conversation, u32::MAX)
            .await?;
        files.retain(|file| file.message == message);
        files.reverse();
        Ok(files)
    }

    /// The files of a conversation, newest first, at most `limit`.
    async fn newest_files(
        &mut self,
        conversation: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Attachment>>;

    /// Which of these digests a file has.
    async fn digests_in_use(&mut self, digests: &[Digest]) -> StoreResult<Vec<Digest>>;

    /// Adds a file.
    async fn add_file(&mut self, file: Attachment) -> StoreResult<()>;

    /// Deletes a file.
    async fn delete_file(&mut self, id: AttachmentId) -> StoreResult<()>;

    /// The effects that are not done, oldest first: few, as a rule.
    async fn effects(&mut self) -> StoreResult<Vec<Effect>>;

    /// The effect of this id. This default reads all of them.
    async fn effect(&mut self, id: EffectId) -> StoreResult<Option<Effect>> {
        let effects = self.effects().await?;
        Ok(effects.into_iter().find(|effect| effect.id == id))
    }

    /// Puts an effect in the place of the one of this id; `None` deletes that.
    async fn set_effect(&mut self, id: EffectId, effect: Option<Effect>) -> StoreResult<()>;

    /// The ledger's row of a turn, which may be gone. This default keeps none.
    async fn ledger_row(&mut self, turn: TurnId) -> StoreResult<Option<LedgerRow>> {
        let _ = turn;
        Ok(None)
    }

    /// Writes a row of the ledger, in the place of the one of its turn. This default keeps none.
    async fn put_ledger_row(&mut self, row: LedgerRow) -> StoreResult<()> {
        let _ = row;
        Ok(())
    }

    /// The sums over an account's rows of turns that were begun at `since` or later, but of one. Nobody else writes rows of
    /// the account until the transaction ends. This default refuses: no ledger is kept.
    async fn spending(
        &mut self,
        of: &Account,
        since: Timestamp,
        without: Option<TurnId>,
    ) -> StoreResult<Spending> {
        let _ = (of, since, without);
        Err(no_ledger())
    }

    /// Marks the rows of a conversation that is deleted, and frees what its turns had reserved. This default keeps none.
    async fn close_ledger(&mut self, conversation: ConversationId) -> StoreResult<()> {
        let _ = conversation;
        Ok(())
    }

    /// Deletes rows of deleted conversations, of turns that were begun before `before`, `limit` at most, the oldest first.
    /// This default keeps none.
    async fn prune_ledger(&mut self, before: Timestamp, limit: u32) -> StoreResult<u64> {
        let _ = (before, limit);
        Ok(0)
    }

    /// All servers, by name. This default has none.
    async fn servers(&mut self) -> StoreResult<Vec<Server>> {
        Ok(Vec::new())
    }

    /// Writes a server, in the place of the one of its name. This default refuses: no servers are kept.
    async fn put_server(&mut self, server: Server) -> StoreResult<()> {
        let _ = server;
        Err(no_servers())
    }

    /// The unsettled turns of the conversations that are placed on a server, or on none, oldest first. This default has
    /// none.
    async fn turns_on(&mut self, server: Option<&ServerName>) -> StoreResult<Vec<TurnId>> {
        let _ = server;
        Ok(Vec::new())
    }

    /// The conversations that are placed on a server, by when they were used, newest first, `limit` at most. This default has
    /// none.
    async fn conversations_on(
        &mut self,
        server: &ServerName,
        limit: u32,
    ) -> StoreResult<Vec<ConversationRow>> {
        let _ = (server, limit);
        Ok(Vec::new())
    }

    /// Of each tenant the queued turn to be claimed first, by [`TurnRow::precedence`] and then age: of those that are
    /// [claimable](TurnRow::is_claimable), have no unsettled turn of their conversation before them, are placed on `server`
    /// where that is given, and were not [set aside](Self::set_aside). This default has none.
    async fn queued_of_tenants(
        &mut self,
        server: Option<&ServerName>,
        now: Timestamp,
    ) -> StoreResult<Vec<(Tenant, TurnId)>> {
        let _ = (server, now);
        Ok(Vec::new())
    }

    /// How many turns of a tenant run, those that [wait for a person](TurnRow::waits) not counted. This default has none.
    async fn running_of(&mut self, tenant: &Tenant) -> StoreResult<u64> {
        let _ = tenant;
        Ok(0)
    }

    /// What is kept of a tenant. This default reads all of them.
    async fn tenant_row(&mut self, tenant: &Tenant) -> StoreResult<Option<TenantRow>> {
        let rows = self.tenant_rows().await?;
        Ok(rows.into_iter().find(|row| row.tenant == *tenant))
    }

    /// What is kept of all tenants. This default keeps nothing.
    async fn tenant_rows(&mut self) -> StoreResult<Vec<TenantRow>> {
        Ok(Vec::new())
    }

    /// Writes a tenant's row, in the place of the one there is. This default refuses: no shares are kept.
    async fn put_tenant_row(&mut self, row: TenantRow) -> StoreResult<()> {
        let _ = row;
        Err(no_shares())
    }

    /// The first [moment](super::Turn::not_before) behind `now` that a queued turn waits for. This default knows none: such
    /// turns are found when a worker looks for turns.
    async fn next_moment(&mut self, now: Timestamp) -> StoreResult<Option<Timestamp>> {
        let _ = now;
        Ok(None)
    }

    /// All schedules, in any order. This default has none.
    async fn schedules(&mut self) -> StoreResult<Vec<Schedule>> {
        Ok(Vec::new())
    }

    /// Puts a schedule in the place of the one of this id; `None` deletes that. This default refuses: no schedules are kept.
    async fn set_schedule(
        &mut self,
        id: ScheduleId,
        schedule: Option<Schedule>,
    ) -> StoreResult<()> {
        let _ = (id, schedule);
        Err(no_schedules())
    }

    /// How a lease stands. This default reads the turn.
    async fn lease_status(&mut self, lease: &Lease) -> StoreResult<LeaseStatus> {
        let row = self.turn(lease.turn).await?;
        Ok(row.map_or(LeaseStatus::Lost, |row| row.status(lease)))
    }
}

/// A message, and its cost to the last bit: JSON of a number is not always read back as the number it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MessageRow {
    /// The message.
    #[serde(flatten)]
    pub message: Message,
    cost_bits: u64,
}

impl From<Message> for MessageRow {
    fn from(message: Message) -> Self {
        let cost_bits = message.answer.usage.cost.to_bits();
        Self { message, cost_bits }
    }
}

impl From<MessageRow> for Message {
    fn from(
        MessageRow {
            mut message,
            cost_bits,
        }: MessageRow,
    ) -> Self {
        message.answer.usage.cost = f64::from_bits(cost_bits);
        message
    }
}

/// A conversation, and what a list of conversations tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConversationRow {
    /// The conversation.
    pub conversation: Conversation,
    /// The start of its first prompt.
    pub excerpt: Option<String>,
    /// When its newest turn was submitted; when it was made, without one.
    pub used_at: Timestamp,
    /// The last turn that it shows, which the next submit goes on from.
    #[serde(default)]
    pub head: Option<TurnId>,
}

impl ConversationRow {
    /// Its place in the list of conversations.
    pub fn cursor(&self) -> ConversationCursor {
        ConversationCursor {
            used_at: self.used_at,
            id: self.conversation.id,
        }
    }
}
