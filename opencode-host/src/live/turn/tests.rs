//! What a watcher is told of a turn, wherever it was.

use opencode_client::reply::{PartKind, PersistedPart};

use super::*;
use crate::live::cursor::NotACursor;
use crate::live::kept::MOST_CHANGES;

fn text(content: &str) -> PersistedPart {
    PersistedPart::Text {
        content: content.to_owned(),
    }
}

fn delta(delta: &str) -> Change<'static> {
    Change::PartDelta {
        part_id: "p".into(),
        kind: PartKind::Text,
        delta: delta.to_owned().into(),
    }
}

fn missed(turn: &LiveTurn, cursor: Cursor) -> Vec<LiveEvent> {
    let mut events = VecDeque::new();
    turn.missed(cursor, &mut events);
    events.into()
}

fn running() -> LiveTurn {
    let turn = LiveTurn::default();
    turn.start(3);
    turn.push(&Change::PartAdded {
        part_id: "p".into(),
        part: text(""),
    });
    turn
}

#[test]
fn a_watcher_that_looks_late_gets_every_change_of_a_fresh_run() {
    let turn = LiveTurn::default();
    turn.start(1);
    let empty = Reply::restore("ses_1".into(), "msg_1".into(), Checkpoint::default());
    turn.reset(&empty);
    turn.push(&delta("a"));
    turn.push(&delta("b"));
    let events = missed(&turn, Cursor::START);
    assert!(
        matches!(
            events[..],
            [LiveEvent::Change { .. }, LiveEvent::Change { .. }]
        ),
        "{events:?}"
    );
    // A reply that starts over in the middle replaces what was shown.
    turn.reset(&empty);
    let events = missed(&turn, Cursor::START);
    assert!(
        matches!(events[..], [LiveEvent::Snapshot { .. }]),
        "{events:?}"
    );
}

#[test]
fn a_watcher_gets_exactly_what_it_missed() {
    let turn = running();
    turn.push(&delta("a"));
    turn.push(&delta("b"));
    assert_eq!(missed(&turn, Cursor::START).len(), 3);
    let events = missed(
        &turn,
        Cursor {
            generation: 3,
            sequence: 2,
        },
    );
    let [LiveEvent::Change { cursor, change }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (*cursor, &**change),
        (
            Cursor {
                generation: 3,
                sequence: 3
            },
            &delta("b")
        )
    );
    assert!(missed(&turn, *cursor).is_empty());
}

#[test]
fn a_watcher_too_far_behind_gets_the_whole() {
    let turn = running();
    for _ in 0..=MOST_CHANGES {
        turn.push(&delta("x"));
    }
    for cursor in [
        Cursor::START,
        Cursor {
            generation: 3,
            sequence: 1,
        },
        Cursor {
            generation: 2,
            sequence: 900,
        },
    ] {
        let events = missed(&turn, cursor);
        let [LiveEvent::Snapshot { cursor, view }] = &events[..] else {
            panic!("{events:?}")
        };
        let first = view.parts().next().map(|part| &part.part);
        assert_eq!(first, Some(&text(&"x".repeat(MOST_CHANGES + 1))));
        assert!(missed(&turn, *cursor).is_empty());
    }
}

#[test]
fn a_run_that_takes_over_replaces_nothing_before_it_has_something() {
    let turn = running();
    let seen = Cursor {
        generation: 3,
        sequence: 1,
    };
    turn.start(4);
    assert!(missed(&turn, seen).is_empty());
    turn.push(&Change::PartAdded {
        part_id: "p".into(),
        part: text("half"),
    });
    assert!(
        matches!(&missed(&turn, seen)[..], [LiveEvent::Snapshot { view, .. }] if view.parts().len() == 1)
    );
}

#[test]
fn cursors_are_text() {
    let cursor = Cursor {
        generation: 2,
        sequence: 17,
    };
    assert_eq!(cursor.to_string().parse(), Ok(cursor));
    for bad in ["", "1", "-", "a-1", "1-2-3"] {
        assert_eq!(bad.parse::<Cursor>(), Err(NotACursor), "{bad}");
    }
}
