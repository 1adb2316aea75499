//! How many connections a process may hold, by its descriptors.

/// The most connections, where there are descriptors for so many.
const MAX_CONNECTIONS: usize = 2048;
/// The fewest, however few descriptors there are.
const MIN_CONNECTIONS: usize = 16;
/// Descriptors left to the database, to OpenCode and to files.
const OTHER_DESCRIPTORS: usize = 128;
/// Connections beyond the most, for `/health`.
const RESERVE: usize = 8;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// That serve pages.
    pub(crate) connections: usize,
    /// Beyond these, that answer `/health` alone.
    pub(crate) reserve: usize,
}

impl Bounds {
    /// In a process that may have so many descriptors.
    pub(crate) fn of(descriptors: usize) -> Self {
        let left = descriptors.saturating_sub(OTHER_DESCRIPTORS) / 4 * 3;
        Self {
            connections: left.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS),
            reserve: RESERVE,
        }
    }

    /// How many of the connections may be live streams. The others are for pages.
    pub(crate) fn streams(self) -> usize {
        self.connections / 4 * 3
    }
}
