//! Reading blobs: whole, checked against their digest, or in part.

use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use object_store::{GetOptions, ObjectStore as _};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::{Blobs, error, path};
use crate::blobs::{BlobError, Digest};

/// The bytes of a blob, as they come.
///
/// Of a whole blob the digest is checked: where it is not right, the stream ends
/// in [`BlobError::Corrupt`]. A part of a blob cannot be checked so.
pub struct BlobStream {
    /// How many bytes the whole blob has.
    pub size: u64,
    /// Which of them come.
    pub range: Range<u64>,
    chunks: BoxStream<'static, Result<Bytes, BlobError>>,
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStream")
            .field("size", &self.size)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, BlobError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll_next_unpin(context)
    }
}

impl BlobStream {
    /// The stream as a reader; an error of the blob's is an [`io::Error`] with it inside.
    pub fn into_reader(self) -> impl AsyncRead + Send + Unpin {
        StreamReader::new(self.chunks.map(|chunk| chunk.map_err(io::Error::other)))
    }
}

impl Blobs {
    /// Reads a whole blob.
    ///
    /// # Errors
    /// As [`Blobs::get`].
    pub(crate) async fn reader(
        &self,
        digest: &Digest,
    ) -> Result<impl AsyncRead + Send + Unpin + use<>, BlobError> {
        Ok(self.get(digest).await?.into_reader())
    }

    /// Streams a whole blob.
    ///
    /// # Errors
    /// [`BlobError::Missing`] when there is none; see [`BlobError`].
    pub async fn get(&self, digest: &Digest) -> Result<BlobStream, BlobError> {
        let digest = *digest;
        let place = path(&digest);
        let found = self.store.get_opts(&place, GetOptions::default());
        let found = found.await.map_err(|error| error::of_read(digest, error))?;
        let size = found.meta.size;
        let check = Check {
            digest,
            size,
            seen: 0,
            hasher: Some(Sha256::new()),
        };
        let chunks = found.into_stream();
        let chunks = futures_util::stream::unfold((chunks, check), |(mut chunks, mut check)| {
            async move {
                // Nothing follows an error, or the end.
                check.hasher.as_ref()?;
                let next = check.next(chunks.next().await)?;
                Some((next, (chunks, check)))
            }
        });
        Ok(BlobStream {
            size,
            range: 0..size,
            chunks: chunks.boxed(),
        })
    }

    /// Streams a part of a blob; what lies behind its end is left out.
    ///
    /// # Errors
    /// [`BlobError::Range`] when all of it does, [`BlobError::Missing`] when there is none; see [`BlobError`].
    pub async fn get_range(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<BlobStream, BlobError> {
        let digest = *digest;
        let size = self.size(&digest).await?;
        let size = size.ok_or(BlobError::Missing { digest })?;
        let range = range.start..range.end.min(size);
        if range.is_empty() {
            return Err(BlobError::Range { size });
        }
        let options = GetOptions::new().with_range(Some(range.clone()));
        let place = path(&digest);
        let found = self.store.get_opts(&place, options);
        let found = found.await.map_err(|error| error::of_read(digest, error))?;
        let chunks = found.into_stream();
        let chunks = chunks.map(move |chunk| chunk.map_err(|error| error::of_read(digest, error)));
        Ok(BlobStream {
            size,
            range,
            chunks: chunks.boxed(),
        })
    }

    /// Reads a whole blob of at most `cap` bytes into memory.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] over `cap`, [`BlobError::Missing`] when there is none; see [`BlobError`].
    pub async fn read(&self, digest: &Digest, cap: u64) -> Result<Bytes, BlobError> {
        let mut stream = self.get(digest).await?;
        if stream.size > cap {
            return Err(BlobError::TooLarge { cap });
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes.freeze())
    }
}

/// Follows a stream to its end, and compares.
struct Check {
    digest: Digest,
    size: u64,
    seen: u64,
    /// `None` when there is nothing more to say.
    hasher: Option<Sha256>,
}

impl Check {
    fn next(
        &mut self,
        chunk: Option<object_store::Result<Bytes>>,
    ) -> Option<Result<Bytes, BlobError>> {
        match chunk {
            Some(Ok(chunk)) => {
                self.seen += chunk.len() as u64;
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(&chunk);
                }
                Some(Ok(chunk))
            }
            Some(Err(error)) => {
                self.hasher = None;
                Some(Err(error::of_read(self.digest, error)))
            }
            None => {
                let found = Digest::from_bytes(self.hasher.take()?.finalize().into());
                let digest = self.digest;
                let whole = found == digest && self.seen == self.size;
                (!whole).then_some(Err(BlobError::Corrupt { digest }))
            }
        }
    }
}
