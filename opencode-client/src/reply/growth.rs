//! What a reply has gained since it was saved: what is to be written, however long the reply is.

use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, CheckpointPart};
use super::messages::Messages;
use super::part::PersistedPart;
use super::parts::Parts;
use super::slot::{Content, Slot};

/// What has come to a [`Checkpoint`] since an earlier one of the same reply: the ends that its texts have grown by, and
/// whole what has changed otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// All but the parts, where any of that has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rest: Option<Box<Checkpoint>>,
    /// How many parts there are.
    count: usize,
    /// Parts by their places, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<(usize, GrownPart)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GrownPart {
    /// What stands there now.
    Whole(CheckpointPart),
    /// The text goes on at this byte.
    More { from: usize, text: String },
}

/// A [`Growth`] is none of the [`Checkpoint`] that it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("part {part} does not go on where this growth of it begins: it is of another checkpoint")]
pub struct GrowthMismatch {
    part: usize,
}

/// How far a reply is saved.
#[derive(Clone, Debug, Default)]
pub struct SaveMark {
    rest: Checkpoint,
    parts: Vec<MarkedPart>,
}

/// A part as it was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MarkedPart {
    stamp: u64,
    message: Option<usize>,
    trimmed: bool,
    by_provider: bool,
    /// Bytes of its text.
    length: usize,
}

impl MarkedPart {
    fn of(slot: &Slot) -> Self {
        Self {
            stamp: slot.content.stamp(),
            message: slot.message,
            trimmed: slot.trimmed,
            by_provider: slot.by_provider,
            length: slot.content.text().map_or(0, str::len),
        }
    }
}

impl Growth {
    /// What has come to the parts since `mark`, and where they are now; `None` where that is nothing. `rest` is all else as
    /// it is now.
    pub(super) fn since(
        mark: &SaveMark,
        rest: Checkpoint,
        messages: &Messages,
        parts: &Parts,
    ) -> (Option<Self>, SaveMark) {
        let mut marked = Vec::with_capacity(mark.parts.len());
        let mut grown = Vec::new();
        for slot in CheckpointPart::kept(messages, parts) {
            let (at, now) = (marked.len(), MarkedPart::of(slot));
            marked.push(now);
            let before = mark.parts.get(at).copied();
            if before == Some(now) {
                continue;
            }
            let goes_on = before.filter(|before| {
                let length = now.length;
                MarkedPart { length, ..*before } == now
            });
            let more = goes_on.and_then(|before| {
                let text = slot.content.text()?.get(before.length..)?;
                Some((before.length, text.to_owned()))
            });
            grown.push(match more {
                Some((from, text)) => (at, GrownPart::More { from, text }),
                None => (at, GrownPart::Whole(CheckpointPart::of(slot, messages))),
            });
        }
        let has_changed = rest != mark.rest;
        let is_news = has_changed || !grown.is_empty() || marked.len() != mark.parts.len();
        let growth = is_news.then(|| Self {
            rest: has_changed.then(|| Box::new(rest.clone())),
            count: marked.len(),
            parts: grown,
        });
        let parts = marked;
        (growth, SaveMark { rest, parts })
    }
}

impl Checkpoint {
    /// Takes in what has come since.
    ///
    /// # Errors
    /// [`GrowthMismatch`] where this is not what the growth has grown from: what of it was taken in then is not said.
    pub fn grow(&mut self, growth: Growth) -> Result<(), GrowthMismatch> {
        if let Some(rest) = growth.rest {
            let parts = std::mem::replace(self, *rest).parts;
            self.parts = parts;
        }
        for (part, grown) in growth.parts {
            let mismatch = GrowthMismatch { part };
            match grown {
                GrownPart::Whole(whole) if part == self.parts.len() => self.parts.push(whole),
                GrownPart::Whole(whole) => {
                    *self.parts.get_mut(part).ok_or(mismatch)? = whole;
                }
                GrownPart::More { from, text: more } => {
                    let own = self.parts.get_mut(part).and_then(CheckpointPart::text_mut);
                    let own = own.filter(|own| own.is_char_boundary(from));
                    let own = own.ok_or(mismatch)?;
                    own.truncate(from);
                    own.push_str(&more);
                }
            }
        }
        if growth.count > self.parts.len() {
            return Err(GrowthMismatch { part: growth.count });
        }
        self.parts.truncate(growth.count);
        Ok(())
    }
}

impl CheckpointPart {
    fn text_mut(&mut self) -> Option<&mut String> {
        match &mut self.part {
            PersistedPart::Text { content } | PersistedPart::Reasoning { content } => Some(content),
            PersistedPart::Tool(_) => None,
        }
    }
}

impl Content {
    /// What tells whether it is as it was, but for what it has grown by.
    fn stamp(&self) -> u64 {
        match self {
            // Deltas of unknown kind are saved as text.
            Self::Undecided(text) | Self::Text(text) => text.stamp() << 1,
            Self::Reasoning(text) => text.stamp() << 1 | 1,
            Self::Tool(tool) => tool.stamp() << 1,
        }
    }
}
