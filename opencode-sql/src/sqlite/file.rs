use std::fs::metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use opencode_host::store::{StoreError, StoreResult};

/// A database file, told from another one at the same path.
#[derive(Debug)]
pub(super) struct OpenedFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl OpenedFile {
    /// The file that is at `path` now.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }

    /// Whether it is there still.
    pub(super) fn check(&self) -> StoreResult<()> {
        let path = self.path.display();
        let wrong = match identity(&self.path) {
            Ok(identity) if identity == self.identity => return Ok(()),
            Ok(_) => format!("{path} was replaced by another file while it was open"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("{path} was removed while it was open")
            }
            Err(error) => format!("{path} cannot be looked at ({error})"),
        };
        Err(StoreError::Unavailable(format!(
            "{wrong}: nothing is read or written until it is back. Restart to use what is there now"
        )))
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = metadata(path)?;
    Ok((found.dev(), found.ino()))
}
