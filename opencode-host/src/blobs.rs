//! Bytes of files, by the digest of their content.
//!
//! What two messages both have is kept once. A blob is written whole or not at
//! all, never changed, and read as a stream whose digest is checked. Rows name
//! blobs ([`Attachment::digest`](crate::store::Attachment)): bytes come first,
//! then the row, so that a row without its bytes means that something was lost;
//! bytes without a row are removed by [`Blobs::sweep`].
//!
//! ```
//! # use opencode_host::blobs::Blobs;
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let blobs = Blobs::open("memory://")?;
//! let kept = blobs.put(&b"item,sold\n"[..], 1024).await?;
//! assert_eq!(kept.size, 10);
//! assert_eq!(blobs.read(&kept.digest, 1024).await?, "item,sold\n");
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! A blob grows in parts under a name of its own and is moved to its digest when
//! it is whole; no more than one part of it is in memory. On S3 the move is a copy,
//! of 5 GB at most, and a process that is killed leaves parts behind: give
//! the bucket a rule that ends incomplete uploads after a day.
//!
//! In a build without the feature `files` no blobs can be made; rows of files and their digests stay readable.

#[cfg(not(feature = "files"))]
#[path = "blobs/absent.rs"]
mod storage;
#[cfg(feature = "files")]
mod storage;

mod digest;
mod error;
mod swept;

pub use digest::{Digest, InvalidDigest};
pub use error::BlobError;
#[cfg(feature = "files")]
pub use error::OpenError;
#[cfg(feature = "files")]
pub use storage::BlobStream;
pub use storage::Blobs;
pub use swept::{SweepError, Swept};

/// A blob that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What it is found by.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}
