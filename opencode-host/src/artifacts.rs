//! Files that come out of a turn.
//!
//! ```text
//! Exchange ── ExchangeFiles ──┐
//!                             ├─ MessageArtifacts::attach_from ──▶ Blobs, then a row (Store::attach)
//! Sandbox ─── files(after) ───┘        ▲
//!                                  Transform: what the host itself makes of a file, and vouches for
//! ```
//!
//! An agent's file is data and nothing more: whatever it says it is, it is
//! attached without trust. Only what a [`Transform`] of the product rendered
//! carries trust, and only its row tells ([`AttachmentSource::Transform`]), which
//! no agent writes.
//!
//! A worker attaches a turn's files by itself, with the folder from
//! [`HostBuilder::sandboxes`] and the bytes from [`HostBuilder::blobs`]; a host
//! names its [`Transform`]s. Attaching happens when the turn is durable, and can
//! be done again by anyone at any time: bytes go to
//! [`Blobs`](crate::blobs::Blobs) under their digest first, then the row, of which
//! the database allows one for each name of a message.
//!
//! [`HostBuilder::blobs`]: crate::HostBuilder::blobs
//! [`HostBuilder::sandboxes`]: crate::HostBuilder::sandboxes
//! [`AttachmentSource::Transform`]: crate::store::AttachmentSource::Transform

mod echo;
mod exchange_files;
mod message_artifacts;
mod naming;
mod transform;

use bytes::Bytes;
use serde_json::{Map, Value};

// Workers attach files. What they do it with is no part of the library's surface: its own tests use it.
#[doc(hidden)]
pub use echo::Echo;
pub(crate) use echo::place_of;
pub(crate) use exchange_files::Dropped;
#[doc(hidden)]
pub use exchange_files::{ExchangeFile, ExchangeFiles, FileError};
#[doc(hidden)]
pub use message_artifacts::{AttachReport, MAX_SANDBOX_FILES, MessageArtifacts};
pub use transform::{Counterfeit, DefaultAttach, Transform};

/// The most bytes of one artifact unless the host says otherwise: 10 MiB.
pub(crate) const MAX_ARTIFACT: u64 = crate::sandbox::DEFAULT_READ_CAP;

/// A file on its way to a message. Two with the same values are the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// Its name, without folders.
    pub name: String,
    /// What it holds.
    pub bytes: Bytes,
    /// Its MIME type, as the name says: the bytes may be something else.
    pub mime_type: String,
    /// What the host vouches for, in a product's own words; empty for anything an agent made.
    pub trust: Map<String, Value>,
}

impl Artifact {
    /// A file without trust, of the type its name says.
    pub fn new(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let name = name.into();
        Self {
            mime_type: mime_type_of(&name),
            name,
            bytes: bytes.into(),
            trust: Map::new(),
        }
    }
}

/// The MIME type that a file's name says; `application/octet-stream` when it says none.
pub(crate) fn mime_type_of(name: &str) -> String {
    mime_guess::from_path(name)
        .first_or_octet_stream()
        .essence_str()
        .to_owned()
}
