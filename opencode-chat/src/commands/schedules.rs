//! `schedule` and `schedules`: prompts that are asked again and again.

use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat};
use opencode_host::clock::Timestamp;
use opencode_host::recurrence::Recurrence;
use opencode_host::store::{
    Conversation, ConversationFilter, Page, Schedule, ScheduleOutcome, Tenant,
};
use opencode_host::visible::line;
use opencode_host::{Host, NewSchedule, ScheduleError};
use serde_json::json;

use super::prompt;
use crate::assembly::open_store;
use crate::cli::{ScheduleArgs, SchedulesArgs};
use crate::exit::Failure;
use crate::{ndjson, terminal};

/// Conversations looked at together.
const PAGE: u32 = 200;

/// Adds a schedule. A worker asks.
pub(crate) async fn add(args: ScheduleArgs) -> Result<ExitCode, Failure> {
    let prompt = prompt(&args.asked)?;
    let host = Host::builder(open_store(&args.store).await?).build();
    let new = NewSchedule::new(args.cron, args.time_zone, prompt);
    let when = Recurrence::parse(&new.cron, &new.time_zone).map_err(ScheduleError::from)?;
    if when.after(host.store().now().await?).is_none() {
        let cron = new.cron;
        return Err(ScheduleError::Never { cron }.into());
    }
    let name = &args.asked.conversation;
    let conversation = host.open_conversation(&Tenant::default(), name).await?;
    let added = host.add_schedule(conversation.id, new).await?;
    tell(&added, &conversation, args.json);
    Ok(ExitCode::SUCCESS)
}

/// Does what is said of a schedule, or lists them.
pub(crate) async fn list(args: SchedulesArgs) -> Result<ExitCode, Failure> {
    let host = Host::builder(open_store(&args.store).await?).build();
    if let Some(id) = args.pause {
        host.pause_schedule(id).await?;
    } else if let Some(id) = args.resume {
        host.resume_schedule(id).await?;
    } else if let Some(id) = args.delete
        && !host.delete_schedule(id).await?
    {
        let missing = format!("there is no schedule {id}; `schedules` lists those there are");
        return Err(Failure::configuration(missing));
    }
    let (filter, mut page) = (
        ConversationFilter::of(&Tenant::default()),
        Page::newest(PAGE),
    );
    let mut any = false;
    loop {
        let found = host.store().conversations(&filter, &page).await?;
        let Some(last) = found.last() else { break };
        page = page.after(last.cursor());
        for summary in &found {
            let conversation = &summary.conversation;
            let name = args.conversation.as_ref();
            if name.is_some_and(|name| *name != conversation.name) {
                continue;
            }
            for schedule in host.store().schedules(conversation.id).await? {
                tell(&schedule, conversation, args.json);
                any = true;
            }
        }
    }
    if !any && !args.json {
        terminal::tell("there are no schedules; `schedule --help` says how to make one");
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(schedule: &Schedule, conversation: &Conversation, as_json: bool) {
    if as_json {
        ndjson::print(&json!({
            "schedule": schedule.id,
            "conversation": conversation.name,
            "cron": schedule.cron,
            "time_zone": schedule.time_zone,
            "prompt": schedule.prompt.text,
            "paused": schedule.paused,
            "next_at": schedule.next_at,
            "last": schedule.last,
        }));
        return;
    }
    let next = match schedule.next_at {
        _ if schedule.paused => "paused".to_owned(),
        Some(at) => format!("next {}", moment(at)),
        None => "never again".to_owned(),
    };
    let last = schedule.last.as_ref().map_or_else(String::new, |last| {
        let outcome = match &last.outcome {
            ScheduleOutcome::Submitted { turn } => format!("turn {turn}"),
            ScheduleOutcome::Refused { why } => format!("refused: {why}"),
            _ => "passed over, as the turn before had not ended".to_owned(),
        };
        let missed = match last.missed {
            0 => String::new(),
            missed => format!(", {missed} missed"),
        };
        format!("; last {}: {outcome}{missed}", moment(last.due_at))
    });
    let (id, cron, zone) = (schedule.id, &schedule.cron, &schedule.time_zone);
    let told = format!(
        "{id} in {:?}: {cron} ({zone}), {next}{last}; {}",
        conversation.name, schedule.prompt.text
    );
    terminal::say(line(&told));
}

/// A moment as UTC.
fn moment(at: Timestamp) -> String {
    let moment = DateTime::from_timestamp_millis(at.0).unwrap_or_default();
    moment.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl From<ScheduleError> for Failure {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::Store(error) => error.into(),
            ScheduleError::Submit(error) => error.into(),
            error => Self::configuration(error.to_string()),
        }
    }
}
