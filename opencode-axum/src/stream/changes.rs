//! Our own encoding of a turn's stream: every change, as an event of a `text/event-stream`.
//!
//! An event's id is the [`Place`] behind it: the turn and the cursor. What a browser sends back as `Last-Event-ID` says
//! where `Host::live` goes on.

use std::fmt;
use std::str::FromStr;

use opencode_client::reply::View;
use opencode_host::id::TurnId;
use opencode_host::live::{Cursor, LiveEvent};
use serde::Serialize;
use serde_json::{Value, json};

use crate::bodies::Result as TurnResult;

/// A place in the stream of a turn, as the id of an event says it.
///
/// ```
/// use opencode_axum::stream::Place;
///
/// let id = "01890a5d-ac96-774b-bcce-b302099a8057.2-17";
/// let place: Place = id.parse()?;
/// assert_eq!(place.cursor.map(|cursor| cursor.sequence), Some(17));
/// assert_eq!(place.to_string(), id);
/// # Ok::<_, opencode_axum::stream::NotAPlace>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The turn.
    pub turn: TurnId,
    /// Where in its changes; `None` behind the end.
    pub cursor: Option<Cursor>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cursor {
            Some(cursor) => write!(f, "{}.{cursor}", self.turn),
            None => write!(f, "{}.end", self.turn),
        }
    }
}

/// A text is no place in the stream of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no id of an event: give one that the stream of this turn has answered with")]
pub struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let (turn, cursor) = text.split_once('.').ok_or(NotAPlace)?;
        let cursor = match cursor {
            "end" => None,
            cursor => Some(cursor.parse().map_err(|_| NotAPlace)?),
        };
        let turn = turn.parse().map_err(|_| NotAPlace)?;
        Ok(Self { turn, cursor })
    }
}

/// Returns an event of `Host::live` as an event of a `text/event-stream`, blank line included. Its id is the
/// [`Place`] behind it.
///
/// | event | data |
/// | --- | --- |
/// | `change` | the [`Change`](opencode_client::reply::Change) |
/// | `snapshot` | `{parts, requests, notice}`: the reply as a whole, in place of what was shown; `notice` may be null |
/// | `finished` | what came of the turn, as the route of its result says it; the last event |
/// | `deleted` | `{}`; the last event |
///
/// `None` for an event that this version does not know.
pub fn change_event(turn: TurnId, event: &LiveEvent) -> Option<String> {
    let at = |cursor| Place { turn, cursor };
    Some(match event {
        LiveEvent::Change { cursor, change } => written("change", at(Some(*cursor)), &**change),
        LiveEvent::Snapshot { cursor, view } => {
            written("snapshot", at(Some(*cursor)), &snapshot(view))
        }
        LiveEvent::Finished(result) => {
            written("finished", at(None), &TurnResult::from((**result).clone()))
        }
        LiveEvent::Deleted => written("deleted", at(None), &json!({})),
        _ => return None,
    })
}

/// A reply as a whole, as JSON.
pub(crate) fn snapshot(view: &View) -> Value {
    let parts: Vec<_> = view.parts().collect();
    let requests: Vec<_> = view.requests().collect();
    json!({"parts": parts, "requests": requests, "notice": view.notice()})
}

/// JSON on one line: it writes line ends within strings as `\n`.
fn written(name: &str, place: Place, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\nid: {place}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opencode_client::reply::{Change, PartKind, PersistedPart, SnapshotPart};
    use opencode_client::wire::Prompt;
    use opencode_host::clock::Timestamp;
    use opencode_host::outcome::Answer;
    use opencode_host::store::{Message, MessageRole, Turn, TurnState};
    use opencode_host::turn::TurnResult;

    use super::*;

    const CURSOR: Cursor = Cursor {
        generation: 2,
        sequence: 17,
    };

    /// The event's name, id and data, as a browser reads them.
    fn read(event: &LiveEvent) -> (String, Option<Cursor>, Value) {
        let event = change_event(turn(), event).unwrap();
        let lines: Vec<_> = event.strip_suffix("\n\n").unwrap().lines().collect();
        let [name, id, data] = lines[..] else {
            panic!("{event}")
        };
        let name = name.strip_prefix("event: ").unwrap();
        let place: Place = id.strip_prefix("id: ").unwrap().parse().unwrap();
        assert_eq!(place.turn, turn());
        let data = data.strip_prefix("data: ").unwrap();
        (
            name.to_owned(),
            place.cursor,
            serde_json::from_str(data).unwrap(),
        )
    }

    fn turn() -> TurnId {
        "00000000-0000-7000-8000-000000000001".parse().unwrap()
    }

    #[test]
    fn what_is_no_id_of_an_event_is_no_place() {
        let place = Place {
            turn: turn(),
            cursor: Some(CURSOR),
        };
        assert_eq!(place.to_string().parse(), Ok(place));
        let end = Place {
            cursor: None,
            ..place
        };
        assert_eq!(end.to_string().parse(), Ok(end));
        for bad in [
            "",
            ".",
            "1-42",
            "end",
            &format!("{}", turn()),
            &format!("{}.", turn()),
            &format!("{}.1", turn()),
            "x.1-42",
        ] {
            assert_eq!(bad.parse::<Place>(), Err(NotAPlace), "{bad}");
        }
    }

    #[test]
    fn a_change_comes_with_the_cursor_to_go_on_from() {
        let change = Change::PartDelta {
            part_id: "prt_1".into(),
            kind: PartKind::Text,
            delta: "two\nlines\r\n\nevent: forged".into(),
        };
        let event = LiveEvent::Change {
            cursor: CURSOR,
            change: Arc::new(change.clone()),
        };
        let (name, id, data) = read(&event);
        assert_eq!((name.as_str(), id), ("change", Some(CURSOR)));
        assert_eq!(serde_json::from_value::<Change<'_>>(data).unwrap(), change);
    }

    #[test]
    fn a_snapshot_is_the_reply_as_a_whole() {
        let part = SnapshotPart {
            part_id: "prt_1".into(),
            part: PersistedPart::Text {
                content: "Half\n".to_owned(),
            },
        };
        let event = LiveEvent::Snapshot {
            cursor: CURSOR,
            view: View::new([part], []),
        };
        let parts = json!([{"part_id": "prt_1", "part": {"type": "text", "content": "Half\n"}}]);
        let whole = json!({"parts": parts, "requests": [], "notice": null});
        assert_eq!(read(&event), ("snapshot".to_owned(), Some(CURSOR), whole));
    }

    #[test]
    fn the_end_says_how_it_ended_and_with_what() {
        let at = Timestamp(1_800_000_000_000);
        let id = self::turn();
        let conversation = "00000000-0000-7000-8000-000000000002".parse().unwrap();
        let message = "00000000-0000-7000-8000-000000000003".parse().unwrap();
        let prompt = Prompt::text("Go");
        let mut turn = Turn::new(id, conversation, message, message, prompt, at);
        turn.state = TurnState::NeverStarted { at, settled: true };
        let mut answered = Message::new(message, conversation, id, MessageRole::Assistant, at);
        answered.answer = Answer::text("All of it");
        let result = TurnResult::of(&turn, &answered, Vec::new()).unwrap();
        let (name, id, data) = read(&LiveEvent::Finished(Box::new(result.clone())));
        assert_eq!((name.as_str(), id), ("finished", None));
        assert_eq!(data["message"], result.message.to_string());
        assert_eq!(data["status"], "cancelled");
        assert_eq!(data["answer"]["content"], "All of it");
    }

    #[test]
    fn a_deleted_turn_ends_the_stream_without_a_cursor() {
        let end = read(&LiveEvent::Deleted);
        assert_eq!(end, ("deleted".to_owned(), None, json!({})));
    }
}
