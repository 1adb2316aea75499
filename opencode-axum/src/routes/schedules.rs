//! Prompts that are submitted again and again.

use axum::Json as Answer;
use axum::http::StatusCode;
use opencode_client::wire::Prompt;
use opencode_host::NewSchedule as New;
use opencode_host::id::{ConversationId, ScheduleId};

use crate::authorize::Scope;
use crate::bodies::{NewSchedule, Schedule, ScheduleList};
use crate::problem::Problem;
use crate::request::{Id, Json};

/// Lists the schedules of a conversation, oldest first.
#[utoipa::path(
    get,
    path = "/conversations/{conversation}/schedules",
    tag = "schedules",
    operation_id = "list_schedules",
    params(("conversation" = Uuid, Path, description = "The conversation.")),
    responses((status = 200, description = "The schedules.", body = ScheduleList))
)]
pub(crate) async fn list(
    scope: Scope,
    Id(conversation): Id<ConversationId>,
) -> Result<Answer<ScheduleList>, Problem> {
    let schedules = scope.host.schedules(conversation).await?;
    let schedules = schedules.into_iter().map(Into::into).collect();
    Ok(Answer(ScheduleList { schedules }))
}

/// Has a prompt submitted at each time of a cron expression. A time that comes while the turn before has not ended is passed
/// over. Where the application keeps to itself when turns begin, it is refused.
#[utoipa::path(
    post,
    path = "/conversations/{conversation}/schedules",
    tag = "schedules",
    operation_id = "add_schedule",
    params(("conversation" = Uuid, Path, description = "The conversation.")),
    request_body = NewSchedule,
    responses((status = 201, description = "The schedule.", body = Schedule))
)]
pub(crate) async fn add(
    scope: Scope,
    Id(conversation): Id<ConversationId>,
    Json(new): Json<NewSchedule>,
) -> Result<(StatusCode, Answer<Schedule>), Problem> {
    scope.host.conversation(conversation).await?;
    scope.check_schedules()?;
    if new.metadata.is_some() {
        scope.check_notes()?;
    }
    let mut schedule = New::new(new.cron.0, new.time_zone.0, Prompt::text(new.prompt.0));
    schedule.metadata = new.metadata.unwrap_or_default();
    let added = scope.host.add_schedule(conversation, schedule).await?;
    Ok((StatusCode::CREATED, Answer(added.into())))
}

/// Shows a schedule.
#[utoipa::path(
    get,
    path = "/schedules/{schedule}",
    tag = "schedules",
    operation_id = "show_schedule",
    params(("schedule" = Uuid, Path, description = "The schedule.")),
    responses((status = 200, description = "The schedule.", body = Schedule))
)]
pub(crate) async fn show(
    scope: Scope,
    Id(schedule): Id<ScheduleId>,
) -> Result<Answer<Schedule>, Problem> {
    Ok(Answer(scope.host.schedule(schedule).await?.into()))
}

/// Has a schedule submit nothing until it is resumed.
#[utoipa::path(
    post,
    path = "/schedules/{schedule}/pause",
    tag = "schedules",
    operation_id = "pause_schedule",
    params(("schedule" = Uuid, Path, description = "The schedule.")),
    responses((status = 200, description = "The schedule.", body = Schedule))
)]
pub(crate) async fn pause(
    scope: Scope,
    Id(schedule): Id<ScheduleId>,
) -> Result<Answer<Schedule>, Problem> {
    Ok(Answer(scope.host.pause_schedule(schedule).await?.into()))
}

/// Has a schedule submit again, from its next time on.
#[utoipa::path(
    post,
    path = "/schedules/{schedule}/resume",
    tag = "schedules",
    operation_id = "resume_schedule",
    params(("schedule" = Uuid, Path, description = "The schedule.")),
    responses((status = 200, description = "The schedule.", body = Schedule))
)]
pub(crate) async fn resume(
    scope: Scope,
    Id(schedule): Id<ScheduleId>,
) -> Result<Answer<Schedule>, Problem> {
    Ok(Answer(scope.host.resume_schedule(schedule).await?.into()))
}

/// Deletes a schedule. What it has submitted stays.
#[utoipa::path(
    delete,
    path = "/schedules/{schedule}",
    tag = "schedules",
    operation_id = "delete_schedule",
    params(("schedule" = Uuid, Path, description = "The schedule.")),
    responses((status = 204, description = "It is deleted."))
)]
pub(crate) async fn delete(
    scope: Scope,
    Id(schedule): Id<ScheduleId>,
) -> Result<StatusCode, Problem> {
    scope.host.delete_schedule(schedule).await?;
    Ok(StatusCode::NO_CONTENT)
}
