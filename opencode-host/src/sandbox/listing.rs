//! What a sandbox holds that is new.

use super::{Refusal, SandboxFile};

/// The outcome of [`Sandbox::files`](super::Sandbox::files).
#[derive(Debug)]
pub struct Listing {
    /// The regular files, sorted by path.
    pub files: Vec<SandboxFile>,
    /// New entries that are no regular files, or cannot be named; at most [`MAX_REFUSED`](super::MAX_REFUSED) of them.
    pub refused: Vec<RefusedEntry>,
    /// `false` when there was more than [`MAX_ENTRIES`](super::MAX_ENTRIES) or deeper than
    /// [`MAX_DEPTH`](super::MAX_DEPTH), or part of it could not be read. Files near the top are looked at first.
    pub complete: bool,
}

/// An entry that a listing passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedEntry {
    /// Its path, with what is not UTF-8 replaced. For people, not to be opened.
    pub path: String,
    /// Why.
    pub reason: Refusal,
}
