//! Prompts that are submitted again and again.

use opencode_client::wire::Prompt;

use super::{Host, SubmitError, TenantHost, check_prompt};
use crate::clock::Timestamp;
use crate::id::{ConversationId, ScheduleId};
use crate::recurrence::{Recurrence, RecurrenceError};
use crate::store::{Metadata, Schedule, StoreError, StoreResult};
use crate::turn::Deadlines;

/// How many schedules a conversation may have.
pub const MAX_SCHEDULES: usize = 100;

/// How often a schedule is read again that is changed by somebody else.
const TRIES: u32 = 5;

/// A schedule to be.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewSchedule {
    /// When: a cron expression, as [`Recurrence`] reads it.
    pub cron: String,
    /// Of which clock: a time zone of the IANA database.
    pub time_zone: String,
    /// What is asked.
    pub prompt: Prompt,
    /// What the application notes at each turn.
    pub metadata: Metadata,
    /// The deadlines of each turn.
    pub deadlines: Deadlines,
    /// The priority of each turn.
    pub priority: i8,
}

impl NewSchedule {
    /// A prompt that is submitted at the times of a cron expression, by the clock of a time zone.
    pub fn new(cron: impl Into<String>, time_zone: impl Into<String>, prompt: Prompt) -> Self {
        Self {
            cron: cron.into(),
            time_zone: time_zone.into(),
            prompt,
            metadata: Metadata::default(),
            deadlines: Deadlines::default(),
            priority: 0,
        }
    }
}

/// Why a schedule was not added or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// When is not said in a way that is understood.
    #[error(transparent)]
    Recurrence(#[from] RecurrenceError),
    /// Its time never comes.
    #[error("the time of {cron:?} never comes: name a day that there is")]
    Never {
        /// The expression.
        cron: String,
    },
    /// The conversation has too many already.
    #[error("a conversation has at most {MAX_SCHEDULES} schedules: delete one")]
    TooMany,
    /// What it submits would not be taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Host {
    /// Has a prompt submitted to the conversation at each time of a cron expression, by whatever worker looks first.
    ///
    /// Each time is one turn, however many workers there are and whatever becomes of them. A time that comes while the turn of
    /// the one before has not ended is passed over, and so are the times that have passed when no worker was there, but for the oldest
    /// of them: it is submitted when one is there again. How many were missed is in [`Schedule::last`], and traced as
    /// `schedule.missed`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use opencode_host::store::{MemoryStore, Tenant};
    /// # use opencode_host::client::wire::Prompt;
    /// # use opencode_host::Host;
    /// use opencode_host::NewSchedule;
    ///
    /// let host = Host::builder(Arc::new(MemoryStore::default())).build();
    /// let conversation = host.open_conversation(&Tenant::from("acme"), "news").await?.id;
    /// let new = NewSchedule::new("30 8 * * MON-FRI", "Europe/Berlin", Prompt::text("What is new?"));
    /// let schedule = host.add_schedule(conversation, new).await?;
    /// assert!(schedule.next_at.is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`ScheduleError`]; [`StoreError::NotFound`] without the conversation. Nothing was added then.
    pub async fn add_schedule(
        &self,
        conversation: ConversationId,
        new: NewSchedule,
    ) -> Result<Schedule, ScheduleError> {
        check_prompt(&new.prompt.text, self.front.options.max_prompt)?;
        if let Some(deadline) = new.deadlines.none_left() {
            return Err(SubmitError::NoTime { deadline }.into());
        }
        let store = &self.front.store;
        let now = store.now().await?;
        let next_at = first_after(&new.cron, &new.time_zone, now)?;
        if store.schedules(conversation).await?.len() >= MAX_SCHEDULES {
            return Err(ScheduleError::TooMany);
        }
        let id = ScheduleId::from_uuid(self.front.clock.new_uuid());
        let mut schedule = Schedule::new(id, conversation, new.prompt, Some(next_at), now);
        schedule.cron = new.cron;
        schedule.time_zone = new.time_zone;
        schedule.metadata = new.metadata;
        schedule.deadlines = new.deadlines;
        schedule.priority = new.priority;
        store.add_schedule(&schedule).await?;
        self.front.schedules_changed.notify_waiters();
        Ok(schedule)
    }

    /// Has a schedule submit nothing until it is [resumed](Self::resume_schedule). What it has submitted goes on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the schedule.
    pub async fn pause_schedule(&self, id: ScheduleId) -> Result<Schedule, ScheduleError> {
        self.change(id, |schedule, _| {
            schedule.paused = true;
            schedule.next_at = None;
            Ok(())
        })
        .await
    }

    /// Has a schedule submit again, from its next time on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the schedule.
    pub async fn resume_schedule(&self, id: ScheduleId) -> Result<Schedule, ScheduleError> {
        self.change(id, |schedule, now| {
            if schedule.next_at.is_none() {
                let next_at = first_after(&schedule.cron, &schedule.time_zone, now)?;
                schedule.next_at = Some(next_at);
            }
            schedule.paused = false;
            Ok(())
        })
        .await
    }

    /// Deletes a schedule; what it has submitted stays. Answers whether there was one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_schedule(&self, id: ScheduleId) -> StoreResult<bool> {
        self.front.store.delete_schedule(id).await
    }

    /// Changes a schedule, as it is by now.
    async fn change(
        &self,
        id: ScheduleId,
        change: impl Fn(&mut Schedule, Timestamp) -> Result<(), ScheduleError>,
    ) -> Result<Schedule, ScheduleError> {
        let store = &self.front.store;
        for _ in 0..TRIES {
            let known = store.schedule(id).await?;
            let known = known.ok_or_else(|| StoreError::not_found("schedule", id))?;
            let mut new = known.clone();
            change(&mut new, store.now().await?)?;
            if store.swap_schedule(&known, &new).await? {
                self.front.schedules_changed.notify_waiters();
                return Ok(new);
            }
        }
        let busy = "the schedule is changed by others all the time: try again";
        Err(StoreError::Unavailable(busy.to_owned()).into())
    }
}

/// The first time behind a moment.
fn first_after(cron: &str, time_zone: &str, moment: Timestamp) -> Result<Timestamp, ScheduleError> {
    let next = Recurrence::parse(cron, time_zone)?.after(moment);
    next.ok_or_else(|| ScheduleError::Never {
        cron: cron.to_owned(),
    })
}

impl TenantHost {
    /// Has a prompt submitted again and again: [`Host::add_schedule`].
    ///
    /// # Errors
    /// As there; [`StoreError::NotFound`] where the tenant has no such conversation.
    pub async fn add_schedule(
        &self,
        conversation: ConversationId,
        new: NewSchedule,
    ) -> Result<Schedule, ScheduleError> {
        self.conversation(conversation).await?;
        self.host.add_schedule(conversation, new).await
    }

    /// The schedules of a conversation, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such conversation.
    pub async fn schedules(&self, conversation: ConversationId) -> StoreResult<Vec<Schedule>> {
        self.conversation(conversation).await?;
        self.host.store().schedules(conversation).await
    }

    /// One schedule.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has none of this id.
    pub async fn schedule(&self, id: ScheduleId) -> StoreResult<Schedule> {
        self.own(self.host.store().schedule(id).await?, id).await
    }

    /// Has a schedule submit nothing for now: [`Host::pause_schedule`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has none of this id.
    pub async fn pause_schedule(&self, id: ScheduleId) -> Result<Schedule, ScheduleError> {
        self.schedule(id).await?;
        self.host.pause_schedule(id).await
    }

    /// Has a schedule submit again: [`Host::resume_schedule`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has none of this id.
    pub async fn resume_schedule(&self, id: ScheduleId) -> Result<Schedule, ScheduleError> {
        self.schedule(id).await?;
        self.host.resume_schedule(id).await
    }

    /// Deletes a schedule; what it has submitted stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has none of this id.
    pub async fn delete_schedule(&self, id: ScheduleId) -> StoreResult<()> {
        self.schedule(id).await?;
        self.host.delete_schedule(id).await?;
        Ok(())
    }
}
