//! How much of an answer is kept.
//!
//! A model, a tool or a broken server can send without end. What a reply holds is bounded as a whole, because it is
//! held several times over: here, for watchers, in the row. What is over the bound is not kept, and that is told:
//! [`Room::is_cut`] when words or parts are missing, [`Room::is_trimmed`] and a mark in place for a tool's details.

/// The most bytes that the parts of a reply take together, each counted with 512 beside what it holds. 16 MiB: a
/// thousand times a long answer.
pub const MAX_REPLY_BYTES: usize = 16 << 20;
/// The most parts of a reply.
pub const MAX_PARTS: usize = 4096;
/// The most bytes of one detail of a tool call: its arguments, its output, its metadata, its attachments. Less where
/// little of [`MAX_REPLY_BYTES`] is left; a quarter of that is for words alone.
pub const MAX_DETAIL_BYTES: usize = 4 << 20;
/// The same for what a sub-agent has said so far: nobody is shown more than its last steps.
pub(super) const MAX_CHILD_BYTES: usize = 256 << 10;

/// What a part takes beside what it holds.
pub(super) const PART: usize = 512;

/// The bytes that the parts of a reply may take, and what they take.
#[derive(Debug)]
pub(super) struct Room {
    limit: usize,
    pub(super) used: usize,
    /// Words or parts were left out.
    pub(super) is_cut: bool,
    /// Details of tools were.
    pub(super) is_trimmed: bool,
}

impl Room {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: 0,
            is_cut: false,
            is_trimmed: false,
        }
    }

    /// How many more bytes the parts may take.
    pub(super) fn left(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// How many more bytes details may take, in a part that takes so many already. A quarter is for words alone.
    pub(super) fn left_for_details(&self, taken: usize) -> usize {
        (self.left() + taken).saturating_sub(self.limit / 4)
    }

    /// Whether there is room for one more part beside so many; its absence is noted where there is not.
    pub(super) fn has_place(&mut self, parts: usize) -> bool {
        let has = parts < MAX_PARTS && self.left() >= PART;
        self.is_cut |= !has;
        has
    }

    /// As much of a text as so many bytes hold, at the end of a character; what is left out is noted.
    pub(super) fn fitting<'a>(&mut self, text: &'a str, most: usize) -> &'a str {
        let fitting = &text[..text.floor_char_boundary(most)];
        self.is_cut |= fitting.len() < text.len();
        fitting
    }

    /// Counts what a part takes now, in place of what it took.
    pub(super) fn charge(&mut self, before: usize, now: usize) {
        self.used = self.used.saturating_sub(before) + now;
    }
}
