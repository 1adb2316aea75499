//! What waits and what runs, for those who watch over a store.

use crate::clock::Timestamp;

/// What waits and what runs, over all processes on a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Turns that are queued and whose moment has come. At most [`COUNTED`](Self::COUNTED).
    pub queued: u64,
    /// Since when the one of these waits that has waited longest.
    pub oldest: Option<Timestamp>,
    /// Turns that run, at most [`COUNTED`](Self::COUNTED).
    pub running: u64,
    /// Of these, turns that wait for a person.
    pub waiting: u64,
    /// The time by the store's clock.
    pub now: Timestamp,
}

impl Backlog {
    /// The most turns of a kind that are counted: what a look costs is bounded.
    pub const COUNTED: u32 = 10_000;

    /// Nothing waits and nothing runs.
    pub fn empty(now: Timestamp) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }
}
