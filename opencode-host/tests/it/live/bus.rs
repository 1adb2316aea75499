//! A bus of one process, whose messages a test can hold, lose, and forge.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use opencode_host::id::TurnId;
use opencode_host::live::{
    BusError, Hint, Interest, LiveBus, LiveMessage, MessagePlace, NodeId, Read,
};
use tokio::sync::watch;
use tokio::time::Instant;

/// What a bus is to do with what it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// Bring it.
    #[default]
    Bring,
    /// Lose it: nobody is told that it was.
    Lose,
    /// Refuse every call.
    Fail,
}

#[derive(Debug, Default)]
struct State {
    way: Way,
    messages: Vec<LiveMessage>,
    interests: HashMap<(NodeId, TurnId), (u64, Instant)>,
    calls: HashMap<&'static str, usize>,
    forged: VecDeque<LiveMessage>,
}

/// A bus of one process. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestBus {
    state: Arc<Mutex<State>>,
    sent: Arc<watch::Sender<()>>,
}

impl TestBus {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn call(&self, name: &'static str) -> Result<MutexGuard<'_, State>, BusError> {
        let mut state = self.state();
        *state.calls.entry(name).or_default() += 1;
        match state.way {
            Way::Fail => Err(BusError::new("cut off")),
            _ => Ok(state),
        }
    }

    pub(crate) fn set(&self, way: Way) {
        self.state().way = way;
    }

    /// Forgets all that it was told, as a database does that was started anew after a crash.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        state.messages.clear();
        state.interests.clear();
    }

    /// The next read gives this too.
    pub(crate) fn forge(&self, turn: TurnId, place: MessagePlace, text: String) {
        let message = LiveMessage::new(turn, place, text);
        self.state().forged.push_back(message);
        self.sent.send_replace(());
    }

    pub(crate) fn calls(&self, name: &'static str) -> usize {
        self.state().calls.get(name).copied().unwrap_or(0)
    }

    /// Waits until somebody watches a turn, or nobody does.
    pub(crate) async fn until_watched(&self, turn: TurnId, is_watched: bool) {
        let mut sent = self.sent.subscribe();
        loop {
            let now = Instant::now();
            let watched = self
                .state()
                .interests
                .iter()
                .any(|((_, of), (_, end))| *of == turn && *end > now);
            if watched == is_watched {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_millis(20), sent.changed()).await;
        }
    }

    pub(crate) fn messages(&self) -> Vec<LiveMessage> {
        self.state().messages.clone()
    }
}

#[async_trait]
impl LiveBus for TestBus {
    async fn publish(&self, messages: &[LiveMessage]) -> Result<(), BusError> {
        let mut state = self.call("publish")?;
        if state.way == Way::Bring {
            state.messages.extend_from_slice(messages);
        }
        drop(state);
        self.sent.send_replace(());
        Ok(())
    }

    async fn read(&self, turns: &[Read]) -> Result<Vec<LiveMessage>, BusError> {
        let mut state = self.call("read")?;
        let forged: Vec<_> = state.forged.drain(..).collect();
        let is_new = |message: &&LiveMessage| {
            let behind = |read: &Read| read.turn == message.turn && message.place() > read.after;
            turns.iter().any(behind)
        };
        let found = state.messages.iter().filter(is_new).cloned();
        Ok(forged.into_iter().chain(found).collect())
    }

    async fn watch(
        &self,
        node: NodeId,
        turns: &[Interest],
        length: Duration,
    ) -> Result<(), BusError> {
        let mut state = self.call("watch")?;
        if state.way == Way::Bring {
            let until = Instant::now() + length;
            let said = turns.iter().map(|of| ((node, of.turn), (of.asked, until)));
            state.interests.extend(said);
        }
        drop(state);
        self.sent.send_replace(());
        Ok(())
    }

    async fn watched(
        &self,
        node: NodeId,
        turns: &[TurnId],
    ) -> Result<Vec<(NodeId, Interest)>, BusError> {
        let now = Instant::now();
        let state = self.call("watched")?;
        let others = state
            .interests
            .iter()
            .filter(|((by, turn), (_, until))| *by != node && *until > now && turns.contains(turn));
        let others = others.map(|((by, turn), (asked, _))| {
            let interest = Interest {
                turn: *turn,
                asked: *asked,
            };
            (*by, interest)
        });
        Ok(others.collect())
    }

    async fn sweep(&self, _: Duration) -> Result<(), BusError> {
        self.call("sweep").map(|_| ())
    }

    async fn listen(&self, heard: &(dyn Fn(Hint) + Send + Sync)) {
        let mut sent = self.sent.subscribe();
        while sent.changed().await.is_ok() {
            heard(Hint::Published);
            heard(Hint::Watched);
        }
    }
}
