//! Places in a turn's changes, as text that goes to a watcher and back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place in a turn's changes: which run of the turn, and the number in it. The same on every node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct Cursor {
    /// The turn's generation: another worker numbers anew.
    pub generation: u64,
    /// The last change seen; 0 before the first.
    pub sequence: u64,
}

impl Cursor {
    /// Before everything.
    pub const START: Self = Self {
        generation: 0,
        sequence: 0,
    };

    /// Behind a reply as it was last saved, which has no number: what comes next is the whole.
    pub(crate) const SAVED: Self = Self {
        generation: 0,
        sequence: 1,
    };
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.sequence)
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor looks like 1-42")]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (generation, sequence) = text.split_once('-').ok_or(NotACursor)?;
        Ok(Self {
            generation: generation.parse().map_err(|_| NotACursor)?,
            sequence: sequence.parse().map_err(|_| NotACursor)?,
        })
    }
}

impl TryFrom<String> for Cursor {
    type Error = NotACursor;

    fn try_from(text: String) -> Result<Self, NotACursor> {
        text.parse()
    }
}
