//! The [`Store`](opencode_host::store::Store) on either database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opencode_host::blobs::Digest;
use opencode_host::budget::{Budget, Spending, Spent};
use opencode_host::clock::Timestamp;
use opencode_host::id::{AttachmentId, ConversationId, EffectId, MessageId, TurnId};
use opencode_host::live::LiveBus;
use opencode_host::store::{
    Account, AnswerOutcome, AnswerState, Attached, Attachment, Backlog, CancelOutcome, Claim,
    ClaimedTurn, Conversation, ConversationFilter, ConversationSummary, Conversations, Effect,
    Effects, Files, Finish, Finished, Forked, Lane, Lease, LeaseStatus, Ledger, Message,
    MessageEntry, Messages, Metadata, NewAnswer, NewAttachment, NewFork, NewTurn, Note, Page,
    Progress, Queue, RequestAnswer, Reserved, Search, SessionGates, SessionLock, SessionRecord,
    StoreError, StoreResult, Submitted, Swapped, Take, Tenant, TenantShare, Tried, Turn, TurnEvent,
    TurnStanding, TurnVersion, lock_in_process,
};

use crate::engine::{Engine, Handle as _};
use crate::failure::{Failure, SqlResult};
use crate::tables::claims::{self, Taken};
use crate::tables::{
    answers, attachments, backlog, conversations, effects, endings, forks, leases, ledger,
    messages, progress as streamed, submits, tenants, turns, versions, words,
};
use crate::words_due::write_words;

/// How often a piece of work is run that collides with others.
const TRIES: u32 = 5;

/// The store on one of the two databases: [`SqliteStore`](crate::SqliteStore) or
/// [`PostgresStore`](crate::PostgresStore). Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqlStore<E>(pub(crate) E);

/// Submits within the application's transaction on this connection. What fails leaves nothing in it.
pub(crate) async fn submit_within<E: Engine>(
    engine: &E,
    on: &mut E::Connection,
    turn: &NewTurn,
) -> StoreResult<Submitted> {
    turn.check()?;
    let submitting = async {
        let mut on = engine.savepoint(on).await?;
        match submits::submit(&mut on, turn).await {
            Ok(submitted) => {
                on.commit().await?;
                Ok(submitted)
            }
            Err(failure) => {
                on.rollback().await;
                Err(failure)
            }
        }
    };
    submitting.await.map_err(|failure| match failure {
        Failure::Conflict(what) => StoreError::Unavailable(format!(
            "{what}: roll the transaction back, and run all of it again"
        )),
        Failure::Store(error) => error,
    })
}

/// Runs work in a transaction, and again, a bounded number of times, when it
/// collided with another one. This is the one place that opens transactions
/// (the session lock aside), and they are named here.
macro_rules! transaction {
    ($store:ident, $name:literal, |$on:ident| $work:expr) => {
        repeat!($name, {
            let mut $on = $store.0.transaction().await?;
            match $work.await {
                Ok(answer) => {
                    $on.commit().await?;
                    Ok(answer)
                }
                Err(failure) => {
                    $on.rollback().await;
                    Err(failure)
                }
            }
        })
    };
}

/// Runs one statement, or several that need not be one transaction.
macro_rules! statement {
    ($store:ident.$connection:ident, $name:literal, |$on:ident| $work:expr) => {
        repeat!($name, {
            let mut $on = $store.0.$connection().await?;
            let answer = $work.await?;
            $on.commit().await?;
            Ok(answer)
        })
    };
}

macro_rules! repeat {
    ($name:literal, $work:block) => {{
        let started = Instant::now();
        let mut tries = 1;
        loop {
            let outcome: SqlResult<_> = async { $work }.await;
            match outcome {
                Err(Failure::Conflict(what)) if tries < TRIES => {
                    tracing::debug!(
                        work = $name,
                        tries,
                        what,
                        "collided with another transaction, once more"
                    );
                    // They take turns: each try waits a little longer.
                    tokio::time::sleep(Duration::from_millis(5 << tries)).await;
                    tries += 1;
                }
                outcome => {
                    let (ok, elapsed) = (outcome.is_ok(), started.elapsed());
                    tracing::trace!(work = $name, tries, ok, ?elapsed, "database");
                    break outcome.map_err(Failure::into_error);
                }
            }
        }
    }};
}

mod schedules;
mod servers;

#[async_trait]
impl<E: Engine> Conversations for SqlStore<E> {
    async fn open_conversation(&self, tenant: &Tenant, name: &str) -> StoreResult<Conversation> {
        if let Some(known) = self.conversation_named(tenant, name).await? {
            return Ok(known);
        }
        let id = ConversationId::from_uuid(self.0.ids().new_uuid());
        transaction!(self, "open_conversation", |on| conversations::open(
            &mut on, id, tenant, name
        ))
    }

    async fn conversation(&self, id: ConversationId) -> StoreResult<Option<Conversation>> {
        statement!(self.reader, "conversation", |on| conversations::by_id(
            &mut on, id
        ))
    }

    async fn conversation_named(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> StoreResult<Option<Conversation>> {
        statement!(self.reader, "conversation_named", |on| {
            conversations::by_name(&mut on, tenant, name)
        })
    }

    async fn conversations(
        &self,
        filter: &ConversationFilter,
        page: &Page,
    ) -> StoreResult<Vec<ConversationSummary>> {
        if filter.search.is_some() {
            write_words(&self.0).await?;
        }
        statement!(self.reader, "conversations", |on| conversations::listed(
            &mut on, filter, page
        ))
    }

    async fn fork(&self, new: &NewFork) -> StoreResult<Forked> {
        transaction!(self, "fork", |on| forks::fork(&mut on, new))
    }

    async fn set_metadata(&self, id: ConversationId, metadata: &Metadata) -> StoreResult<()> {
        statement!(self.writer, "set_metadata", |on| {
            conversations::set_metadata(&mut on, id, metadata)
        })
    }

    async fn delete_conversation(
        &self,
        id: ConversationId,
        unused_since: Option<Timestamp>,
    ) -> StoreResult<Option<Conversation>> {
        transaction!(self, "delete_conversation", |on| conversations::delete(
            &mut on,
            id,
            unused_since
        ))
    }

    async fn swap_session(
        &self,
        id: ConversationId,
        expected: Option<&SessionRecord>,
        new: &SessionRecord,
    ) -> StoreResult<Swapped> {
        transaction!(self, "swap_session", |on| conversations::swap_session(
            &mut on, id, expected, new
        ))
    }

    fn session_gates(&self) -> &SessionGates {
        self.0.session_gates()
    }

    async fn lock_session(
        &self,
        id: ConversationId,
        wait: Duration,
    ) -> StoreResult<Box<dyn SessionLock + '_>> {
        let locked = self.0.lock_session(id, wait).await;
        match locked.map_err(Failure::into_error)? {
            Some(lock) => Ok(lock),
            None => lock_in_process(self, id, wait).await,
        }
    }
}

#[async_trait]
impl<E: Engine> Queue for SqlStore<E> {
    async fn now(&self) -> StoreResult<Timestamp> {
        statement!(self.reader, "now", |on| on.now())
    }

    async fn submit(&self, turn: &NewTurn) -> StoreResult<Submitted> {
        transaction!(self, "submit", |on| submits::submit(&mut on, turn))
    }

    async fn choose(&self, turn: TurnId) -> StoreResult<()> {
        transaction!(self, "choose", |on| versions::choose(&mut on, turn))
    }

    async fn request_cancel(
        &self,
        turn: TurnId,
        reason: Option<&str>,
    ) -> StoreResult<CancelOutcome> {
        transaction!(self, "request_cancel", |on| endings::request_cancel(
            &mut on, turn, reason
        ))
    }

    async fn answer(&self, turn: TurnId, answer: &NewAnswer) -> StoreResult<AnswerOutcome> {
        transaction!(self, "answer", |on| answers::answer(&mut on, turn, answer))
    }

    async fn answered(
        &self,
        lease: &Lease,
        request: &str,
        state: Option<&AnswerState>,
    ) -> StoreResult<()> {
        transaction!(self, "answered", |on| answers::answered(
            &mut on, lease, request, state
        ))
    }

    async fn claim(&self, claim: &Claim) -> StoreResult<Option<ClaimedTurn>> {
        let taken: StoreResult<Taken> = repeat!("claim", {
            let mut on = self.0.transaction().await?;
            let taken = claims::claim(&mut on, claim).await?;
            match taken {
                Taken::Unreadable { .. } => on.rollback().await,
                Taken::Nothing | Taken::Turn(_) => on.commit().await?,
            }
            Ok(taken)
        });
        match taken? {
            Taken::Nothing => Ok(None),
            Taken::Turn(turn) => Ok(Some(*turn)),
            Taken::Unreadable { turn, error } => {
                statement!(self.writer, "pass_over", |on| claims::pass_over(
                    &mut on, &turn
                ))?;
                Err(error)
            }
        }
    }

    fn keeps_shares(&self) -> bool {
        true
    }

    async fn set_tenant_share(
        &self,
        tenant: &Tenant,
        share: Option<&TenantShare>,
    ) -> StoreResult<()> {
        transaction!(self, "set_tenant_share", |on| tenants::set_share(
            &mut on, tenant, share
        ))
    }

    async fn tenant_share(&self, tenant: &Tenant) -> StoreResult<Option<TenantShare>> {
        statement!(self.reader, "tenant_share", |on| tenants::share(
            &mut on, tenant
        ))
    }

    async fn next_due(&self, _: &TenantShare) -> StoreResult<Option<Timestamp>> {
        statement!(self.reader, "next_due", |on| claims::next_due(&mut on))
    }

    async fn backlog(&self) -> StoreResult<Option<Backlog>> {
        let counted = statement!(self.reader, "backlog", |on| backlog::look(&mut on));
        counted.map(Some)
    }

    async fn renew(&self, leases: &[Lease], lease: Duration) -> StoreResult<Vec<LeaseStatus>> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        statement!(self.writer, "renew", |on| leases::renew(
            &mut on, leases, lease
        ))
    }

    async fn check(&self, leases: &[Lease]) -> StoreResult<Vec<LeaseStatus>> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        statement!(self.reader, "check", |on| leases::check(&mut on, leases))
    }

    async fn release(&self, lease: &Lease) -> StoreResult<()> {
        transaction!(self, "release", |on| leases::release(&mut on, lease))
    }

    async fn note(&self, lease: &Lease, note: Note<'_>) -> StoreResult<()> {
        match note {
            Note::Spent(spent) => {
                transaction!(self, "note", |on| ledger::note(&mut on, lease, spent))
            }
            // To the turn, and to what is owed.
            Note::Asked(_) => {
                transaction!(self, "note", |on| leases::note(&mut on, lease, note))
            }
            _ => statement!(self.writer, "note", |on| leases::note(&mut on, lease, note)),
        }
    }

    async fn save(&self, progress: &[Progress<'_>]) -> StoreResult<Vec<Lease>> {
        transaction!(self, "save", |on| streamed::save(&mut on, progress))
    }

    async fn finish(&self, lease: &Lease, finish: &Finish) -> StoreResult<Finished> {
        transaction!(self, "finish", |on| endings::finish(&mut on, lease, finish))
    }

    async fn settle(&self, lease: &Lease) -> StoreResult<bool> {
        transaction!(self, "settle", |on| endings::settle(&mut on, lease))
    }

    async fn listen(&self, wake: &(dyn Fn() + Send + Sync)) {
        self.0.listen(wake).await;
    }

    fn live_bus(&self) -> Option<Arc<dyn LiveBus>> {
        self.0.live_bus()
    }
}

#[async_trait]
impl<E: Engine> Messages for SqlStore<E> {
    async fn message(&self, id: MessageId) -> StoreResult<Option<Message>> {
        statement!(self.reader, "message", |on| messages::by_id(&mut on, id))
    }

    async fn messages(
        &self,
        conversation: Option<ConversationId>,
        after: Option<MessageId>,
        limit: u32,
    ) -> StoreResult<Vec<Message>> {
        statement!(self.reader, "messages", |on| messages::page(
            &mut on,
            conversation,
            after,
            limit
        ))
    }

    async fn message_index(
        &self,
        conversation: Option<ConversationId>,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<MessageEntry>> {
        statement!(self.reader, "message_index", |on| messages::index(
            &mut on,
            conversation,
            after,
            limit
        ))
    }

    async fn messages_before(
        &self,
        conversation: ConversationId,
        before: Option<MessageId>,
        limit: u32,
    ) -> StoreResult<Vec<Message>> {
        statement!(self.reader, "messages_before", |on| messages::before(
            &mut on,
            conversation,
            before,
            limit
        ))
    }

    async fn found(
        &self,
        conversation: ConversationId,
        search: &Search,
        limit: u32,
    ) -> StoreResult<Vec<MessageId>> {
        write_words(&self.0).await?;
        statement!(self.reader, "found", |on| words::found(
            &mut on,
            conversation,
            search,
            limit
        ))
    }

    async fn turn(&self, id: TurnId) -> StoreResult<Option<Turn>> {
        statement!(self.reader, "turn", |on| turns::by_id(&mut on, id))
    }

    async fn turns(&self, ids: &[TurnId]) -> StoreResult<Vec<Turn>> {
        statement!(self.reader, "turns", |on| turns::by_ids(&mut on, ids))
    }

    async fn standings(&self, turns: &[TurnId]) -> StoreResult<Vec<Option<TurnStanding>>> {
        statement!(self.reader, "standings", |on| turns::standings(
            &mut on, turns
        ))
    }

    async fn versions(&self, id: TurnId) -> StoreResult<Vec<TurnVersion>> {
        statement!(self.reader, "versions", |on| versions::of(&mut on, id))
    }

    async fn active_turns(
        &self,
        conversation: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Turn>> {
        statement!(self.reader, "active_turns", |on| turns::active(
            &mut on,
            conversation,
            limit
        ))
    }

    async fn turn_events(&self, id: TurnId) -> StoreResult<Vec<TurnEvent>> {
        statement!(self.reader, "turn_events", |on| turns::events(&mut on, id))
    }

    async fn answers(&self, turn: TurnId) -> StoreResult<Vec<RequestAnswer>> {
        statement!(self.reader, "answers", |on| answers::of_turn(&mut on, turn))
    }

    async fn turn_ahead(&self, id: TurnId) -> StoreResult<Option<TurnId>> {
        statement!(self.reader, "turn_ahead", |on| turns::ahead(&mut on, id))
    }
}

#[async_trait]
impl<E: Engine> Files for SqlStore<E> {
    async fn attach(&self, file: &NewAttachment) -> StoreResult<Attached> {
        statement!(self.writer, "attach", |on| attachments::attach(
            &mut on, file
        ))
    }

    async fn attachment(&self, id: AttachmentId) -> StoreResult<Option<Attachment>> {
        statement!(self.reader, "attachment", |on| attachments::by_id(
            &mut on, id
        ))
    }

    async fn attachments(&self, message: MessageId) -> StoreResult<Vec<Attachment>> {
        statement!(self.reader, "attachments", |on| attachments::of_message(
            &mut on, message
        ))
    }

    async fn uploaded_bytes(&self, conversation: ConversationId) -> StoreResult<u64> {
        statement!(self.reader, "uploaded_bytes", |on| {
            attachments::uploaded_bytes(&mut on, conversation)
        })
    }

    async fn newest_attachments(
        &self,
        conversation: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Attachment>> {
        statement!(self.reader, "newest_attachments", |on| attachments::newest(
            &mut on,
            conversation,
            limit
        ))
    }

    async fn digests_in_use(&self, digests: &[Digest]) -> StoreResult<Vec<Digest>> {
        // Read where rows are written: what was attached a moment ago counts.
        statement!(self.writer, "digests_in_use", |on| attachments::in_use(
            &mut on, digests
        ))
    }

    async fn detach(&self, id: AttachmentId) -> StoreResult<Option<Attachment>> {
        statement!(self.writer, "detach", |on| attachments::remove(&mut on, id))
    }
}

#[async_trait]
impl<E: Engine> Ledger for SqlStore<E> {
    fn keeps_ledger(&self) -> bool {
        true
    }

    async fn reserve(
        &self,
        lease: &Lease,
        budget: &Budget,
        spent: &Spent,
    ) -> StoreResult<Reserved> {
        transaction!(self, "reserve", |on| ledger::reserve(
            &mut on, lease, budget, spent
        ))
    }

    async fn spending(&self, of: &Account, since: Timestamp) -> StoreResult<Spending> {
        statement!(self.reader, "spending", |on| ledger::spending(
            &mut on, of, since
        ))
    }

    async fn prune_ledger(&self, before: Timestamp, limit: u32) -> StoreResult<u64> {
        statement!(self.writer, "prune_ledger", |on| ledger::prune(
            &mut on, before, limit
        ))
    }
}

#[async_trait]
impl<E: Engine> Effects for SqlStore<E> {
    async fn take_effect(&self, take: Take<'_>, lease: Duration) -> StoreResult<Option<Effect>> {
        if let Take::Due(lane) = take {
            let is_any_due = statement!(self.reader, "is_any_due", |on| {
                effects::is_any_due(&mut on, lane)
            });
            if !is_any_due? {
                return Ok(None);
            }
        }
        transaction!(self, "take_effect", |on| effects::take(
            &mut on, take, lease
        ))?
    }

    async fn settle_effect(&self, taken: &Effect, tried: &Tried) -> StoreResult<()> {
        statement!(self.writer, "settle_effect", |on| effects::settle(
            &mut on, taken, tried
        ))
    }

    async fn follow_effect(&self, taken: &Effect, with: &[Effect]) -> StoreResult<bool> {
        transaction!(self, "follow_effect", |on| effects::follow(
            &mut on, taken, with
        ))
    }

    async fn lanes(&self) -> StoreResult<Vec<Lane>> {
        statement!(self.reader, "lanes", |on| effects::lanes(&mut on))
    }

    async fn effects(&self, limit: u32) -> StoreResult<Vec<Effect>> {
        statement!(self.reader, "effects", |on| effects::oldest(&mut on, limit))
    }

    async fn given_up_effects(&self, limit: u32) -> StoreResult<Vec<Effect>> {
        statement!(self.reader, "given_up_effects", |on| effects::given_up(
            &mut on, limit
        ))
    }

    async fn retry_effect(&self, id: EffectId) -> StoreResult<bool> {
        statement!(self.writer, "retry_effect", |on| effects::retry(
            &mut on, id
        ))
    }
}
