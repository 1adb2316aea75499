//! Putting whole files into a sandbox.
//!
//! A file grows in the staging folder beside the sandboxes, where no agent comes, and is moved to its name
//! when it is complete: the move fails when the name is taken, and takes the name as it is, link or not.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, File};
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{file::SandboxFile, folder};
use crate::sandbox::{SandboxError, SandboxPath, blocking};

/// Bytes copied at a time.
const CHUNK: usize = 256 * 1024;

/// A file without a name in a sandbox; removed again unless it is placed.
#[derive(Debug)]
pub(crate) struct Staged {
    staging: Arc<Dir>,
    name: String,
    file: File,
    size: u64,
    /// The name it has in a sandbox.
    placed: Option<SandboxPath>,
}

impl Staged {
    /// An empty file.
    pub(crate) fn new(staging: &Arc<Dir>) -> Result<Self, SandboxError> {
        /// Tells this process's files apart; another process's (on another machine, too) are told by
        /// their existence.
        static NEXT: AtomicU64 = AtomicU64::new(0);

        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{number}", std::process::id());
            match folder::create_file(staging, &name) {
                Ok(file) => {
                    return Ok(Self {
                        staging: Arc::clone(staging),
                        name,
                        file,
                        size: 0,
                        placed: None,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => {
                    return Err(SandboxError::Io {
                        action: "make a file in",
                        path: "the staging folder".to_owned(),
                        source,
                    });
                }
            }
        }
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn copy_from(&mut self, reader: &mut impl Read) -> Result<(), SandboxError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(filled) => self.append(&buffer[..filled])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SandboxError::Source(error)),
            }
        }
    }

    pub(super) async fn copy_from_async(
        staging: Arc<Dir>,
        mut reader: impl AsyncRead + Unpin,
    ) -> Result<Self, SandboxError> {
        let mut staged = blocking(move || Self::new(&staging)).await?;
        let mut buffer = Vec::with_capacity(CHUNK);
        loop {
            buffer.clear();
            // Filled before it is handed over: a trip to a blocking thread costs more than a small read.
            let mut chunk = (&mut reader).take(CHUNK as u64);
            chunk
                .read_to_end(&mut buffer)
                .await
                .map_err(SandboxError::Source)?;
            if buffer.is_empty() {
                return blocking(move || staged.synced()).await;
            }
            (staged, buffer) = blocking(move || {
                staged.append(&buffer)?;
                Ok((staged, buffer))
            })
            .await?;
        }
    }

    /// Its bytes are on the disk from here on: its name, once it has one, is found with them after a crash.
    fn synced(self) -> Result<Self, SandboxError> {
        match self.file.sync_all() {
            Ok(()) => Ok(self),
            Err(source) => Err(SandboxError::Io {
                action: "write",
                path: "a file for the sandbox".to_owned(),
                source,
            }),
        }
    }

    /// Its content, while it has no name.
    pub(crate) fn read(&self) -> Result<std::fs::File, SandboxError> {
        let opened = folder::open_file(&self.staging, &self.name);
        opened.map(File::into_std).map_err(SandboxError::Source)
    }

    /// The name it has in a sandbox.
    pub(crate) fn placed(&self) -> Option<&SandboxPath> {
        self.placed.as_ref()
    }

    /// Takes its name from it again, unless something else has that by now.
    pub(crate) fn take_back(&mut self, dir: &Dir) -> Result<(), SandboxError> {
        use cap_std::fs::MetadataExt as _;

        let Some(path) = self.placed.clone() else {
            return Ok(());
        };
        let parent = folder::parent(dir, &path)?;
        let failed = |error| folder::failed("take back", &path, error);
        let there = parent.symlink_metadata(path.name()).map_err(failed)?;
        let own = self.file.metadata().map_err(failed)?;
        if (there.dev(), there.ino()) == (own.dev(), own.ino()) {
            let moved = move_new(&parent, path.name(), &self.staging, &self.name);
            moved.map_err(|error| failed(error.into()))?;
            self.placed = None;
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), SandboxError> {
        self.file
            .write_all(bytes)
            .map_err(|source| SandboxError::Io {
                action: "write",
                path: "a file for the sandbox".to_owned(),
                source,
            })?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Gives it its name; folders on the way are made. Returns its size.
    ///
    /// After [`SandboxError::Exists`] another name may be tried.
    pub(crate) fn place(&mut self, dir: &Dir, path: &SandboxPath) -> Result<u64, SandboxError> {
        let parent = folder::parent_made(dir, path)?;
        match move_new(&self.staging, &self.name, &parent, path.name()) {
            Ok(()) => {
                self.placed = Some(path.clone());
                folder::sync(&parent).map_err(|error| folder::failed("write", path, error))?;
                Ok(self.size)
            }
            Err(Errno::EXIST) => Err(SandboxError::Exists {
                path: path.to_string(),
            }),
            Err(error) => Err(folder::failed("write", path, error.into())),
        }
    }

    /// Does `path` hold the very same bytes? Anything that is not a plain, readable file does not.
    pub(crate) fn is_at(&self, dir: &Arc<Dir>, path: &SandboxPath) -> bool {
        SandboxFile::look(dir, path.clone())
            .ok()
            .filter(|there| there.size() == self.size)
            .and_then(|there| there.open().ok())
            .and_then(|there| self.is_same(there).ok())
            .unwrap_or(false)
    }

    fn is_same(&self, mut there: File) -> io::Result<bool> {
        let mut here = folder::open_file(&self.staging, &self.name)?;
        let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
        loop {
            let filled = fill(&mut here, &mut ours)?;
            if fill(&mut there, &mut theirs)? != filled || ours[..filled] != theirs[..filled] {
                return Ok(false);
            }
            if filled == 0 {
                return Ok(true);
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.placed.is_none()
            && let Err(error) = self.staging.remove_file(&self.name)
        {
            tracing::warn!(%error, "a staged file was left behind; the next sweep removes it");
        }
    }
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Moves a file to a name that must be free.
fn move_new(from: &Dir, name: &str, to: &Dir, new_name: &str) -> Result<(), Errno> {
    match rustix::fs::renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE) {
        // Some network file systems cannot do this. A second link cannot replace anything either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::linkat(from, name, to, new_name, AtFlags::empty())?;
            rustix::fs::unlinkat(from, name, AtFlags::empty())
        }
        moved => moved,
    }
}
