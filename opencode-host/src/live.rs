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
use opencode_client::reply::{Change, Notice, Observer, ObserverError, View};
use tokio::sync::watch;

pub use cursor::{Cursor, NotACursor};

use self::kept::KeptChanges;
use crate::id::TurnId;
use crate::turn::TurnResult;

/// What a watcher is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
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
        /// The reply.
        view: View,
    },
    /// The turn is settled, or was cancelled before it was prompted. The last event.
    Finished(Box<TurnResult>),
    /// The conversation was deleted while the turn was watched. The last event.
    Deleted,
}

/// What people are told while the server is out of reach.
pub(crate) const UNREACHABLE: &str = "OpenCode cannot be reached; trying again.";

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
    /// The reply as it is. Its revision is the number of the last change.
    view: View,
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
        let (parts, requests) = (reply.snapshot(), reply.requests());
        let mut state = self.lock();
        // A run that begins with nothing says nothing: a watcher that looks late still gets every change.
        if state.view.revision() == 0 && parts.is_empty() && requests.is_empty() {
            return;
        }
        state.view.replace(parts, requests.iter().cloned());
        state.kept.clear();
        drop(state);
        self.moved.send_modify(|moves| *moves += 1);
    }

    /// An observer that publishes a reply's changes here.
    pub(crate) fn observer(self: &Arc<Self>) -> impl Observer + 'static {
        Publisher(Arc::clone(self))
    }

    fn push(&self, change: &Change<'_>) {
        let mut state = self.lock();
        state.view.apply(change);
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

    /// Nothing more comes of the turn.
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

    /// What a watcher at `cursor` has missed, and whether the turn is settled.
    pub(crate) fn missed(&self, cursor: Cursor, events: &mut VecDeque<LiveEvent>) -> bool {
        let state = self.lock();
        if let Some(now) = state.after(cursor) {
            let at = |sequence| Cursor { sequence, ..now };
            let first = now.sequence - state.kept.len() as u64;
            let behind = cursor.generation == now.generation && cursor.sequence >= first;
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
                    cursor: now,
                    view: state.view.clone(),
                });
            }
        }
        state.finished
    }

    /// The reply as it is now, where a run of the turn here has begun to say something.
    pub(crate) fn view(&self) -> Option<(Cursor, View)> {
        let state = self.lock();
        let cursor = state.after(Cursor::START)?;
        let mut view = state.view.clone();
        if state.unreachable {
            view.set_notice(Some(unreachable()));
        }
        Some((cursor, view))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Hears of every move from now on.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }
}

impl State {
    /// Where the run is, unless a watcher at `cursor` is there too, or the run has not said anything: it has nothing
    /// then to replace what was shown.
    fn after(&self, cursor: Cursor) -> Option<Cursor> {
        let now = Cursor {
            generation: self.generation,
            sequence: self.view.revision(),
        };
        let is_there = cursor.generation == now.generation && cursor.sequence >= now.sequence;
        (now.generation > 0 && now.sequence > 0 && !is_there).then_some(now)
    }
}

/// The notice that the server is out of reach.
pub(crate) fn unreachable() -> Notice {
    Notice::ServerUnreachable {
        message: UNREACHABLE.to_owned(),
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
    use opencode_client::reply::{Checkpoint, PartKind, PersistedPart};

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
}
