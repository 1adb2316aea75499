//! How a hub behaves, and what it tells of itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use crate::error::Error;

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
    /// long as somebody listens: [`Signal::Unreachable`](crate::Signal::Unreachable) where it does not answer within 1.5 s. Default 1 s;
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
    pub(super) const SILENCE: Duration = Duration::from_secs(1);
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
