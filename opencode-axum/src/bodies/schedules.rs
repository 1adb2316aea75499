//! Prompts that are submitted again and again.

use opencode_host::store::{self, Metadata, ScheduleOutcome};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::request::Text;

/// What is asked again and again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSchedule {
    /// When: a cron expression of five fields (minute, hour, day of the month, month, day of the week).
    #[schema(value_type = String, max_length = 200, example = "30 8 * * MON-FRI")]
    pub(crate) cron: Text,
    /// Of which clock: a time zone of the IANA database.
    #[schema(value_type = String, example = "Europe/Berlin")]
    pub(crate) time_zone: Text,
    /// The words that are asked.
    #[schema(value_type = String, pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$")]
    pub(crate) prompt: Text,
    /// What the application notes at each turn. Where the application keeps it to itself, it is refused.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(crate) metadata: Option<Metadata>,
}

/// A prompt that is submitted again and again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedule {
    id: Uuid,
    conversation: Uuid,
    /// When: a cron expression.
    cron: String,
    /// Of which clock.
    time_zone: String,
    /// The words that are asked.
    prompt: String,
    /// What is noted at each turn.
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// Whether somebody has paused it.
    paused: bool,
    /// When it is due next; none while it is paused, and where its time never comes again.
    next_at: Option<i64>,
    /// What became of it when it was due last.
    last: Option<ScheduleRun>,
    /// When it was made.
    created_at: i64,
}

/// What became of a schedule when it was due.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleRun {
    /// When it was due.
    due_at: i64,
    /// When it was seen to.
    at: i64,
    outcome: RunOutcome,
    /// The turn that was submitted; where the time was skipped, the one that had not ended.
    turn: Option<Uuid>,
    /// Why it was refused.
    why: Option<String>,
    /// How many more times had passed by then, which are not made up for.
    missed: u32,
}

/// What came of one time of a schedule: a turn; nothing, since the turn before had not ended; a refusal.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RunOutcome {
    Submitted,
    Skipped,
    Refused,
}

/// The schedules of a conversation, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleList {
    pub(crate) schedules: Vec<Schedule>,
}

impl From<store::Schedule> for Schedule {
    fn from(row: store::Schedule) -> Self {
        Self {
            id: row.id.as_uuid(),
            conversation: row.conversation.as_uuid(),
            cron: row.cron,
            time_zone: row.time_zone,
            prompt: row.prompt.text,
            metadata: row.metadata,
            paused: row.paused,
            next_at: row.next_at.map(|at| at.0),
            last: row.last.map(Into::into),
            created_at: row.created_at.0,
        }
    }
}

impl From<store::ScheduleRun> for ScheduleRun {
    fn from(run: store::ScheduleRun) -> Self {
        let turn = run.outcome.turn().map(|turn| turn.as_uuid());
        let (outcome, why) = match run.outcome {
            ScheduleOutcome::Submitted { .. } => (RunOutcome::Submitted, None),
            ScheduleOutcome::Refused { why } => (RunOutcome::Refused, Some(why)),
            // The other one there is.
            _ => (RunOutcome::Skipped, None),
        };
        Self {
            due_at: run.due_at.0,
            at: run.at.0,
            outcome,
            turn,
            why,
            missed: run.missed,
        }
    }
}
