//! The folder an agent works in, one per conversation, and the only way its files come out again.
//!
//! An agent is not trusted with what its folder holds: it may put a symlink where a report was, hang a
//! hard link to somebody's key into it, leave a FIFO that blocks whoever opens it, or swap entries while
//! they are read. So no path is ever joined and opened. Every access starts from a handle to the
//! sandbox's folder, goes down one name at a time without following links, and compares what was opened
//! with what was seen. Nothing outside the sandbox is read or written, whatever happens inside it.
//!
//! ```text
//! SandboxRoot::open ── provision(id) ──▶ Sandbox ── files(after) ──▶ SandboxFile ── read(cap) ──▶ bytes
//!                                           └────── seed, write_new ◀── whole files, never over another
//! ```
//!
//! [`SandboxRoot::open`] insists on a place outside every Git worktree: there OpenCode's
//! `external_directory` permission covers everything but the sandbox (seen on 1.18.34), and
//! [`default_permission_rules`] denies it.
//!
//! All calls block on the file system, never on another process. Async code uses the `_async` forms, which
//! run on tokio's blocking threads. Unix only.
//!
//! A file is looked at before it is opened, so that opening cannot rewind a tape or hang on a FIFO. A file
//! that was moved (not copied or linked) into the sandbox by someone with the rights to do so has become the
//! sandbox's own and is read.
//!
//! In a build without the feature `files` there are no sandboxes: what is left are names, rules and errors.

#[cfg(not(feature = "files"))]
#[path = "absent.rs"]
mod disk;
#[cfg(feature = "files")]
mod disk;

mod blocking;
mod error;
mod id;
mod listing;
mod own_configuration;
mod path;
mod rules;

pub(crate) use blocking::blocking;
#[cfg(feature = "files")]
pub use disk::RootError;
pub(crate) use disk::Staged;
pub use disk::{Sandbox, SandboxRoot};
pub use error::{Refusal, SandboxError};
pub use id::{InvalidSandboxId, SandboxId};
pub use own_configuration::OwnConfiguration;
pub use path::{InvalidPath, MAX_DEPTH, SandboxPath};
// How workers read what an agent has made; this crate's own tests do, too. A host gets files as attachments.
#[doc(hidden)]
pub use disk::SandboxFile;
#[cfg(feature = "files")]
#[doc(hidden)]
pub use disk::{MAX_ENTRIES, MAX_REFUSED};
#[doc(hidden)]
pub use listing::{Listing, RefusedEntry};
pub use rules::{default_permission_rules, own_configuration_rules};

/// The most bytes of one file that become an artifact unless the host says otherwise: 10 MiB.
#[doc(hidden)]
pub const DEFAULT_READ_CAP: u64 = 10 * 1024 * 1024;
