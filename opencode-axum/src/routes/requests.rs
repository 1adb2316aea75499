//! Answers to what the agent of a running turn asks.

use axum::Json as Answer;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use opencode_host::AnswerError;
use opencode_host::id::TurnId;

use crate::authorize::Scope;
use crate::bodies::{Answered, RequestAnswer};
use crate::problem::Problem;
use crate::request::{Json, id, last_parameters, nowhere};

/// A request, and the turn that it is of.
#[derive(Debug)]
pub(crate) struct RequestPath {
    turn: TurnId,
    request: String,
}

impl<S: Send + Sync> FromRequestParts<S> for RequestPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let [turn, request] = last_parameters(parts, state).await?;
        let turn = id(&turn)?;
        if is_request(&request) {
            Ok(Self { turn, request })
        } else {
            Err(nowhere())
        }
    }
}

/// Whether this may be the id of a request: it goes into the path of a request to OpenCode.
pub(super) fn is_request(id: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !id.is_empty() && id.len() <= 512 && id.bytes().all(letter)
}

/// Answers a question, or a request for permission, of a running turn. The first answer counts. Returns once OpenCode
/// has it: 15 s at most, as a rule.
#[utoipa::path(
    post,
    path = "/turns/{turn}/requests/{request}",
    tag = "turns",
    operation_id = "answer_request",
    params(
        ("turn" = Uuid, Path, description = "The turn."),
        ("request" = String, Path, description = "The request, as the turn's events name it.", pattern = "^[A-Za-z0-9_]+$", max_length = 512)
    ),
    request_body = RequestAnswer,
    responses(
        (status = 200, description = "OpenCode has the answer.", body = Answered),
        (status = 202, description = "The answer is kept, and sent once a worker takes it up.", body = Answered)
    )
)]
pub(crate) async fn answer(
    scope: Scope,
    path: RequestPath,
    Json(answer): Json<RequestAnswer>,
) -> Result<Response, Problem> {
    let RequestPath { turn, request } = path;
    let answer = answer.to(request, scope.name());
    match scope.host.answer(turn, answer).await {
        Ok(()) => Ok(Answer(Answered::Arrived).into_response()),
        Err(AnswerError::Unsent) => {
            Ok((StatusCode::ACCEPTED, Answer(Answered::Kept)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}
