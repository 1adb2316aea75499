//! One event stream for all turns of a server.
//!
//! Every subscriber of a server's stream gets every session's events, and the
//! server keeps an unbounded queue for each. So there is one connection to
//! `/global/event`, whatever the number of turns, or one to `/event` per folder
//! where the server has no `/global/event`. The reader is a task of its own: it
//! cuts frames, looks at the envelope, and copies the frames somebody listens
//! to into that listener's queue. It never waits for a listener and decodes
//! nothing; listeners decode on their own time.

mod backoff;
mod connection;
mod queue;
mod transport;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use backoff::Backoff;
use queue::Batch;
pub use queue::{GapReason, Signal};

use crate::error::Error;
use crate::http::Client;
use crate::id::SessionId;
use connection::{Connection, State};
use queue::Queue;

/// Is told of what a hub got over.
pub type ProblemListener = Arc<dyn Fn(&HubProblem) + Send + Sync>;

/// How a hub behaves. The defaults suit a server nearby.
#[derive(Clone)]
pub struct HubOptions {
    /// How many bytes may wait for one listener before it is told of a gap.
    pub queue_bytes: usize,
    /// How long a subscription waits for the connection to be live.
    pub connect_timeout: Duration,
    /// A connection without a single byte for so long is dead. Servers send a
    /// heartbeat every 10 s (30 s before 1.14).
    pub quiet_timeout: Duration,
    /// After so long without a byte, and again so long after each answer, the server is asked whether it is there, as
    /// long as somebody listens: [`Signal::Unreachable`] where it does not answer within 1.5 s. Default 1 s;
    /// [`Duration::MAX`] for never.
    pub silence: Duration,
    /// How long the connection outlives its last listener.
    pub linger: Duration,
    /// The waits between attempts to connect.
    pub backoff: Backoff,
    /// Is told of what the hub got over: malformed and oversized frames, lost
    /// connections. Must be quick.
    pub on_problem: Option<ProblemListener>,
}

impl HubOptions {
    const SILENCE: Duration = Duration::from_secs(1);
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            queue_bytes: 16 << 20,
            connect_timeout: Duration::from_secs(10),
            quiet_timeout: Duration::from_secs(75),
            silence: Self::SILENCE,
            linger: Duration::from_secs(30),
            backoff: Backoff::default(),
            on_problem: None,
        }
    }
}

impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("queue_bytes", &self.queue_bytes)
            .finish_non_exhaustive()
    }
}

/// Something the hub got over.
#[derive(Debug, thiserror::Error)]
pub enum HubProblem {
    /// A frame that is no event.
    #[error("skipped a malformed frame of {length} bytes")]
    MalformedFrame {
        /// Its length in bytes.
        length: usize,
    },
    /// A frame over the size cap.
    #[error("dropped a frame of {length} bytes")]
    OversizedFrame {
        /// Its length in bytes.
        length: u64,
    },
    /// The connection was lost, or could not be made.
    #[error("event stream lost: {0}")]
    Disconnected(#[source] Arc<Error>),
}

/// The events of one server, shared by all turns. Cheap to clone.
///
/// ```no_run
/// use opencode_client::{Client, EventHub, HubOptions, SessionId, Signal};
///
/// # async fn example(session: SessionId) -> Result<(), opencode_client::Error> {
/// let hub = EventHub::new(Client::from_env()?, HubOptions::default());
/// let mut subscription = hub.subscribe(&session, None).await?;
/// loop {
///     match subscription.next().await {
///         Signal::Event(event) => println!("{:?}", event.body),
///         // Events were missed: ask the server for the messages.
///         Signal::Gap(reason) => println!("missed events: {reason:?}"),
///         Signal::Disconnected => println!("the stream broke; it is opened again"),
///         _ => {}
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct EventHub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    options: HubOptions,
    mode: Mutex<Mode>,
}

#[derive(Debug)]
enum Mode {
    /// One connection for everything.
    Global(Arc<Connection>),
    /// The server has no `/global/event`: one connection per folder.
    PerDirectory(HashMap<Option<Box<str>>, Arc<Connection>>),
}

impl EventHub {
    /// A hub for the client's server. Connects when somebody subscribes.
    pub fn new(client: Client, options: HubOptions) -> Self {
        let global = Arc::new(Connection::global(client.clone(), options.clone()));
        Self {
            shared: Arc::new(Shared {
                client,
                options,
                mode: Mutex::new(Mode::Global(global)),
            }),
        }
    }

    /// Listens to a session and to the child sessions it makes. Complete when
    /// the connection is live: what happens from then on is heard.
    ///
    /// `directory` is the folder the session works in; it matters only for a
    /// server without `/global/event`.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] at once; otherwise what kept the connection from
    /// being live within the time allowed.
    pub async fn subscribe(
        &self,
        session: &SessionId,
        directory: Option<&str>,
    ) -> Result<Subscription, Error> {
        loop {
            let connection = self.connection_for(directory);
            let queue = Arc::new(Queue::new(self.shared.options.queue_bytes));
            connection.add(session.as_str().as_bytes(), &queue);
            let subscription = Subscription {
                queue,
                connection: Arc::clone(&connection),
                hub: self.clone(),
                batch: Batch::default(),
            };
            match connection.live(self.shared.options.connect_timeout).await? {
                State::Live => return Ok(subscription),
                _ => self.fall_back(),
            }
        }
    }

    /// Whether the server turned out to have no `/global/event`, so that there
    /// is one connection per folder.
    pub fn is_per_directory(&self) -> bool {
        let mode = self
            .shared
            .mode
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        matches!(*mode, Mode::PerDirectory(_))
    }

    fn connection_for(&self, directory: Option<&str>) -> Arc<Connection> {
        let mut mode = self
            .shared
            .mode
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &mut *mode {
            Mode::Global(connection) => Arc::clone(connection),
            Mode::PerDirectory(connections) => {
                let directory = directory.or(self.shared.client.directory()).map(Into::into);
                let connection = connections
                    .entry(directory)
                    .or_insert_with_key(|directory| {
                        let client = match directory {
                            Some(directory) => self.shared.client.in_directory(directory.as_ref()),
                            None => self.shared.client.clone(),
                        };
                        Arc::new(Connection::of_directory(
                            client,
                            self.shared.options.clone(),
                        ))
                    });
                Arc::clone(connection)
            }
        }
    }

    fn fall_back(&self) {
        let mut mode = self
            .shared
            .mode
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if matches!(*mode, Mode::Global(_)) {
            tracing::info!(
                server = self.shared.client.server(),
                "no /global/event: using /event per directory"
            );
            *mode = Mode::PerDirectory(HashMap::new());
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        match self.mode.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Mode::Global(connection) => connection.stop(),
            Mode::PerDirectory(connections) => connections
                .values()
                .for_each(|connection| connection.stop()),
        }
    }
}

/// One listener's ear at the hub.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
    connection: Arc<Connection>,
    /// The reader stops with the last hub: listeners keep it.
    hub: EventHub,
    batch: Batch,
}

impl Subscription {
    /// The next signal. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Signal<'_> {
        loop {
            if self.batch.is_done() {
                self.tell_skipped();
                self.queue.take(&mut self.batch).await;
            }
            // The borrow checker wants the check apart from the return.
            if !self.batch.is_done() {
                break;
            }
        }
        self.batch.take_next().unwrap_or(Signal::Heartbeat)
    }

    /// The next signal that is here already.
    pub fn try_next(&mut self) -> Option<Signal<'_>> {
        self.tell_skipped();
        self.batch.take_next()
    }

    /// Tells, once for all events that came together, what of them could not be read.
    fn tell_skipped(&mut self) {
        if let Some(skipped) = self.batch.take_skipped() {
            self.hub.shared.client.skipped("events", &skipped);
        }
    }

    /// Listens to a further session, such as a child learned of from a tool's metadata.
    pub fn follow(&self, session: &SessionId) {
        self.connection
            .add(session.as_str().as_bytes(), &self.queue);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.tell_skipped();
        self.connection.remove(&self.queue);
    }
}
