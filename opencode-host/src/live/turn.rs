//! The changes of one turn, as a node has them: it runs here, or is a copy of what runs elsewhere.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opencode_client::Reply;
use opencode_client::reply::{Change, Checkpoint, Notice, Observer, ObserverError, View};
use tokio::sync::watch;

use super::bus::MessagePlace;
use super::cursor::Cursor;
use super::event::LiveEvent;
use super::kept::KeptChanges;
use super::message::{Body, Whole};

/// What people are told while the server is out of reach.
pub(crate) const UNREACHABLE: &str = "OpenCode cannot be reached; trying again.";

/// The changes of one turn.
#[derive(Debug)]
pub(crate) struct LiveTurn {
    state: Mutex<State>,
    moved: watch::Sender<u64>,
    followers: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    place: Place,
    /// Which claim of the turn the changes are of; 0 for none.
    generation: u64,
    /// The reply as it is. Its revision is the number of the last change.
    view: View,
    kept: KeptChanges,
    finished: bool,
    /// The server is out of reach. No change of the reply: it stays as it is.
    unreachable: bool,
    /// How many messages the bus was given of this claim.
    messages: u64,
    /// What the store says of it, where it does not run here.
    row: Row,
    /// The reply as another node has saved it, and the how-manieth of those that were read.
    saved: Option<(u64, Arc<Checkpoint>)>,
    saves: u64,
}

/// Where the changes come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing is known of them.
    #[default]
    Nowhere,
    /// A claim of the turn runs in this process.
    Here,
    /// They are a copy of those of the node that runs the turn.
    Copied,
}

/// What the store says of a turn that runs elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Row {
    /// It was not looked at yet.
    #[default]
    Unknown,
    /// It goes on.
    Open {
        /// Its worker cannot reach the server.
        unreachable: bool,
    },
    /// Nothing more comes of it.
    Over,
    /// It is gone.
    Deleted,
}

/// What became of a message of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It was the next one, or had come before.
    Done,
    /// The reply is known from here on, whatever was missed.
    Known,
    /// Changes before it are missing.
    Gap,
    /// The turn is not to be copied any more.
    Unknown,
    /// Nothing more comes of the turn.
    Ended,
}

/// What other nodes are to be told of a turn that runs here.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) place: MessagePlace,
    pub(crate) body: Body,
    /// Where watchers are then.
    pub(crate) cursor: Cursor,
}

/// Keeps a turn among those that are followed, as long as it lives.
#[derive(Debug)]
pub(crate) struct Follower(Arc<LiveTurn>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::ops::Deref for Follower {
    type Target = LiveTurn;

    fn deref(&self) -> &LiveTurn {
        &self.0
    }
}

impl Default for LiveTurn {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            moved: watch::Sender::new(0),
            followers: AtomicUsize::new(0),
        }
    }
}

impl LiveTurn {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is applied in full or not begun: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self) {
        self.moved.send_modify(|moves| *moves += 1);
    }

    /// Somebody follows the turn.
    pub(crate) fn follow(self: &Arc<Self>) -> Follower {
        self.followers.fetch_add(1, Ordering::AcqRel);
        Follower(Arc::clone(self))
    }

    /// Whether somebody follows it.
    pub(crate) fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Acquire) > 0
    }

    /// A claim of the turn starts here.
    pub(crate) fn start(&self, generation: u64) {
        let mut state = self.lock();
        *state = State {
            place: Place::Here,
            generation,
            saves: state.saves,
            ..State::default()
        };
        drop(state);
        self.moved();
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
        self.moved();
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
        self.moved();
    }

    /// The server is out of reach, or back.
    pub(crate) fn set_unreachable(&self, unreachable: bool) {
        self.lock().unreachable = unreachable;
        self.moved();
    }

    /// Nothing more comes of the turn.
    pub(crate) fn finish(&self) {
        self.lock().finished = true;
        self.moved();
    }

    /// The claim ended without the turn's end: nothing more comes from here.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        *state = State {
            saves: state.saves,
            ..State::default()
        };
        drop(state);
        self.moved();
    }

    /// Whether a claim of the turn runs here, or has ended it here.
    pub(crate) fn is_local(&self) -> bool {
        let state = self.lock();
        state.place == Place::Here || state.finished
    }

    /// Whether the changes are known here, of a run of the turn here or elsewhere.
    pub(crate) fn is_known(&self) -> bool {
        let state = self.lock();
        state.place != Place::Nowhere || state.finished
    }

    /// What a watcher at `cursor` has missed, and whether the turn is settled.
    pub(crate) fn missed(&self, cursor: Cursor, events: &mut VecDeque<LiveEvent>) -> bool {
        let state = self.lock();
        if let Some(now) = state.after(cursor) {
            match state.seen(cursor) {
                Some(seen) => {
                    let first = now.sequence - state.kept.len() as u64 + seen;
                    let missed = state
                        .kept
                        .after(usize::try_from(seen).unwrap_or(usize::MAX));
                    events.extend((first + 1..).zip(missed).map(|(sequence, change)| {
                        let cursor = Cursor { sequence, ..now };
                        LiveEvent::Change { cursor, change }
                    }));
                }
                None => events.push_back(LiveEvent::Snapshot {
                    cursor: now,
                    view: state.view.clone(),
                }),
            }
        }
        state.finished
    }

    /// The reply as it is now, where a run of the turn has begun to say something.
    pub(crate) fn view(&self) -> Option<(Cursor, View)> {
        let state = self.lock();
        let cursor = state.after(Cursor::START)?;
        let mut view = state.view.clone();
        if state.is_unreachable() == Some(true) {
            view.set_notice(Some(unreachable()));
        }
        Some((cursor, view))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Whether the server is out of reach; `None` where that is not known.
    pub(crate) fn is_unreachable(&self) -> Option<bool> {
        self.lock().is_unreachable()
    }

    /// Hears of every move from now on.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// What the store says of a turn that does not run here.
    pub(crate) fn row(&self) -> Row {
        self.lock().row
    }

    /// The store says this of a turn that does not run here.
    pub(crate) fn set_row(&self, row: Row) {
        let mut state = self.lock();
        if state.place == Place::Here || state.row == row {
            return;
        }
        state.row = row;
        drop(state);
        self.moved();
    }

    /// The reply as saved, where nothing better is known, and more of it was saved than these.
    pub(crate) fn saved_since(&self, seen: u64) -> Option<(u64, Arc<Checkpoint>)> {
        let state = self.lock();
        let saved = state.saved.clone();
        saved.filter(|(number, _)| state.place == Place::Nowhere && *number > seen)
    }

    /// Another node has saved this of the reply, and nothing better is known: what was copied is forgotten.
    pub(crate) fn set_saved(&self, checkpoint: Checkpoint) {
        let mut state = self.lock();
        if state.place == Place::Here {
            return;
        }
        state.forget_copy();
        let is_known = state.saved.as_ref();
        if checkpoint == Checkpoint::default()
            || is_known.is_some_and(|(_, known)| **known == checkpoint)
        {
            return;
        }
        state.saves += 1;
        state.saved = Some((state.saves, Arc::new(checkpoint)));
        drop(state);
        self.moved();
    }

    /// Where the copy of a run is: its claim, and the number of the last change.
    pub(crate) fn copied(&self) -> Option<Cursor> {
        let state = self.lock();
        (state.place == Place::Copied).then(|| state.now())
    }

    /// Whether something that was saved is missing from the copy.
    pub(crate) fn lags(&self, saved: &Checkpoint) -> bool {
        let state = self.lock();
        state.place == Place::Copied && lags(&state.view, &View::from(saved))
    }

    /// Takes a message of the bus.
    pub(crate) fn apply(&self, generation: u64, body: Body) -> Applied {
        let mut state = self.lock();
        if state.place == Place::Here || generation < state.generation {
            return Applied::Done;
        }
        let before = state.now();
        let applied = state.apply(generation, body);
        let moved = state.now() != before;
        drop(state);
        if moved {
            self.moved();
        }
        applied
    }

    /// What watchers elsewhere are to be told who are at `cursor`, and the whole where it was asked for. `None` where there is
    /// nothing to be told, or no claim of this generation here.
    pub(crate) fn outgoing(&self, cursor: Cursor, whole: bool) -> Option<Outgoing> {
        let mut state = self.lock();
        if state.place != Place::Here {
            return None;
        }
        let now = state.now();
        let kept = |skipped: u64| {
            let kept = state
                .kept
                .after(usize::try_from(skipped).unwrap_or(usize::MAX));
            kept.map(|change| (*change).clone()).collect()
        };
        let begins = || Body::Changes {
            first: 1,
            changes: Vec::new(),
        };
        let body = if whole && now.sequence == 0 {
            begins()
        } else if whole {
            Body::Whole(Box::new(Whole::new(&state.view, kept(0))))
        } else if now == cursor {
            return None;
        } else {
            match state.seen(cursor) {
                Some(seen) => Body::Changes {
                    first: now.sequence - state.kept.len() as u64 + seen + 1,
                    changes: kept(seen),
                },
                None => Body::Whole(Box::new(Whole::new(&state.view, kept(0)))),
            }
        };
        state.messages += 1;
        Some(Outgoing {
            place: MessagePlace {
                generation: state.generation,
                number: state.messages,
            },
            body,
            cursor: now,
        })
    }

    /// The claim that runs here, unless the turn has ended.
    pub(crate) fn claim(&self) -> Option<u64> {
        let state = self.lock();
        (state.place == Place::Here && !state.finished).then_some(state.generation)
    }

    /// The place of a message that says that the turn has ended here.
    pub(crate) fn last_message(&self) -> Option<MessagePlace> {
        let mut state = self.lock();
        if !state.finished {
            return None;
        }
        state.messages += 1;
        Some(MessagePlace {
            generation: state.generation,
            number: state.messages,
        })
    }
}

impl State {
    fn now(&self) -> Cursor {
        Cursor {
            generation: self.generation,
            sequence: self.view.revision(),
        }
    }

    /// Where the run is, unless a watcher at `cursor` is there too or ahead, or the run has not said anything: it has
    /// nothing then to replace what was shown.
    fn after(&self, cursor: Cursor) -> Option<Cursor> {
        let now = self.now();
        // Of a copy, later claims may be known elsewhere.
        let is_there = cursor >= now;
        (now.generation > 0 && now.sequence > 0 && !is_there).then_some(now)
    }

    /// How many of the kept changes a watcher at `cursor` has seen; `None` where it is not told those alone that it has
    /// missed.
    fn seen(&self, cursor: Cursor) -> Option<u64> {
        let now = self.now();
        let first = now.sequence - self.kept.len() as u64;
        if cursor.generation == now.generation && cursor.sequence >= first {
            return Some(cursor.sequence - first);
        }
        (cursor == Cursor::START && first == 0).then_some(0)
    }

    fn is_unreachable(&self) -> Option<bool> {
        match (self.place, self.row) {
            (Place::Here, _) => Some(self.unreachable),
            (_, Row::Open { unreachable }) => Some(unreachable),
            _ => None,
        }
    }

    fn forget_copy(&mut self) {
        if self.place == Place::Copied {
            (self.place, self.generation) = (Place::Nowhere, 0);
            (self.view, self.kept) = (View::default(), KeptChanges::default());
        }
    }

    fn apply(&mut self, generation: u64, body: Body) -> Applied {
        let is_new = generation > self.generation;
        match body {
            Body::Changes { first, changes } => {
                if is_new && first == 1 {
                    self.copy(generation, View::default());
                } else if is_new || first > self.view.revision() + 1 {
                    return Applied::Gap;
                }
                let had = self.view.revision() + 1 - first;
                let is_known = first == 1 && had == 0;
                for change in changes
                    .iter()
                    .skip(usize::try_from(had).unwrap_or(usize::MAX))
                {
                    self.view.apply(change);
                    self.kept.push(change);
                }
                if is_known {
                    Applied::Known
                } else {
                    Applied::Done
                }
            }
            Body::Whole(whole) => {
                let missing = whole.sequence.saturating_sub(self.view.revision());
                let missing = usize::try_from(missing).unwrap_or(usize::MAX);
                if !is_new && missing <= whole.kept.len() {
                    for change in &whole.kept[whole.kept.len() - missing..] {
                        self.view.apply(change);
                        self.kept.push(change);
                    }
                } else {
                    let mut kept = KeptChanges::default();
                    whole.kept.iter().for_each(|change| kept.push(change));
                    self.copy(generation, whole.view());
                    self.kept = kept;
                }
                Applied::Known
            }
            Body::Oversized => {
                self.forget_copy();
                Applied::Unknown
            }
            Body::Ended => Applied::Ended,
        }
    }

    fn copy(&mut self, generation: u64, view: View) {
        (self.place, self.generation) = (Place::Copied, generation);
        (self.view, self.kept) = (view, KeptChanges::default());
        self.saved = None;
    }
}

/// The notice that the server is out of reach.
pub(crate) fn unreachable() -> Notice {
    Notice::ServerUnreachable {
        message: UNREACHABLE.to_owned(),
    }
}

/// Whether a view lacks something that was saved of the reply. What has grown since is no lack.
fn lags(view: &View, saved: &View) -> bool {
    use opencode_client::reply::PersistedPart::{Reasoning, Text};
    let lacks = |saved: &opencode_client::reply::ViewPart| {
        let known = view.parts().find(|part| part.part_id == saved.part_id);
        match (known.map(|part| &part.part), &saved.part) {
            (Some(Text { content: known }), Text { content: saved })
            | (Some(Reasoning { content: known }), Reasoning { content: saved }) => {
                known.len() < saved.len()
            }
            (known, saved) => known != Some(saved),
        }
    };
    let asked = |view: &View| -> Vec<String> {
        let requests = view.requests();
        requests.map(|request| request.id().to_owned()).collect()
    };
    saved.parts().any(lacks) || asked(view) != asked(saved)
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
mod copied;
#[cfg(test)]
mod tests;
