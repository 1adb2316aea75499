//! One file of a sandbox: looked at first, read later, refused if it is another one by then.

use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::fs::{Dir, File, Metadata, MetadataExt};

use super::folder;
use crate::sandbox::{Refusal, SandboxError, SandboxPath, blocking};

/// Memory reserved before the first byte is read; a sparse file may claim any size.
const FIRST_BUFFER: u64 = 1024 * 1024;

/// A regular file as it was when it was looked at.
#[derive(Debug, Clone)]
pub struct SandboxFile {
    dir: Arc<Dir>,
    path: SandboxPath,
    look: Look,
    modified: SystemTime,
}

/// What tells one state of one file from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also moves when the file is linked, renamed over, or gets other rights.
    changed: (i64, i64),
}

impl Look {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl SandboxFile {
    /// Looks at the file at `path`, without opening it.
    pub(super) fn look(dir: &Arc<Dir>, path: SandboxPath) -> Result<Self, SandboxError> {
        let parent = folder::parent(dir, &path)?;
        let metadata = parent
            .symlink_metadata(path.name())
            .map_err(|error| folder::explain(&parent, path.name(), &path, error))?;
        folder::plain_file(&metadata).map_err(|reason| refused(&path, reason))?;
        Ok(Self::seen(dir, path, &metadata))
    }

    /// A file whose metadata is known already.
    pub(super) fn seen(dir: &Arc<Dir>, path: SandboxPath, metadata: &Metadata) -> Self {
        Self {
            dir: Arc::clone(dir),
            look: Look::of(metadata),
            modified: modified(metadata),
            path,
        }
    }

    /// Where it is in the sandbox.
    pub fn path(&self) -> &SandboxPath {
        &self.path
    }

    /// Its name without folders.
    pub fn name(&self) -> &str {
        self.path.name()
    }

    /// Its size in bytes when it was looked at.
    pub fn size(&self) -> u64 {
        self.look.size
    }

    /// When its content last changed, by the clock of the file system.
    pub fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Reads the whole file, at most `cap` bytes ([`DEFAULT_READ_CAP`](crate::sandbox::DEFAULT_READ_CAP) is the usual one).
    ///
    /// Never waits for another process.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Refused`] when it is a link or no plain file, or is not the file that was looked at,
    /// or changed while it was read; [`SandboxError::TooLarge`] over `cap`, also when it grows there while
    /// it is read; [`SandboxError::Gone`] when it was removed; [`SandboxError::Io`] for the rest.
    pub fn read(&self, cap: u64) -> Result<Vec<u8>, SandboxError> {
        let path = &self.path;
        let too_large = || SandboxError::TooLarge {
            path: path.to_string(),
            cap,
        };
        if self.look.size > cap {
            return Err(too_large());
        }
        let mut file = self.open()?;
        let mut bytes = Vec::with_capacity(self.look.size.min(FIRST_BUFFER) as usize);
        file.by_ref()
            .take(cap.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| folder::failed("read", path, error))?;
        if bytes.len() as u64 > cap {
            return Err(too_large());
        }
        self.is_unchanged(&self.metadata_of(&file)?)?;
        if bytes.len() as u64 != self.look.size {
            return Err(refused(path, Refusal::Changed));
        }
        Ok(bytes)
    }

    /// Opens it, if it still is what was looked at.
    pub(super) fn open(&self) -> Result<File, SandboxError> {
        let path = &self.path;
        let parent = folder::parent(&self.dir, path)?;
        let explain = |error| folder::explain(&parent, path.name(), path, error);
        // Opening a device may already do something: look again, as late as can be.
        self.is_unchanged(&parent.symlink_metadata(path.name()).map_err(explain)?)?;
        let file = folder::open_file(&parent, path.name()).map_err(explain)?;
        self.is_unchanged(&self.metadata_of(&file)?)?;
        Ok(file)
    }

    fn metadata_of(&self, file: &File) -> Result<Metadata, SandboxError> {
        file.metadata()
            .map_err(|error| folder::failed("look at", &self.path, error))
    }

    /// [`SandboxFile::read`] on a blocking thread.
    ///
    /// # Errors
    ///
    /// As [`SandboxFile::read`].
    pub async fn read_async(&self, cap: u64) -> Result<Vec<u8>, SandboxError> {
        let file = self.clone();
        blocking(move || file.read(cap)).await
    }

    fn is_unchanged(&self, metadata: &Metadata) -> Result<(), SandboxError> {
        let reason = match folder::plain_file(metadata) {
            Err(reason) => reason,
            Ok(()) if Look::of(metadata) != self.look => Refusal::Changed,
            Ok(()) => return Ok(()),
        };
        Err(refused(&self.path, reason))
    }
}

/// When the content last changed; a time the system cannot express counts as long ago.
pub(super) fn modified(metadata: &Metadata) -> SystemTime {
    metadata
        .modified()
        .map_or(SystemTime::UNIX_EPOCH, cap_std::time::SystemTime::into_std)
}

fn refused(path: &SandboxPath, reason: Refusal) -> SandboxError {
    SandboxError::Refused {
        path: path.to_string(),
        reason,
    }
}
