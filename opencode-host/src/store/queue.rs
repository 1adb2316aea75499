//! The queue of turns: submitted, claimed, worked on under a lease, ended, settled.
//!
//! What a worker may do to a turn, and what becomes of the row then, is the same in every store:
//! [`TurnRow`](super::TurnRow) has these rules as functions without I/O.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opencode_client::SessionId;
use opencode_client::reply::{Checkpoint, Growth};

use super::share::no_shares;
use super::{
    AnswerOutcome, AnswerState, AskedRequest, Backlog, CancelOutcome, Claim, ClaimedTurn, Finish,
    Finished, Lease, LeaseStatus, NewAnswer, NewTurn, PromptRecord, StoreResult, Submitted, Tenant,
    TenantShare,
};
use crate::budget::Spent;
use crate::clock::Timestamp;
use crate::id::TurnId;
use crate::live::LiveBus;

/// The queue of turns.
///
/// # Errors
///
/// What every method of a store may answer is said in the [module](super): only what else it answers is said at the
/// method.
#[async_trait]
pub trait Queue: Send + Sync {
    /// The time by the clock that leases expire by.
    async fn now(&self) -> StoreResult<Timestamp>;

    /// Adds a user message with its files, a pending assistant message and a queued
    /// turn, in one transaction. With a client key that the conversation has already, or
    /// with the id of a turn that is there: answers that turn, and changes nothing.
    ///
    /// The turn goes on from the last one that the conversation shows. With
    /// [`NewTurn::instead_of`] it goes on from where that one does: that one is hidden, with what is shown behind it,
    /// and the conversation's session is [to be replaced](super::SessionRecord::to_be_replaced).
    ///
    /// # Errors
    /// [`QuotaExceeded`](super::StoreError::QuotaExceeded) when the conversation's uploads and the new files
    /// together pass [`NewUploads::quota`](super::NewUploads::quota), also when another submit is at it at the same
    /// time; [`OverBudget`](super::StoreError::OverBudget) when nothing is left of [`NewTurn::budget`];
    /// [`Busy`](super::StoreError::Busy) where [`OnBusy::Reject`](super::OnBusy::Reject) asks for that, and while any
    /// turn of the conversation is queued or runs where it takes the place of one;
    /// [`NotFound`](super::StoreError::NotFound) without the conversation, or the turn in it whose place it takes.
    async fn submit(&self, turn: &NewTurn) -> StoreResult<Submitted>;

    /// Shows a turn in the place of the other [versions](super::Messages::versions) of it, with those before it, and behind
    /// it the newest that goes on from it, and so on. What the conversation's messages are follows, and what the next
    /// submit goes on from; its session is [to be replaced](super::SessionRecord::to_be_replaced). Nothing changes for one that
    /// is shown.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) without the turn; [`Busy`](super::StoreError::Busy) while a turn of the
    /// conversation is queued or runs.
    async fn choose(&self, turn: TurnId) -> StoreResult<()>;

    /// Notes that a turn is to be cancelled. A queued turn that was never
    /// prompted ends right here ([`Finish::never_started`]), message and
    /// `turn.finished` event and effect included, and can be claimed to be settled once all
    /// earlier ones of its conversation are. One that was prompted needs a worker
    /// to stop it upstream too.
    ///
    /// The reason is kept with the turn, and is a part of its `turn.finished` event. The first cancel's stays.
    ///
    /// A row that cannot be read is settled with its cancel, and its effect is due at once: no worker could claim it.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound).
    async fn request_cancel(
        &self,
        turn: TurnId,
        reason: Option<&str>,
    ) -> StoreResult<CancelOutcome>;

    /// Keeps an answer to a request of a turn that was prompted and has not ended, for the turn's worker to send. The
    /// first one to a request wins ([`AnswerOutcome::of`]).
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) without the turn.
    async fn answer(&self, turn: TurnId, answer: &NewAnswer) -> StoreResult<AnswerOutcome>;

    /// Notes how far an answer is on its way; `None` removes it, where the agent does not wait for it any more. Also
    /// behind the end of the turn, as long as no other worker has claimed it. An answer that is not there is left so.
    ///
    /// # Errors
    /// [`LeaseLost`](super::StoreError::LeaseLost) when the lease's generation is not the turn's.
    async fn answered(
        &self,
        lease: &Lease,
        request: &str,
        state: Option<&AnswerState>,
    ) -> StoreResult<()>;

    /// Takes a turn that can be worked on: first one left behind by a worker
    /// whose lease ran out, running or finished but not settled; else a
    /// queued one. Raises its generation and its attempts, and sets the lease.
    ///
    /// A queued turn can be claimed once all earlier ones of its conversation are settled, and its
    /// [moment](super::Turn::not_before) has come. Where the store [keeps shares](Self::keeps_shares), it is one of the tenant
    /// that has used the least of the server, by its [weight](TenantShare::weight), of those that may have another one
    /// begin; of the tenant's, the oldest of the highest [priority](super::Turn::priority). Else it is the oldest of
    /// the highest priority, whosever it is.
    ///
    /// A lease that was set later than now (the clock was put back since) is cut
    /// to its own length from now: it ends in time unless its worker renews it.
    ///
    /// # Errors
    /// A row that cannot be read is [`Corrupt`](super::StoreError::Corrupt)
    /// and is passed over by the next claim, so that it does not hold up the others.
    async fn claim(&self, claim: &Claim) -> StoreResult<Option<ClaimedTurn>>;

    /// Whether shares of tenants are kept. Not by default.
    fn keeps_shares(&self) -> bool {
        false
    }

    /// Sets the share of a tenant, for all claims from then on; `None` for that of the [claims](Claim::share). The period of
    /// its rate begins anew.
    ///
    /// # Errors
    /// [`Configuration`](super::StoreError::Configuration) where no shares are kept, and for a rate without a period.
    async fn set_tenant_share(
        &self,
        tenant: &Tenant,
        share: Option<&TenantShare>,
    ) -> StoreResult<()> {
        let _ = (tenant, share);
        Err(no_shares())
    }

    /// The share that was set of a tenant.
    async fn tenant_share(&self, tenant: &Tenant) -> StoreResult<Option<TenantShare>> {
        let _ = tenant;
        Ok(None)
    }

    /// When a claim may find a turn that would find none now, though nothing else happens meanwhile: the next moment at which
    /// a queued turn may begin, or a tenant's rate allows one. `default` is the share of tenants whose share is not set.
    /// The default knows none: such turns are found when a worker looks for turns.
    async fn next_due(&self, default: &TenantShare) -> StoreResult<Option<Timestamp>> {
        let _ = default;
        Ok(None)
    }

    /// What waits and what runs, counted at a bounded cost. `None` where that is not counted, as by default.
    async fn backlog(&self) -> StoreResult<Option<Backlog>> {
        Ok(None)
    }

    /// Prolongs leases to `lease` from now, and tells how each stands. In the
    /// order of `leases`.
    /// A lost lease is an answer, not an error.
    async fn renew(&self, leases: &[Lease], lease: Duration) -> StoreResult<Vec<LeaseStatus>>;

    /// Tells how leases stand, without a write. In the order of `leases`.
    /// A lost lease is an answer, not an error.
    async fn check(&self, leases: &[Lease]) -> StoreResult<Vec<LeaseStatus>>;

    /// Gives a turn back: any worker can claim it at once. The claim was no
    /// failed attempt, and does not count as one.
    ///
    /// # Errors
    /// [`LeaseLost`](super::StoreError::LeaseLost).
    async fn release(&self, lease: &Lease) -> StoreResult<()>;

    /// Writes a note of the turn's worker to the row of a running turn. See [`Note`].
    ///
    /// # Errors
    /// [`LeaseLost`](super::StoreError::LeaseLost), also when the turn has ended.
    async fn note(&self, lease: &Lease, note: Note<'_>) -> StoreResult<()>;

    /// Saves what has streamed of running turns, all at once. It goes to the turn's checkpoint, and while the turn runs its
    /// message has the checkpoint's parts. What differs from the turn's last is progress: the store notes when, and starts
    /// the attempts anew.
    ///
    /// The first save of a claim is the whole, and so is the next one behind a save that failed, whether or not it was
    /// written. All others are what has come since the one before, so that little is written of a long reply: a store may
    /// keep them apart as they come, and put them together where the turn is read.
    ///
    /// Answers which leases are lost, or on turns that have ended: nothing is saved of those, and that holds up no
    /// other. The workers of a process save about once a second, for all their turns together.
    async fn save(&self, progress: &[Progress<'_>]) -> StoreResult<Vec<Lease>>;

    /// Ends a running turn: one transaction writes the message's final content
    /// and the turn's terminal state, records its one `turn.finished`
    /// event, and notes what the end owes ([`Effect::of_turn_end`](super::Effect::of_turn_end)). The lease stays, for [`Queue::settle`]. Where a cancel was asked
    /// for before, a completion is stored as cancelled ([`Finish::after_cancel`]).
    /// A turn that is terminal already is not changed.
    ///
    /// # Errors
    /// [`LeaseLost`](super::StoreError::LeaseLost).
    async fn finish(&self, lease: &Lease, finish: &Finish) -> StoreResult<Finished>;

    /// Marks a finished turn as settled (its files are attached), makes due what its end owes, and
    /// ends its lease. True for the one call that did it; false when it was
    /// settled before, or has not finished yet.
    ///
    /// # Errors
    /// [`LeaseLost`](super::StoreError::LeaseLost).
    async fn settle(&self, lease: &Lease) -> StoreResult<bool>;

    /// Calls `wake` whenever another process may have left a turn to be claimed, until it is dropped. Workers look
    /// for turns from time to time in any case: a call may be missing, or be one too many. The default makes none.
    async fn listen(&self, wake: &(dyn Fn() + Send + Sync)) {
        let _ = wake;
        std::future::pending().await
    }

    /// What brings the changes of running turns to the nodes where they are watched, where the store has something for it.
    /// Not by default.
    fn live_bus(&self) -> Option<Arc<dyn LiveBus>> {
        None
    }
}

/// What has streamed of a running turn.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Whose it is.
    pub lease: &'a Lease,
    /// What there is to save.
    pub streamed: Streamed<'a>,
}

/// What there is to save of a reply.
#[derive(Clone, Copy, Debug)]
pub enum Streamed<'a> {
    /// All of it, in the place of what was saved.
    Whole(&'a Checkpoint),
    /// What has come to it since the save before, which was of the same claim.
    More {
        /// The how-manieth it is since the whole, from 1.
        number: u64,
        /// What has come.
        growth: &'a Growth,
    },
}

/// What a worker notes about the turn it runs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Note<'a> {
    /// The session and the ids of a prompt, before it is posted. The same record twice is noted once; one that
    /// differs counts as a resend where it says so.
    Prompt(&'a PromptRecord),
    /// The session that the server has lost and that this turn is going to replace, before it does. A turn replaces
    /// one session, however many workers take it up: the first one noted stays.
    Replacement(&'a SessionId),
    /// Whether the agent waits for a person: then the turn does not count among those that its tenant has running, and the
    /// attempts start anew, though nothing new has come. The next claim starts without the note.
    Waiting(bool),
    /// What the turn has used so far, for the [`Ledger`](super::Ledger).
    Spent(&'a Spent),
    /// The agent asks something that endpoints are to be told of. The store notes an effect for it
    /// ([`AskedRequest::effect`]), due at once, unless it is there.
    Asked(&'a AskedRequest),
    /// Whether the turn's worker cannot reach the server, for those who watch the turn from other processes. The next
    /// claim starts without the note.
    Unreachable(bool),
}

impl Note<'_> {
    /// The kind of the note, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prompt(_) => "prompt",
            Self::Replacement(_) => "replacement",
            Self::Waiting(_) => "waiting",
            Self::Spent(_) => "spent",
            Self::Asked(_) => "asked",
            Self::Unreachable(_) => "unreachable",
        }
    }
}
