//! Blobs of a build without files: none can be made, so nothing here is ever called.

#![expect(
    clippy::unused_async,
    reason = "as the calls that a build with files waits for"
)]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncRead;

use super::{Blob, BlobError, Digest, SweepError, Swept};
use crate::store::Store;

/// A store of blobs.
#[derive(Clone, Debug)]
pub struct Blobs(Infallible);

impl Blobs {
    pub(crate) async fn put(&self, _: impl AsyncRead + Unpin, _: u64) -> Result<Blob, BlobError> {
        match self.0 {}
    }

    pub(crate) async fn put_bytes(&self, _: Bytes) -> Result<Blob, BlobError> {
        match self.0 {}
    }

    pub(crate) async fn size(&self, _: &Digest) -> Result<Option<u64>, BlobError> {
        match self.0 {}
    }

    pub(crate) async fn reader(&self, _: &Digest) -> Result<tokio::io::Empty, BlobError> {
        match self.0 {}
    }

    pub(crate) async fn sweep(&self, _: &dyn Store, _: Duration) -> Result<Swept, SweepError> {
        match self.0 {}
    }
}
