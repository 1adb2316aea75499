//! The schema of server-sent events.

use utoipa::ToSchema;

/// An event of a stream.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of lines that are written one by one")]
pub(crate) struct ServerSentEvent {
    /// What happened, in the encodings that name it here.
    event: Option<String>,
    /// The place behind it, in the encoding that can go on from there.
    id: Option<String>,
    /// JSON, or `[DONE]`. What it holds in our own encoding is in `TurnEvents`, by the event's name.
    data: String,
}
