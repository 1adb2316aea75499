//! One step down from a handle, never through a link.
//!
//! Each function takes a single name (a part of a [`SandboxPath`], or one the system listed). cap-std would
//! resolve whole paths too, but follows links that stay beneath the handle; here they are refused.

use std::io;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt, File, FileTypeExt, Metadata, OpenOptions, OpenOptionsExt,
};
use rustix::io::Errno;

use crate::sandbox::{Refusal, SandboxError, SandboxPath};

/// Folders are for the user who runs the host (and OpenCode) alone.
const FOLDER_MODE: u32 = 0o700;
/// Files are, too.
const FILE_MODE: u32 = 0o600;

/// Opens the folder that holds `path`.
pub(super) fn parent(dir: &Dir, path: &SandboxPath) -> Result<Dir, SandboxError> {
    let mut parent = dir
        .try_clone()
        .map_err(|error| failed("open", path, error))?;
    for name in path.split().0 {
        parent = open(&parent, name).map_err(|error| explain(&parent, name, path, error))?;
    }
    Ok(parent)
}

/// As [`parent`], making the folders that are missing.
pub(super) fn parent_made(dir: &Dir, path: &SandboxPath) -> Result<Dir, SandboxError> {
    let mut parent = dir
        .try_clone()
        .map_err(|error| failed("open", path, error))?;
    for name in path.split().0 {
        make(&parent, name).map_err(|error| failed("make a folder for", path, error))?;
        parent = open(&parent, name).map_err(|error| explain(&parent, name, path, error))?;
    }
    Ok(parent)
}

/// Opens the folder `name`, which must not be a link.
pub(super) fn open(dir: &Dir, name: &str) -> io::Result<Dir> {
    dir.open_dir_nofollow(name)
}

/// Makes the folder `name` unless something has that name. Did it make it?
pub(super) fn make(dir: &Dir, name: &str) -> io::Result<bool> {
    let mut builder = DirBuilder::new();
    builder.mode(FOLDER_MODE);
    match dir.create_dir_with(name, &builder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens the file `name` to read: `O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC`, so that neither a link is followed
/// nor a FIFO waited for. The caller checks what it got.
pub(super) fn open_file(dir: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No).nonblock(true);
    dir.open_with(name, &options)
}

/// Makes the file `name`, which must not exist, to be written.
pub(super) fn create_file(dir: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .follow(FollowSymlinks::No);
    dir.open_with(name, &options)
}

/// Sees to it that the names in a folder are on the disk, where its file system can do that.
pub(super) fn sync(dir: &Dir) -> io::Result<()> {
    match rustix::fs::fsync(dir) {
        Ok(()) | Err(Errno::INVAL | Errno::NOTSUP | Errno::BADF) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Why this entry is not a plain file of the sandbox's own; `Ok` when it is.
pub(super) fn plain_file(metadata: &Metadata) -> Result<(), Refusal> {
    use cap_std::fs::MetadataExt;

    let kind = metadata.file_type();
    if kind.is_symlink() {
        Err(Refusal::Symlink)
    } else if kind.is_dir() {
        Err(Refusal::Folder)
    } else if kind.is_fifo() {
        Err(Refusal::Fifo)
    } else if kind.is_socket() {
        Err(Refusal::Socket)
    } else if !kind.is_file() {
        Err(Refusal::Device)
    } else if metadata.nlink() > 1 {
        Err(Refusal::HardLink)
    } else {
        Ok(())
    }
}

/// What the failure to open `name` in `dir`, on the way to `path`, means.
pub(super) fn explain(dir: &Dir, name: &str, path: &SandboxPath, error: io::Error) -> SandboxError {
    let refused = |reason| SandboxError::Refused {
        path: path.to_string(),
        reason,
    };
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => SandboxError::Gone {
            path: path.to_string(),
        },
        Some(Errno::LOOP) => refused(Refusal::Symlink),
        // A folder was wanted. Linux does not say whether a link or a file stands there.
        Some(Errno::NOTDIR) => match dir.symlink_metadata(name) {
            Ok(metadata) if metadata.is_symlink() => refused(Refusal::Symlink),
            Ok(metadata) if metadata.is_dir() => refused(Refusal::Changed),
            _ => refused(Refusal::NotAFolder),
        },
        // What was a file when it was looked at is a socket now.
        Some(Errno::NXIO) => refused(Refusal::Changed),
        _ => failed("open", path, error),
    }
}

pub(super) fn failed(action: &'static str, path: &SandboxPath, source: io::Error) -> SandboxError {
    SandboxError::Io {
        action,
        path: path.to_string(),
        source,
    }
}
