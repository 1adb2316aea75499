//! `/ag-ui`: a run of an agent, as `HttpAgent` of AG-UI (npm `@ag-ui/client` 1) asks for it.
//!
//! The thread is the conversation of that name. Of the messages the last is read, which is the person's. A run is one
//! turn, however often it is asked for. It goes on when the connection ends; `/ui/chat/{chat}/stop` stops it. With
//! `forwardedProps: { insteadOf }` it takes the place of an earlier turn.
//!
//! A front end that has an answer made again takes it out of its messages and asks for another run of the rest, with the
//! same id on the last message. So where the turn that followed the messages before was of that id, the run takes its
//! place; and while that turn is queued or runs, it is the run.

use axum::extract::State;
use axum::response::Response;
use opencode_host::id::{ConversationId, MessageId};
use opencode_host::store::{MAX_KEY_CHARS, OnBusy, Phase, Turn};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::fmt::Hyphenated;

use super::chat_message::{ChatMessage, Place, no_prompt, turn_of};
use super::inline_files::{InlineFile, bad};
use crate::authorize::Scope;
use crate::bodies::ServerSentEvent;
use crate::encoders::AgUiEncoder;
use crate::problem::Problem;
use crate::replies::encoded;
use crate::request::{Borrowed, Mount, Text, unfit};
use crate::settings::Settings;
use crate::sse;

/// What a front end asks for. What else it says is passed over: the agent has the application's tools, not the page's.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgUiRun<'a> {
    /// The thread: the name of the conversation.
    #[schema(value_type = String, max_length = 512, pattern = r"^[^\x00]*$")]
    thread_id: Text,
    /// The run: the same is the same turn.
    #[schema(value_type = String, max_length = 500, pattern = r"^[^\x00]*$")]
    run_id: Text,
    /// All messages. Read is the last.
    #[serde(borrow)]
    #[schema(value_type = Vec<AgUiMessage>, min_items = 1)]
    messages: &'a RawValue,
    /// What a front end says beside them.
    #[serde(default)]
    forwarded_props: Option<AgUiForwarded>,
}

/// What a front end says beside its messages. What else it says is passed over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AgUiForwarded {
    /// A message in the place of whose turn the last is asked: the answer to give anew, or the one behind the prompt that
    /// was edited. Its id is that of a message here, also as the events of its run have it.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 500, pattern = r"^[^\x00]*$")]
    instead_of: Option<Text>,
}

/// A message of a front end's.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct AgUiMessage {
    /// The same is the same message.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 500, pattern = r"^[^\x00]*$")]
    id: Option<Text>,
    role: String,
    /// What a person says.
    #[serde(default)]
    content: Option<AgUiContent>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum AgUiContent {
    Words(Text),
    Parts(Vec<AgUiPart>),
}

/// A part of a message: words, or a file of some kind.
#[derive(Debug, Deserialize, ToSchema)]
struct AgUiPart {
    r#type: String,
    #[serde(default)]
    text: Option<Text>,
    #[serde(default)]
    source: Option<AgUiSource>,
}

/// The content of a file: `data`, in base64.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AgUiSource {
    r#type: String,
    value: String,
    #[serde(default)]
    mime_type: Option<String>,
}

/// Runs an agent: asks the last message, behind those before it or in the place of one. The answer is a stream of AG-UI
/// events.
#[utoipa::path(
    post,
    path = "/ag-ui",
    tag = "ui",
    operation_id = "run_ag_ui",
    request_body = AgUiRun<'_>,
    responses((status = 200, description = "AG-UI events.", body = ServerSentEvent, content_type = "text/event-stream"))
)]
pub(crate) async fn run(
    State(settings): State<Settings>,
    scope: Scope,
    mount: Mount,
    body: Borrowed,
) -> Result<Response, Problem> {
    let request: AgUiRun<'_> = body.json()?;
    let messages: Result<Vec<&RawValue>, _> = serde_json::from_str(request.messages.get());
    let messages = messages.map_err(|error| unfit("The messages", &error))?;
    let (last, before) = messages.split_last().ok_or_else(no_prompt)?;
    let last: Result<AgUiMessage, _> = serde_json::from_str(last.get());
    let last = last.map_err(|error| unfit("The last message", &error))?;
    if last.role != "user" {
        return Err(no_prompt());
    }
    let (text, files) = read(last.content)?;
    let (thread, run) = (request.thread_id.0, request.run_id.0);
    let mut client_key = key(&run, last.id.as_ref());
    let instead_of = request.forwarded_props.and_then(|said| said.instead_of);
    let place = match (instead_of, last.id) {
        (Some(id), _) => Some(Place::InsteadOf(message_of(&id.0))),
        (None, None) => None,
        (None, Some(id)) => match same(&scope, &thread, before, &id).await? {
            Some(turn) if is_open(&turn) && says(&scope, &turn, &text).await? => {
                client_key = turn.client_key.unwrap_or(client_key);
                None
            }
            turn => turn.map(|turn| Place::InsteadOf(turn.message.to_string())),
        },
    };
    let message = ChatMessage {
        text,
        files,
        client_key: Some(client_key),
        place,
        on_busy: OnBusy::Enqueue,
    };
    let (turn, seat) = message.submit(&settings, &scope, &thread).await?;
    let history = request.messages.to_owned();
    let encoder = AgUiEncoder::new(&turn, thread, run, history, mount);
    let lines = encoded(&scope.host, turn.id, encoder).await?;
    Ok(sse::response(lines, seat, settings.shutdown))
}

/// By this the turn of a run is known, and of its message.
fn key(run: &str, message: Option<&Text>) -> String {
    let key = format!("ag-ui:{run}");
    match message.map(|id| format!("{key}{}", key_end(&id.0))) {
        Some(whole) if whole.chars().nth(MAX_KEY_CHARS).is_none() => whole,
        _ => key,
    }
}

fn key_end(message: &str) -> String {
    format!("#{message}")
}

/// The turn that is shown behind these messages, where one of its versions was asked by this message.
async fn same(
    scope: &Scope,
    thread: &str,
    before: &[&RawValue],
    message: &Text,
) -> Result<Option<Turn>, Problem> {
    let Some(conversation) = scope.host.conversation_named(thread).await? else {
        return Ok(None);
    };
    let Some(turn) = turn_behind(scope, conversation.id, before).await? else {
        return Ok(None);
    };
    let end = key_end(&message.0);
    for version in scope.host.versions(turn.id).await? {
        let key = scope.host.turn(version.turn).await?.client_key;
        if key.is_some_and(|key| key.starts_with("ag-ui:") && key.ends_with(&end)) {
            return Ok(Some(turn));
        }
    }
    Ok(None)
}

/// The turn that is shown behind the last answer among these messages, and the first of all without one.
async fn turn_behind(
    scope: &Scope,
    conversation: ConversationId,
    before: &[&RawValue],
) -> Result<Option<Turn>, Problem> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    let mut last = None;
    for message in before.iter().rev() {
        let Ok(Named { id }) = serde_json::from_str(message.get()) else {
            continue;
        };
        let id = message_of(&id);
        if turn_of(scope, conversation, &id).await?.is_some() {
            last = id.parse::<MessageId>().ok();
            break;
        }
    }
    if let Some(last) = last
        && scope.host.message(last).await?.hidden
    {
        return Ok(None);
    }
    let behind = scope.host.messages(conversation, last, 1).await?;
    match behind.first() {
        Some(message) => Ok(Some(scope.host.turn(message.turn).await?)),
        None => Ok(None),
    }
}

fn is_open(turn: &Turn) -> bool {
    matches!(turn.phase(), Phase::Queued | Phase::Running)
}

/// Whether these are the words that a turn has asked.
async fn says(scope: &Scope, turn: &Turn, words: &str) -> Result<bool, Problem> {
    Ok(scope.host.message(turn.user_message).await?.answer.content == words)
}

/// The message of an event's: its parts are messages of their own to a front end, whose ids begin with its id.
fn message_of(id: &str) -> String {
    id.chars().take(Hyphenated::LENGTH).collect()
}

/// The words and the files of a message.
fn read(content: Option<AgUiContent>) -> Result<(String, Vec<InlineFile>), Problem> {
    let parts = match content {
        None => return Ok((String::new(), Vec::new())),
        Some(AgUiContent::Words(words)) => return Ok((words.0, Vec::new())),
        Some(AgUiContent::Parts(parts)) => parts,
    };
    let (mut text, mut files) = (Vec::new(), Vec::new());
    for part in parts {
        match part.source {
            None if part.r#type == "text" => text.extend(part.text.map(|text| text.0)),
            None => {}
            Some(source) if source.r#type == "data" => {
                files.push(InlineFile::new(None, source.mime_type, &source.value)?);
            }
            Some(_) => return Err(bad()),
        }
    }
    Ok((text.join("\n\n"), files))
}
