//! Our own encoding of a turn's stream: every change, as an event of a `text/event-stream`.
//!
//! An event's id is the cursor behind it. What a browser sends back as `Last-Event-ID` is where `Host::live` goes on.

use opencode_host::live::{Cursor, LiveEvent};
use serde::Serialize;
use serde_json::json;

/// Returns an event of `Host::live` as an event of a `text/event-stream`, blank line included.
///
/// | event | id | data |
/// | --- | --- | --- |
/// | `change` | cursor | the [`Change`](opencode_client::reply::Change) |
/// | `snapshot` | cursor | `{parts, requests, notice}`: the reply as a whole, in place of what was shown; `notice` may be null |
/// | `finished` | | `{turn, conversation, message, status, answer}`; the last event |
/// | `deleted` | | `{}`; the last event |
///
/// `None` for an event that this version does not know.
pub fn change_event(event: &LiveEvent) -> Option<String> {
    Some(match event {
        LiveEvent::Change { cursor, change } => written("change", Some(*cursor), &**change),
        LiveEvent::Snapshot { cursor, view } => {
            let parts: Vec<_> = view.parts().collect();
            let requests: Vec<_> = view.requests().collect();
            let whole = json!({"parts": parts, "requests": requests, "notice": view.notice()});
            written("snapshot", Some(*cursor), &whole)
        }
        LiveEvent::Finished(result) => {
            let end = json!({
                "turn": result.turn,
                "conversation": result.conversation,
                "message": result.message,
                "status": result.status,
                "answer": result.answer,
            });
            written("finished", None, &end)
        }
        LiveEvent::Deleted => written("deleted", None, &json!({})),
        _ => return None,
    })
}

/// JSON on one line: it writes line ends within strings as `\n`.
fn written(name: &str, cursor: Option<Cursor>, data: &impl Serialize) -> String {
    let id = cursor.map(|cursor| format!("id: {cursor}\n"));
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\n{}data: {data}\n\n", id.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opencode_client::reply::{Change, PartKind, PersistedPart, SnapshotPart, View};
    use opencode_client::wire::Prompt;
    use opencode_host::clock::Timestamp;
    use opencode_host::outcome::Answer;
    use opencode_host::store::{Message, MessageRole, Turn, TurnState};
    use opencode_host::turn::TurnResult;
    use serde_json::Value;

    use super::*;

    const CURSOR: Cursor = Cursor {
        generation: 2,
        sequence: 17,
    };

    /// The event's name, id and data, as a browser reads them.
    fn read(event: &LiveEvent) -> (String, Option<Cursor>, Value) {
        let event = change_event(event).unwrap();
        let mut lines = event.strip_suffix("\n\n").unwrap().lines();
        let name = lines.next().unwrap().strip_prefix("event: ").unwrap();
        let rest: Vec<_> = lines.collect();
        let (id, data) = match rest[..] {
            [data] => (None, data),
            [id, data] => (id.strip_prefix("id: "), data),
            _ => panic!("{event}"),
        };
        let data = data.strip_prefix("data: ").unwrap();
        (
            name.to_owned(),
            id.map(|id| id.parse().unwrap()),
            serde_json::from_str(data).unwrap(),
        )
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
        let id = "00000000-0000-7000-8000-000000000001".parse().unwrap();
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
