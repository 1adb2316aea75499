//! Events of the server's stream, decoded.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use crate::envelope::{Envelope, EventKind, NotAnEvent, scan};
use crate::error::UpstreamError;
use crate::id::{MessageId, PartId, PermissionId, QuestionId};
use crate::tolerant::{self, Fields, Oddity, Skipped, Wire};
use crate::wire::{
    MessageInfo, Part, PermissionReply, PermissionRequest, QuestionRequest, Session, SessionStatus,
    Todo,
};

/// One event, and the session it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// The session, where the event is about one.
    pub session: Option<&'a str>,
    /// The folder that `/global/event` says the event is of, as it stands in the frame: one
    /// server writes one folder the same way each time.
    pub directory: Option<&'a str>,
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
    pub message: Cow<'a, str>,
    /// The part.
    #[serde(rename = "partID", borrow)]
    pub part: Cow<'a, str>,
    /// Which field of the part grows; only `text` is known.
    #[serde(borrow, default)]
    pub field: Cow<'a, str>,
    /// What is appended.
    #[serde(borrow)]
    pub delta: Cow<'a, str>,
}

impl Wire for PartDelta<'_> {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        let message: String = fields.id("messageID")?;
        let part = fields.id("partID").unwrap_or_else(|| {
            let part = PartId::stand_in(&message, "text");
            part.as_str().to_owned()
        });
        Some(Self {
            message: message.into(),
            part: part.into(),
            field: fields.text("field").unwrap_or_default().into(),
            delta: fields.text("delta")?.into(),
        })
    }
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
        Self::decode_with(frame, &envelope, &mut Skipped::default()).map(Some)
    }

    pub(crate) fn decode_with(
        frame: &'a [u8],
        envelope: &Envelope<'a>,
        skipped: &mut Skipped,
    ) -> Result<Self, DecodeError> {
        let session = envelope
            .session
            .map(str::from_utf8)
            .transpose()
            .map_err(|_| DecodeError::Envelope)?;
        let name = str::from_utf8(envelope.name).map_err(|_| DecodeError::Envelope)?;
        let properties = &frame[envelope.properties.min(frame.len())..];
        let body = match envelope.kind {
            // Nearly all events are these, and nearly all of them are as they should be.
            EventKind::PartDelta => match first(properties) {
                Ok(delta) => EventBody::PartDelta(delta),
                Err(_) => EventBody::decode(envelope.kind, name, session, properties, skipped)?,
            },
            EventKind::SessionIdle => EventBody::SessionIdle,
            EventKind::SessionDeleted => EventBody::SessionDeleted,
            EventKind::Connected => EventBody::Connected,
            EventKind::Heartbeat => EventBody::Heartbeat,
            kind => EventBody::decode(kind, name, session, properties, skipped)?,
        };
        Ok(Self {
            session,
            directory: envelope
                .directory
                .and_then(|name| str::from_utf8(name).ok()),
            body,
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
    #[error("malformed properties: {0}")]
    Properties(String),
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

impl<'a> EventBody<'a> {
    fn decode(
        kind: EventKind,
        name: &'a str,
        session: Option<&str>,
        properties: &[u8],
        skipped: &mut Skipped,
    ) -> Result<Self, DecodeError> {
        let unreadable =
            |detail: &dyn std::fmt::Display| DecodeError::Properties(detail.to_string());
        let value = tolerant::value(properties, skipped).map_err(|error| unreadable(&error))?;
        let before = *skipped;
        if let Some(body) = Self::of(kind, session, value, name, skipped) {
            return Ok(body);
        }
        match kind {
            // Somebody may wait: what waits must be listed again.
            EventKind::QuestionAsked
            | EventKind::QuestionReplied
            | EventKind::QuestionRejected
            | EventKind::PermissionAsked
            | EventKind::PermissionReplied => Err(unreadable(&"no request is named")),
            _ => {
                if *skipped == before {
                    skipped.note(Oddity::Record);
                }
                Ok(Self::Other {
                    name,
                    properties: Value::Null,
                })
            }
        }
    }

    /// What the properties say. `None` when that is too little.
    fn of(
        kind: EventKind,
        session: Option<&str>,
        properties: Value,
        name: &'a str,
        skipped: &mut Skipped,
    ) -> Option<Self> {
        if matches!(kind, EventKind::Sync | EventKind::Other) {
            return Some(Self::Other { name, properties });
        }
        match kind {
            EventKind::PartDelta => {
                return PartDelta::read(properties, skipped).map(Self::PartDelta);
            }
            EventKind::QuestionAsked => {
                let asked = QuestionRequest::read(in_session(properties, session), skipped);
                return asked.map(|asked| Self::QuestionAsked(Box::new(asked)));
            }
            EventKind::PermissionAsked => {
                let asked = PermissionRequest::read(in_session(properties, session), skipped);
                return asked.map(|asked| Self::PermissionAsked(Box::new(asked)));
            }
            _ => {}
        }
        let mut fields = Fields::of(properties, skipped)?;
        Some(match kind {
            EventKind::PartUpdated => Self::PartUpdated(Box::new(fields.read("part")?)),
            EventKind::PartRemoved => Self::PartRemoved {
                part: fields.id("partID")?,
            },
            EventKind::MessageUpdated => Self::MessageUpdated(Box::new(fields.read("info")?)),
            EventKind::MessageRemoved => Self::MessageRemoved {
                message: fields.id("messageID")?,
            },
            EventKind::SessionStatus => Self::SessionStatus(fields.read("status")?),
            EventKind::SessionError => Self::SessionError(UpstreamError::from_json(
                &fields.take("error").unwrap_or_default(),
            )),
            EventKind::SessionCreated | EventKind::SessionUpdated => {
                Self::Session(Box::new(fields.read("info")?))
            }
            EventKind::TodoUpdated => Self::TodoUpdated(fields.list("todos")?),
            EventKind::QuestionReplied => Self::QuestionReplied {
                question: request_of(&mut fields)?,
                answers: answers(fields.take("answers")),
            },
            EventKind::QuestionRejected => Self::QuestionRejected {
                question: request_of(&mut fields)?,
            },
            EventKind::PermissionReplied => Self::PermissionReplied {
                permission: request_of(&mut fields)?,
                reply: fields
                    .text("reply")
                    .or_else(|| fields.text("response"))
                    .and_then(|word| PermissionReply::of(&word))
                    .unwrap_or(PermissionReply::Once),
            },
            _ => return None,
        })
    }
}

/// A request that does not say itself which session asks is of the event's.
fn in_session(mut properties: Value, session: Option<&str>) -> Value {
    if let (Value::Object(request), Some(session)) = (&mut properties, session)
        && !request.get("sessionID").is_some_and(Value::is_string)
    {
        request.insert("sessionID".to_owned(), session.into());
    }
    properties
}

/// The request that was answered. `permissionID` is how servers before 1.1 said it.
fn request_of<T: From<String>>(fields: &mut Fields<'_>) -> Option<T> {
    let names = ["requestID", "permissionID", "id"];
    let id = names.iter().find_map(|name| fields.id::<String>(name));
    id.map(T::from)
}

/// The labels or words, per question.
fn answers(value: Option<Value>) -> Vec<Vec<String>> {
    let Some(Value::Array(answers)) = value else {
        return Vec::new();
    };
    let words = |answer| match answer {
        Value::Array(words) => words.into_iter().map(tolerant::shown).collect(),
        Value::Null => Vec::new(),
        word => vec![tolerant::shown(word)],
    };
    answers.into_iter().map(words).collect()
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
            (event.session, &*delta.message, &*delta.part),
            (Some("s"), "m", "p")
        );
        assert!(matches!(delta.part, Cow::Borrowed(_)));
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
        // Nothing to go by, and nothing that waits.
        for odd in ["{}", "null", "[]", "7"] {
            let frame = format!(r#"{{"type":"message.updated","properties":{{"info":{odd}}}}}"#);
            let event = Event::decode(frame.as_bytes()).unwrap().unwrap();
            assert!(matches!(event.body, EventBody::Other { .. }), "{odd}");
        }
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
