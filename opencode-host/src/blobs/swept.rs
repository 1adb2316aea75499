//! What a removal of unnamed bytes did.

use super::BlobError;
use crate::store::StoreError;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs that are named, or young.
    pub kept: u64,
    /// Blobs removed.
    pub removed: u64,
    /// Bytes they had.
    pub bytes: u64,
    /// Unfinished uploads removed.
    pub unfinished: u64,
}

/// Why a sweep ended early. What it did so far is done.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The blob storage.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The store of rows.
    #[error(transparent)]
    Store(#[from] StoreError),
}
