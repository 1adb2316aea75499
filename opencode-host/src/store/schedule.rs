//! A schedule: a prompt that is submitted again and again.

use opencode_client::wire::Prompt;
use serde::{Deserialize, Serialize};

use super::Metadata;
use crate::clock::Timestamp;
use crate::id::{ConversationId, ScheduleId, TurnId};
use crate::turn::Deadlines;

/// A prompt that is submitted to a conversation whenever its time comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// The conversation it submits to. It is deleted with it.
    pub conversation: ConversationId,
    /// When, as a cron expression of five fields: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// Of which clock: a name of the IANA time zone database, such as `Europe/Berlin`.
    pub time_zone: String,
    /// What is asked.
    pub prompt: Prompt,
    /// What the application notes at each turn.
    #[serde(default)]
    pub metadata: Metadata,
    /// The deadlines of each turn.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// The priority of each turn.
    #[serde(default)]
    pub priority: i8,
    /// Whether a person has paused it.
    #[serde(default)]
    pub paused: bool,
    /// When it is due next; `None` while it is paused, and where its time never comes again.
    #[serde(default)]
    pub next_at: Option<Timestamp>,
    /// What became of it when it was due last.
    #[serde(default)]
    pub last: Option<ScheduleRun>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Schedule {
    /// A schedule that is due at `next_at` first.
    pub fn new(
        id: ScheduleId,
        conversation: ConversationId,
        prompt: Prompt,
        next_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            conversation,
            cron: String::new(),
            time_zone: String::new(),
            prompt,
            metadata: Metadata::default(),
            deadlines: Deadlines::default(),
            priority: 0,
            paused: false,
            next_at,
            last: None,
            created_at: now,
        }
    }

    /// The client key of the turn of one time: however often it is submitted, it is one turn.
    pub fn client_key(&self, due: Timestamp) -> String {
        format!("schedule:{}:{}", self.id, due.0)
    }
}

/// What became of a schedule when it was due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduleRun {
    /// When it was due.
    pub due_at: Timestamp,
    /// When a worker saw to it.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: ScheduleOutcome,
    /// How many more times had passed by then: no worker was there, or the turn before took too long. They are not made up for.
    /// Counted up to [`MAX_MISSED`].
    #[serde(default)]
    pub missed: u32,
}

impl ScheduleRun {
    /// What became of the time `due_at`.
    pub fn new(due_at: Timestamp, at: Timestamp, outcome: ScheduleOutcome, missed: u32) -> Self {
        Self {
            due_at,
            at,
            outcome,
            missed,
        }
    }
}

/// Up to how many missed times are counted.
pub const MAX_MISSED: u32 = 1000;

/// What came of one time of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScheduleOutcome {
    /// A turn was submitted.
    Submitted {
        /// The turn.
        turn: TurnId,
    },
    /// The turn of the time before had not ended: nothing was submitted.
    Skipped {
        /// That turn.
        unfinished: TurnId,
    },
    /// The submit was refused, as by a budget that is used up.
    Refused {
        /// Why.
        why: String,
    },
}

impl ScheduleOutcome {
    /// The turn that the schedule has submitted last, as far as this tells.
    pub fn turn(&self) -> Option<TurnId> {
        match self {
            Self::Submitted { turn } | Self::Skipped { unfinished: turn } => Some(*turn),
            Self::Refused { .. } => None,
        }
    }
}
