//! A store that goes wrong at its k-th call.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use opencode_host::blobs::Digest;
use opencode_host::budget::{Budget, Spending, Spent};
use opencode_host::clock::Timestamp;
use opencode_host::id::{AttachmentId, ConversationId, EffectId, MessageId, ScheduleId, TurnId};
use opencode_host::store::{
    Account, AnswerOutcome, AnswerState, Attached, Attachment, CancelOutcome, Claim, ClaimedTurn,
    Conversation, ConversationFilter, ConversationSummary, Conversations, Effect, Effects, Files,
    Finish, Finished, Forked, Lane, Lease, LeaseStatus, Ledger, Message, MessageEntry, Messages,
    Metadata, NewAnswer, NewAttachment, NewFork, NewTurn, Note, Page, Progress, Queue,
    RequestAnswer, Reserved, Schedule, Schedules, Server, ServerLoad, ServerName, ServerReport,
    Servers, SessionGates, SessionLock, SessionRecord, Store, StoreError, StoreResult, Submitted,
    Swapped, Take, Tenant, Tried, Turn, TurnEvent, TurnVersion, Unplaced, WorkerId,
};
use tokio::sync::Notify;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The call does nothing and fails.
    Before,
    /// The call is done, and its answer is lost.
    After,
    /// The call is never done: its process dies there.
    DiesBefore,
    /// The call is done, and its process dies before it hears of it.
    DiesAfter,
    /// The store itself panics.
    Panics,
    /// The first call is done, and its process is suspended for so many milliseconds before it goes on.
    Suspends(u64),
}

pub(crate) const ALL_WRONGS: [Wrong; 4] = [
    Wrong::Before,
    Wrong::After,
    Wrong::DiesBefore,
    Wrong::DiesAfter,
];

/// Counts the calls that a turn's driver makes, and spoils one of them.
#[derive(Debug)]
pub(crate) struct Fault {
    calls: AtomicUsize,
    spoiled: usize,
    /// Spoils all calls of this name instead.
    each: Option<&'static str>,
    wrong: Wrong,
    names: Mutex<Vec<&'static str>>,
    /// The process is dead: none of its calls begins any more.
    is_dead: AtomicBool,
    /// The process is to die now.
    pub(crate) died: Notify,
}

impl Fault {
    /// Spoils the call with this number, from 0; a number never reached spoils nothing.
    pub(crate) fn at(spoiled: usize, wrong: Wrong) -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicUsize::new(0),
            spoiled,
            each: None,
            wrong,
            names: Mutex::default(),
            is_dead: AtomicBool::new(false),
            died: Notify::new(),
        })
    }

    /// Has every call of this name panic.
    pub(crate) fn panics_at(name: &'static str) -> Arc<Self> {
        Self::each(name, Wrong::Panics)
    }

    /// Spoils nothing.
    pub(crate) fn never() -> Arc<Self> {
        Self::each("", Wrong::Before)
    }

    /// Has the process die before a call of this name.
    pub(crate) fn dies_at(name: &'static str) -> Arc<Self> {
        Self::each(name, Wrong::DiesBefore)
    }

    /// Has the process die after a call of this name.
    pub(crate) fn dies_behind(name: &'static str) -> Arc<Self> {
        Self::each(name, Wrong::DiesAfter)
    }

    fn each(name: &'static str, wrong: Wrong) -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicUsize::new(0),
            spoiled: usize::MAX,
            each: Some(name),
            wrong,
            names: Mutex::default(),
            is_dead: AtomicBool::new(false),
            died: Notify::new(),
        })
    }

    /// Has the first call of this name suspend the process for so many milliseconds.
    pub(crate) fn suspends_at(name: &'static str, ms: u64) -> Arc<Self> {
        Self::each(name, Wrong::Suspends(ms))
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.names.lock().unwrap().clone()
    }

    async fn around<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = StoreResult<T>>,
    ) -> StoreResult<T> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        self.names.lock().unwrap().push(name);
        if number != self.spoiled && self.each != Some(name) {
            return call.await;
        }
        match self.wrong {
            Wrong::Before => {}
            Wrong::Panics => panic!("the store has a mistake"),
            Wrong::Suspends(ms) => {
                let done = call.await;
                if self.names().iter().filter(|known| **known == name).count() == 1 {
                    std::thread::sleep(Duration::from_millis(ms));
                }
                return done;
            }
            Wrong::After => {
                call.await?;
            }
            Wrong::DiesBefore => self.die().await,
            Wrong::DiesAfter => {
                // From here on: what this call makes known, nobody of this process takes up.
                self.is_dead.store(true, Ordering::SeqCst);
                call.await?;
                self.die().await;
            }
        }
        Err(StoreError::Unavailable("spoiled by the test".to_owned()))
    }

    /// Waits for ever in a process that is dead.
    async fn alive(&self) {
        if self.is_dead.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    async fn die(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
        self.died.notify_one();
        std::future::pending::<()>().await;
    }
}

/// The store of a process that goes wrong. Looks of others are not counted:
/// they use the store below.
pub(crate) struct FaultyStore {
    pub(crate) below: Arc<dyn Store>,
    pub(crate) fault: Arc<Fault>,
}

/// The driver's own calls are counted, in the order of the turn's steps. Those
/// by the clock (renewals, looks for the next turn) come at any time and go through; some of them are spoiled where they
/// are named.
macro_rules! forward {
    ($store:ident { $($kind:ident $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)+ } $($own:item)*) => {
        #[async_trait]
        impl $store for FaultyStore {
            $(async fn $name(&self $(, $arg: $type)*) -> StoreResult<$answer> {
                self.fault.alive().await;
                forward!(@$kind self, $name, self.below.$name($($arg),*))
            })+

            $($own)*
        }
    };
    (@counted $self:ident, $name:ident, $call:expr) => { $self.fault.around(stringify!($name), $call).await };
    (@named $self:ident, $name:ident, $call:expr) => {
        if $self.fault.each == Some(stringify!($name)) {
            $self.fault.around(stringify!($name), $call).await
        } else {
            $call.await
        }
    };
    (@through $self:ident, $name:ident, $call:expr) => { $call.await };
}

forward! { Conversations {
    through open_conversation(tenant: &Tenant, name: &str) -> Conversation;
    through conversation(id: ConversationId) -> Option<Conversation>;
    through conversation_named(tenant: &Tenant, name: &str) -> Option<Conversation>;
    through conversations(filter: &ConversationFilter, page: &Page) -> Vec<ConversationSummary>;
    through fork(new: &NewFork) -> Forked;
    through set_metadata(id: ConversationId, metadata: &Metadata) -> ();
    through delete_conversation(id: ConversationId, unused_since: Option<Timestamp>) -> Option<Conversation>;
    through swap_session(id: ConversationId, expected: Option<&SessionRecord>, new: &SessionRecord) -> Swapped;
}
    fn session_gates(&self) -> &SessionGates {
        self.below.session_gates()
    }

    async fn lock_session(&self, id: ConversationId, wait: Duration) -> StoreResult<Box<dyn SessionLock + '_>> {
        self.fault.alive().await;
        let locking = self.below.lock_session(id, wait);
        let lock = self.fault.around("lock_session", locking).await?;
        Ok(Box::new(FaultyLock { below: lock, fault: Arc::clone(&self.fault) }))
    }
}

forward! { Queue {
    through now() -> Timestamp;
    through submit(turn: &NewTurn) -> Submitted;
    through choose(turn: TurnId) -> ();
    through request_cancel(turn: TurnId, reason: Option<&str>) -> CancelOutcome;
    through answer(turn: TurnId, answer: &NewAnswer) -> AnswerOutcome;
    through answered(lease: &Lease, request: &str, state: Option<&AnswerState>) -> ();
    counted claim(claim: &Claim) -> Option<ClaimedTurn>;
    through renew(leases: &[Lease], lease: Duration) -> Vec<LeaseStatus>;
    through check(leases: &[Lease]) -> Vec<LeaseStatus>;
    counted release(lease: &Lease) -> ();
    counted finish(lease: &Lease, finish: &Finish) -> Finished;
    counted settle(lease: &Lease) -> bool;
}
    async fn note(&self, lease: &Lease, note: Note<'_>) -> StoreResult<()> {
        let noting = self.below.note(lease, note);
        match note {
            Note::Unreachable(_) => noting.await,
            _ => self.fault.around(note.name(), noting).await,
        }
    }

    async fn save(&self, progress: &[Progress<'_>]) -> StoreResult<Vec<Lease>> {
        self.fault.around("save", self.below.save(progress)).await
    }
}

forward! { Messages {
    through message(id: MessageId) -> Option<Message>;
    through messages(conversation: Option<ConversationId>, after: Option<MessageId>, limit: u32) -> Vec<Message>;
    through message_index(conversation: Option<ConversationId>, after: u64, limit: u32) -> Vec<MessageEntry>;
    through turn(id: TurnId) -> Option<Turn>;
    through versions(id: TurnId) -> Vec<TurnVersion>;
    through active_turns(conversation: ConversationId, limit: u32) -> Vec<Turn>;
    through turn_events(id: TurnId) -> Vec<TurnEvent>;
    through answers(turn: TurnId) -> Vec<RequestAnswer>;
    through turn_ahead(id: TurnId) -> Option<TurnId>;
} }

forward! { Effects {
    through take_effect(take: Take<'_>, lease: Duration) -> Option<Effect>;
    named settle_effect(taken: &Effect, tried: &Tried) -> ();
    named follow_effect(taken: &Effect, with: &[Effect]) -> bool;
    through lanes() -> Vec<Lane>;
    through effects(limit: u32) -> Vec<Effect>;
    through given_up_effects(limit: u32) -> Vec<Effect>;
    through retry_effect(id: EffectId) -> bool;
} }

forward! { Ledger {
    counted reserve(lease: &Lease, budget: &Budget, spent: &Spent) -> Reserved;
    through spending(of: &Account, since: Timestamp) -> Spending;
    through prune_ledger(before: Timestamp, limit: u32) -> u64;
}
    fn keeps_ledger(&self) -> bool {
        self.below.keeps_ledger()
    }
}

forward! { Servers {
    through report_server(report: &ServerReport) -> Server;
    through leave_server(server: &ServerName, worker: &WorkerId) -> ();
    through note_server_problem(server: &ServerName, problem: Option<&str>) -> ();
    through servers() -> Vec<ServerLoad>;
    through set_draining(server: &ServerName, draining: bool) -> bool;
    through lose_silent_servers(heard: &ServerName, silent: Duration) -> Vec<ServerName>;
    through server_returned(server: &ServerName) -> ();
    through move_from_gone(limit: u32) -> Vec<(ConversationId, ServerName)>;
    through forget_sessions(server: &ServerName, limit: u32) -> u32;
    through sessions_on(server: &ServerName, limit: u32) -> Vec<SessionRecord>;
    through unplaced(after: Option<TurnId>, limit: u32) -> Vec<Unplaced>;
    through place(conversation: ConversationId, server: &ServerName) -> bool;
    through note_waits_for(conversation: ConversationId, why: &str) -> ();
}
    fn keeps_servers(&self) -> bool {
        self.below.keeps_servers()
    }
}

forward! { Schedules {
    through add_schedule(schedule: &Schedule) -> ();
    through schedule(id: ScheduleId) -> Option<Schedule>;
    through schedules(conversation: ConversationId) -> Vec<Schedule>;
    through due_schedules(limit: u32) -> Vec<Schedule>;
    through next_schedule_due() -> Option<Timestamp>;
    through swap_schedule(expected: &Schedule, new: &Schedule) -> bool;
    through delete_schedule(id: ScheduleId) -> bool;
}
    fn keeps_schedules(&self) -> bool {
        self.below.keeps_schedules()
    }
}

forward! { Files {
    counted attach(file: &NewAttachment) -> Attached;
    through attachment(id: AttachmentId) -> Option<Attachment>;
    through attachments(message: MessageId) -> Vec<Attachment>;
    through uploaded_bytes(conversation: ConversationId) -> u64;
    through newest_attachments(conversation: ConversationId, limit: u32) -> Vec<Attachment>;
    through digests_in_use(digests: &[Digest]) -> Vec<Digest>;
    through detach(id: AttachmentId) -> Option<Attachment>;
} }

struct FaultyLock<'a> {
    below: Box<dyn SessionLock + 'a>,
    fault: Arc<Fault>,
}

#[async_trait]
impl SessionLock for FaultyLock<'_> {
    fn current(&self) -> Option<&SessionRecord> {
        self.below.current()
    }

    async fn set(self: Box<Self>, session: &SessionRecord) -> StoreResult<Swapped> {
        let Self { below, fault } = *self;
        fault.around("set_session", below.set(session)).await
    }
}
