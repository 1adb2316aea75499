//! Messages: of a conversation, and one.

use axum::Json as Answer;
use opencode_host::id::{ConversationId, MessageId};
use opencode_host::store::Order;
use serde::Deserialize;
use utoipa::IntoParams;

use super::conversations::{ListOrder, check_limit};
use crate::authorize::Scope;
use crate::bodies::{Message, MessagePage};
use crate::problem::Problem;
use crate::request::{Id, Query};

/// Messages are added to a part until it has so many bytes, about.
const FULL: usize = 4 << 20;

/// Which messages are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Which end the list begins with.
    #[serde(default)]
    #[param(value_type = Option<ListOrder>, inline)]
    order: Order,
    /// The `next` of the part before: the message that the part comes behind, in its order.
    #[param(value_type = Option<Uuid>)]
    cursor: Option<MessageId>,
    /// How many there are at most. Of large ones there are fewer.
    #[serde(default = "twenty")]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: u32,
}

fn twenty() -> u32 {
    20
}

/// Lists the messages of a conversation.
#[utoipa::path(
    get,
    path = "/conversations/{conversation}/messages",
    tag = "messages",
    operation_id = "list_messages",
    params(("conversation" = Uuid, Path, description = "The conversation."), ListQuery),
    responses((status = 200, description = "A part of the list.", body = MessagePage))
)]
pub(crate) async fn list(
    scope: Scope,
    Id(conversation): Id<ConversationId>,
    Query(query): Query<ListQuery>,
) -> Result<Answer<MessagePage>, Problem> {
    check_limit(query.limit, 100)?;
    let (mut messages, mut bytes, mut cursor) = (Vec::new(), 0, query.cursor);
    // One by one: a message may have as much as a whole part of the list should.
    loop {
        let found = match query.order {
            Order::NewestFirst => scope.host.messages_before(conversation, cursor, 1).await?,
            Order::OldestFirst => scope.host.messages(conversation, cursor, 1).await?,
        };
        let Some(message) = found.into_iter().next() else {
            let next = None;
            return Ok(Answer(MessagePage { messages, next }));
        };
        if messages.len() >= query.limit as usize || bytes >= FULL {
            let next = cursor.map(MessageId::as_uuid);
            return Ok(Answer(MessagePage { messages, next }));
        }
        cursor = Some(message.id);
        let message = with_files(&scope, message).await?;
        bytes += serde_json::to_vec(&message).map_or(0, |json| json.len());
        messages.push(message);
    }
}

/// Shows a message.
#[utoipa::path(
    get,
    path = "/messages/{message}",
    tag = "messages",
    operation_id = "show_message",
    params(("message" = Uuid, Path, description = "The message.")),
    responses((status = 200, description = "The message.", body = Message))
)]
pub(crate) async fn show(
    scope: Scope,
    Id(message): Id<MessageId>,
) -> Result<Answer<Message>, Problem> {
    let message = scope.host.message(message).await?;
    Ok(Answer(with_files(&scope, message).await?))
}

async fn with_files(
    scope: &Scope,
    message: opencode_host::store::Message,
) -> Result<Message, Problem> {
    let files = scope.host.attachments(message.id).await?;
    let versions = scope.host.versions(message.turn).await?;
    Ok(Message::new(message, files, &versions))
}
