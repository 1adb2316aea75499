//! What brings the changes of a turn to the nodes where it is watched and does not run.
//!
//! A node is a process with a [`Host`](crate::Host). The one that runs a turn publishes its changes, a few at a time, as
//! long as another one says that it watches the turn; whoever watches reads them. A bus may lose messages, bring them
//! twice or late: changes are numbered, and what is missing is asked for again. It must not mix up turns.
//!
//! Without a bus, watchers on other nodes get the reply as it was last saved.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::id::TurnId;

/// Maximum size of a message's text in bytes: 4 MiB. What is larger is not sent, and not read: watchers on other nodes get
/// that reply as it was last saved.
pub const MAX_LIVE_MESSAGE: usize = 4 << 20;

/// A way for nodes to tell each other of running turns. [`Queue::live_bus`](crate::store::Queue::live_bus) is the one of a
/// store that has one; [`HostBuilder::live_bus`](crate::HostBuilder::live_bus) takes another.
///
/// The host calls each method at most once per interval (75 ms), with all its turns, and tries again what fails.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use std::time::Duration;
///
/// use opencode_host::id::TurnId;
/// use opencode_host::live::{BusError, Hint, Interest, LiveBus, LiveMessage, NodeId, Read};
/// use tokio::sync::watch;
///
/// /// Nodes within one process, as tests have them.
/// #[derive(Default)]
/// struct InMemory {
///     messages: Mutex<Vec<LiveMessage>>,
///     interests: Mutex<HashMap<(NodeId, TurnId), u64>>,
///     sent: watch::Sender<()>,
/// }
///
/// #[async_trait::async_trait]
/// impl LiveBus for InMemory {
///     async fn publish(&self, messages: &[LiveMessage]) -> Result<(), BusError> {
///         self.messages.lock().unwrap().extend_from_slice(messages);
///         self.sent.send_replace(());
///         Ok(())
///     }
///
///     async fn read(&self, turns: &[Read]) -> Result<Vec<LiveMessage>, BusError> {
///         let messages = self.messages.lock().unwrap();
///         let is_new = |message: &&LiveMessage| {
///             let behind = |read: &Read| read.turn == message.turn && message.place() > read.after;
///             turns.iter().any(behind)
///         };
///         Ok(messages.iter().filter(is_new).cloned().collect())
///     }
///
///     async fn watch(&self, node: NodeId, turns: &[Interest], _: Duration) -> Result<(), BusError> {
///         let mut interests = self.interests.lock().unwrap();
///         interests.extend(turns.iter().map(|of| ((node, of.turn), of.asked)));
///         self.sent.send_replace(());
///         Ok(())
///     }
///
///     async fn watched(&self, node: NodeId, turns: &[TurnId]) -> Result<Vec<(NodeId, Interest)>, BusError> {
///         let interests = self.interests.lock().unwrap();
///         let others = interests.iter().filter(|((by, turn), _)| *by != node && turns.contains(turn));
///         Ok(others.map(|((by, turn), asked)| (*by, Interest { turn: *turn, asked: *asked })).collect())
///     }
///
///     async fn sweep(&self, _: Duration) -> Result<(), BusError> {
///         Ok(()) // One that is used for longer removes what is old.
///     }
///
///     async fn listen(&self, heard: &(dyn Fn(Hint) + Send + Sync)) {
///         let mut sent = self.sent.subscribe();
///         while sent.changed().await.is_ok() {
///             heard(Hint::Published);
///             heard(Hint::Watched);
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait LiveBus: Send + Sync + 'static {
    /// Sends messages, all in one go. They are in order for each turn. One that was sent before may come again. A bus may
    /// leave out those of turns that no node has said it watches.
    ///
    /// # Errors
    /// [`BusError`] when it is not certain that all were sent.
    async fn publish(&self, messages: &[LiveMessage]) -> Result<(), BusError>;

    /// Returns the messages of these turns that lie behind what was read, in order for each turn; not more than a node can
    /// hold, the rest with the next call.
    ///
    /// # Errors
    /// [`BusError`] when they cannot be had.
    async fn read(&self, turns: &[Read]) -> Result<Vec<LiveMessage>, BusError>;

    /// Says that a node watches these turns, for so long from now. What it said before of other turns holds on.
    ///
    /// # Errors
    /// [`BusError`] when it is not certain that it was said.
    async fn watch(
        &self,
        node: NodeId,
        turns: &[Interest],
        length: Duration,
    ) -> Result<(), BusError>;

    /// Returns who watches these turns, beside `node` itself.
    ///
    /// # Errors
    /// [`BusError`] when it cannot be had.
    async fn watched(
        &self,
        node: NodeId,
        turns: &[TurnId],
    ) -> Result<Vec<(NodeId, Interest)>, BusError>;

    /// Removes messages that are older than `age`, and what was said of nodes that does not hold any more. Every node
    /// calls it from time to time.
    ///
    /// # Errors
    /// [`BusError`] when that cannot be done.
    async fn sweep(&self, age: Duration) -> Result<(), BusError>;

    /// Calls `heard` whenever there may be something to be read, until it is dropped. A call may be missing, or be one too
    /// many: nodes look twice a second in any case.
    async fn listen(&self, heard: &(dyn Fn(Hint) + Send + Sync));
}

impl fmt::Debug for dyn LiveBus + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveBus")
    }
}

/// A node: a process with a host, as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Uuid);

impl NodeId {
    /// A new one.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for NodeId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place among the messages of a turn. Ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessagePlace {
    /// The claim that the messages are of: [`Turn::generation`](crate::store::Turn::generation).
    pub generation: u64,
    /// The number of the message in it, from 1. There may be gaps.
    pub number: u64,
}

/// How far the messages of a turn were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The turn.
    pub turn: TurnId,
    /// The last message that was read.
    pub after: MessagePlace,
}

/// That a turn is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// The turn.
    pub turn: TurnId,
    /// How often the node has asked for the reply as a whole. Where this has grown, the whole is sent once more.
    pub asked: u64,
}

/// What there may be to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Messages.
    Published,
    /// Somebody new watches a turn.
    Watched,
}

/// What one node tells the others of a turn that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveMessage {
    /// The turn.
    pub turn: TurnId,
    place: MessagePlace,
    text: Result<String, usize>,
}

impl LiveMessage {
    /// A message, as it was published. A text larger than [`MAX_LIVE_MESSAGE`] is not kept.
    pub fn new(turn: TurnId, place: MessagePlace, text: String) -> Self {
        let size = text.len();
        let text = (size <= MAX_LIVE_MESSAGE).then_some(text).ok_or(size);
        Self { turn, place, text }
    }

    /// A message of so many bytes, more than [`MAX_LIVE_MESSAGE`], that was not read.
    pub fn too_large(turn: TurnId, place: MessagePlace, size: usize) -> Self {
        let text = Err(size);
        Self { turn, place, text }
    }

    /// Where it is among those of the turn.
    pub fn place(&self) -> MessagePlace {
        self.place
    }

    /// How many bytes of text it holds.
    pub(crate) fn size(&self) -> usize {
        self.text.as_ref().map_or(0, String::len)
    }

    /// What it says. Only hosts read it.
    ///
    /// # Errors
    /// Its size, where it is too large.
    pub fn text(&self) -> Result<&str, usize> {
        self.text.as_deref().map_err(|size| *size)
    }
}

/// The bus cannot do what was asked. It is asked again.
#[derive(Debug, thiserror::Error)]
#[error("the live bus is not available: {0}")]
pub struct BusError(String);

impl BusError {
    /// An error that says what is wrong.
    pub fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}
