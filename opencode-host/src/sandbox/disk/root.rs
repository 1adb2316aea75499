//! The folder of all sandboxes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tokio::io::AsyncRead;

use super::quarantine::{QUARANTINE, Quarantine};
use super::{Sandbox, file, folder, write::Staged};
use crate::sandbox::{Refusal, SandboxError, SandboxId};

/// Where files grow before they are given their name. No [`SandboxId`] starts with a dot.
const STAGING: &str = ".staging";

/// Why a folder cannot hold sandboxes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// It is a symbolic link, which somebody could point elsewhere.
    #[error(
        "the sandbox root {} is a symbolic link; name the folder it points to",
        path.display()
    )]
    Symlink {
        /// The folder as it was named.
        path: PathBuf,
    },
    /// It is a file.
    #[error(
        "the sandbox root {} is not a folder; remove it or choose another place",
        path.display()
    )]
    NotAFolder {
        /// The folder as it was named.
        path: PathBuf,
    },
    /// The path ends in no name.
    #[error(
        "the sandbox root {} must be named by a path that ends in a folder's name",
        path.display()
    )]
    Nameless {
        /// The folder as it was named.
        path: PathBuf,
    },
    /// It lies in a Git worktree: OpenCode takes the whole worktree for the agent's, and its
    /// `external_directory` permission protects nothing in it.
    #[error(
        "the sandbox root {} lies inside the Git worktree {}, all of which OpenCode would let an agent \
         change; choose a folder outside every Git worktree",
        path.display(),
        worktree.display()
    )]
    InGitWorktree {
        /// The folder as it was named.
        path: PathBuf,
        /// The folder that has a `.git`.
        worktree: PathBuf,
    },
    /// The file system failed.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The folder under which each conversation has its sandbox, held by a handle.
#[derive(Debug, Clone)]
pub struct SandboxRoot {
    path: PathBuf,
    dir: Arc<Dir>,
    staging: Arc<Dir>,
}

impl SandboxRoot {
    /// Copies an async reader into a file that is in no sandbox yet.
    pub(crate) async fn stage(
        &self,
        reader: impl AsyncRead + Unpin,
    ) -> Result<Staged, SandboxError> {
        Staged::copy_from_async(Arc::clone(&self.staging), reader).await
    }

    /// Opens the folder at `path`, making it (for this user alone) if there is none.
    ///
    /// Folders above it may be links; they are resolved once, here.
    ///
    /// # Errors
    ///
    /// When it is a link, is no folder, lies inside a Git worktree, or cannot be made.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RootError> {
        let path = path.as_ref();
        let failed = |action| {
            move |source| RootError::Io {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let absolute = std::path::absolute(path).map_err(failed("find"))?;
        // `file_name` has no trailing slash, through which a link would be followed.
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(RootError::Nameless {
                path: path.to_owned(),
            });
        };
        // Asked before anything is made, and again when the place is known for certain.
        outside_git(path, &nearest_existing(parent).map_err(failed("find"))?)?;
        fs::create_dir_all(parent).map_err(failed("make the folders above"))?;
        let parent = parent.canonicalize().map_err(failed("find"))?;
        let real = parent.join(name);
        outside_git(path, &real)?;

        let above = Dir::open_ambient_dir(&parent, ambient_authority())
            .map_err(failed("open the folder above"))?;
        let name = name.to_str().ok_or_else(|| RootError::Nameless {
            path: path.to_owned(),
        })?;
        folder::make(&above, name).map_err(failed("make"))?;
        let dir =
            folder::open(&above, name).map_err(|source| match above.symlink_metadata(name) {
                Ok(metadata) if metadata.is_symlink() => RootError::Symlink {
                    path: path.to_owned(),
                },
                Ok(metadata) if !metadata.is_dir() => RootError::NotAFolder {
                    path: path.to_owned(),
                },
                _ => failed("open")(source),
            })?;
        folder::make(&dir, STAGING).map_err(failed("make .staging in"))?;
        let staging = folder::open(&dir, STAGING).map_err(failed("open .staging in"))?;
        Ok(Self {
            path: real,
            dir: Arc::new(dir),
            staging: Arc::new(staging),
        })
    }

    /// The folder's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sandbox of that identifier, made (for this user alone) if there is none.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Refused`] when a link or a file has its name, [`SandboxError::Io`] for the rest.
    pub fn provision(&self, id: &SandboxId) -> Result<Sandbox, SandboxError> {
        let failed = |action| {
            move |source| SandboxError::Io {
                action,
                path: id.to_string(),
                source,
            }
        };
        let just_created = folder::make(&self.dir, id.as_str()).map_err(failed("make"))?;
        match self.open_sandbox(id) {
            Ok(sandbox) => Ok(Sandbox {
                just_created,
                ..sandbox
            }),
            Err(source) => Err(self.explain(id, source)),
        }
    }

    /// The sandbox of that identifier, if there is one.
    ///
    /// # Errors
    ///
    /// As [`SandboxRoot::provision`].
    pub fn find(&self, id: &SandboxId) -> Result<Option<Sandbox>, SandboxError> {
        match self.open_sandbox(id) {
            Ok(sandbox) => Ok(Some(sandbox)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.explain(id, source)),
        }
    }

    fn open_sandbox(&self, id: &SandboxId) -> io::Result<Sandbox> {
        Ok(Sandbox {
            path: self.path.join(id.as_str()),
            dir: Arc::new(folder::open(&self.dir, id.as_str())?),
            staging: Arc::clone(&self.staging),
            quarantine: Quarantine {
                root: Arc::clone(&self.dir),
                id: id.clone(),
            },
            just_created: false,
        })
    }

    fn explain(&self, id: &SandboxId, source: io::Error) -> SandboxError {
        let refused = |reason| SandboxError::Refused {
            path: id.to_string(),
            reason,
        };
        match self.dir.symlink_metadata(id.as_str()) {
            Ok(metadata) if metadata.is_symlink() => refused(Refusal::Symlink),
            Ok(metadata) if !metadata.is_dir() => refused(Refusal::NotAFolder),
            _ => SandboxError::Io {
                action: "open",
                path: id.to_string(),
                source,
            },
        }
    }

    /// Removes a sandbox and all that is in it or was moved out of it; links in it are removed, not followed.
    /// `false` when there was none.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Io`] when the file system fails; some files may be gone by then.
    pub fn remove(&self, id: &SandboxId) -> Result<bool, SandboxError> {
        let remove = || {
            match folder::open(&self.dir, QUARANTINE) {
                Ok(quarantine) => remove_all(&quarantine, id)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            };
            remove_all(&self.dir, id)
        };
        remove().map_err(|source| SandboxError::Io {
            action: "remove",
            path: id.to_string(),
            source,
        })
    }

    /// Removes what crashed copies left behind before `before`, and returns how many files that were.
    ///
    /// Choose a time before which no copy can still be running, a day ago for instance. A worker of a
    /// [`Host`](crate::Host) with sandboxes does this each hour. Sandboxes are not swept: whoever deletes a
    /// conversation [removes](SandboxRoot::remove) its own.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Io`] when the file system fails.
    #[doc(hidden)]
    pub fn sweep(&self, before: SystemTime) -> Result<usize, SandboxError> {
        let sweep = || -> io::Result<usize> {
            let mut swept = 0;
            for entry in self.staging.entries()? {
                let entry = entry?;
                // It may be placed, or swept by somebody else, at any moment.
                let sweep = || match entry.metadata()? {
                    metadata if file::modified(&metadata) < before => {
                        self.staging.remove_file(entry.file_name()).map(|()| 1)
                    }
                    _ => Ok(0),
                };
                swept += match sweep() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                    other => other?,
                };
            }
            Ok(swept)
        };
        sweep().map_err(|source| SandboxError::Io {
            action: "sweep",
            path: STAGING.to_owned(),
            source,
        })
    }
}

/// Removes a folder with all that is in it, if it is there.
fn remove_all(dir: &Dir, id: &SandboxId) -> io::Result<bool> {
    match dir.remove_dir_all(id.as_str()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The nearest folder above `path` that exists, or `path` itself, without links.
fn nearest_existing(path: &Path) -> io::Result<PathBuf> {
    for path in path.ancestors() {
        match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// OpenCode looks for an entry called `.git`, of whatever kind, from the folder upwards.
fn outside_git(named: &Path, real: &Path) -> Result<(), RootError> {
    for folder in real.ancestors() {
        let git = folder.join(".git");
        match git.symlink_metadata() {
            Ok(_) => {
                return Err(RootError::InGitWorktree {
                    path: named.to_owned(),
                    worktree: folder.to_owned(),
                });
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(source) => {
                return Err(RootError::Io {
                    action: "look at",
                    path: git,
                    source,
                });
            }
        }
    }
    Ok(())
}
