use std::collections::VecDeque;
use std::sync::Arc;

use opencode_client::reply::{Change, Checkpoint, SnapshotPart};
use tokio::sync::watch;

use super::{Host, Shared};
use crate::id::TurnId;
use crate::live::{Cursor, LiveEvent, LiveTurn};
use crate::store::{StoreError, Turn, TurnState};

/// The changes of one turn, from wherever it runs. Where that is another
/// process, what it has written down is read instead.
#[derive(Debug)]
pub struct LiveStream {
    host: Arc<Shared>,
    id: TurnId,
    turn: Arc<LiveTurn>,
    moves: watch::Receiver<u64>,
    cursor: Cursor,
    waiting: VecDeque<LiveEvent>,
    /// What another process had written down when it was last read.
    stored: Option<Checkpoint>,
    /// What was last told of the server; `None` where an earlier watcher may have been told otherwise.
    unreachable: Option<bool>,
    done: bool,
}

/// What people are told while the server is out of reach.
const UNREACHABLE: &str = "OpenCode cannot be reached; trying again.";

impl Host {
    /// Watches a turn from `cursor` on. A watcher may come before the turn
    /// starts, in the middle, or after it ended.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such turn; see [`StoreError`].
    pub async fn live(&self, turn: TurnId, cursor: Cursor) -> Result<LiveStream, StoreError> {
        let missing = || StoreError::NotFound {
            what: "turn",
            id: turn.to_string(),
        };
        self.shared.store.turn(turn).await?.ok_or_else(missing)?;
        let live = self.shared.live.turn(turn);
        Ok(LiveStream {
            host: Arc::clone(&self.shared),
            id: turn,
            moves: live.moves(),
            turn: live,
            cursor,
            waiting: VecDeque::new(),
            stored: None,
            unreachable: (cursor == Cursor::START).then_some(false),
            done: false,
        })
    }
}

impl LiveStream {
    /// The turn that is watched.
    pub fn turn(&self) -> TurnId {
        self.id
    }

    /// The next event; `None` behind [`LiveEvent::Finished`].
    ///
    /// # Errors
    /// See [`StoreError`]. The stream can be read on after a transient one.
    pub async fn next(&mut self) -> Result<Option<LiveEvent>, StoreError> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                match &event {
                    LiveEvent::Change { cursor, .. } => self.cursor = *cursor,
                    LiveEvent::Snapshot { cursor, .. } => {
                        // All that was shown is forgotten with it.
                        (self.cursor, self.unreachable) = (*cursor, Some(false));
                    }
                    LiveEvent::Finished => self.done = true,
                }
                return Ok(Some(event));
            }
            if self.done {
                return Ok(None);
            }
            // Armed before the look, so that no move is missed.
            self.moves.borrow_and_update();
            self.turn.missed(self.cursor, &mut self.waiting);
            if !self.waiting.is_empty() {
                continue;
            }
            let unreachable = if self.turn.is_local() {
                self.turn.is_unreachable()
            } else {
                self.look_elsewhere().await?
            };
            if !self.waiting.is_empty() {
                continue;
            }
            if self.unreachable != Some(unreachable) {
                self.unreachable = Some(unreachable);
                self.waiting.push_back(self.told(unreachable));
                continue;
            }
            // The turn may run here later, or end elsewhere: looked at now and then.
            tokio::select! {
                _ = self.moves.changed() => {}
                () = tokio::time::sleep(self.host.options.poll_interval) => {}
            }
        }
    }

    /// Whether the server is out of reach, as a change. It is none of the reply's, and has no place among those.
    fn told(&self, unreachable: bool) -> LiveEvent {
        let change = if unreachable {
            Change::ServerUnreachable {
                message: UNREACHABLE.into(),
            }
        } else {
            Change::ServerReachable
        };
        LiveEvent::Change {
            cursor: self.cursor,
            change: Arc::new(change),
        }
    }

    /// Reads what the process that runs the turn has written down. Answers whether it cannot reach the server.
    async fn look_elsewhere(&mut self) -> Result<bool, StoreError> {
        let Some(turn) = self.host.store.turn(self.id).await? else {
            // The conversation was deleted.
            self.waiting.push_back(LiveEvent::Finished);
            return Ok(false);
        };
        if matches!(turn.state, TurnState::Finished { settled: true, .. }) {
            self.waiting.push_back(LiveEvent::Finished);
        } else if self.stored.as_ref() != Some(&turn.checkpoint)
            && turn.checkpoint != Checkpoint::default()
        {
            self.waiting.push_back(snapshot(&turn));
            self.stored = Some(turn.checkpoint);
        }
        Ok(turn.unreachable)
    }
}

/// A checkpoint as a watcher sees it. It has no place among the changes of the
/// process that runs the turn: the cursor stays before them.
fn snapshot(turn: &Turn) -> LiveEvent {
    let parts = turn.checkpoint.keyed_parts();
    LiveEvent::Snapshot {
        cursor: Cursor::START,
        parts: parts
            .into_iter()
            .map(|(part_id, part)| SnapshotPart { part_id, part })
            .collect(),
        requests: turn.checkpoint.requests.iter().cloned().collect(),
    }
}
