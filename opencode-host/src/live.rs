//! The changes of running turns, for whoever watches.
//!
//! Each change has a number in its turn. A watcher that comes back with the
//! number it saw last gets exactly what it missed, or the reply as a whole when
//! that is too long ago. A slow watcher is never waited for and never queued
//! for without bound: it gets the whole instead.

mod cursor;
mod kept;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use opencode_client::Reply;
use opencode_client::reply::{
    Change, Observer, ObserverError, PendingRequest, PersistedPart, SnapshotPart,
};
use tokio::sync::watch;

pub use cursor::{Cursor, NotACursor};

use self::kept::KeptChanges;
use crate::id::TurnId;

/// What a watcher is told.
#[derive(Clone, Debug)]
pub enum LiveEvent {
    /// The next change.
    Change {
        /// Where the watcher is then.
        cursor: Cursor,
        /// The change.
        change: Arc<Change<'static>>,
    },
    /// The reply as a whole: forget what was shown before.
    Snapshot {
        /// Where the watcher is then.
        cursor: Cursor,
        /// Every part, in order.
        parts: Vec<SnapshotPart>,
        /// What waits for a person.
        requests: Vec<PendingRequest>,
    },
    /// The turn is settled: its rows say the rest.
    Finished,
}

/// The turns that run in this process, or are watched in it.
#[derive(Debug, Default)]
pub(crate) struct LiveTurns {
    turns: Mutex<HashMap<TurnId, Weak<LiveTurn>>>,
}

impl LiveTurns {
    /// The turn, made when nobody has it yet. It is gone with its last holder.
    pub(crate) fn turn(&self, id: TurnId) -> Arc<LiveTurn> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&id).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= 64 && turns.len().is_power_of_two() {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(LiveTurn::default());
        turns.insert(id, Arc::downgrade(&turn));
        turn
    }
}

/// The changes of one turn.
#[derive(Debug)]
pub(crate) struct LiveTurn {
    state: Mutex<State>,
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Which claim of the turn runs here; 0 when none does.
    generation: u64,
    sequence: u64,
    parts: Vec<SnapshotPart>,
    requests: Vec<PendingRequest>,
    kept: KeptChanges,
    finished: bool,
    /// The server is out of reach. No change of the reply: it stays as it is.
    unreachable: bool,
}

impl Default for LiveTurn {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            moved: watch::Sender::new(0),
        }
    }
}

impl LiveTurn {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is applied in full or not begun: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim of the turn starts here.
    pub(crate) fn start(&self, generation: u64) {
        let mut state = self.lock();
        *state = State {
            generation,
            ..State::default()
        };
        drop(state);
        self.moved.send_modify(|moves| *moves += 1);
    }

    /// The reply starts over, or goes on from a checkpoint.
    pub(crate) fn reset(&self, reply: &Reply) {
        let parts = reply.snapshot();
        // A run that begins with nothing says nothing: a watcher that looks late still gets every change.
        let says_something = !parts.is_empty() || !reply.requests().is_empty();
        // Before the snapshot: whoever wakes for it sees what waits for a person too.
        let begun = {
            let mut state = self.lock();
            state.requests = reply.requests().iter().cloned().collect();
            state.sequence > 0
        };
        if begun || says_something {
            self.push(&Change::Snapshot { parts });
        }
    }

    /// An observer that publishes a reply's changes here.
    pub(crate) fn observer(self: &Arc<Self>) -> impl Observer + 'static {
        Publisher(Arc::clone(self))
    }

    fn push(&self, change: &Change<'_>) {
        let mut state = self.lock();
        state.fold(change);
        state.sequence += 1;
        state.kept.push(change);
        drop(state);
        self.moved.send_modify(|moves| *moves += 1);
    }

    /// The server is out of reach, or back.
    pub(crate) fn set_unreachable(&self, unreachable: bool) {
        self.lock().unreachable = unreachable;
        self.moved.send_modify(|moves| *moves += 1);
    }

    pub(crate) fn is_unreachable(&self) -> bool {
        self.lock().unreachable
    }

    /// The turn is settled.
    pub(crate) fn finish(&self) {
        self.lock().finished = true;
        self.moved.send_modify(|moves| *moves += 1);
    }

    /// The claim ended without the turn's end: nothing more comes from here.
    pub(crate) fn leave(&self) {
        self.lock().generation = 0;
        self.moved.send_modify(|moves| *moves += 1);
    }

    /// Whether a claim of the turn runs here.
    pub(crate) fn is_local(&self) -> bool {
        let state = self.lock();
        state.generation > 0 || state.finished
    }

    /// What a watcher at `cursor` has missed.
    pub(crate) fn missed(&self, cursor: Cursor, events: &mut VecDeque<LiveEvent>) {
        let state = self.lock();
        // A run that has not said anything yet has nothing to replace what was shown.
        let begun = state.generation > 0 && state.sequence > 0;
        if begun && (cursor.generation != state.generation || cursor.sequence < state.sequence) {
            let at = |sequence| Cursor {
                generation: state.generation,
                sequence,
            };
            let first = state.sequence - state.kept.len() as u64;
            let behind = cursor.generation == state.generation && cursor.sequence >= first;
            let fresh = cursor == Cursor::START && first == 0;
            if behind || fresh {
                let seen = if behind { cursor.sequence - first } else { 0 };
                let missed = state
                    .kept
                    .after(usize::try_from(seen).unwrap_or(usize::MAX));
                events.extend((first + seen + 1..).zip(missed).map(|(sequence, change)| {
                    LiveEvent::Change {
                        cursor: at(sequence),
                        change,
                    }
                }));
            } else {
                events.push_back(LiveEvent::Snapshot {
                    cursor: at(state.sequence),
                    parts: state.parts.clone(),
                    requests: state.requests.clone(),
                });
            }
        }
        if state.finished {
            events.push_back(LiveEvent::Finished);
        }
    }

    /// Hears of every move from now on.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }
}

impl State {
    /// Keeps the whole that late watchers get.
    fn fold(&mut self, change: &Change<'_>) {
        match change {
            Change::PartAdded { part_id, part } => {
                self.parts.push(SnapshotPart {
                    part_id: part_id.as_ref().to_owned(),
                    part: part.clone(),
                });
            }
            Change::PartDelta { part_id, delta, .. } => {
                let grown = self
                    .parts
                    .iter_mut()
                    .rev()
                    .find(|known| known.part_id == *part_id);
                if let Some(SnapshotPart {
                    part: PersistedPart::Text { content } | PersistedPart::Reasoning { content },
                    ..
                }) = grown
                {
                    content.push_str(delta);
                }
            }
            Change::PartReplaced { part_id, part }
            | Change::PartFinal { part_id, part }
            | Change::Tool { part_id, part } => {
                if let Some(known) = self
                    .parts
                    .iter_mut()
                    .rev()
                    .find(|known| known.part_id == *part_id)
                {
                    known.part = part.clone();
                }
            }
            Change::PartRemoved { part_id } => self.parts.retain(|known| known.part_id != *part_id),
            Change::Snapshot { parts } => self.parts.clone_from(parts),
            Change::Question { request } => self
                .requests
                .push(PendingRequest::Question(request.clone())),
            Change::Permission { request } => self
                .requests
                .push(PendingRequest::Permission(request.clone())),
            Change::QuestionReplied { request_id, .. }
            | Change::QuestionRejected { request_id }
            | Change::PermissionReplied { request_id, .. } => {
                self.requests.retain(|request| request.id() != request_id);
            }
            _ => {}
        }
    }
}

#[derive(Debug)]
struct Publisher(Arc<LiveTurn>);

impl Observer for Publisher {
    fn changed(&mut self, change: &Change<'_>) -> Result<(), ObserverError> {
        self.0.push(change);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::kept::MOST_CHANGES;
    use super::*;
    use opencode_client::reply::Checkpoint;

    fn text(content: &str) -> PersistedPart {
        PersistedPart::Text {
            content: content.to_owned(),
        }
    }

    fn delta(delta: &str) -> Change<'static> {
        Change::PartDelta {
            part_id: "p".into(),
            kind: "text".into(),
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
            let [LiveEvent::Snapshot { cursor, parts, .. }] = &events[..] else {
                panic!("{events:?}")
            };
            assert_eq!(parts[0].part, text(&"x".repeat(MOST_CHANGES + 1)));
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
            matches!(&missed(&turn, seen)[..], [LiveEvent::Snapshot { parts, .. }] if parts.len() == 1)
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
}
