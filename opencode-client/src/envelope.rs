//! The envelope of an event: its type, and the session it is about.
//!
//! Most events on a server's stream belong to sessions nobody here listens to.
//! Telling whose an event is must therefore cost less than reading it: this
//! walks the JSON only as far as the type and the session, keeps slices of the
//! frame, and allocates nothing.
//!
//! Seen forms: `{"type","properties"}` on `/event`, the same under `payload`
//! with `directory` and `project` beside it on `/global/event`. The session is
//! `properties.sessionID`; servers before 1.14 have it only inside
//! `properties.info` or `properties.part`.

/// What kind of event a frame holds: each is the event of the same name on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    PartDelta,
    PartUpdated,
    PartRemoved,
    MessageUpdated,
    MessageRemoved,
    SessionStatus,
    SessionIdle,
    SessionError,
    SessionCreated,
    SessionUpdated,
    SessionDeleted,
    TodoUpdated,
    QuestionAsked,
    QuestionReplied,
    QuestionRejected,
    PermissionAsked,
    PermissionReplied,
    Connected,
    Heartbeat,
    /// `/global/event` repeats durable events under this type: always skipped.
    Sync,
    /// Kept as raw JSON.
    Other,
}

impl EventKind {
    fn of(name: &[u8]) -> Self {
        match name {
            b"message.part.delta" => Self::PartDelta,
            b"message.part.updated" => Self::PartUpdated,
            b"message.part.removed" => Self::PartRemoved,
            b"message.updated" => Self::MessageUpdated,
            b"message.removed" => Self::MessageRemoved,
            b"session.status" => Self::SessionStatus,
            b"session.idle" => Self::SessionIdle,
            b"session.error" => Self::SessionError,
            b"session.created" => Self::SessionCreated,
            b"session.updated" => Self::SessionUpdated,
            b"session.deleted" => Self::SessionDeleted,
            b"todo.updated" => Self::TodoUpdated,
            b"question.asked" => Self::QuestionAsked,
            b"question.replied" => Self::QuestionReplied,
            b"question.rejected" => Self::QuestionRejected,
            // `permission.updated` is how servers before 1.1 asked.
            b"permission.asked" | b"permission.updated" => Self::PermissionAsked,
            b"permission.replied" => Self::PermissionReplied,
            b"server.connected" => Self::Connected,
            b"server.heartbeat" => Self::Heartbeat,
            b"sync" => Self::Sync,
            _ => Self::Other,
        }
    }

    /// Whether the event names a session's family.
    pub(crate) fn is_birth(self) -> bool {
        matches!(self, Self::SessionCreated | Self::SessionUpdated)
    }
}

/// Where in a frame its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    /// The event's type.
    pub kind: EventKind,
    /// The type as it stands in the frame.
    pub name: &'a [u8],
    /// The session it is about, if any.
    pub session: Option<&'a [u8]>,
    /// The folder that `/global/event` says it is of, as it stands in the frame.
    pub directory: Option<&'a [u8]>,
    /// Where `properties` starts in the frame.
    pub properties: usize,
}

/// The frame is not an event: not JSON as far as it was looked at, or without a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame is not an event")]
pub struct NotAnEvent;

/// Reads the envelope of a frame.
///
/// # Errors
/// [`NotAnEvent`]. A frame that is broken behind its envelope passes here and
/// fails when it is decoded.
pub(crate) fn scan(frame: &[u8]) -> Result<Envelope<'_>, NotAnEvent> {
    let mut scanner = Scanner {
        bytes: frame,
        at: 0,
    };
    let mut found = Found::default();
    let mut directory = None;
    scanner.object(|scanner, key| {
        scanner.space();
        if key == b"directory" && scanner.peek() == Some(b'"') {
            directory = Some(scanner.string()?);
            return Ok(false);
        }
        if key == b"payload" {
            if scanner.peek() == Some(b'{') {
                scanner.object(|scanner, key| found.event_key(scanner, key))?;
                return Ok(found.is_complete());
            }
            scanner.skip_value()?;
            return Ok(false);
        }
        found.event_key(scanner, key)
    })?;
    let name = found.name.ok_or(NotAnEvent)?;
    Ok(Envelope {
        kind: EventKind::of(name),
        name,
        session: found.session.or(found.nested_session),
        directory,
        properties: found.properties.unwrap_or(frame.len()),
    })
}

#[derive(Default)]
struct Found<'a> {
    name: Option<&'a [u8]>,
    properties: Option<usize>,
    session: Option<&'a [u8]>,
    nested_session: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    /// Whether nothing further in the frame can matter.
    fn is_complete(&self) -> bool {
        self.name.is_some() && (self.session.is_some() || self.name == Some(b"sync"))
    }

    fn event_key(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<bool, NotAnEvent> {
        scanner.space();
        match (key, scanner.peek()) {
            (b"type", Some(b'"')) => self.name = Some(scanner.string()?),
            (b"properties", Some(b'{')) => {
                self.properties = Some(scanner.at);
                scanner.object(|scanner, key| self.property(scanner, key))?;
            }
            _ => scanner.skip_value()?,
        }
        Ok(self.is_complete())
    }

    fn property(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<bool, NotAnEvent> {
        scanner.space();
        match (key, scanner.peek()) {
            (b"sessionID", Some(b'"')) => self.session = Some(scanner.string()?),
            (b"info" | b"part", Some(b'{')) if self.session.is_none() => {
                let mut own_id = None;
                let mut session = None;
                scanner.object(|scanner, inner| {
                    scanner.space();
                    match (inner, scanner.peek()) {
                        (b"sessionID", Some(b'"')) => session = Some(scanner.string()?),
                        (b"id", Some(b'"')) => own_id = Some(scanner.string()?),
                        _ => scanner.skip_value()?,
                    }
                    Ok(false)
                })?;
                // `info` of a session event is the session itself.
                let own_id = own_id.filter(|id| id.starts_with(b"ses_"));
                self.nested_session = session.or(own_id).or(self.nested_session);
            }
            _ => scanner.skip_value()?,
        }
        Ok(self.is_complete())
    }
}

/// A walk over JSON that skips what nobody asks about.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotAnEvent> {
        self.space();
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(NotAnEvent)
    }

    /// A string's content as it stands in the frame, escapes and all: types and
    /// ids have none.
    fn string(&mut self) -> Result<&'a [u8], NotAnEvent> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let found = memchr::memchr2(b'"', b'\\', &self.bytes[self.at..]).ok_or(NotAnEvent)?;
            self.at += found;
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Ok(&self.bytes[start..self.at - 1]);
            }
            // Past the backslash and what it escapes.
            self.at += 2;
            if self.at > self.bytes.len() {
                return Err(NotAnEvent);
            }
        }
    }

    /// Walks an object's keys; `visit` consumes each value and answers whether to stop.
    fn object(
        &mut self,
        mut visit: impl FnMut(&mut Self, &'a [u8]) -> Result<bool, NotAnEvent>,
    ) -> Result<(), NotAnEvent> {
        self.expect(b'{')?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.expect(b':')?;
            if visit(self, key)? {
                return Ok(());
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(NotAnEvent),
            }
        }
    }

    /// Skips one value, without recursion: depth comes from outside.
    fn skip_value(&mut self) -> Result<(), NotAnEvent> {
        let mut depth = 0usize;
        loop {
            self.space();
            match self.peek().ok_or(NotAnEvent)? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or(NotAnEvent)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                // `NaN` and `Infinity` are no JSON, but no reason to lose the event.
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b'N' | b'I' => {
                    while matches!(
                        self.peek(),
                        Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E' | b'N' | b'I')
                    ) {
                        self.at += 1;
                    }
                }
                _ => return Err(NotAnEvent),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn session_of(value: &Value) -> Option<String> {
        let text = value.to_string();
        let envelope = scan(text.as_bytes()).unwrap();
        envelope
            .session
            .map(|id| String::from_utf8_lossy(id).into_owned())
    }

    #[test]
    fn both_forms_old_and_new() {
        let event = json!({"id":"evt_1","type":"session.idle","properties":{"sessionID":"ses_1"}});
        assert_eq!(session_of(&event).as_deref(), Some("ses_1"));
        let wrapped = json!({"directory":"/a","project":"global","payload":event});
        assert_eq!(session_of(&wrapped).as_deref(), Some("ses_1"));
        let old = json!({"type":"message.updated","properties":{"info":{"id":"msg_1","sessionID":"ses_2"}}});
        assert_eq!(session_of(&old).as_deref(), Some("ses_2"));
        let old = json!({"type":"session.updated","properties":{"info":{"id":"ses_3","parentID":"ses_4"}}});
        assert_eq!(session_of(&old).as_deref(), Some("ses_3"));
        let bare = json!({"payload":{"type":"server.connected","properties":{}}});
        assert_eq!(session_of(&bare), None);
    }

    #[test]
    fn the_folder_that_an_event_is_of() {
        let of = |frame: &Value| {
            let text = frame.to_string();
            let directory = scan(text.as_bytes()).unwrap().directory;
            directory.map(|name| String::from_utf8_lossy(name).into_owned())
        };
        let event =
            json!({"type":"session.idle","properties":{"sessionID":"ses_1","directory":"/no"}});
        assert_eq!(of(&event), None);
        let wrapped = json!({"directory":"/a","project":"global","payload":event});
        assert_eq!(of(&wrapped).as_deref(), Some("/a"));
        let odd = json!({"directory":null,"payload":event});
        assert_eq!(of(&odd), None);
    }

    #[test]
    fn a_session_named_inside_text_is_no_session() {
        let event = json!({"type":"x","properties":{"text":"\"sessionID\":\"ses_no\"","list":[{"sessionID":"ses_no"}]}});
        assert_eq!(session_of(&event), None);
    }

    #[test]
    fn a_truncated_frame_still_tells_whose_it_was() {
        let text = r#"{"payload":{"type":"message.part.updated","properties":{"sessionID":"ses_1","part":{"te"#;
        let envelope = scan(text.as_bytes()).unwrap();
        assert_eq!(
            (envelope.kind, envelope.session),
            (EventKind::PartUpdated, Some(&b"ses_1"[..]))
        );
    }

    #[test]
    fn what_is_no_event() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            "{\"type\":1}",
            "{\"type\":\"x\"",
            "<html>",
            "{\"a\":]}",
            "{\"type\":\"\\",
        ] {
            assert_eq!(scan(text.as_bytes()), Err(NotAnEvent), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(drawn in prop::collection::vec(any::<[u8; 2]>(), 0..80)) {
            // Most of them mean something.
            let meaning = b"{}\":,\\[";
            let byte = |[which, any]: &[u8; 2]| *meaning.get(usize::from(*which) % (meaning.len() + 1)).unwrap_or(any);
            let bytes: Vec<u8> = drawn.iter().map(byte).collect();
            let _ = scan(&bytes);
            let mut prefixed = br#"{"type":"x","properties":{"#.to_vec();
            prefixed.extend(&bytes);
            let _ = scan(&prefixed);
        }

        #[test]
        fn agrees_with_a_full_parse(text in ".{0,40}", number in any::<f64>(), before in any::<bool>()) {
            let mut properties = serde_json::Map::new();
            properties.insert("a".into(), json!({"deep":[text, number, {"sessionID": text}]}));
            properties.insert(if before { "0" } else { "z" }.into(), json!([null, true, -1.5e10, text]));
            properties.insert("sessionID".into(), json!("ses_1"));
            let event = json!({"id": text, "type":"session.idle","properties":properties});
            prop_assert_eq!(session_of(&event), Some("ses_1".to_owned()));
            prop_assert_eq!(session_of(&json!({"directory":text,"payload":event})), Some("ses_1".to_owned()));
        }
    }
}
