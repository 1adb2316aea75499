//! Arguments of `schedule` and `schedules`.

use clap::Args;
use opencode_host::id::ScheduleId;

use super::{AskedArgs, StoreArgs, any_text};

#[derive(Debug, Args)]
#[command(
    after_help = "The expression has five fields: minute, hour, day of the month, month, day of the week. A time that comes while \
    the turn before has not ended is passed over; times at which nothing was running are made up for once.\n\nExamples:\n  \
    opencode-chat schedule --cron '30 8 * * MON-FRI' --time-zone Europe/Berlin 'What is new in the logs?'\n  \
    opencode-chat schedule --cron @daily --conversation report 'Write the report of yesterday'"
)]
pub(crate) struct ScheduleArgs {
    #[command(flatten)]
    pub(crate) asked: AskedArgs,
    /// When to ask, as a cron expression
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) cron: String,
    /// By which clock: a time zone of the IANA database, such as Europe/Berlin
    #[arg(
        long,
        value_name = "ZONE",
        default_value = "UTC",
        env = "OPENCODE_CHAT_TIME_ZONE"
    )]
    pub(crate) time_zone: String,
    /// Print the schedule as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// What is to become of a schedule.
#[derive(Debug, Args)]
pub(crate) struct SchedulesArgs {
    /// Ask nothing by this schedule until it is resumed
    #[arg(long, value_name = "ID", group = "order")]
    pub(crate) pause: Option<ScheduleId>,
    /// Ask again by this schedule, from its next time on
    #[arg(long, value_name = "ID", group = "order")]
    pub(crate) resume: Option<ScheduleId>,
    /// Delete this schedule; what it has asked stays
    #[arg(long, value_name = "ID", group = "order")]
    pub(crate) delete: Option<ScheduleId>,
    /// Only those of this conversation
    #[arg(long, value_name = "NAME", value_parser = any_text())]
    pub(crate) conversation: Option<String>,
    /// Print one JSON object per schedule
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}
