//! Turns: those that go on, one, what came of it, and its cancel.

use axum::Json as Answer;
use opencode_host::id::{ConversationId, TurnId};

use crate::authorize::Scope;
use crate::bodies::{Cancel, Cancelled, Result as TurnResult, Turn, TurnPage};
use crate::problem::Problem;
use crate::request::{Id, Json};

/// The most turns of a conversation that are listed.
const MOST: u32 = 100;

/// Lists the turns of a conversation that are queued or run, oldest first, at most 100.
#[utoipa::path(
    get,
    path = "/conversations/{conversation}/turns",
    tag = "turns",
    operation_id = "list_active_turns",
    params(("conversation" = Uuid, Path, description = "The conversation.")),
    responses((status = 200, description = "The turns.", body = TurnPage))
)]
pub(crate) async fn active(
    scope: Scope,
    Id(conversation): Id<ConversationId>,
) -> Result<Answer<TurnPage>, Problem> {
    let turns = scope.host.active_turns(conversation, MOST).await?;
    let turns = turns.into_iter().map(Into::into).collect();
    Ok(Answer(TurnPage { turns }))
}

/// Shows a turn.
#[utoipa::path(
    get,
    path = "/turns/{turn}",
    tag = "turns",
    operation_id = "show_turn",
    params(("turn" = Uuid, Path, description = "The turn.")),
    responses((status = 200, description = "The turn.", body = Turn))
)]
pub(crate) async fn show(scope: Scope, Id(turn): Id<TurnId>) -> Result<Answer<Turn>, Problem> {
    Ok(Answer(scope.host.turn(turn).await?.into()))
}

/// Shows what came of a turn. While it has not ended: a problem, `not_ended`.
#[utoipa::path(
    get,
    path = "/turns/{turn}/result",
    tag = "turns",
    operation_id = "show_result",
    params(("turn" = Uuid, Path, description = "The turn.")),
    responses((status = 200, description = "What came of it.", body = TurnResult))
)]
pub(crate) async fn result(
    scope: Scope,
    Id(turn): Id<TurnId>,
) -> Result<Answer<TurnResult>, Problem> {
    let result = scope.host.result(turn).await?;
    let detail = "The turn has not ended. Follow its events, and ask again at their end.";
    let result = result.ok_or_else(|| Problem::conflict("not_ended", detail))?;
    Ok(Answer(result.into()))
}

/// Cancels a turn, wherever it runs. What had come of its answer is kept.
#[utoipa::path(
    post,
    path = "/turns/{turn}/cancel",
    tag = "turns",
    operation_id = "cancel_turn",
    params(("turn" = Uuid, Path, description = "The turn.")),
    request_body = Option<Cancel>,
    responses((status = 200, description = "What became of the cancel.", body = Cancelled))
)]
pub(crate) async fn cancel(
    scope: Scope,
    Id(turn): Id<TurnId>,
    cancel: Option<Json<Option<Cancel>>>,
) -> Result<Answer<Cancelled>, Problem> {
    let cancel = cancel.and_then(|Json(cancel)| cancel);
    let reason = cancel.and_then(|cancel| cancel.reason);
    let reason = reason.as_ref().map(|reason| reason.0.as_str());
    Ok(Answer(scope.host.cancel(turn, reason).await?.into()))
}
