//! More than one answer: a turn asked again or edited, its versions, which of them is shown, and a conversation that goes on
//! from it.

use axum::Json as Answer;
use axum::http::StatusCode;
use opencode_client::wire::Prompt;
use opencode_host::SubmitOptions;
use opencode_host::id::TurnId;

use super::submit::{key_reused, submit_once};
use crate::authorize::Scope;
use crate::bodies::{Conversation, Edit, NewConversation, Turn, VersionList};
use crate::problem::Problem;
use crate::request::{ClientKey, Id, Json};

/// Asks a turn again, as `regenerate` does: the word for one that ended without an answer.
#[utoipa::path(
    post,
    path = "/turns/{turn}/retry",
    tag = "turns",
    operation_id = "retry_turn",
    params(
        ("turn" = Uuid, Path, description = "The turn."),
        ClientKey
    ),
    responses((status = 200, description = "The turn that takes its place.", body = Turn))
)]
pub(crate) async fn retry(
    scope: Scope,
    Id(turn): Id<TurnId>,
    key: ClientKey,
) -> Result<Answer<Turn>, Problem> {
    again(&scope, turn, key).await
}

/// Asks again what a turn has asked, with its files and metadata, in its place: its answer and what follows it stay as
/// another version. While a turn of the conversation is queued or runs: a problem, `busy`.
#[utoipa::path(
    post,
    path = "/turns/{turn}/regenerate",
    tag = "turns",
    operation_id = "regenerate_turn",
    params(
        ("turn" = Uuid, Path, description = "The turn."),
        ClientKey
    ),
    responses((status = 200, description = "The turn that takes its place.", body = Turn))
)]
pub(crate) async fn regenerate(
    scope: Scope,
    Id(turn): Id<TurnId>,
    key: ClientKey,
) -> Result<Answer<Turn>, Problem> {
    again(&scope, turn, key).await
}

async fn again(scope: &Scope, turn: TurnId, key: ClientKey) -> Result<Answer<Turn>, Problem> {
    let of = scope.host.turn(turn).await?;
    let submitted = scope.host.regenerate(turn, key.0).await?;
    let made = &submitted.turn;
    let is_same = made.parent == of.parent && made.prompt == of.prompt && made.id != of.id;
    if !submitted.created && !is_same {
        return Err(key_reused());
    }
    Ok(Answer(submitted.turn.into()))
}

/// Asks something else in the place of a turn, of the same agent and model: its prompt, its answer and what follows stay as another version. While a turn
/// of the conversation is queued or runs: a problem, `busy`.
#[utoipa::path(
    post,
    path = "/turns/{turn}/edit",
    tag = "turns",
    operation_id = "edit_turn",
    params(
        ("turn" = Uuid, Path, description = "The turn."),
        ClientKey
    ),
    request_body = Edit,
    responses((status = 200, description = "The turn that takes its place.", body = Turn))
)]
pub(crate) async fn edit(
    scope: Scope,
    Id(turn): Id<TurnId>,
    ClientKey(client_key): ClientKey,
    Json(edit): Json<Edit>,
) -> Result<Answer<Turn>, Problem> {
    let of = scope.host.turn(turn).await?;
    let options = SubmitOptions {
        client_key,
        metadata: of.metadata,
        instead_of: Some(turn),
        ..SubmitOptions::default()
    };
    // Who answers stays.
    let prompt = Prompt {
        text: edit.prompt.0,
        files: Vec::new(),
        ..of.prompt
    };
    let submitted = submit_once(&scope, of.conversation, prompt, options).await?;
    if submitted.turn.parent != of.parent {
        return Err(key_reused());
    }
    Ok(Answer(submitted.turn.into()))
}

/// Shows a turn in the place of its other versions, and behind it the newest that goes on from it. While a turn of the
/// conversation is queued or runs: a problem, `busy`.
#[utoipa::path(
    post,
    path = "/turns/{turn}/choose",
    tag = "turns",
    operation_id = "choose_version",
    params(("turn" = Uuid, Path, description = "The turn.")),
    responses((status = 204, description = "It is shown."))
)]
pub(crate) async fn choose(scope: Scope, Id(turn): Id<TurnId>) -> Result<StatusCode, Problem> {
    scope.host.choose(turn).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the versions of a turn, itself among them, oldest first.
#[utoipa::path(
    get,
    path = "/turns/{turn}/versions",
    tag = "turns",
    operation_id = "list_versions",
    params(("turn" = Uuid, Path, description = "The turn.")),
    responses((status = 200, description = "The versions.", body = VersionList))
)]
pub(crate) async fn list(
    scope: Scope,
    Id(turn): Id<TurnId>,
) -> Result<Answer<VersionList>, Problem> {
    let versions = scope.host.versions(turn).await?;
    let versions = versions.into_iter().map(Into::into).collect();
    Ok(Answer(VersionList { versions }))
}

/// Makes a conversation that goes on from a turn: with a copy of the messages up to there, and their files. Either goes on by
/// itself. A fork of the turn that has the name is given as it is; where something else has it: a problem, `name_taken`. While
/// the turn is queued or runs: a problem, `busy`.
#[utoipa::path(
    post,
    path = "/turns/{turn}/fork",
    tag = "turns",
    operation_id = "fork_conversation",
    params(("turn" = Uuid, Path, description = "The last turn that it begins with.")),
    request_body = NewConversation,
    responses((status = 200, description = "The conversation.", body = Conversation))
)]
pub(crate) async fn fork(
    scope: Scope,
    Id(turn): Id<TurnId>,
    Json(new): Json<NewConversation>,
) -> Result<Answer<Conversation>, Problem> {
    let forked = scope.host.fork(turn, new.name.0).await?;
    Ok(Answer(forked.conversation.into()))
}
