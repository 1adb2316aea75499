//! A store over tables: what becomes of the rows is decided here, once for all of them.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::row_claims::claim_next;
use super::row_ends::{cancel_unread, note_end, note_request, release_end, release_ends};
use super::row_fork::fork;
use super::row_found::is_found;
use super::row_shares::{next_due, set_share};
use super::row_unsettled::{leased_until, unfinished};
use super::row_versions::{choose, hide, versions};
use super::turn_row::{Changed, MessageWrite};
use super::{
    AnswerOutcome, AnswerState, Attached, Attachment, CancelOutcome, Claim, ClaimedTurn,
    Conversation, ConversationFilter, ConversationRow, ConversationSummary, Conversations, Files,
    Finish, Finished, Forked, Lease, LeaseStatus, Message, MessageEntry, Messages, Metadata,
    NewAnswer, NewAttachment, NewFork, NewTurn, Note, OnBusy, Page, Progress, Queue, RequestAnswer,
    Rows, SessionGates, SessionRecord, StoreError, StoreResult, Submitted, Swapped, Tables, Tenant,
    TenantShare, Turn, TurnEvent, TurnRow, TurnVersion, row_files, row_spending,
};
use crate::blobs::Digest;
use crate::clock::Timestamp;
use crate::id::{AttachmentId, ConversationId, MessageId, TurnId};

/// The [`Store`](super::Store) over [`Tables`].
///
/// Each method is one transaction. In it the rows are read, changed by the rules that all stores keep, and written back.
pub struct RowStore<T> {
    pub(super) tables: T,
    gates: SessionGates,
}

impl<T: Tables> RowStore<T> {
    /// The store over these tables.
    pub fn over(tables: T) -> Self {
        Self {
            tables,
            gates: SessionGates::default(),
        }
    }

    /// The clock is read behind the transaction's locks: of two transactions on a row the later one has the later time.
    pub(super) async fn begin(&self) -> StoreResult<(T::Rows, Timestamp)> {
        let on = self.tables.begin().await?;
        Ok((on, self.tables.clock().now()))
    }

    /// Lets a rule change a turn.
    async fn change<A: Send>(
        &self,
        turn: TurnId,
        missing: StoreError,
        rule: impl FnOnce(&mut TurnRow, Timestamp) -> StoreResult<Changed<A>> + Send,
    ) -> StoreResult<A> {
        let (mut on, now) = self.begin().await?;
        let mut row = on.turn(turn).await?.ok_or(missing)?;
        let changed = rule(&mut row, now)?;
        write(&mut on, row, changed.message, now).await?;
        on.commit().await?;
        Ok(changed.answer)
    }

    /// Lets a rule change the turn that a lease is on.
    async fn change_leased<A: Send>(
        &self,
        lease: &Lease,
        rule: impl FnOnce(&mut TurnRow, Timestamp) -> StoreResult<Changed<A>> + Send,
    ) -> StoreResult<A> {
        self.change(lease.turn, lease.lost(), rule).await
    }
}

impl<T> fmt::Debug for RowStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStore").finish_non_exhaustive()
    }
}

/// Writes a turn, and what its change means for its message.
async fn write(
    on: &mut impl Rows,
    row: TurnRow,
    write: Option<MessageWrite>,
    now: Timestamp,
) -> StoreResult<()> {
    if let Some(MessageWrite::End(finish)) = &write {
        note_end(on, &row.turn, now).await?;
        row_spending::end(on, &row.turn, finish, now).await?;
    }
    if let Some(write) = write
        && let Some(message) = on.message(row.turn.message).await?
    {
        let mut message = message.into();
        write.apply(&mut message, now);
        on.put_message(message.into()).await?;
    }
    on.put_turn(row).await
}

async fn cancel(
    on: &mut impl Rows,
    turn: TurnId,
    reason: Option<&str>,
    now: Timestamp,
) -> StoreResult<CancelOutcome> {
    let mut row = match on.turn(turn).await {
        Ok(row) => row.ok_or_else(|| StoreError::not_found("turn", turn))?,
        Err(StoreError::Corrupt { .. }) => return cancel_unread(on, turn, now).await,
        Err(error) => return Err(error),
    };
    let cancelled = row.cancel(reason, now);
    write(on, row, cancelled.message, now).await?;
    Ok(cancelled.answer)
}

/// The turn that the same submit made before.
async fn known(on: &mut impl Rows, new: &NewTurn) -> StoreResult<Option<TurnRow>> {
    if let Some(key) = &new.client_key
        && let Some(row) = on.turn_with_key(new.conversation, key).await?
    {
        return Ok(Some(row));
    }
    on.turn(new.id).await
}

#[async_trait]
impl<T: Tables> Conversations for RowStore<T> {
    async fn open_conversation(&self, tenant: &Tenant, name: &str) -> StoreResult<Conversation> {
        let (mut on, now) = self.begin().await?;
        if let Some(known) = on.conversation_named(tenant, name).await? {
            return Ok(known.conversation);
        }
        let id = ConversationId::from_uuid(self.tables.clock().new_uuid());
        let conversation = Conversation::new(id, tenant, name, now);
        on.put_conversation(ConversationRow {
            conversation: conversation.clone(),
            excerpt: None,
            used_at: now,
            head: None,
        })
        .await?;
        on.commit().await?;
        Ok(conversation)
    }

    async fn conversation(&self, id: ConversationId) -> StoreResult<Option<Conversation>> {
        let row = self.tables.begin_reading().await?.conversation(id).await?;
        Ok(row.map(|row| row.conversation))
    }

    async fn conversation_named(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> StoreResult<Option<Conversation>> {
        let mut on = self.tables.begin_reading().await?;
        let row = on.conversation_named(tenant, name).await?;
        Ok(row.map(|row| row.conversation))
    }

    async fn conversations(
        &self,
        filter: &ConversationFilter,
        page: &Page,
    ) -> StoreResult<Vec<ConversationSummary>> {
        let mut on = self.tables.begin_reading().await?;
        let (mut summaries, mut page) = (Vec::new(), *page);
        let limit = page.limit as usize;
        while summaries.len() < limit {
            let rows = on.conversations(filter.tenant.as_ref(), &page).await?;
            let is_last = rows.len() < limit;
            for row in rows {
                let busy = !unfinished(&mut on, row.conversation.id).await?.is_empty();
                let last = match row.head {
                    Some(head) => on.turn(head).await?,
                    None => None,
                };
                let summary = ConversationSummary {
                    conversation: row.conversation,
                    excerpt: row.excerpt,
                    used_at: row.used_at,
                    busy,
                    failed: last.is_some_and(|last| last.turn.has_failed()),
                };
                page = page.after(summary.cursor());
                if summary.is_taken_by(filter) && is_found(&mut on, &summary, filter).await? {
                    summaries.push(summary);
                }
            }
            if is_last {
                break;
            }
        }
        summaries.truncate(limit);
        Ok(summaries)
    }

    async fn fork(&self, new: &NewFork) -> StoreResult<Forked> {
        let (mut on, now) = self.begin().await?;
        let forked = fork(&mut on, new, now).await?;
        on.commit().await?;
        Ok(forked)
    }

    async fn set_metadata(&self, id: ConversationId, metadata: &Metadata) -> StoreResult<()> {
        let (mut on, _) = self.begin().await?;
        let row = on.conversation(id).await?;
        let mut row = row.ok_or_else(|| StoreError::not_found("conversation", id))?;
        row.conversation.metadata.clone_from(metadata);
        on.put_conversation(row).await?;
        on.commit().await
    }

    async fn delete_conversation(
        &self,
        id: ConversationId,
        unused_since: Option<Timestamp>,
    ) -> StoreResult<Option<Conversation>> {
        let (mut on, now) = self.begin().await?;
        let Some(row) = on.conversation(id).await? else {
            return Ok(None);
        };
        if let Some(since) = unused_since
            && (row.used_at >= since || !unfinished(&mut on, id).await?.is_empty())
        {
            return Ok(None);
        }
        let until = leased_until(&mut on, id).await?;
        let deletion = row.conversation.deletion(until, now);
        on.set_effect(deletion.id, Some(deletion)).await?;
        let unsettled = on.unsettled(id).await?;
        release_ends(&mut on, &unsettled, now).await?;
        on.close_ledger(id).await?;
        on.delete_conversation(id).await?;
        on.commit().await?;
        Ok(Some(row.conversation))
    }

    async fn swap_session(
        &self,
        id: ConversationId,
        expected: Option<&SessionRecord>,
        new: &SessionRecord,
    ) -> StoreResult<Swapped> {
        let (mut on, _) = self.begin().await?;
        let row = on.conversation(id).await?;
        let mut row = row.ok_or_else(|| StoreError::not_found("conversation", id))?;
        let session = &mut row.conversation.session;
        if session.as_ref() != expected {
            return Ok(Swapped::No(session.take().map(Box::new)));
        }
        *session = Some(new.clone());
        on.put_conversation(row).await?;
        on.commit().await?;
        Ok(Swapped::Yes)
    }

    fn session_gates(&self) -> &SessionGates {
        &self.gates
    }
}

#[async_trait]
impl<T: Tables> Queue for RowStore<T> {
    async fn now(&self) -> StoreResult<Timestamp> {
        Ok(self.tables.clock().now())
    }

    async fn submit(&self, new: &NewTurn) -> StoreResult<Submitted> {
        let (mut on, now) = self.begin().await?;
        let id = new.conversation;
        let conversation = on.conversation(id).await?;
        let mut conversation =
            conversation.ok_or_else(|| StoreError::not_found("conversation", id))?;
        if let Some(known) = known(&mut on, new).await? {
            return Ok(Submitted::known(known.turn));
        }
        if let Some(budget) = &new.budget {
            let whose = (id, &conversation.conversation.tenant);
            row_spending::check(&mut on, budget, whose, now).await?;
        }
        if new.uploads.is_some() {
            let files = on.newest_files(id, u32::MAX).await?;
            new.check_quota(Attachment::uploaded_bytes(&files))?;
        }
        let mut parent = conversation.head;
        if let Some(turn) = new.instead_of {
            parent = hide(&mut on, &mut conversation, turn).await?;
        }
        match new.on_busy {
            // Nothing is unfinished where another turn makes room.
            OnBusy::Enqueue => {}
            OnBusy::Reject => {
                if let Some(turn) = unfinished(&mut on, id).await?.first() {
                    return Err(StoreError::Busy { turn: *turn });
                }
            }
            OnBusy::Interrupt => {
                for turn in unfinished(&mut on, id).await? {
                    cancel(&mut on, turn, None, now).await?;
                }
            }
        }
        let row = TurnRow::queued(new, parent, now);
        let turn = row.turn.clone();
        on.put_turn(row).await?;
        for message in new.messages(now) {
            on.put_message(message.into()).await?;
        }
        for file in new.files() {
            row_files::attach(&mut on, &file, now).await?;
        }
        conversation.used_at = now;
        conversation.head = Some(turn.id);
        let excerpt = || ConversationSummary::excerpt_of(new.said());
        conversation.excerpt.get_or_insert_with(excerpt);
        on.put_conversation(conversation).await?;
        on.commit().await?;
        Ok(Submitted::new(turn))
    }

    async fn choose(&self, turn: TurnId) -> StoreResult<()> {
        let (mut on, _) = self.begin().await?;
        choose(&mut on, turn).await?;
        on.commit().await
    }

    async fn request_cancel(
        &self,
        turn: TurnId,
        reason: Option<&str>,
    ) -> StoreResult<CancelOutcome> {
        let (mut on, now) = self.begin().await?;
        let cancelled = cancel(&mut on, turn, reason, now).await?;
        on.commit().await?;
        Ok(cancelled)
    }

    async fn answer(&self, turn: TurnId, answer: &NewAnswer) -> StoreResult<AnswerOutcome> {
        let missing = StoreError::not_found("turn", turn);
        self.change(turn, missing, |row, now| Ok(row.answer(answer, now)))
            .await
    }

    async fn answered(
        &self,
        lease: &Lease,
        request: &str,
        state: Option<&AnswerState>,
    ) -> StoreResult<()> {
        self.change_leased(lease, |row, _| row.answered(lease, request, state))
            .await
    }

    async fn claim(&self, claim: &Claim) -> StoreResult<Option<ClaimedTurn>> {
        let (mut on, now) = self.begin().await?;
        let shares = self.tables.keeps_shares();
        let claimed = claim_next(&mut on, claim, shares, now).await;
        if claimed.is_ok() || matches!(claimed, Err(StoreError::Corrupt { .. })) {
            on.commit().await?;
        }
        claimed
    }

    fn keeps_shares(&self) -> bool {
        self.tables.keeps_shares()
    }

    async fn set_tenant_share(
        &self,
        tenant: &Tenant,
        share: Option<&TenantShare>,
    ) -> StoreResult<()> {
        let (mut on, _) = self.begin().await?;
        set_share(&mut on, tenant, share).await?;
        on.commit().await
    }

    async fn tenant_share(&self, tenant: &Tenant) -> StoreResult<Option<TenantShare>> {
        let row = self
            .tables
            .begin_reading()
            .await?
            .tenant_row(tenant)
            .await?;
        Ok(row.and_then(|row| row.share))
    }

    async fn next_due(&self, default: &TenantShare) -> StoreResult<Option<Timestamp>> {
        let mut on = self.tables.begin_reading().await?;
        let now = self.tables.clock().now();
        next_due(&mut on, default, now).await
    }

    async fn renew(&self, leases: &[Lease], length: Duration) -> StoreResult<Vec<LeaseStatus>> {
        let (mut on, now) = self.begin().await?;
        let mut statuses = Vec::new();
        for lease in leases {
            let mut status = LeaseStatus::Lost;
            if let Some(mut row) = on.turn(lease.turn).await? {
                status = row.renew(lease, length, now);
                if status != LeaseStatus::Lost {
                    on.put_turn(row).await?;
                }
            }
            statuses.push(status);
        }
        on.commit().await?;
        Ok(statuses)
    }

    async fn check(&self, leases: &[Lease]) -> StoreResult<Vec<LeaseStatus>> {
        let mut on = self.tables.begin_reading().await?;
        let mut statuses = Vec::new();
        for lease in leases {
            statuses.push(on.lease_status(lease).await?);
        }
        Ok(statuses)
    }

    async fn release(&self, lease: &Lease) -> StoreResult<()> {
        self.change_leased(lease, |row, _| row.release(lease)).await
    }

    async fn note(&self, lease: &Lease, note: Note<'_>) -> StoreResult<()> {
        let (mut on, now) = self.begin().await?;
        let mut row = on.turn(lease.turn).await?.ok_or(lease.lost())?;
        let changed = row.note(lease, note)?;
        match note {
            Note::Spent(spent) => row_spending::note(&mut on, &row.turn, spent, now).await?,
            Note::Asked(asked) => note_request(&mut on, asked, now).await?,
            _ => write(&mut on, row, changed.message, now).await?,
        }
        on.commit().await
    }

    async fn save(&self, progress: &[Progress<'_>]) -> StoreResult<Vec<Lease>> {
        let (mut on, now) = self.begin().await?;
        let mut lost = Vec::new();
        for Progress { lease, streamed } in progress {
            let Some(mut row) = on.turn(lease.turn).await? else {
                lost.push(**lease);
                continue;
            };
            match row.save(lease, *streamed, now) {
                Ok(None) => {}
                Ok(message) => write(&mut on, row, message, now).await?,
                Err(StoreError::LeaseLost { .. }) => lost.push(**lease),
                Err(error) => return Err(error),
            }
        }
        on.commit().await?;
        Ok(lost)
    }

    async fn finish(&self, lease: &Lease, finish: &Finish) -> StoreResult<Finished> {
        self.change_leased(lease, |row, now| row.finish(lease, finish, now))
            .await
    }

    async fn settle(&self, lease: &Lease) -> StoreResult<bool> {
        let (mut on, now) = self.begin().await?;
        let mut row = on.turn(lease.turn).await?.ok_or(lease.lost())?;
        if !row.settle(lease)? {
            return Ok(false);
        }
        release_end(&mut on, &row.turn, now).await?;
        on.put_turn(row).await?;
        on.commit().await?;
        Ok(true)
    }
}

#[async_trait]
impl<T: Tables> Messages for RowStore<T> {
    async fn message(&self, id: MessageId) -> StoreResult<Option<Message>> {
        let row = self.tables.begin_reading().await?.message(id).await?;
        Ok(row.map(Message::from))
    }

    async fn message_index(
        &self,
        conversation: Option<ConversationId>,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<MessageEntry>> {
        let mut on = self.tables.begin_reading().await?;
        on.message_index(conversation, after, limit).await
    }

    async fn turn(&self, id: TurnId) -> StoreResult<Option<Turn>> {
        let row = self.tables.begin_reading().await?.turn(id).await?;
        Ok(row.map(|row| row.turn))
    }

    async fn versions(&self, id: TurnId) -> StoreResult<Vec<TurnVersion>> {
        let mut on = self.tables.begin_reading().await?;
        versions(&mut on, id).await
    }

    async fn active_turns(
        &self,
        conversation: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Turn>> {
        let mut on = self.tables.begin_reading().await?;
        let mut active = Vec::new();
        for turn in on.unsettled(conversation).await? {
            if active.len() == limit as usize {
                break;
            }
            let row = on.turn(turn).await?;
            active.extend(row.filter(TurnRow::is_unfinished).map(|row| row.turn));
        }
        Ok(active)
    }

    async fn turn_events(&self, id: TurnId) -> StoreResult<Vec<TurnEvent>> {
        let row = self.tables.begin_reading().await?.turn(id).await?;
        Ok(row.map(|row| row.events).unwrap_or_default())
    }

    async fn answers(&self, turn: TurnId) -> StoreResult<Vec<RequestAnswer>> {
        let row = self.tables.begin_reading().await?.turn(turn).await?;
        Ok(row.map(|row| row.answers).unwrap_or_default())
    }

    async fn turn_ahead(&self, id: TurnId) -> StoreResult<Option<TurnId>> {
        let mut on = self.tables.begin_reading().await?;
        let Some(row) = on.turn(id).await? else {
            return Ok(None);
        };
        let unsettled = on.unsettled(row.turn.conversation).await?;
        let is_there = unsettled.contains(&id);
        Ok(unsettled
            .first()
            .copied()
            .filter(|first| is_there && *first != id))
    }
}

#[async_trait]
impl<T: Tables> Files for RowStore<T> {
    async fn attach(&self, file: &NewAttachment) -> StoreResult<Attached> {
        let (mut on, now) = self.begin().await?;
        let attached = row_files::attach(&mut on, file, now).await?;
        on.commit().await?;
        Ok(attached)
    }

    async fn attachment(&self, id: AttachmentId) -> StoreResult<Option<Attachment>> {
        self.tables.begin_reading().await?.file(id).await
    }

    async fn attachments(&self, message: MessageId) -> StoreResult<Vec<Attachment>> {
        self.tables.begin_reading().await?.files(message).await
    }

    async fn newest_attachments(
        &self,
        conversation: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Attachment>> {
        let mut on = self.tables.begin_reading().await?;
        on.newest_files(conversation, limit).await
    }

    async fn digests_in_use(&self, digests: &[Digest]) -> StoreResult<Vec<Digest>> {
        let mut on = self.tables.begin_reading().await?;
        on.digests_in_use(digests).await
    }

    async fn detach(&self, id: AttachmentId) -> StoreResult<Option<Attachment>> {
        let (mut on, _) = self.begin().await?;
        let file = on.file(id).await?;
        on.delete_file(id).await?;
        on.commit().await?;
        Ok(file)
    }
}
