//! What a read of outside JSON mended or left out, counted by kind.

use std::sync::Arc;

/// Something odd in JSON from a server, that a read got over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Oddity {
    /// Characters that are none, such as half of an emoji. U+FFFD stands in their place.
    Characters,
    /// JSON that nests too deep, or is too large. A note stands in its place.
    Nesting,
    /// A number that is none, or that makes no sense: negative, not finite, huge. Read as absent.
    Number,
    /// A field of another shape than its name says. Read as absent.
    Field,
    /// A part of a message that says too little of itself. Left out.
    Part,
    /// An event or a record of a list that says too little of itself. Left out.
    Record,
}

impl Oddity {
    const ALL: [Self; 6] = [
        Self::Characters,
        Self::Nesting,
        Self::Number,
        Self::Field,
        Self::Part,
        Self::Record,
    ];

    /// The word that traces use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Characters => "characters",
            Self::Nesting => "nesting",
            Self::Number => "number",
            Self::Field => "field",
            Self::Part => "part",
            Self::Record => "record",
        }
    }
}

/// How much of an answer or of events was mended or left out, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped([u32; Oddity::ALL.len()]);

impl Skipped {
    /// Whether everything was as it should be.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What was odd, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Oddity, u32)> {
        let counted = Oddity::ALL.into_iter().zip(self.0);
        counted.filter(|(_, count)| *count > 0)
    }

    pub(crate) fn note(&mut self, oddity: Oddity) {
        let count = &mut self.0[oddity as usize];
        *count = count.saturating_add(1);
    }
}

impl std::ops::AddAssign for Skipped {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }
}

/// Is told what was skipped, and where: `GET /session/…/message`, or `events`.
pub(crate) type SkipListener = Arc<dyn Fn(&str, &Skipped) + Send + Sync>;
