//! What becomes of a turn's row, as functions without I/O: the rules of the [`Queue`](super::Queue).
//!
//! [`RowStore`](super::RowStore) reads the row, calls the function and writes the row back, all in one transaction.
//! opencode-sql says the same in SQL. The conformance suite checks either.

use std::time::Duration;

use opencode_client::reply::PersistedPart;
use serde::{Deserialize, Serialize};

use super::{
    AnswerOutcome, AnswerState, CancelOutcome, Claim, Finish, Finished, Lease, LeaseStatus,
    Message, NewAnswer, NewTurn, Note, Phase, RequestAnswer, StoreError, StoreResult, Streamed,
    Turn, TurnEvent, TurnState, TurnStatus, Work,
};
use crate::clock::Timestamp;
use crate::id::TurnId;

/// A turn, the lease on it, what people answered during it, and its record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnRow {
    /// The turn.
    pub turn: Turn,
    /// The lease of the worker that has the turn, run out or not; `None` while nobody has it.
    pub lease: Option<HeldLease>,
    /// It runs, and waits for a person: it does not count among the turns that its tenant has running.
    #[serde(default)]
    pub waits: bool,
    /// The answers that people gave to what its agent asked, oldest first.
    #[serde(default)]
    pub answers: Vec<RequestAnswer>,
    /// The events recorded for the turn, oldest first.
    #[serde(default)]
    pub events: Vec<TurnEvent>,
}

/// When a lease was taken and when it runs out, by the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HeldLease {
    /// When it was taken or renewed.
    pub taken_at: Timestamp,
    /// From when on another worker may claim the turn.
    pub expires_at: Timestamp,
}

impl HeldLease {
    fn from(now: Timestamp, length: Duration) -> Self {
        Self {
            taken_at: now,
            expires_at: now.after(length),
        }
    }
}

/// What a rule has made of a turn: the row is changed, and the same transaction writes this.
#[derive(Debug)]
#[must_use]
pub(super) struct Changed<T> {
    /// What to answer the caller.
    pub(super) answer: T,
    /// What to write to the turn's message, if anything.
    pub(super) message: Option<MessageWrite>,
}

/// What becomes of a turn's message.
#[derive(Debug)]
pub(super) enum MessageWrite {
    /// What has streamed so far.
    Parts(Vec<PersistedPart>),
    /// The turn has ended.
    End(Box<Finish>),
}

impl MessageWrite {
    /// Writes it to the message.
    pub(super) fn apply(self, message: &mut Message, now: Timestamp) {
        match self {
            Self::Parts(parts) => message.answer.parts = parts,
            Self::End(finish) => message.end(&finish, now),
        }
    }
}

impl<T> Changed<T> {
    fn row(answer: T) -> Self {
        Self {
            answer,
            message: None,
        }
    }

    fn end(answer: T, finish: Finish) -> Self {
        Self {
            answer,
            message: Some(MessageWrite::End(Box::new(finish))),
        }
    }
}

impl Lease {
    /// What a write answers whose turn is not this lease's any more, or is gone.
    pub fn lost(&self) -> StoreError {
        StoreError::LeaseLost { turn: self.turn }
    }
}

impl TurnRow {
    /// The row of a turn that is submitted.
    pub(super) fn queued(new: &NewTurn, parent: Option<TurnId>, now: Timestamp) -> Self {
        let mut turn = new.turn(now);
        turn.parent = parent;
        Self {
            turn,
            lease: None,
            waits: false,
            answers: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Whether the turn has ended and been settled: nothing changes it any more.
    pub fn is_settled(&self) -> bool {
        matches!(self.turn.phase(), Phase::Finished { settled: true, .. })
    }

    /// Whether the turn is queued or running.
    pub(super) fn is_unfinished(&self) -> bool {
        !matches!(self.turn.phase(), Phase::Finished { .. })
    }

    /// Whether a worker may claim the turn, provided all earlier turns of its conversation are settled: nobody
    /// [holds](Self::held) it, or no more; or the lease begins later than now, and a claim cuts it.
    pub fn is_claimable(&self, now: Timestamp) -> bool {
        let free = |held: HeldLease| held.expires_at <= now || held.taken_at > now;
        !self.is_settled() && self.held().is_none_or(free)
    }

    /// What keeps the turn from being claimed for a time: the lease on it, or the moment that a queued one waits for, which
    /// is held as by a lease since ever.
    pub fn held(&self) -> Option<HeldLease> {
        let waits = || {
            let is_queued = self.turn.phase() == Phase::Queued;
            let expires_at = self.turn.not_before.filter(|_| is_queued)?;
            let taken_at = Timestamp(i64::MIN);
            Some(HeldLease {
                taken_at,
                expires_at,
            })
        };
        self.lease.or_else(waits)
    }

    /// Its place among the turns that are claimable: 0 for those left behind, by when their lease ended; then the queued ones,
    /// those of a higher [priority](Turn::priority) first.
    pub fn precedence(&self) -> (u16, Timestamp) {
        if self.turn.phase() == Phase::Queued {
            let behind = u16::from(i8::MAX.abs_diff(self.turn.priority));
            return (1 + behind, Timestamp::default());
        }
        let ended = self.lease.map(|lease| lease.expires_at);
        (0, ended.unwrap_or_default())
    }

    /// Gives the turn to a worker.
    pub(super) fn claim(&mut self, claim: &Claim, now: Timestamp) -> Lease {
        self.lease = Some(HeldLease::from(now, claim.lease));
        self.turn.generation += 1;
        self.turn.attempts += 1;
        self.turn.unreachable = false;
        self.waits = false;
        match self.turn.state {
            TurnState::Queued => self.turn.state = TurnState::Running(Work::new(now)),
            TurnState::GivenBack(work) => self.turn.state = TurnState::Running(work),
            // One that has ended in the queue is claimed to be settled: it never starts.
            TurnState::Running(_) | TurnState::NeverStarted { .. } | TurnState::Finished { .. } => {
            }
        }
        Lease {
            turn: self.turn.id,
            generation: self.turn.generation,
        }
    }

    /// Takes the turn from its worker and from the server that it was placed on.
    pub(super) fn displace(&mut self) {
        if self.is_settled() {
            return;
        }
        self.lease = None;
        self.waits = false;
        self.turn.generation += 1;
        if let TurnState::Running(work) = self.turn.state {
            self.turn.state = TurnState::GivenBack(work);
            self.turn.attempts = self.turn.attempts.saturating_sub(1);
        }
    }

    /// Whether any worker may claim the turn though it is placed nowhere: all that is left is to end or settle it. One that was
    /// not prompted has to be placed.
    pub fn needs_no_server(&self) -> bool {
        self.turn.prompted.is_some() || !self.is_unfinished()
    }

    /// Cuts a lease that begins later than now to its own length from now: the clock was put back since, and the lease
    /// would outlive its worker by as much. True if it did.
    pub(super) fn cut_lease(&mut self, now: Timestamp) -> bool {
        match &mut self.lease {
            Some(lease) if lease.taken_at > now => {
                *lease = HeldLease::from(now, lease.expires_at.since(lease.taken_at));
                true
            }
            _ => false,
        }
    }

    /// How a lease stands.
    pub(super) fn status(&self, lease: &Lease) -> LeaseStatus {
        if self.turn.generation == lease.generation && self.lease.is_some() {
            LeaseStatus::Held {
                cancel_requested: self.turn.cancel_requested_at().is_some(),
                answers: self.answers.iter().any(|answer| answer.state.is_open()),
            }
        } else {
            LeaseStatus::Lost
        }
    }

    /// Prolongs a lease to `length` from now, if it is good.
    pub(super) fn renew(&mut self, lease: &Lease, length: Duration, now: Timestamp) -> LeaseStatus {
        let status = self.status(lease);
        if status != LeaseStatus::Lost {
            self.lease = Some(HeldLease::from(now, length));
        }
        status
    }

    /// Takes the turn back from its worker.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub(super) fn release(&mut self, lease: &Lease) -> StoreResult<Changed<()>> {
        self.check_held(lease)?;
        self.lease = None;
        self.waits = false;
        self.turn.attempts = self.turn.attempts.saturating_sub(1);
        if let TurnState::Running(work) = self.turn.state {
            self.turn.state = TurnState::GivenBack(work);
        }
        Ok(Changed::row(()))
    }

    /// Takes a worker's note down.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub(super) fn note(&mut self, lease: &Lease, note: Note<'_>) -> StoreResult<Changed<()>> {
        self.check_running(lease)?;
        let turn = &mut self.turn;
        match note {
            Note::Prompt(prompt) if turn.prompted.as_ref() == Some(prompt) => {}
            Note::Prompt(prompt) => {
                turn.resends += u32::from(prompt.resend);
                turn.prompted = Some(prompt.clone());
            }
            Note::Replacement(lost) => {
                turn.replaced.get_or_insert_with(|| lost.clone());
            }
            Note::Waiting(waits) => {
                self.waits = waits;
                if waits {
                    turn.attempts = 0;
                }
            }
            // They are written to the ledger, and to what is owed to the world outside.
            Note::Spent(_) | Note::Asked(_) => {}
            Note::Unreachable(unreachable) => turn.unreachable = unreachable,
        }
        Ok(Changed::row(()))
    }

    /// Saves what has streamed. `None` where that is nothing new.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and [`StoreError::Unexpected`] for what has come to another checkpoint.
    pub(super) fn save(
        &mut self,
        lease: &Lease,
        streamed: Streamed<'_>,
        now: Timestamp,
    ) -> StoreResult<Option<MessageWrite>> {
        let mut work = self.check_running(lease)?;
        let turn = &mut self.turn;
        let checkpoint = match streamed {
            Streamed::Whole(checkpoint) => checkpoint.clone(),
            Streamed::More { growth, .. } => {
                let mut checkpoint = turn.checkpoint.clone();
                checkpoint
                    .grow(growth.clone())
                    .map_err(|error| StoreError::Unexpected(error.to_string()))?;
                checkpoint
            }
        };
        if turn.checkpoint == checkpoint {
            return Ok(None);
        }
        let parts = checkpoint.parts();
        turn.checkpoint = checkpoint;
        work.progress_at = Some(now);
        turn.state = TurnState::Running(work);
        turn.attempts = 0;
        Ok(Some(MessageWrite::Parts(parts)))
    }

    /// Ends a running turn.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub(super) fn finish(
        &mut self,
        lease: &Lease,
        finish: &Finish,
        now: Timestamp,
    ) -> StoreResult<Changed<Finished>> {
        if let Phase::Finished { status, .. } = self.turn.phase()
            && self.turn.generation == lease.generation
        {
            return Ok(Changed::row(Finished::Already(status)));
        }
        let work = self.check_running(lease)?;
        let mut finish = finish.clone();
        if work.cancel_requested_at.is_some() {
            finish = finish.after_cancel(self.turn.cancel_reason.clone());
        }
        self.end(work, &finish, now);
        Ok(Changed::end(Finished::Stored(finish.status), finish))
    }

    /// Settles a finished turn. True if this call did it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub(super) fn settle(&mut self, lease: &Lease) -> StoreResult<bool> {
        if self.is_settled() && self.turn.generation == lease.generation {
            return Ok(false);
        }
        self.check_held(lease)?;
        match &mut self.turn.state {
            TurnState::Queued | TurnState::GivenBack(_) | TurnState::Running(_) => {
                return Ok(false);
            }
            TurnState::NeverStarted { settled, .. } | TurnState::Finished { settled, .. } => {
                *settled = true;
            }
        }
        self.lease = None;
        Ok(true)
    }

    /// Cancels the turn. One that was never prompted ends here, and is left to a worker to be settled; any other needs
    /// a worker to stop it upstream.
    pub(super) fn cancel(
        &mut self,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Changed<CancelOutcome> {
        if self.is_unfinished() && self.turn.cancel_requested_at().is_none() {
            self.turn.cancel_reason = reason.map(str::to_owned);
        }
        let waited = now.since(self.turn.created_at);
        let never_started =
            Finish::never_started(waited).after_cancel(self.turn.cancel_reason.clone());
        match self.turn.state {
            TurnState::NeverStarted { .. } => {
                Changed::row(CancelOutcome::Already(TurnStatus::Cancelled))
            }
            TurnState::Finished { status, .. } => Changed::row(CancelOutcome::Already(status)),
            TurnState::Queued => {
                self.turn.state = TurnState::NeverStarted {
                    at: now,
                    settled: false,
                };
                self.events.push(TurnEvent::end(&never_started, now));
                Changed::end(CancelOutcome::Cancelled, never_started)
            }
            TurnState::GivenBack(work) if self.turn.prompted.is_none() => {
                self.end(work.cancelled(now), &never_started, now);
                Changed::end(CancelOutcome::Cancelled, never_started)
            }
            TurnState::GivenBack(work) => {
                self.turn.state = TurnState::GivenBack(work.cancelled(now));
                Changed::row(CancelOutcome::Requested)
            }
            TurnState::Running(work) => {
                self.turn.state = TurnState::Running(work.cancelled(now));
                Changed::row(CancelOutcome::Requested)
            }
        }
    }

    /// Keeps an answer to a request, unless there is one.
    pub(super) fn answer(&mut self, new: &NewAnswer, now: Timestamp) -> Changed<AnswerOutcome> {
        if !self.is_unfinished() || self.turn.prompted.is_none() {
            return Changed::row(AnswerOutcome::NotWaiting);
        }
        let mut answers = self.answers.iter();
        let known = answers.find(|known| known.answer.request == new.request);
        let outcome = AnswerOutcome::of(known, new, now);
        if let AnswerOutcome::Taken(answer) = &outcome {
            // One that failed makes room.
            self.answers
                .retain(|known| known.answer.request != new.request);
            self.answers.push(answer.clone());
        }
        Changed::row(outcome)
    }

    /// Notes how far an answer is; `None` removes it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub(super) fn answered(
        &mut self,
        lease: &Lease,
        request: &str,
        state: Option<&AnswerState>,
    ) -> StoreResult<Changed<()>> {
        if self.turn.generation != lease.generation {
            return Err(lease.lost());
        }
        match state {
            None => self.answers.retain(|known| known.answer.request != request),
            Some(state) => {
                let mut answers = self.answers.iter_mut();
                if let Some(known) = answers.find(|known| known.answer.request == request) {
                    known.state.clone_from(state);
                }
            }
        }
        Ok(Changed::row(()))
    }

    fn end(&mut self, work: Work, finish: &Finish, now: Timestamp) {
        self.turn.state = TurnState::Finished {
            work,
            at: now,
            status: finish.status,
            settled: false,
        };
        self.events.push(TurnEvent::end(finish, now));
    }

    fn check_held(&self, lease: &Lease) -> StoreResult<()> {
        match self.status(lease) {
            LeaseStatus::Held { .. } => Ok(()),
            LeaseStatus::Lost => Err(lease.lost()),
        }
    }

    pub(super) fn check_running(&self, lease: &Lease) -> StoreResult<Work> {
        self.check_held(lease)?;
        match self.turn.state {
            TurnState::Running(work) => Ok(work),
            _ => Err(lease.lost()),
        }
    }
}
