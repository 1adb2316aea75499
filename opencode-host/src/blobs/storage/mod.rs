//! Blobs in an object store.

mod error;
mod location;
mod read;
mod sweep;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use uuid::Uuid;

use super::{Blob, BlobError, Digest};
pub use read::BlobStream;

/// Bytes of a file held in memory at once. S3 wants parts of 5 MiB at least, and
/// 10,000 at most.
const PART: usize = 8 * 1024 * 1024;

/// A store of blobs. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Where the files are, when they are in a folder of this machine.
    folder: Option<PathBuf>,
    location: String,
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blobs").field(&self.location).finish()
    }
}

impl Blobs {
    /// Blobs in any object store. `location` names it for people.
    pub fn new(store: Arc<dyn ObjectStore>, location: impl Into<String>) -> Self {
        Self {
            store,
            folder: None,
            location: location.into(),
        }
    }

    /// Where the blobs are, for people.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Keeps what `reader` gives, at most `cap` bytes. No more than one part of it is in memory at once.
    ///
    /// # Errors
    /// [`BlobError::Source`] when the reader fails, [`BlobError::TooLarge`] over
    /// `cap`, [`BlobError::Full`], [`BlobError::Unreachable`] and others when the
    /// store does. Nothing is kept then.
    pub async fn put(
        &self,
        mut reader: impl AsyncRead + Unpin,
        cap: u64,
    ) -> Result<Blob, BlobError> {
        let first = read_part(&mut reader).await?;
        if first.len() as u64 > cap {
            return Err(BlobError::TooLarge { cap });
        }
        if first.len() < PART {
            return self.put_bytes(first).await;
        }
        let staged = Path::from_iter(["staging", &Uuid::now_v7().to_string()]);
        let upload = self.store.put_multipart(&staged).await;
        let mut upload = upload.map_err(error::of_store)?;
        match fill(&mut *upload, first, &mut reader, cap).await {
            Ok(blob) => {
                if let Err(error) = upload.complete().await
                    && !self.is_there(&staged, blob.size).await
                {
                    return Err(error::of_store(error));
                }
                let renamed = self.store.rename(&staged, &path(&blob.digest)).await;
                renamed.map_err(error::of_store)?;
                Ok(blob)
            }
            Err(error) => {
                if let Err(left) = upload.abort().await {
                    tracing::debug!(error = %left, "an unfinished blob was left for the sweep");
                }
                Err(error)
            }
        }
    }

    /// Whether an upload is complete whose completion failed: its answer may have been lost, and a
    /// service that is told again does not know the upload any more.
    async fn is_there(&self, staged: &Path, size: u64) -> bool {
        let found = self.store.head(staged).await;
        found.is_ok_and(|found| found.size == size)
    }

    /// Keeps what is in memory already.
    ///
    /// Also when it is kept already: that makes it young again, so that a sweep
    /// that runs at this moment lets it be.
    ///
    /// # Errors
    /// As [`Blobs::put`].
    pub async fn put_bytes(&self, bytes: Bytes) -> Result<Blob, BlobError> {
        let blob = Blob {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        let put = self.store.put(&path(&blob.digest), bytes.into()).await;
        put.map_err(error::of_store)?;
        Ok(blob)
    }

    /// The size of a blob, in bytes; `None` when there is none of this digest.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub async fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        match self.store.head(&path(digest)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error::of_store(error)),
        }
    }

    /// Writes a small blob, reads it back and removes it again: whether all is set up well.
    ///
    /// # Errors
    /// What is wrong, as the first file would find it.
    pub async fn check(&self) -> Result<(), BlobError> {
        let probe = Path::from_iter(["staging", &format!("check-{}", Uuid::now_v7())]);
        let put = self.store.put(&probe, Bytes::from_static(b"ok").into());
        put.await.map_err(error::of_store)?;
        let read = self.store.get(&probe).await.map_err(error::of_store)?;
        read.bytes().await.map_err(error::of_store)?;
        self.store.delete(&probe).await.map_err(error::of_store)
    }
}

/// Where a blob is kept. The folder in between keeps folders small.
fn path(digest: &Digest) -> Path {
    let name = digest.to_string();
    Path::from_iter(["sha256", &name[..2], &name])
}

/// Up to a whole part; less only at the end.
async fn read_part(reader: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, BlobError> {
    let mut part = BytesMut::new();
    let mut rest = reader.take(PART as u64);
    loop {
        // Small files stay small in memory.
        part.reserve(64 * 1024);
        let read = rest.read_buf(&mut part).await;
        if read.map_err(BlobError::Source)? == 0 {
            return Ok(part.freeze());
        }
    }
}

async fn fill(
    upload: &mut dyn MultipartUpload,
    first: Bytes,
    reader: &mut (impl AsyncRead + Unpin),
    cap: u64,
) -> Result<Blob, BlobError> {
    let mut hasher = Sha256::new();
    let (mut part, mut size) = (first, 0);
    while !part.is_empty() {
        size += part.len() as u64;
        if size > cap {
            return Err(BlobError::TooLarge { cap });
        }
        hasher.update(&part);
        upload
            .put_part(part.into())
            .await
            .map_err(error::of_store)?;
        part = read_part(reader).await?;
    }
    let digest = Digest::from_bytes(hasher.finalize().into());
    Ok(Blob { digest, size })
}
