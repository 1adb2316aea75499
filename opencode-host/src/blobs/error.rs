//! What goes wrong with blobs, sorted by what a caller does next.

use std::error::Error;
use std::io;

use super::Digest;

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
    Full(#[source] object_store::Error),
    /// The store does not let this process in. Check its credentials, or the rights of its folder.
    #[error(
        "the blob storage refused access: check its credentials, or the permissions of its folder"
    )]
    Denied(#[source] object_store::Error),
    /// The store does not answer, or fails. Trying again later may help.
    #[error("the blob storage does not work")]
    Unreachable(#[source] object_store::Error),
}

/// Why a blob storage was not opened.
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
    Settings(String, #[source] object_store::Error),
}

/// What an error of the object store means for a caller.
pub(super) fn of_store(error: object_store::Error) -> BlobError {
    use object_store::Error as Store;
    match error {
        Store::PermissionDenied { .. } if says_full(&error) => BlobError::Full(error),
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => BlobError::Denied(error),
        _ => match kind(&error) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                BlobError::Full(error)
            }
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                BlobError::Denied(error)
            }
            _ if says_full(&error) => BlobError::Full(error),
            _ => BlobError::Unreachable(error),
        },
    }
}

/// The same, where a blob was asked for.
pub(super) fn of_read(digest: Digest, error: object_store::Error) -> BlobError {
    match error {
        object_store::Error::NotFound { .. } => BlobError::Missing { digest },
        error => of_store(error),
    }
}

/// Whether an S3 service says that there is no room: status 507, or one of the codes of MinIO and of Ceph. The
/// object store gives both as words only.
fn says_full(error: &object_store::Error) -> bool {
    const WORDS: [&str; 4] = [
        "507 Insufficient Storage",
        "StorageFull",
        "BucketQuotaExceeded",
        "<Code>QuotaExceeded",
    ];
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if WORDS.iter().any(|words| text.contains(words)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The kind of the system's error at the bottom.
fn kind(error: &object_store::Error) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}
