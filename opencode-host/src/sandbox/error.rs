//! Why a file did not come out of a sandbox, or did not go in: by what a caller does next.

use std::io;

use super::InvalidPath;

/// What a caller learns when a sandbox operation fails. Paths are relative to the sandbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// It is not what it should be, or not the sandbox's own. Report it; do not try again.
    #[error("{path:?} was refused: {reason}")]
    Refused {
        /// The entry.
        path: String,
        /// What is wrong with it.
        reason: Refusal,
    },
    /// It is not there (any more). Skip it.
    #[error("{path:?} does not exist")]
    Gone {
        /// The entry.
        path: String,
    },
    /// It holds more than the caller would take. Tell the user.
    #[error("{path:?} is larger than {cap} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// The most that was asked for, in bytes.
        cap: u64,
    },
    /// The name is taken. Choose another one.
    #[error("{path:?} exists already; choose another name")]
    Exists {
        /// The name.
        path: String,
    },
    /// The path is no [`SandboxPath`](super::SandboxPath).
    #[error(transparent)]
    InvalidPath(#[from] InvalidPath),
    /// What was to be copied into the sandbox could not be read.
    #[error("the file to copy into the sandbox could not be read")]
    Source(#[source] io::Error),
    /// The file system failed. Trying again later may help.
    #[error("could not {action} {path:?}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The entry.
        path: String,
        /// The system's error.
        source: io::Error,
    },
}

/// Why an entry is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It, or a folder on the way to it, is a symbolic link.
    #[error("it is a symbolic link, or leads through one")]
    Symlink,
    /// The file has another name too, maybe outside the sandbox.
    #[error("it is a hard link: the same file has another name")]
    HardLink,
    /// It is a folder.
    #[error("it is a folder, not a file")]
    Folder,
    /// A file stands where a folder should be.
    #[error("it, or what should be a folder on the way to it, is not a folder")]
    NotAFolder,
    /// It is a FIFO.
    #[error("it is a FIFO, not a file")]
    Fifo,
    /// It is a socket.
    #[error("it is a socket, not a file")]
    Socket,
    /// It is a device.
    #[error("it is a device, not a file")]
    Device,
    /// It changed while it was looked at or read.
    #[error("it changed while it was read")]
    Changed,
    /// It would configure OpenCode, and comes back when it is moved away.
    #[error(
        "it configures OpenCode, and comes back when it is moved away: a process that the agent has started may be \
         writing it. End that process, then ask again"
    )]
    Configuration,
    /// Its name is not UTF-8, or holds control characters.
    #[error("its name is not plain text")]
    Name,
}
