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
mod options;
mod queue;
mod transport;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use backoff::Backoff;
pub use options::{HubOptions, HubProblem, ProblemListener};
use queue::Batch;
pub use queue::{GapReason, Signal};

use crate::error::Error;
use crate::http::Client;
use crate::id::SessionId;
use connection::{Connection, State};
use queue::Queue;

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
