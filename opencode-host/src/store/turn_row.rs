//! What becomes of a turn's row, as functions without I/O: the rules of the [`Queue`](super::Queue).
//!
//! A store of your own reads the row, calls the function and writes the row back, all in one transaction. It may also
//! say the same in SQL, as opencode-sql does. The conformance suite checks either.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    CancelOutcome, Claim, Finish, Finished, Lease, LeaseStatus, NewTurn, Note, StoreError,
    StoreResult, Turn, TurnState,
};
use crate::clock::Timestamp;

/// A turn and the lease on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnRow {
    /// The turn.
    pub turn: Turn,
    /// The lease of the worker that has the turn, run out or not; `None` while nobody has it.
    pub lease: Option<HeldLease>,
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

/// The answer of a change that may have ended a turn.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct MayEnd<T> {
    /// What to answer the caller.
    pub answer: T,
    /// What the same transaction writes to the turn's message ([`Message::end`](super::Message::end)) and to its
    /// events ([`TurnEvent::end`](super::TurnEvent::end)); `None` if the turn did not end here.
    pub end: Option<Finish>,
}

impl TurnRow {
    /// The row of a turn that is submitted.
    pub fn queued(new: &NewTurn, now: Timestamp) -> Self {
        Self {
            turn: Turn::queued(new, now),
            lease: None,
        }
    }

    /// Whether the turn has ended and been settled: nothing changes it any more.
    pub fn is_settled(&self) -> bool {
        matches!(self.turn.state, TurnState::Finished { settled: true, .. })
    }

    /// Whether the turn is queued or running.
    pub fn is_unfinished(&self) -> bool {
        !matches!(self.turn.state, TurnState::Finished { .. })
    }

    /// Whether a worker may claim the turn, provided all earlier turns of its conversation are settled.
    pub fn is_free(&self, now: Timestamp) -> bool {
        let free = self.lease.is_none_or(|lease| lease.expires_at <= now);
        free && !self.is_settled()
    }

    /// Gives the turn to a worker.
    pub fn claim(&mut self, claim: &Claim, now: Timestamp) -> Lease {
        self.lease = Some(HeldLease::from(now, claim.lease));
        self.turn.generation += 1;
        self.turn.attempts += 1;
        self.turn.unreachable = false;
        self.turn.started_at.get_or_insert(now);
        if self.turn.state == TurnState::Queued {
            self.turn.state = TurnState::Running;
        }
        Lease {
            turn: self.turn.id,
            generation: self.turn.generation,
        }
    }

    /// Cuts a lease that begins later than now to its own length from now: the clock was put back since, and the lease
    /// would outlive its worker by as much.
    pub fn cut_lease(&mut self, now: Timestamp) {
        if let Some(lease) = &mut self.lease
            && lease.taken_at > now
        {
            *lease = HeldLease::from(now, lease.expires_at.since(lease.taken_at));
        }
    }

    /// How a lease stands.
    pub fn status(&self, lease: &Lease) -> LeaseStatus {
        if self.turn.generation == lease.generation && self.lease.is_some() {
            LeaseStatus::Held {
                cancel_requested: self.turn.cancel_requested_at.is_some(),
            }
        } else {
            LeaseStatus::Lost
        }
    }

    /// Prolongs a lease to `length` from now, if it is good.
    pub fn renew(&mut self, lease: &Lease, length: Duration, now: Timestamp) -> LeaseStatus {
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
    pub fn release(&mut self, lease: &Lease) -> StoreResult<()> {
        self.check_held(lease)?;
        self.lease = None;
        self.turn.attempts = self.turn.attempts.saturating_sub(1);
        if self.turn.state == TurnState::Running {
            self.turn.state = TurnState::Queued;
        }
        Ok(())
    }

    /// Takes a worker's note down. True if that changed the row; the parts of a [`Note::Checkpoint`] then go to the
    /// turn's message.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub fn note(&mut self, lease: &Lease, note: Note<'_>, now: Timestamp) -> StoreResult<bool> {
        self.check_running(lease)?;
        let turn = &mut self.turn;
        match note {
            Note::Prompt(prompt) if turn.prompted.as_ref() == Some(prompt) => return Ok(false),
            Note::Prompt(prompt) => {
                turn.resends += u32::from(prompt.resend);
                turn.prompted = Some(prompt.clone());
            }
            Note::Replacement(_) if turn.replaced.is_some() => return Ok(false),
            Note::Replacement(lost) => turn.replaced = Some(lost.clone()),
            Note::Checkpoint(checkpoint) if turn.checkpoint == *checkpoint => return Ok(false),
            Note::Checkpoint(checkpoint) => {
                turn.checkpoint = checkpoint.clone();
                turn.progress_at = Some(now);
                turn.attempts = 0;
            }
            Note::Waiting => turn.attempts = 0,
            Note::Unreachable(unreachable) => turn.unreachable = unreachable,
        }
        Ok(true)
    }

    /// Ends a running turn.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub fn finish(
        &mut self,
        lease: &Lease,
        finish: &Finish,
        now: Timestamp,
    ) -> StoreResult<MayEnd<Finished>> {
        if let TurnState::Finished { status, .. } = self.turn.state
            && self.turn.generation == lease.generation
        {
            return Ok(MayEnd {
                answer: Finished::Already(status),
                end: None,
            });
        }
        self.check_running(lease)?;
        let mut finish = finish.clone();
        if self.turn.cancel_requested_at.is_some() {
            finish = finish.after_cancel();
        }
        self.end(&finish, false, now);
        Ok(MayEnd {
            answer: Finished::Stored(finish.status),
            end: Some(finish),
        })
    }

    /// Settles a finished turn. True if this call did it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub fn settle(&mut self, lease: &Lease) -> StoreResult<bool> {
        if self.is_settled() && self.turn.generation == lease.generation {
            return Ok(false);
        }
        self.check_held(lease)?;
        let TurnState::Finished { status, .. } = self.turn.state else {
            return Ok(false);
        };
        self.turn.state = TurnState::Finished {
            status,
            settled: true,
        };
        self.lease = None;
        Ok(true)
    }

    /// Cancels the turn. One that was never prompted ends here; any other needs a worker, which stops it upstream.
    pub fn cancel(&mut self, now: Timestamp) -> MayEnd<CancelOutcome> {
        let (answer, end) = match self.turn.state {
            TurnState::Finished { status, .. } => (CancelOutcome::Already(status), None),
            TurnState::Queued if self.turn.prompted.is_none() => {
                self.turn.cancel_requested_at.get_or_insert(now);
                let finish = Finish::never_started(now.since(self.turn.created_at));
                self.end(&finish, true, now);
                (CancelOutcome::Cancelled, Some(finish))
            }
            TurnState::Queued | TurnState::Running => {
                self.turn.cancel_requested_at.get_or_insert(now);
                (CancelOutcome::Requested, None)
            }
        };
        MayEnd { answer, end }
    }

    fn end(&mut self, finish: &Finish, settled: bool, now: Timestamp) {
        self.turn.state = TurnState::Finished {
            status: finish.status,
            settled,
        };
        self.turn.finished_at = Some(now);
    }

    fn check_held(&self, lease: &Lease) -> StoreResult<()> {
        match self.status(lease) {
            LeaseStatus::Held { .. } => Ok(()),
            LeaseStatus::Lost => Err(StoreError::LeaseLost { turn: lease.turn }),
        }
    }

    fn check_running(&self, lease: &Lease) -> StoreResult<()> {
        self.check_held(lease)?;
        if self.turn.state == TurnState::Running {
            Ok(())
        } else {
            Err(StoreError::LeaseLost { turn: lease.turn })
        }
    }
}
