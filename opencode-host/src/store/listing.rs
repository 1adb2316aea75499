//! Which conversations are listed, and in what order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Search, Tenant};
use crate::clock::Timestamp;
use crate::id::ConversationId;

/// Which conversations are listed: those that all of it is true of. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConversationFilter {
    /// Of this tenant.
    pub tenant: Option<Tenant>,
    /// With a turn that is queued or runs, or without one.
    pub busy: Option<bool>,
    /// Used at this time or later.
    pub used_since: Option<Timestamp>,
    /// Used before this time.
    pub used_before: Option<Timestamp>,
    /// With something noted under each of these names: see [`Metadata`](super::Metadata).
    pub noted: Vec<String>,
    /// With nothing noted under any of these names.
    pub not_noted: Vec<String>,
    /// In which these words are found: all of them in one message that is shown and complete, or all in its name and the
    /// texts that are noted at it. See [`Search`].
    pub search: Option<Search>,
}

impl ConversationFilter {
    /// The conversations of one tenant.
    pub fn of(tenant: &Tenant) -> Self {
        Self {
            tenant: Some(tenant.clone()),
            ..Self::default()
        }
    }

    /// These, as far as a turn of theirs is queued or runs; or, with `false`, as far as none is.
    #[must_use]
    pub fn busy(mut self, busy: bool) -> Self {
        self.busy = Some(busy);
        self
    }

    /// These, as far as they were used at this time or later.
    #[must_use]
    pub fn used_since(mut self, time: Timestamp) -> Self {
        self.used_since = Some(time);
        self
    }

    /// These, as far as they were used before this time.
    #[must_use]
    pub fn used_before(mut self, time: Timestamp) -> Self {
        self.used_before = Some(time);
        self
    }

    /// These, as far as something is noted under this name in their metadata, `null` too.
    #[must_use]
    pub fn noted(mut self, name: impl Into<String>) -> Self {
        self.noted.push(name.into());
        self
    }

    /// These, as far as words are found in them.
    #[must_use]
    pub fn search(mut self, search: Search) -> Self {
        self.search = Some(search);
        self
    }

    /// These, as far as nothing is noted under this name in their metadata.
    #[must_use]
    pub fn not_noted(mut self, name: impl Into<String>) -> Self {
        self.not_noted.push(name.into());
        self
    }
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Which end the list begins with.
    pub order: Order,
    /// What the part comes behind; the beginning of the list without it.
    pub after: Option<ConversationCursor>,
    /// How many the part has at most.
    pub limit: u32,
}

/// Which end a list begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// With what was used last.
    #[default]
    NewestFirst,
    /// With what was used longest ago.
    OldestFirst,
}

impl Page {
    /// The first `limit`, newest first.
    pub fn newest(limit: u32) -> Self {
        Self {
            order: Order::NewestFirst,
            after: None,
            limit,
        }
    }

    /// The first `limit`, oldest first.
    pub fn oldest(limit: u32) -> Self {
        Self {
            order: Order::OldestFirst,
            ..Self::newest(limit)
        }
    }

    /// Whether a place is behind the one that the part comes behind.
    pub fn is_behind(&self, place: ConversationCursor) -> bool {
        self.after.is_none_or(|after| match self.order {
            Order::NewestFirst => place < after,
            Order::OldestFirst => place > after,
        })
    }

    /// As many behind a place, in the same order.
    #[must_use]
    pub fn after(self, place: ConversationCursor) -> Self {
        Self {
            after: Some(place),
            ..self
        }
    }
}

/// A place in the list of conversations: behind the one that it was taken of, as that was used then. It outlasts that
/// conversation. One that is used meanwhile moves to the new end, as it does in the list.
///
/// Its text, by `Display` and `FromStr`, is for the next request and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConversationCursor {
    /// When the conversation was used.
    pub used_at: Timestamp,
    /// The conversation.
    pub id: ConversationId,
}

impl ConversationCursor {
    /// The place that all others are behind, where the newest come first.
    pub const NEWEST: Self = Self {
        used_at: Timestamp(i64::MAX),
        id: ConversationId::from_uuid(Uuid::max()),
    };
}

impl fmt::Display for ConversationCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.used_at.0, self.id)
    }
}

/// A text is no place in a list of conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no cursor of a list of conversations: give one that a list has answered with")]
pub struct BadCursor;

impl FromStr for ConversationCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (used_at, id) = text.split_once('.').ok_or(BadCursor)?;
        let cursor = Self {
            used_at: Timestamp(used_at.parse().map_err(|_| BadCursor)?),
            id: id.parse().map_err(|_| BadCursor)?,
        };
        // One text for each place: what else a number or an id may be written as was not answered.
        if cursor.to_string() == text {
            Ok(cursor)
        } else {
            Err(BadCursor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let text = format!("1700000000000.{id}");
        let cursor: ConversationCursor = text.parse().unwrap();
        assert_eq!(cursor.used_at, Timestamp(1_700_000_000_000));
        assert_eq!(cursor.to_string(), text);
        for other in [
            "",
            ".",
            id,
            "1.",
            "1.x",
            &format!("x.{id}"),
            &format!("+1.{id}"),
            &format!("99999999999999999999.{id}"),
            &format!("1.{}", id.to_uppercase()),
        ] {
            assert_eq!(
                other.parse::<ConversationCursor>(),
                Err(BadCursor),
                "{other}"
            );
        }
    }
}
