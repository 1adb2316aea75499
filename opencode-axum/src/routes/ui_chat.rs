//! `/ui/chat`: what `useChat` of the AI SDK (npm `ai` 7) asks by its `DefaultChatTransport`, with `api` set to it.
//!
//! The chat's id is the name of the conversation. A front end sends all of its messages; read is the last, which is the
//! person's. A message is one turn, however often it is sent; one that is sent in the place of an earlier one, or to have
//! it answered again, is a new turn, which takes the place of the earlier one where that is called by its id.
//!
//! Where the agent waits for permissions and nothing else, the stream ends with the approvals that it asks for. The front
//! end then sends its messages with what the person decided (`addToolApprovalResponse`), and gets the rest of the answer.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use opencode_host::store::{OnBusy, Turn};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::approvals::{self, UiApproval, waits_for_approval};
use super::chat_message::{ChatMessage, Place, answered_turn, no_prompt};
use super::inline_files::{InlineFile, bad};
use crate::authorize::Scope;
use crate::bodies::ServerSentEvent;
use crate::encoders::UiEncoder;
use crate::problem::Problem;
use crate::replies::encoded;
use crate::request::{Borrowed, Mount, Name, Text, unfit};
use crate::settings::Settings;
use crate::sse;
use crate::stream::UI_MESSAGE_STREAM;

/// What a front end sends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UiChatRequest<'a> {
    /// The chat: the name of the conversation.
    #[schema(value_type = String, max_length = 512, pattern = r"^[^\x00]*$")]
    id: Text,
    /// All messages. Read is the last.
    #[serde(borrow)]
    #[schema(value_type = Vec<UiMessage>, min_items = 1)]
    messages: Vec<&'a RawValue>,
    trigger: UiTrigger,
    /// The message to answer again, or the one that the last takes the place of.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 500, pattern = r"^[^\x00]*$")]
    message_id: Option<Text>,
}

/// Why a front end asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum UiTrigger {
    SubmitMessage,
    RegenerateMessage,
}

/// A message of a front end's.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct UiMessage {
    #[schema(value_type = String, max_length = 500, pattern = r"^[^\x00]*$")]
    id: Text,
    role: UiRole,
    parts: Vec<UiPart>,
}

/// Who wrote a message.
#[derive(Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum UiRole {
    User,
    Assistant,
    System,
}

/// A part of a message. Of a person's those are read whose `type` is `text` or `file`, of an answer those that a person
/// has approved of or not.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UiPart {
    r#type: String,
    /// Of a text.
    #[serde(default)]
    text: Option<Text>,
    /// Of a file: its content, as a `data:` URL in base64.
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    filename: Option<String>,
    /// Of a tool call, where a person has approved of it or not: `approval-responded`.
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    approval: Option<UiApproval>,
}

/// Sends a message, has one answered again, or goes on with an answer that waited for approvals: the last message is then
/// that answer, with what the person decided. The answer is a UI message stream (version 1) of the turn, to its end or to where
/// it waits for approvals. The turn goes on when the connection ends: see `/ui/chat/{chat}/stream` and
/// `/ui/chat/{chat}/stop`. A message that is sent while the turn waits for approvals cancels it.
#[utoipa::path(
    post,
    path = "/ui/chat",
    tag = "ui",
    operation_id = "send_ui_message",
    request_body = UiChatRequest<'_>,
    responses((status = 200, description = "A UI message stream.", body = ServerSentEvent, content_type = "text/event-stream"))
)]
pub(crate) async fn send(
    State(settings): State<Settings>,
    scope: Scope,
    mount: Mount,
    body: Borrowed,
) -> Result<Response, Problem> {
    let request: UiChatRequest<'_> = body.json()?;
    let Some(last) = request.messages.last() else {
        return Err(no_prompt());
    };
    let message = serde_json::from_str(last.get());
    let message: UiMessage = message.map_err(|error| unfit("The last message", &error))?;
    let is_submit = request.trigger == UiTrigger::SubmitMessage;
    if message.role == UiRole::Assistant && is_submit {
        return go_on(settings, scope, mount, &request.id.0, message).await;
    }
    if message.role != UiRole::User {
        return Err(no_prompt());
    }
    let chat = request.id.0;
    let place = request
        .message_id
        .as_ref()
        .map(|id| Place::Perhaps(id.0.clone()));
    let client_key = match (request.trigger, request.message_id) {
        (UiTrigger::SubmitMessage, None) => Some(format!("ui:submit:{}", message.id.0)),
        // In the place of an earlier message: whoever sends it so means it.
        (UiTrigger::SubmitMessage, Some(_)) | (UiTrigger::RegenerateMessage, None) => None,
        (UiTrigger::RegenerateMessage, Some(answer)) => Some(format!("ui:again:{}", answer.0)),
    };
    let (text, files) = read(message.parts)?;
    // Its front end asks for the approval no more, and the message would wait behind it for ever.
    let running = active(&scope, &chat, 1).await?;
    let on_busy = match running.first() {
        Some(turn) if place.is_none() && waits_for_approval(&scope, turn).await? => {
            OnBusy::Interrupt
        }
        _ => OnBusy::Enqueue,
    };
    let message = ChatMessage {
        text,
        files,
        client_key,
        place,
        on_busy,
    };
    let (turn, seat) = message.submit(&settings, &scope, &chat).await?;
    let encoder = UiEncoder::new(&turn, mount).of_chat();
    stream(settings, &scope, &turn, encoder, seat).await
}

/// Gives the agent what a person decided, and streams the rest of its answer.
async fn go_on(
    settings: Settings,
    scope: Scope,
    mount: Mount,
    chat: &str,
    message: UiMessage,
) -> Result<Response, Problem> {
    let parts = message.parts.into_iter();
    let decided = parts.filter(|part| part.state.as_deref() == Some("approval-responded"));
    let decided: Vec<_> = decided.filter_map(|part| part.approval).collect();
    if decided.is_empty() {
        return Err(no_prompt());
    }
    let turn = answered_turn(&scope, chat, &message.id.0).await?;
    let seat = settings.seat()?;
    let answered = approvals::give(&scope, turn.id, decided).await?;
    let encoder = UiEncoder::new(&turn, mount).going_on(answered);
    stream(settings, &scope, &turn, encoder, seat).await
}

/// The words and the files of a message.
fn read(parts: Vec<UiPart>) -> Result<(String, Vec<InlineFile>), Problem> {
    let (mut text, mut files) = (Vec::new(), Vec::new());
    for part in parts {
        match part.r#type.as_str() {
            "text" => text.extend(part.text.map(|text| text.0)),
            "file" => {
                let url = part.url.ok_or_else(bad)?;
                files.push(InlineFile::of_url(part.filename, part.media_type, &url)?);
            }
            _ => {}
        }
    }
    Ok((text.join("\n\n"), files))
}

/// Streams the turn of a chat that is queued or runs, from its beginning, to its end or to where it waits for approvals. 204
/// where none does.
#[utoipa::path(
    get,
    path = "/ui/chat/{chat}/stream",
    tag = "ui",
    operation_id = "resume_ui_stream",
    params(("chat" = String, Path, description = "The chat: the name of the conversation.", max_length = 512)),
    responses(
        (status = 200, description = "A UI message stream.", body = ServerSentEvent, content_type = "text/event-stream"),
        (status = 204, description = "Nothing runs.")
    )
)]
pub(crate) async fn resume(
    State(settings): State<Settings>,
    scope: Scope,
    mount: Mount,
    Name(chat): Name,
) -> Result<Response, Problem> {
    let Some(turn) = active(&scope, &chat, 1).await?.into_iter().next() else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let seat = settings.seat()?;
    let encoder = UiEncoder::new(&turn, mount).of_chat();
    stream(settings, &scope, &turn, encoder, seat).await
}

/// Stops what runs or waits in a chat: cancels its turns.
#[utoipa::path(
    post,
    path = "/ui/chat/{chat}/stop",
    tag = "ui",
    operation_id = "stop_ui_chat",
    params(("chat" = String, Path, description = "The chat: the name of the conversation.", max_length = 512)),
    responses((status = 204, description = "Nothing runs any more, or is told to stop."))
)]
pub(crate) async fn stop(scope: Scope, Name(chat): Name) -> Result<StatusCode, Problem> {
    // The newest first, so that none begins in the place of another.
    for turn in active(&scope, &chat, u32::MAX).await?.into_iter().rev() {
        scope.host.cancel(turn.id, None).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The turns of a chat that are queued or run, oldest first.
async fn active(scope: &Scope, chat: &str, limit: u32) -> Result<Vec<Turn>, Problem> {
    let Some(conversation) = scope.host.conversation_named(chat).await? else {
        return Ok(Vec::new());
    };
    Ok(scope.host.active_turns(conversation.id, limit).await?)
}

/// The reply to a turn, as a UI message stream.
pub(crate) async fn stream(
    settings: Settings,
    scope: &Scope,
    turn: &Turn,
    encoder: UiEncoder,
    seat: tokio::sync::OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    let lines = encoded(&scope.host, turn.id, encoder).await?;
    let mut response = sse::response(lines, seat, settings.shutdown);
    let (name, value) = UI_MESSAGE_STREAM;
    response.headers_mut().insert(
        HeaderName::from_static(name),
        HeaderValue::from_static(value),
    );
    Ok(response)
}
