//! The schedules of a [`RowStore`].

use async_trait::async_trait;

use super::schedules::no_schedules;
use super::{RowStore, Rows, Schedule, Schedules, StoreError, StoreResult, Tables};
use crate::clock::Timestamp;
use crate::id::{ConversationId, ScheduleId};

/// When a schedule is due, and its id: their order is that of being due.
fn place(schedule: &Schedule) -> Option<(Timestamp, ScheduleId)> {
    Some((schedule.next_at?, schedule.id))
}

async fn known(on: &mut impl Rows, id: ScheduleId) -> StoreResult<Option<Schedule>> {
    let known = on.schedules().await?;
    Ok(known.into_iter().find(|schedule| schedule.id == id))
}

#[async_trait]
impl<T: Tables> Schedules for RowStore<T> {
    fn keeps_schedules(&self) -> bool {
        self.tables.keeps_schedules()
    }

    async fn add_schedule(&self, schedule: &Schedule) -> StoreResult<()> {
        if !self.keeps_schedules() {
            return Err(no_schedules());
        }
        let (mut on, _) = self.begin().await?;
        let id = schedule.conversation;
        if on.conversation(id).await?.is_none() {
            return Err(StoreError::not_found("conversation", id));
        }
        on.set_schedule(schedule.id, Some(schedule.clone())).await?;
        on.commit().await
    }

    async fn schedule(&self, id: ScheduleId) -> StoreResult<Option<Schedule>> {
        known(&mut self.tables.begin_reading().await?, id).await
    }

    async fn schedules(&self, conversation: ConversationId) -> StoreResult<Vec<Schedule>> {
        let mut schedules = self.tables.begin_reading().await?.schedules().await?;
        schedules.retain(|schedule| schedule.conversation == conversation);
        schedules.sort_by_key(|schedule| schedule.id);
        Ok(schedules)
    }

    async fn due_schedules(&self, limit: u32) -> StoreResult<Vec<Schedule>> {
        let mut due = self.tables.begin_reading().await?.schedules().await?;
        let now = self.tables.clock().now();
        due.retain(|schedule| schedule.next_at.is_some_and(|at| at <= now));
        due.sort_by_key(place);
        due.truncate(limit as usize);
        Ok(due)
    }

    async fn next_schedule_due(&self) -> StoreResult<Option<Timestamp>> {
        let schedules = self.tables.begin_reading().await?.schedules().await?;
        Ok(schedules.iter().filter_map(|known| known.next_at).min())
    }

    async fn swap_schedule(&self, expected: &Schedule, new: &Schedule) -> StoreResult<bool> {
        let (mut on, _) = self.begin().await?;
        let known = known(&mut on, expected.id).await?;
        if known.is_none_or(|known| known.next_at != expected.next_at) {
            return Ok(false);
        }
        on.set_schedule(new.id, Some(new.clone())).await?;
        on.commit().await?;
        Ok(true)
    }

    async fn delete_schedule(&self, id: ScheduleId) -> StoreResult<bool> {
        let (mut on, _) = self.begin().await?;
        if known(&mut on, id).await?.is_none() {
            return Ok(false);
        }
        on.set_schedule(id, None).await?;
        on.commit().await?;
        Ok(true)
    }
}
