//! Schedules: prompts that are submitted again and again.

use async_trait::async_trait;

use super::{Schedule, StoreError, StoreResult};
use crate::clock::Timestamp;
use crate::id::{ConversationId, ScheduleId};

/// Schedules, and which of them are due.
///
/// The store knows moments alone: when a schedule is due next is computed by whoever writes it. A store may keep none
/// ([`keeps_schedules`](Self::keeps_schedules)). The defaults of the other methods are for such a store: those that write
/// refuse.
///
/// # Errors
///
/// What every method of a store may answer is said in the [module](super): only what else it answers is said at the
/// method.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// Whether schedules are kept. Not by default.
    fn keeps_schedules(&self) -> bool {
        false
    }

    /// Adds a schedule.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without its conversation.
    async fn add_schedule(&self, schedule: &Schedule) -> StoreResult<()> {
        let _ = schedule;
        Err(no_schedules())
    }

    /// The schedule of this id.
    async fn schedule(&self, id: ScheduleId) -> StoreResult<Option<Schedule>> {
        let _ = id;
        Ok(None)
    }

    /// The schedules of a conversation, oldest first.
    async fn schedules(&self, conversation: ConversationId) -> StoreResult<Vec<Schedule>> {
        let _ = conversation;
        Ok(Vec::new())
    }

    /// The schedules whose time has come, those that have waited longest first, `limit` at most.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for one that this version cannot read. It is told once, and is due again an hour later; it
    /// holds up no other.
    async fn due_schedules(&self, limit: u32) -> StoreResult<Vec<Schedule>> {
        let _ = limit;
        Ok(Vec::new())
    }

    /// When the first schedule is due, which may be past.
    async fn next_schedule_due(&self) -> StoreResult<Option<Timestamp>> {
        Ok(None)
    }

    /// Puts a schedule in the place of `expected`, if that is still due when it was. Answers whether it was.
    async fn swap_schedule(&self, expected: &Schedule, new: &Schedule) -> StoreResult<bool> {
        let _ = (expected, new);
        Err(no_schedules())
    }

    /// Deletes a schedule; what it has submitted stays. Answers whether there was one.
    async fn delete_schedule(&self, id: ScheduleId) -> StoreResult<bool> {
        let _ = id;
        Ok(false)
    }
}

/// What a store says that keeps no schedules.
pub(super) fn no_schedules() -> StoreError {
    let why = "this store keeps no schedules: implement the schedules' methods of `Rows`";
    StoreError::Configuration(why.to_owned())
}
