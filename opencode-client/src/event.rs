//! Events of the server's stream, decoded.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use crate::envelope::{Envelope, EventKind, NotAnEvent, scan};
use crate::error::UpstreamError;
use crate::id::{MessageId, PartId, PermissionId, QuestionId};
use crate::wire::{
    MessageInfo, Part, PermissionReply, PermissionRequest, QuestionRequest, Session, SessionStatus,
    Todo,
};

/// One event, and the session it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// The session, where the event is about one.
    pub session: Option<&'a str>,
    /// What happened.
    pub body: EventBody<'a>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventBody<'a> {
    /// Text was appended to a part.
    PartDelta(PartDelta<'a>),
    /// A part as it is now, whole.
    PartUpdated(Box<Part>),
    /// A part was taken back.
    PartRemoved {
        /// The part.
        part: PartId,
    },
    /// A message as it is now, without its parts.
    MessageUpdated(Box<MessageInfo>),
    /// A message was taken back.
    MessageRemoved {
        /// The message.
        message: MessageId,
    },
    /// The session works, waits for a provider, or is done.
    SessionStatus(SessionStatus),
    /// The session is done. It can be said twice, and late.
    SessionIdle,
    /// Something failed in the session.
    SessionError(UpstreamError),
    /// A session was made or changed.
    Session(Box<Session>),
    /// The session is gone.
    SessionDeleted,
    /// The agent's plan, whole.
    TodoUpdated(Vec<Todo>),
    /// The agent asks.
    QuestionAsked(Box<QuestionRequest>),
    /// A question was answered.
    QuestionReplied {
        /// The question.
        question: QuestionId,
        /// The labels or words, per question.
        answers: Vec<Vec<String>>,
    },
    /// A question was declined.
    QuestionRejected {
        /// The question.
        question: QuestionId,
    },
    /// The agent asks for permission.
    PermissionAsked(Box<PermissionRequest>),
    /// A permission request was answered.
    PermissionReplied {
        /// The request.
        permission: PermissionId,
        /// The answer.
        reply: PermissionReply,
    },
    /// The stream is live.
    Connected,
    /// The server is alive.
    Heartbeat,
    /// Anything else, kept as it came.
    Other {
        /// The event's type.
        name: &'a str,
        /// Its `properties`.
        properties: Value,
    },
}

/// Text appended to a part. The field is `text` for reasoning parts too: what
/// kind of part it is, the part itself says, before or after.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PartDelta<'a> {
    /// The message.
    #[serde(rename = "messageID", borrow)]
    pub message: &'a str,
    /// The part.
    #[serde(rename = "partID", borrow)]
    pub part: &'a str,
    /// Which field of the part grows; only `text` is known.
    #[serde(borrow, default)]
    pub field: Cow<'a, str>,
    /// What is appended.
    #[serde(borrow)]
    pub delta: Cow<'a, str>,
}

impl<'a> Event<'a> {
    /// Decodes a frame of `/event` or `/global/event`. `None` for the `sync`
    /// copies, which say nothing new.
    ///
    /// # Errors
    /// [`DecodeError`] says what was wrong with the frame.
    pub fn decode(frame: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let envelope = scan(frame)?;
        if envelope.kind == EventKind::Sync {
            return Ok(None);
        }
        Self::decode_with(frame, &envelope).map(Some)
    }

    pub(crate) fn decode_with(
        frame: &'a [u8],
        envelope: &Envelope<'a>,
    ) -> Result<Self, DecodeError> {
        let properties = &frame[envelope.properties.min(frame.len())..];
        let session = envelope
            .session
            .map(str::from_utf8)
            .transpose()
            .map_err(|_| DecodeError::Envelope)?;
        Ok(Self {
            session,
            body: EventBody::decode(envelope.kind, envelope.name, properties)?,
        })
    }
}

/// A frame that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not an event at all.
    #[error("the frame is not an event")]
    Envelope,
    /// Its properties are not what its type says.
    #[error("malformed properties")]
    Properties(#[from] serde_json::Error),
}

impl From<NotAnEvent> for DecodeError {
    fn from(_: NotAnEvent) -> Self {
        Self::Envelope
    }
}

/// Reads the one JSON value at the start of `bytes`; the closing brackets of
/// the envelope stand behind it.
fn first<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    T::deserialize(&mut serde_json::Deserializer::from_slice(bytes))
}

#[derive(Deserialize)]
struct WithPart {
    part: Box<Part>,
}

#[derive(Deserialize)]
struct WithInfo<T> {
    info: Box<T>,
}

#[derive(Deserialize)]
struct WithStatus {
    status: SessionStatus,
}

#[derive(Deserialize)]
struct WithError {
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct WithTodos {
    #[serde(default)]
    todos: Vec<Todo>,
}

#[derive(Deserialize)]
struct Removed<'a> {
    #[serde(rename = "partID", default)]
    part: Option<Cow<'a, str>>,
    #[serde(rename = "messageID", default)]
    message: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Replied {
    // `permissionID` and `response` are how servers before 1.1 said it.
    #[serde(rename = "requestID", alias = "permissionID", alias = "id")]
    request: String,
    #[serde(default)]
    answers: Vec<Vec<String>>,
    #[serde(default, alias = "response")]
    reply: Option<PermissionReply>,
}

impl<'a> EventBody<'a> {
    fn decode(kind: EventKind, name: &'a [u8], properties: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(match kind {
            EventKind::PartDelta => Self::PartDelta(first(properties)?),
            EventKind::PartUpdated => Self::PartUpdated(first::<WithPart>(properties)?.part),
            EventKind::PartRemoved => match first::<Removed<'_>>(properties)?.part {
                Some(part) => Self::PartRemoved {
                    part: PartId::from(part.as_ref()),
                },
                None => return Err(missing("partID")),
            },
            EventKind::MessageUpdated => {
                Self::MessageUpdated(first::<WithInfo<MessageInfo>>(properties)?.info)
            }
            EventKind::MessageRemoved => match first::<Removed<'_>>(properties)?.message {
                Some(message) => Self::MessageRemoved {
                    message: MessageId::from(message.as_ref()),
                },
                None => return Err(missing("messageID")),
            },
            EventKind::SessionStatus => {
                Self::SessionStatus(first::<WithStatus>(properties)?.status)
            }
            EventKind::SessionIdle => Self::SessionIdle,
            EventKind::SessionError => Self::SessionError(UpstreamError::from_json(
                &first::<WithError>(properties)?.error,
            )),
            EventKind::SessionCreated | EventKind::SessionUpdated => {
                Self::Session(first::<WithInfo<Session>>(properties)?.info)
            }
            EventKind::SessionDeleted => Self::SessionDeleted,
            EventKind::TodoUpdated => Self::TodoUpdated(first::<WithTodos>(properties)?.todos),
            EventKind::QuestionAsked => Self::QuestionAsked(first(properties)?),
            EventKind::QuestionReplied => {
                let replied: Replied = first(properties)?;
                Self::QuestionReplied {
                    question: QuestionId::from(replied.request),
                    answers: replied.answers,
                }
            }
            EventKind::QuestionRejected => Self::QuestionRejected {
                question: QuestionId::from(first::<Replied>(properties)?.request),
            },
            EventKind::PermissionAsked => Self::PermissionAsked(first(properties)?),
            EventKind::PermissionReplied => {
                let replied: Replied = first(properties)?;
                Self::PermissionReplied {
                    permission: PermissionId::from(replied.request),
                    reply: replied.reply.unwrap_or(PermissionReply::Once),
                }
            }
            EventKind::Connected => Self::Connected,
            EventKind::Heartbeat => Self::Heartbeat,
            EventKind::Sync | EventKind::Other => Self::Other {
                name: str::from_utf8(name).map_err(|_| DecodeError::Envelope)?,
                properties: if properties.is_empty() {
                    Value::Null
                } else {
                    first(properties)?
                },
            },
        })
    }
}

fn missing(field: &'static str) -> DecodeError {
    DecodeError::Properties(serde::de::Error::missing_field(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_borrows_from_its_frame() {
        let frame = br#"{"payload":{"type":"message.part.delta","properties":{"sessionID":"s","messageID":"m","partID":"p","field":"text","delta":"hi"}}}"#;
        let event = Event::decode(frame).unwrap().unwrap();
        let EventBody::PartDelta(delta) = event.body else {
            panic!("{event:?}")
        };
        assert_eq!(
            (event.session, delta.message, delta.part),
            (Some("s"), "m", "p")
        );
        assert!(matches!(delta.delta, Cow::Borrowed("hi")));
    }

    #[test]
    fn unknown_events_are_kept_and_malformed_ones_told() {
        let event = Event::decode(br#"{"type":"x.y","properties":{"a":1}}"#)
            .unwrap()
            .unwrap();
        assert_eq!(
            event.body,
            EventBody::Other {
                name: "x.y",
                properties: serde_json::json!({"a":1})
            }
        );
        assert!(Event::decode(br#"{"type":"message.updated","properties":{"info":{}}}"#).is_err());
        assert!(
            Event::decode(br#"{"type":"sync","syncEvent":{}}"#)
                .unwrap()
                .is_none()
        );
        assert!(
            Event::decode(br#"{"type":"todo.updated","properties":{"sessionID":"s","todos":[{]}}"#)
                .is_err()
        );
    }
}
