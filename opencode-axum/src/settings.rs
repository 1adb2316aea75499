//! What every route has at hand beside the host as the caller's tenant has it.

use std::sync::Arc;

use bytes::Bytes;
use opencode_host::blobs::Blobs;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::problem::Problem;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where the bytes of files are. They are named by a row that the caller's tenant has.
    pub(crate) blobs: Option<Blobs>,
    /// The most bytes of a prompt.
    pub(crate) max_prompt: usize,
    /// The most bytes of one file.
    pub(crate) max_upload: u64,
    /// The most bytes of a body that is no file.
    pub(crate) max_body: usize,
    /// The path below which browsers see the router, where that is not the one that it is mounted under.
    pub(crate) seen_at: Option<String>,
    /// Answers of unknown length that there may be at once.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
    /// The description of the routes.
    pub(crate) description: Bytes,
}

impl Settings {
    /// A seat for an answer of unknown length.
    pub(crate) fn seat(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let seat = Arc::clone(&self.streams).try_acquire_owned();
        seat.map_err(|_| Problem::unavailable("Too many streams are open. Try again in a moment."))
    }
}
