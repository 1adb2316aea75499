//! Bounds on what goes into a store, in one place: a store of your own need not know them.
//!
//! The host puts this around whatever store it is given, and the conformance suite does so too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::submit::check_length;
use super::{
    Account, AnswerOutcome, AnswerState, Attached, Attachment, Backlog, CancelOutcome, Claim,
    ClaimedTurn, Conversation, ConversationFilter, ConversationSummary, Conversations, Effect,
    Effects, Files, Finish, Finished, Forked, Lane, Lease, LeaseStatus, Ledger,
    MAX_ATTACHMENT_NAME, MAX_CANCEL_REASON, MAX_KEY_CHARS, MAX_TENANT_CHARS, Message, MessageEntry,
    Messages, Metadata, NewAnswer, NewAttachment, NewFork, NewTurn, Note, Page, Progress, Queue,
    RequestAnswer, Reserved, Schedule, Schedules, Search, Server, ServerLoad, ServerName,
    ServerReport, Servers, SessionGates, SessionLock, SessionRecord, Store, StoreResult, Submitted,
    Swapped, Take, Tenant, TenantShare, Tried, Turn, TurnEvent, TurnStanding, TurnVersion,
    Unplaced, WorkerId,
};
use crate::blobs::Digest;
use crate::budget::{Budget, Spending, Spent};
use crate::clock::Timestamp;
use crate::id::{AttachmentId, ConversationId, EffectId, MessageId, ScheduleId, TurnId};
use crate::live::LiveBus;

/// A store behind its bounds: names of conversations and client keys have at most [`MAX_KEY_CHARS`] characters,
/// tenants at most [`MAX_TENANT_CHARS`], file names at most [`MAX_ATTACHMENT_NAME`], answers at most [`MAX_ANSWER_BYTES`](super::MAX_ANSWER_BYTES) bytes. What
/// is longer is [`TooLong`](super::StoreError::TooLong) and does not reach the store.
///
/// A quota is not among them: it is compared with what the conversation has, in the transaction of the submit
/// ([`NewTurn::check_quota`]).
#[derive(Clone, Debug)]
pub(crate) struct Checked(Arc<dyn Store>);

impl Checked {
    /// Puts the bounds around a store.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }
}

/// Methods without a bound of their own.
macro_rules! forward {
    ($store:ident { $($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)+ } $($own:item)*) => {
        #[async_trait]
        impl $store for Checked {
            $(async fn $name(&self $(, $arg: $type)*) -> StoreResult<$answer> {
                self.0.$name($($arg),*).await
            })+

            $($own)*
        }
    };
}

forward! { Conversations {
    conversation(id: ConversationId) -> Option<Conversation>;
    conversation_named(tenant: &Tenant, name: &str) -> Option<Conversation>;
    conversations(filter: &ConversationFilter, page: &Page) -> Vec<ConversationSummary>;
    set_metadata(id: ConversationId, metadata: &Metadata) -> ();
    delete_conversation(id: ConversationId, unused_since: Option<Timestamp>) -> Option<Conversation>;
    lock_session(id: ConversationId, wait: Duration) -> Box<dyn SessionLock + '_>;
    swap_session(id: ConversationId, expected: Option<&SessionRecord>, new: &SessionRecord) -> Swapped;
}
    async fn fork(&self, new: &NewFork) -> StoreResult<Forked> {
        check_length("conversation name", &new.name, MAX_KEY_CHARS)?;
        self.0.fork(new).await
    }

    async fn open_conversation(&self, tenant: &Tenant, name: &str) -> StoreResult<Conversation> {
        check_length("tenant", tenant.as_str(), MAX_TENANT_CHARS)?;
        check_length("conversation name", name, MAX_KEY_CHARS)?;
        self.0.open_conversation(tenant, name).await
    }

    fn session_gates(&self) -> &SessionGates {
        self.0.session_gates()
    }
}

forward! { Queue {
    now() -> Timestamp;
    choose(turn: TurnId) -> ();
    answered(lease: &Lease, request: &str, state: Option<&AnswerState>) -> ();
    claim(claim: &Claim) -> Option<ClaimedTurn>;
    tenant_share(tenant: &Tenant) -> Option<TenantShare>;
    next_due(default: &TenantShare) -> Option<Timestamp>;
    backlog() -> Option<Backlog>;
    renew(leases: &[Lease], length: Duration) -> Vec<LeaseStatus>;
    check(leases: &[Lease]) -> Vec<LeaseStatus>;
    release(lease: &Lease) -> ();
    note(lease: &Lease, note: Note<'_>) -> ();
    save(progress: &[Progress<'_>]) -> Vec<Lease>;
    finish(lease: &Lease, finish: &Finish) -> Finished;
    settle(lease: &Lease) -> bool;
}
    async fn submit(&self, turn: &NewTurn) -> StoreResult<Submitted> {
        turn.check()?;
        self.0.submit(turn).await
    }

    fn keeps_shares(&self) -> bool {
        self.0.keeps_shares()
    }

    async fn set_tenant_share(&self, tenant: &Tenant, share: Option<&TenantShare>) -> StoreResult<()> {
        check_length("tenant", tenant.as_str(), MAX_TENANT_CHARS)?;
        share.map(TenantShare::check).transpose()?;
        self.0.set_tenant_share(tenant, share).await
    }

    async fn listen(&self, wake: &(dyn Fn() + Send + Sync)) {
        self.0.listen(wake).await;
    }

    fn live_bus(&self) -> Option<Arc<dyn LiveBus>> {
        self.0.live_bus()
    }

    async fn request_cancel(&self, turn: TurnId, reason: Option<&str>) -> StoreResult<CancelOutcome> {
        check_length("reason of a cancel", reason.unwrap_or_default(), MAX_CANCEL_REASON)?;
        self.0.request_cancel(turn, reason).await
    }

    async fn answer(&self, turn: TurnId, answer: &NewAnswer) -> StoreResult<AnswerOutcome> {
        check_length("request's id", &answer.request, MAX_KEY_CHARS)?;
        answer.check_size()?;
        self.0.answer(turn, answer).await
    }
}

forward! { Messages {
    message(id: MessageId) -> Option<Message>;
    messages(conversation: Option<ConversationId>, after: Option<MessageId>, limit: u32) -> Vec<Message>;
    message_index(conversation: Option<ConversationId>, after: u64, limit: u32) -> Vec<MessageEntry>;
    messages_before(conversation: ConversationId, before: Option<MessageId>, limit: u32) -> Vec<Message>;
    found(conversation: ConversationId, search: &Search, limit: u32) -> Vec<MessageId>;
    turn(id: TurnId) -> Option<Turn>;
    turns(ids: &[TurnId]) -> Vec<Turn>;
    standings(turns: &[TurnId]) -> Vec<Option<TurnStanding>>;
    versions(id: TurnId) -> Vec<TurnVersion>;
    active_turns(conversation: ConversationId, limit: u32) -> Vec<Turn>;
    turn_events(id: TurnId) -> Vec<TurnEvent>;
    answers(turn: TurnId) -> Vec<RequestAnswer>;
    turn_ahead(id: TurnId) -> Option<TurnId>;
} }

forward! { Files {
    attachment(id: AttachmentId) -> Option<Attachment>;
    attachments(message: MessageId) -> Vec<Attachment>;
    uploaded_bytes(conversation: ConversationId) -> u64;
    newest_attachments(conversation: ConversationId, limit: u32) -> Vec<Attachment>;
    digests_in_use(digests: &[Digest]) -> Vec<Digest>;
    detach(id: AttachmentId) -> Option<Attachment>;
}
    async fn attach(&self, file: &NewAttachment) -> StoreResult<Attached> {
        check_length("file name", &file.name, MAX_ATTACHMENT_NAME)?;
        self.0.attach(file).await
    }
}

forward! { Ledger {
    reserve(lease: &Lease, budget: &Budget, spent: &Spent) -> Reserved;
    spending(of: &Account, since: Timestamp) -> Spending;
    prune_ledger(before: Timestamp, limit: u32) -> u64;
}
    fn keeps_ledger(&self) -> bool {
        self.0.keeps_ledger()
    }
}

forward! { Servers {
    report_server(report: &ServerReport) -> Server;
    leave_server(server: &ServerName, worker: &WorkerId) -> ();
    note_server_problem(server: &ServerName, problem: Option<&str>) -> ();
    servers() -> Vec<ServerLoad>;
    set_draining(server: &ServerName, draining: bool) -> bool;
    lose_silent_servers(heard: &ServerName, silent: Duration) -> Vec<ServerName>;
    server_returned(server: &ServerName) -> ();
    move_from_gone(limit: u32) -> Vec<(ConversationId, ServerName)>;
    forget_sessions(server: &ServerName, limit: u32) -> u32;
    sessions_on(server: &ServerName, limit: u32) -> Vec<SessionRecord>;
    unplaced(after: Option<TurnId>, limit: u32) -> Vec<Unplaced>;
    place(conversation: ConversationId, server: &ServerName) -> bool;
    note_waits_for(conversation: ConversationId, why: &str) -> ();
}
    fn keeps_servers(&self) -> bool {
        self.0.keeps_servers()
    }
}

forward! { Schedules {
    add_schedule(schedule: &Schedule) -> ();
    schedule(id: ScheduleId) -> Option<Schedule>;
    schedules(conversation: ConversationId) -> Vec<Schedule>;
    due_schedules(limit: u32) -> Vec<Schedule>;
    next_schedule_due() -> Option<Timestamp>;
    swap_schedule(expected: &Schedule, new: &Schedule) -> bool;
    delete_schedule(id: ScheduleId) -> bool;
}
    fn keeps_schedules(&self) -> bool {
        self.0.keeps_schedules()
    }
}

forward! { Effects {
    take_effect(take: Take<'_>, lease: Duration) -> Option<Effect>;
    settle_effect(taken: &Effect, tried: &Tried) -> ();
    follow_effect(taken: &Effect, with: &[Effect]) -> bool;
    lanes() -> Vec<Lane>;
    effects(limit: u32) -> Vec<Effect>;
    given_up_effects(limit: u32) -> Vec<Effect>;
    retry_effect(id: EffectId) -> bool;
} }
