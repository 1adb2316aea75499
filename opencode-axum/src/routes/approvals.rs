//! Approvals of tool calls, as the AI SDK's front ends give them: OpenCode's requests for permission.
//!
//! An approval is for the one call. A refusal with a reason is told to the agent, which goes on without; without a reason it
//! ends the turn, as everywhere.

use futures_util::future::try_join_all;
use opencode_client::reply::PendingRequest;
use opencode_client::wire::PermissionReply;
use opencode_host::AnswerError;
use opencode_host::id::TurnId;
use opencode_host::store::{Given, NewAnswer, Turn};
use serde::Deserialize;
use utoipa::ToSchema;

use super::requests::is_request;
use crate::authorize::Scope;
use crate::problem::Problem;
use crate::request::Text;

/// What a person decided about a tool call.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct UiApproval {
    /// The request.
    #[schema(value_type = String, max_length = 512, pattern = "^[A-Za-z0-9_]+$")]
    id: Text,
    /// Whether the call may run; absent while nobody has decided.
    #[serde(default)]
    approved: Option<bool>,
    /// What the agent is told, where it may not.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = r"^[^\x00]*$")]
    reason: Option<Text>,
}

/// Whether a turn waits for a person to approve of a tool call.
pub(super) async fn waits_for_approval(scope: &Scope, turn: &Turn) -> Result<bool, Problem> {
    let (_, view) = scope.host.view(turn.id).await?;
    let is_permission = |request| matches!(request, &PendingRequest::Permission(_));
    Ok(view.requests().any(is_permission))
}

/// Gives the agent of a turn what was decided. Returns the requests that have an answer now, whoever gave it.
pub(super) async fn give(
    scope: &Scope,
    turn: TurnId,
    decided: Vec<UiApproval>,
) -> Result<Vec<String>, Problem> {
    let mut answers = Vec::new();
    for approval in decided {
        let is_known = is_request(&approval.id.0);
        let Some(approved) = approval.approved.filter(|_| is_known) else {
            let detail = "An approval has the id of a request, and says whether the call may run.";
            return Err(Problem::unprocessable("bad_approval", detail));
        };
        let given = Given::Permission {
            reply: if approved {
                PermissionReply::Once
            } else {
                PermissionReply::Reject
            },
            message: (approval.reason)
                .map(|reason| reason.0)
                .filter(|reason| !approved && !reason.trim().is_empty()),
        };
        let mut answer = NewAnswer::new(approval.id.0, given);
        answer.by = scope.name().map(str::to_owned);
        answers.push(answer);
    }
    let answered = answers.into_iter().map(|answer| async move {
        let request = answer.request.clone();
        match scope.host.answer(turn, answer).await {
            // What comes of the turn says the rest: the first answer counts, and one that is kept is sent yet.
            Ok(())
            | Err(
                AnswerError::AlreadyAnswered { .. } | AnswerError::NotWaiting | AnswerError::Unsent,
            ) => Ok(request),
            Err(error) => Err(Problem::from(error)),
        }
    });
    try_join_all(answered).await
}
