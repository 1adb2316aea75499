//! [`Schedules`] on either database.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use opencode_host::clock::Timestamp;
use opencode_host::id::{ConversationId, ScheduleId};
use opencode_host::store::{Schedule, Schedules, StoreResult};

use crate::engine::{Engine, Handle as _};
use crate::failure::{Failure, SqlResult};
use crate::store::{SqlStore, TRIES};
use crate::tables::schedules;

#[async_trait]
impl<E: Engine> Schedules for SqlStore<E> {
    fn keeps_schedules(&self) -> bool {
        true
    }

    async fn add_schedule(&self, schedule: &Schedule) -> StoreResult<()> {
        statement!(self.writer, "add_schedule", |on| schedules::add(
            &mut on, schedule
        ))
    }

    async fn schedule(&self, id: ScheduleId) -> StoreResult<Option<Schedule>> {
        statement!(self.reader, "schedule", |on| schedules::by_id(&mut on, id))
    }

    async fn schedules(&self, conversation: ConversationId) -> StoreResult<Vec<Schedule>> {
        statement!(self.reader, "schedules", |on| schedules::of_conversation(
            &mut on,
            conversation
        ))
    }

    async fn due_schedules(&self, limit: u32) -> StoreResult<Vec<Schedule>> {
        let due = statement!(self.reader, "due_schedules", |on| schedules::due(
            &mut on, limit
        ));
        match due? {
            Ok(due) => Ok(due),
            Err((id, error)) => {
                statement!(self.writer, "put_off_schedule", |on| schedules::put_off(
                    &mut on, &id
                ))?;
                Err(error)
            }
        }
    }

    async fn next_schedule_due(&self) -> StoreResult<Option<Timestamp>> {
        statement!(self.reader, "next_schedule_due", |on| schedules::next_due(
            &mut on
        ))
    }

    async fn swap_schedule(&self, expected: &Schedule, new: &Schedule) -> StoreResult<bool> {
        statement!(self.writer, "swap_schedule", |on| schedules::swap(
            &mut on, expected, new
        ))
    }

    async fn delete_schedule(&self, id: ScheduleId) -> StoreResult<bool> {
        statement!(self.writer, "delete_schedule", |on| schedules::delete(
            &mut on, id
        ))
    }
}
