//! What every page has at hand.

use std::sync::Arc;

use opencode_host::Host as Turns;
use opencode_host::product::Product;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use super::base_path::BasePath;
use super::board::Boards;
use super::form::beginnings::Beginnings;
use super::looks::Seen;

/// The largest form, in bytes.
pub(crate) const MAX_BODY: usize = 2 << 20;

/// What every page has at hand.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) host: Turns,
    pub(crate) product: Arc<dyn Product>,
    pub(crate) base: BasePath,
    /// A stand-in answers instead of OpenCode.
    pub(crate) stand_in: bool,
    /// Whoever reaches the pages over a network is taken for the one person.
    pub(crate) open_to_network: bool,
    /// Sub-agents ask for nothing.
    pub(crate) unasked: bool,
    /// The most bytes of a file that is uploaded.
    pub(crate) max_upload: u64,
    pub(crate) beginnings: Beginnings,
    /// How the conversations stand.
    pub(crate) boards: Boards,
    /// Live streams that there may be still.
    pub(crate) streams: Arc<Semaphore>,
    /// Held while a large answer is in memory to be shown.
    pub(crate) large: Arc<Mutex<()>>,
    /// Whole answers that may still be sent at once.
    pub(crate) wholes: Arc<Semaphore>,
    /// What files turned out to be.
    pub(crate) seen: Seen,
    pub(crate) shutdown: CancellationToken,
}
