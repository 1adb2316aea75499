//! Following a turn, wherever it runs.
//!
//! A [`LiveStream`] tells every change, for programs. A [`ViewStream`] tells the reply as it is, as often as it is
//! asked, for whoever shows it. Where the turn runs in another process, a task of the host brings what becomes of it
//! there, once for all who watch here ([`crate::live`]).

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use opencode_client::reply::{Change, Checkpoint, View};
use tokio::sync::watch;

use super::Host;
use crate::id::TurnId;
use crate::live::{self, Cursor, Follower, LiveEvent, Row};
use crate::store::{Phase, StoreError, StoreResult, Turn};
use crate::turn::TurnResult;

/// The changes of one turn. Ends behind [`LiveEvent::Finished`] or [`LiveEvent::Deleted`].
///
/// It can be read on after an error that is transient.
pub struct LiveStream {
    turn: TurnId,
    events: BoxStream<'static, StoreResult<LiveEvent>>,
}

/// The reply to one turn, as it is whenever the stream is polled and something is new. Changes in between are in the
/// next view. Ends when nothing more comes of the turn ([`Turn::is_over`]), or its conversation is deleted.
///
/// It can be read on after an error that is transient.
pub struct ViewStream {
    turn: TurnId,
    views: BoxStream<'static, StoreResult<(Cursor, View)>>,
}

impl Host {
    /// Watches a turn from `cursor` on. A watcher may come before the turn starts, in the middle, or after it ended.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such turn, and what reading it can fail with.
    pub async fn live(&self, turn: TurnId, cursor: Cursor) -> StoreResult<LiveStream> {
        let follow = self.follow(turn, cursor).await?;
        let events = stream::unfold(follow, async |mut follow| {
            let event = follow.event().await.transpose()?;
            Some((event, follow))
        });
        Ok(LiveStream {
            turn,
            events: events.boxed(),
        })
    }

    /// Watches the reply to a turn as it is, from the moment when it is something else than at `cursor`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such turn, and what reading it can fail with.
    pub async fn views(&self, turn: TurnId, cursor: Cursor) -> StoreResult<ViewStream> {
        let follow = self.follow(turn, cursor).await?;
        let views = stream::unfold(follow, async |mut follow| {
            let view = follow.view().await.transpose()?;
            Some((view, follow))
        });
        Ok(ViewStream {
            turn,
            views: views.boxed(),
        })
    }

    /// Returns the reply to a turn as it is now, and the cursor to watch on from. Where the turn runs in another
    /// process and is not watched in this one, that is the reply as last saved.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such turn, and what reading it can fail with.
    pub async fn view(&self, turn: TurnId) -> StoreResult<(Cursor, View)> {
        let live = self.front().live.turn(turn);
        match live.view().filter(|_| live.is_known()) {
            Some(view) => Ok(view),
            None => Ok(saved(&self.turn(turn).await?)),
        }
    }

    /// Waits until a turn is settled, wherever it runs, and returns what came of it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such turn, or its conversation is deleted meanwhile; and what reading
    /// it can fail with.
    pub async fn settled(&self, turn: TurnId) -> StoreResult<TurnResult> {
        let mut follow = self.follow(turn, Cursor::START).await?;
        while follow.view().await?.is_some() {}
        // One that was cancelled in the queue is over before its hooks have run.
        while !matches!(
            self.turn(turn).await?.phase(),
            Phase::Finished { settled: true, .. }
        ) {
            follow.wait().await;
        }
        let result = self.result(turn).await?;
        result.ok_or_else(|| no_turn(turn))
    }

    async fn turn(&self, turn: TurnId) -> StoreResult<Turn> {
        let found = self.front().store.turn(turn).await?;
        found.ok_or_else(|| no_turn(turn))
    }

    async fn follow(&self, turn: TurnId, cursor: Cursor) -> StoreResult<Follow> {
        let row = self.turn(turn).await?;
        let (relay, live) = (&self.front().relay, self.front().live.turn(turn));
        let live = live.follow();
        if !live.is_known() {
            live.set_row(if row.is_over() {
                Row::Over
            } else {
                let unreachable = row.unreachable;
                Row::Open { unreachable }
            });
            if relay.bus.is_none() {
                live.set_saved(row.checkpoint);
            }
        }
        if !live.is_local() {
            relay.followed();
            live::attend(relay);
        }
        Ok(Follow {
            host: self.clone(),
            id: turn,
            moves: live.moves(),
            turn: live,
            cursor,
            waiting: VecDeque::new(),
            stored: 0,
            unreachable: (cursor == Cursor::START).then_some(false),
            done: false,
        })
    }
}

fn no_turn(turn: TurnId) -> StoreError {
    StoreError::NotFound {
        what: "turn",
        id: turn.to_string(),
    }
}

/// The reply as the process that runs the turn has last saved it. It has no place among the changes there.
fn saved(turn: &Turn) -> (Cursor, View) {
    let mut view = View::from(&turn.checkpoint);
    if turn.unreachable {
        view.set_notice(Some(live::unreachable()));
    }
    let cursor = if turn.checkpoint == Checkpoint::default() {
        Cursor::START
    } else {
        Cursor::SAVED
    };
    (cursor, view)
}

/// One watcher.
struct Follow {
    host: Host,
    id: TurnId,
    turn: Follower,
    moves: watch::Receiver<u64>,
    cursor: Cursor,
    waiting: VecDeque<LiveEvent>,
    /// The how-manieth of what another process has saved was shown last.
    stored: u64,
    /// What was last told of the server; `None` where an earlier watcher may have been told otherwise.
    unreachable: Option<bool>,
    done: bool,
}

impl Follow {
    /// The next event; `None` behind the last.
    async fn event(&mut self) -> StoreResult<Option<LiveEvent>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                match &event {
                    LiveEvent::Change { cursor, .. } => self.cursor = *cursor,
                    LiveEvent::Snapshot { cursor, .. } => {
                        // All that was shown is forgotten with it.
                        (self.cursor, self.unreachable) = (*cursor, Some(false));
                    }
                    LiveEvent::Finished(_) | LiveEvent::Deleted => self.done = true,
                }
                return Ok(Some(event));
            }
            if self.done {
                return Ok(None);
            }
            // Armed before the look, so that no move is missed.
            self.moves.borrow_and_update();
            let settled = self.turn.missed(self.cursor, &mut self.waiting);
            if !self.waiting.is_empty() {
                continue;
            }
            if settled {
                let end = self.end().await?;
                self.waiting.push_back(end);
                continue;
            }
            if !self.turn.is_local() {
                if let Some((number, saved)) = self.turn.saved_since(self.stored) {
                    self.stored = number;
                    self.waiting.push_back(LiveEvent::Snapshot {
                        cursor: Cursor::SAVED,
                        view: View::from(&*saved),
                    });
                    continue;
                }
                match self.turn.row() {
                    Row::Unknown | Row::Open { .. } => {}
                    Row::Over => {
                        let end = self.end().await?;
                        self.waiting.push_back(end);
                        continue;
                    }
                    Row::Deleted => {
                        self.waiting.push_back(LiveEvent::Deleted);
                        continue;
                    }
                }
            }
            if let Some(unreachable) = self.turn.is_unreachable()
                && self.unreachable != Some(unreachable)
            {
                self.unreachable = Some(unreachable);
                self.waiting.push_back(self.told(unreachable));
                continue;
            }
            self.wait().await;
        }
    }

    /// The reply as it is, once that is something new; `None` when the turn is settled.
    async fn view(&mut self) -> StoreResult<Option<(Cursor, View)>> {
        while !self.done {
            self.moves.borrow_and_update();
            let unreachable = self.turn.is_unreachable().or(self.unreachable);
            if let Some((cursor, view)) = self.turn.view()
                && (cursor != self.cursor || self.unreachable != unreachable)
            {
                (self.cursor, self.unreachable) = (cursor, unreachable);
                return Ok(Some((cursor, view)));
            }
            if let Some((number, saved)) = self.turn.saved_since(self.stored) {
                (self.cursor, self.stored, self.unreachable) = (Cursor::SAVED, number, unreachable);
                let mut view = View::from(&*saved);
                if unreachable == Some(true) {
                    view.set_notice(Some(live::unreachable()));
                }
                return Ok(Some((self.cursor, view)));
            }
            let is_elsewhere = !self.turn.is_local();
            if self.turn.is_finished()
                || (is_elsewhere && matches!(self.turn.row(), Row::Over | Row::Deleted))
            {
                self.done = true;
                continue;
            }
            self.wait().await;
        }
        Ok(None)
    }

    /// Waits until something is new. The turn may come to run elsewhere meanwhile, and is looked after then.
    async fn wait(&mut self) {
        let front = self.host.front();
        // A claim that runs here tells its end itself.
        if self.turn.claim().is_some() {
            let _ = self.moves.changed().await;
            return;
        }
        if !self.turn.is_local() {
            live::attend(&front.relay);
        }
        tokio::select! {
            _ = self.moves.changed() => {}
            () = tokio::time::sleep(front.options.poll_interval) => {}
        }
    }

    /// Whether the server is out of reach, as a change. It is none of the reply's, and has no place among those.
    fn told(&self, unreachable: bool) -> LiveEvent {
        let change = if unreachable {
            Change::ServerUnreachable {
                message: live::UNREACHABLE.into(),
            }
        } else {
            Change::ServerReachable
        };
        LiveEvent::Change {
            cursor: self.cursor,
            change: Arc::new(change),
        }
    }

    /// The last event.
    async fn end(&self) -> StoreResult<LiveEvent> {
        match self.host.result(self.id).await {
            Ok(Some(result)) => Ok(LiveEvent::Finished(Box::new(result))),
            Ok(None) | Err(StoreError::NotFound { .. }) => Ok(LiveEvent::Deleted),
            Err(error) => Err(error),
        }
    }
}

impl LiveStream {
    /// The turn that is watched.
    pub fn turn(&self) -> TurnId {
        self.turn
    }
}

impl Stream for LiveStream {
    type Item = StoreResult<LiveEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(context)
    }
}

impl ViewStream {
    /// The turn that is watched.
    pub fn turn(&self) -> TurnId {
        self.turn
    }
}

impl Stream for ViewStream {
    type Item = StoreResult<(Cursor, View)>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.views.poll_next_unpin(context)
    }
}

impl fmt::Debug for LiveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveStream")
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ViewStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewStream")
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}
