//! `/conversations`: listed, opened by name, shown, noted at, deleted.

use axum::Json as Answer;
use axum::http::StatusCode;
use opencode_host::clock::Timestamp;
use opencode_host::id::ConversationId;
use opencode_host::store::{ConversationCursor, ConversationFilter, Metadata, Order, Page, Search};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::authorize::Scope;
use crate::bodies::{Conversation, ConversationPage, NewConversation};
use crate::problem::{Problem, sentence};
use crate::request::{Id, Json, Query};

/// Which conversations are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Which end the list begins with.
    #[serde(default)]
    #[param(value_type = Option<ListOrder>, inline)]
    order: Order,
    /// The `next` of the part before.
    #[param(pattern = r"^(0|-?[1-9][0-9]{0,17})\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    cursor: Option<String>,
    /// How many there are at most.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: u32,
    /// Those with a turn that is queued or runs, or without one.
    busy: Option<bool>,
    /// Those used at this time or later.
    used_since: Option<i64>,
    /// Those used before this time.
    used_before: Option<i64>,
    /// Those in which words are found, each as the beginning of one: all in one message, or all in the name and the texts of
    /// the metadata. It is words and nothing else, of at most 500 characters.
    #[param(max_length = 500)]
    search: Option<String>,
}

/// Which end a list begins with.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the schema of a type of the library's")]
pub(crate) enum ListOrder {
    NewestFirst,
    OldestFirst,
}

fn fifty() -> u32 {
    50
}

/// Refuses a part of a list of none, or of more than are given at once.
pub(crate) fn check_limit(limit: u32, most: u32) -> Result<(), Problem> {
    if (1..=most).contains(&limit) {
        return Ok(());
    }
    let detail = format!("The limit is {limit}, and may be 1 to {most}.");
    Err(Problem::unreadable("bad_query", detail))
}

/// Lists conversations, by when they were used last.
#[utoipa::path(
    get,
    path = "/conversations",
    tag = "conversations",
    operation_id = "list_conversations",
    params(ListQuery),
    responses((status = 200, description = "A part of the list.", body = ConversationPage))
)]
pub(crate) async fn list(
    scope: Scope,
    Query(query): Query<ListQuery>,
) -> Result<Answer<ConversationPage>, Problem> {
    check_limit(query.limit, 200)?;
    let mut filter = ConversationFilter::of(scope.host.tenant());
    filter.busy = query.busy;
    filter.used_since = query.used_since.map(Timestamp);
    filter.used_before = query.used_before.map(Timestamp);
    filter.search = match &query.search {
        Some(search) => {
            let search = Search::new(search);
            Some(search.map_err(|error| Problem::unreadable("bad_search", sentence(&error)))?)
        }
        None => None,
    };
    let mut page = Page::newest(query.limit + 1);
    page.order = query.order;
    if let Some(cursor) = query.cursor {
        let place = cursor.parse::<ConversationCursor>();
        page.after =
            Some(place.map_err(|error| Problem::unreadable("bad_cursor", sentence(&error)))?);
    }
    let found = scope.host.conversations(filter, &page).await?;
    Ok(Answer(ConversationPage::of(found, query.limit as usize)))
}

/// Opens the conversation of a name, made when there is none.
#[utoipa::path(
    post,
    path = "/conversations",
    tag = "conversations",
    operation_id = "open_conversation",
    request_body = NewConversation,
    responses((status = 200, description = "The conversation.", body = Conversation))
)]
pub(crate) async fn open(
    scope: Scope,
    Json(new): Json<NewConversation>,
) -> Result<Answer<Conversation>, Problem> {
    let opened = scope.host.open_conversation(&new.name.0).await?;
    Ok(Answer(opened.into()))
}

/// Shows a conversation.
#[utoipa::path(
    get,
    path = "/conversations/{conversation}",
    tag = "conversations",
    operation_id = "show_conversation",
    params(("conversation" = Uuid, Path, description = "The conversation.")),
    responses((status = 200, description = "The conversation.", body = Conversation))
)]
pub(crate) async fn show(
    scope: Scope,
    Id(conversation): Id<ConversationId>,
) -> Result<Answer<Conversation>, Problem> {
    Ok(Answer(scope.host.conversation(conversation).await?.into()))
}

/// Deletes a conversation with all that is in it. Its turns are stopped.
#[utoipa::path(
    delete,
    path = "/conversations/{conversation}",
    tag = "conversations",
    operation_id = "delete_conversation",
    params(("conversation" = Uuid, Path, description = "The conversation.")),
    responses((status = 204, description = "It is deleted."))
)]
pub(crate) async fn delete(
    scope: Scope,
    Id(conversation): Id<ConversationId>,
) -> Result<StatusCode, Problem> {
    scope.host.delete_conversation(conversation).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Notes metadata at a conversation, in the place of what was noted before. An object of 16 KiB at most. Where the
/// application keeps it to itself, it is refused.
#[utoipa::path(
    put,
    path = "/conversations/{conversation}/metadata",
    tag = "conversations",
    operation_id = "note_at_conversation",
    params(("conversation" = Uuid, Path, description = "The conversation.")),
    request_body = Object,
    responses((status = 204, description = "It is noted."))
)]
pub(crate) async fn note(
    scope: Scope,
    Id(conversation): Id<ConversationId>,
    Json(metadata): Json<Metadata>,
) -> Result<StatusCode, Problem> {
    // Of another tenant's nothing is learned, not even what may be done to it.
    scope.host.conversation(conversation).await?;
    scope.check_notes()?;
    scope.host.set_metadata(conversation, &metadata).await?;
    Ok(StatusCode::NO_CONTENT)
}
