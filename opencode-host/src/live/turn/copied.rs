//! A copy of a turn, whatever becomes of the messages on their way.

use std::collections::VecDeque;

use opencode_client::reply::{Change, PartKind, PersistedPart, View};
use proptest::prelude::*;

use super::*;
use crate::live::message;

/// What may be done next.
#[derive(Clone, Debug)]
enum Act {
    /// The reply changes.
    Change(u8),
    /// What is new is sent.
    Send,
    /// The message at this place among those on their way comes, and is sent again where that is said.
    Come { at: usize, again: bool },
    /// That message is lost.
    Lose(usize),
    /// Another claim of the turn begins, with what there was or with nothing.
    TakeOver { anew: bool },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => any::<u8>().prop_map(Act::Change),
        4 => Just(Act::Send),
        4 => (0_usize..4, any::<bool>()).prop_map(|(at, again)| Act::Come { at, again }),
        1 => (0_usize..4).prop_map(Act::Lose),
        1 => any::<bool>().prop_map(|anew| Act::TakeOver { anew }),
    ]
}

fn change(of: u8) -> Change<'static> {
    let part_id = format!("p{}", of % 3).into();
    match of % 7 {
        0 => Change::PartAdded {
            part_id,
            part: PersistedPart::Text {
                content: String::new(),
            },
        },
        1 => Change::PartRemoved { part_id },
        _ => Change::PartDelta {
            part_id,
            kind: PartKind::Text,
            delta: format!("{of} ").into(),
        },
    }
}

fn text(view: &View) -> Vec<(String, PersistedPart)> {
    let parts = view.parts();
    parts
        .map(|part| (part.part_id.to_string(), part.part.clone()))
        .collect()
}

/// What the node that runs the turn has had, by place.
type History = std::collections::HashMap<Cursor, Vec<(String, PersistedPart)>>;

fn seen(turn: &LiveTurn, history: &mut History) {
    let state = turn.lock();
    history.insert(state.now(), text(&state.view));
}

/// A watcher of the copy, which shows what it is told.
#[derive(Default)]
struct Watcher {
    cursor: Cursor,
    view: View,
}

impl Watcher {
    fn look(&mut self, copy: &LiveTurn, history: &History) {
        let mut events = VecDeque::new();
        copy.missed(self.cursor, &mut events);
        for event in events {
            match event {
                LiveEvent::Change { cursor, change } => {
                    assert_eq!(
                        cursor.sequence,
                        self.cursor.sequence + 1,
                        "each change once"
                    );
                    self.view.apply(&change);
                    self.cursor = cursor;
                }
                LiveEvent::Snapshot { cursor, view } => {
                    assert!(cursor > self.cursor, "never backwards");
                    (self.cursor, self.view) = (cursor, view);
                }
                other => panic!("{other:?}"),
            }
        }
        if self.cursor != Cursor::START {
            assert_eq!(
                text(&self.view),
                history[&self.cursor],
                "at {}",
                self.cursor
            );
        }
    }
}

proptest! {
    #[test]
    fn a_watcher_of_a_copy_shows_what_was_at_its_cursor(acts in prop::collection::vec(act(), 1..200)) {
        let (here, there) = (LiveTurn::default(), LiveTurn::default());
        let (mut history, mut watcher) = (History::new(), Watcher::default());
        let (mut sent, mut generation, mut asked) = (Cursor::START, 1, true);
        let mut on_the_way: Vec<(u64, String)> = Vec::new();
        here.start(generation);
        let mut send = |here: &LiveTurn, asked: &mut bool, on_the_way: &mut Vec<(u64, String)>| {
            if let Some(out) = here.outgoing(sent, std::mem::take(asked)) {
                sent = out.cursor;
                on_the_way.push((out.place.generation, message::write(out.body)));
            }
        };
        let come = |(generation, text): &(u64, String)| {
            let body = message::read(text).unwrap();
            there.apply(*generation, body)
        };
        for act in acts {
            match act {
                Act::Change(of) => here.push(&change(of)),
                Act::Send => send(&here, &mut asked, &mut on_the_way),
                Act::Come { at, again } if !on_the_way.is_empty() => {
                    let at = at % on_the_way.len();
                    let message = if again { on_the_way[at].clone() } else { on_the_way.remove(at) };
                    asked |= come(&message) == Applied::Gap;
                }
                Act::Lose(at) if !on_the_way.is_empty() => {
                    on_the_way.remove(at % on_the_way.len());
                }
                Act::TakeOver { anew } => {
                    let before = here.lock().view.clone();
                    generation += 1;
                    here.start(generation);
                    if !anew {
                        let state = &mut *here.lock();
                        let parts = before.parts().map(|part| opencode_client::reply::SnapshotPart {
                            part_id: part.part_id.clone(),
                            part: part.part.clone(),
                        });
                        state.view.replace(parts, []);
                    }
                    asked = true;
                }
                Act::Come { .. } | Act::Lose(_) => {}
            }
            seen(&here, &mut history);
            watcher.look(&there, &history);
        }
        // What is asked for at last comes, and is exact.
        asked = true;
        send(&here, &mut asked, &mut on_the_way);
        if let Some(last) = on_the_way.last() {
            come(last);
        }
        watcher.look(&there, &history);
        if here.lock().view.revision() > 0 {
            prop_assert_eq!(watcher.cursor, here.lock().now());
            prop_assert_eq!(text(&watcher.view), text(&here.lock().view));
        }
    }
}
