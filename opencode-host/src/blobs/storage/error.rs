//! What an error of the object store means.

use std::error::Error;
use std::io;

use crate::blobs::{BlobError, Digest};

/// What an error of the object store means for a caller.
pub(super) fn of_store(error: object_store::Error) -> BlobError {
    use object_store::Error as Store;
    match error {
        Store::PermissionDenied { .. } if says_full(&error) => BlobError::Full(error.into()),
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
            BlobError::Denied(error.into())
        }
        _ => match kind(&error) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                BlobError::Full(error.into())
            }
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                BlobError::Denied(error.into())
            }
            _ if says_full(&error) => BlobError::Full(error.into()),
            _ => BlobError::Unreachable(error.into()),
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
