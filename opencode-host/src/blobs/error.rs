//! What goes wrong with blobs, sorted by what a caller does next.

use std::error::Error;
use std::io;

use super::Digest;

/// What the object store said.
type Cause = Box<dyn Error + Send + Sync>;

/// Why bytes were not kept, or not given: by what a caller does next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There are no such bytes. If a row names them, they were lost.
    #[error("the content of this file is missing from the blob storage ({digest})")]
    Missing {
        /// What was asked for.
        digest: Digest,
    },
    /// The bytes are not what they were. Restore them from a backup.
    #[error("the content of this file was damaged in the blob storage ({digest})")]
    Corrupt {
        /// What was asked for.
        digest: Digest,
    },
    /// It has more bytes than the caller would take.
    #[error("the file is larger than {cap} bytes")]
    TooLarge {
        /// The most, in bytes.
        cap: u64,
    },
    /// The range begins behind the end.
    #[error("the range lies outside the file, which has {size} bytes")]
    Range {
        /// The size of the blob, in bytes.
        size: u64,
    },
    /// What was to be kept could not be read.
    #[error("the file to keep could not be read")]
    Source(#[source] io::Error),
    /// There is no room left. Make some.
    #[error("the blob storage is full: free some space, or raise its quota")]
    Full(#[source] Cause),
    /// The store does not let this process in. Check its credentials, or the rights of its folder.
    #[error(
        "the blob storage refused access: check its credentials, or the permissions of its folder"
    )]
    Denied(#[source] Cause),
    /// The store does not answer, or fails. Trying again later may help.
    #[error("the blob storage does not work")]
    Unreachable(#[source] Cause),
}

/// Why a blob storage was not opened.
#[cfg(feature = "files")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL names nothing this program knows.
    #[error(
        "{0:?} names no blob storage: use file://FOLDER, memory:// or s3://BUCKET/PREFIX{note}",
        note = if cfg!(feature = "s3") { "" } else { " (this build is without s3)" }
    )]
    Unknown(String),
    /// The folder cannot be made.
    #[error("the folder {0} for blobs cannot be made or opened")]
    Folder(String, #[source] io::Error),
    /// The store's settings are not right.
    #[error("the blob storage {0} is not set up right")]
    Settings(String, #[source] Cause),
}
