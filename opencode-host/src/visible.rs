//! Outside text, safe to show to a person.
//!
//! What a model, a server, a file or another person wrote can hold characters that steer a terminal, reorder what
//! stands beside them, or show as nothing at all. A person who approves a command must see the command that runs, so
//! nothing is dropped here: such a character is written as in a Rust string, `\u{202e}`, `\u{1b}`, `\r`.
//!
//! - [`line()`] for one line of a page, a terminal or a log: line ends and tabs are written as `\n` and `\t`.
//! - [`block`] for a text of several lines: line ends and tabs stay.
//! - [`command`] for what a person approves: a block in which every gap that is not a plain space is written too.
//! - [`short`] for a title: a line of at most so many characters.
//! - [`Stream`] for a block that comes in pieces.
//!
//! Terminals and pages take the same text. A page also escapes HTML, and isolates the direction of right-to-left
//! words (`unicode-bidi: isolate`): letters are shown as they are, in every script, and so are the joiners that emoji,
//! Arabic and Indic words need between two characters that join.

use std::fmt;

use unicode_properties::{
    GeneralCategory, GeneralCategoryGroup, UnicodeEmoji as _, UnicodeGeneralCategory as _,
};

/// Marks on one letter that are shown. Scripts need up to four; more would cover the lines above and below.
const MAX_MARKS: u8 = 8;

/// `text` for one line: line ends and tabs are visible too.
pub fn line(text: &str) -> Line<'_> {
    Line(text)
}

/// `text` for a block: its line ends and tabs stay.
pub fn block(text: &str) -> Block<'_> {
    Block(text)
}

/// `text` exactly: a block in which gaps other than the plain space, such as U+00A0, are visible too.
pub fn command(text: &str) -> Command<'_> {
    Command(text)
}

/// `text` as a title: a [`line()`] without white space around it, runs of spaces as one, cut to `max` characters; `…`
/// follows where it was cut.
///
/// Reads no more of `text` than it needs, so that a long document costs nothing.
pub fn short(text: &str, max: usize) -> String {
    let text = text.trim();
    let mut shower = Shower::new(Shape::Line);
    let (mut shown, mut piece) = (String::new(), String::new());
    let mut left = max;
    let mut gap = false;
    for c in text.chars() {
        if c == ' ' && gap {
            continue;
        }
        gap = c == ' ';
        piece.clear();
        // Writing to a `String` cannot fail.
        let _ = shower.push(c, &mut piece);
        let Some(rest) = left.checked_sub(piece.chars().count()) else {
            return cut(shown);
        };
        left = rest;
        shown.push_str(&piece);
    }
    piece.clear();
    let _ = shower.finish(&mut piece);
    if piece.chars().count() > left {
        return cut(shown);
    }
    shown + &piece
}

fn cut(mut shown: String) -> String {
    shown.truncate(shown.trim_end().len());
    shown.push('…');
    shown
}

/// Whether `c` steers, ends a line, reorders or shows as nothing, whatever stands beside it: line ends and tabs too.
pub fn is_hidden(c: char) -> bool {
    !(c == ' ' || c.is_ascii_graphic()) && kind(c) == Kind::Hidden
}

/// A text on one line, made by [`line()`]. Its `Display` is safe to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a>(&'a str);

/// A text of several lines, made by [`block`]. Its `Display` is safe to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a>(&'a str);

/// A text exactly as it is, made by [`command`]. Its `Display` is safe to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a>(&'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, Shape::Line, f)
    }
}

impl fmt::Display for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, Shape::Block, f)
    }
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, Shape::Command, f)
    }
}

fn show(text: &str, shape: Shape, to: &mut impl fmt::Write) -> fmt::Result {
    let mut shower = Shower::new(shape);
    text.chars().try_for_each(|c| shower.push(c, to))?;
    shower.finish(to)
}

/// A [`block`] that comes in pieces, such as an answer that streams.
///
/// A joiner at the end of a piece is held back until what follows says whether it joins.
#[derive(Debug)]
pub struct Stream(Shower);

impl Default for Stream {
    fn default() -> Self {
        Self(Shower::new(Shape::Block))
    }
}

impl Stream {
    /// Returns what of the text can be shown now.
    pub fn push(&mut self, piece: &str) -> String {
        let mut shown = String::with_capacity(piece.len());
        for c in piece.chars() {
            // Writing to a `String` cannot fail.
            let _ = self.0.push(c, &mut shown);
        }
        shown
    }

    /// Returns what was held back. The next piece begins a new text.
    pub fn finish(&mut self) -> String {
        let mut shown = String::new();
        let _ = self.0.finish(&mut shown);
        *self = Self::default();
        shown
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Line,
    Block,
    Command,
}

/// What becomes of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Stands on the character before it.
    Mark,
    /// Joins what stands around it: U+200C, U+200D.
    Joiner,
    /// Chooses the look of the character before it.
    Variation,
    /// A gap that is not U+0020.
    Gap,
    /// Shows as nothing, or changes how others are shown.
    Hidden,
}

fn kind(c: char) -> Kind {
    match c {
        '\u{200c}' | '\u{200d}' => return Kind::Joiner,
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => return Kind::Variation,
        // Ignorable by default, though a letter, a mark or nothing yet by their category.
        '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{3164}'
        | '\u{ffa0}' => return Kind::Hidden,
        // Braille without a dot.
        '\u{2800}' => return Kind::Gap,
        // Format characters with a shape of their own: they enclose the digits behind them.
        '\u{600}'..='\u{605}'
        | '\u{6dd}'
        | '\u{70f}'
        | '\u{890}'
        | '\u{891}'
        | '\u{8e2}'
        | '\u{110bd}'
        | '\u{110cd}' => return Kind::Plain,
        _ => {}
    }
    match c.general_category() {
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator
        | GeneralCategory::Surrogate
        | GeneralCategory::Unassigned => Kind::Hidden,
        GeneralCategory::SpaceSeparator if c != ' ' => Kind::Gap,
        _ if c.general_category_group() == GeneralCategoryGroup::Mark => Kind::Mark,
        _ => Kind::Plain,
    }
}

/// Shows one character after the other.
#[derive(Debug)]
struct Shower {
    shape: Shape,
    /// The character that a mark, a joiner or a selector would belong to.
    base: Option<char>,
    /// Marks and selectors on it.
    marks: u8,
    /// A joiner or a selector that depends on what follows.
    held: Option<char>,
}

impl Shower {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            base: None,
            marks: 0,
            held: None,
        }
    }

    fn push(&mut self, c: char, to: &mut impl fmt::Write) -> fmt::Result {
        if let Some(held) = self.held.take() {
            if self.base.is_some_and(|base| joins(base, held, c)) {
                to.write_char(held)?;
            } else {
                self.escape(held, to)?;
            }
        }
        if c == ' ' || c.is_ascii_graphic() {
            return self.plain(c, to);
        }
        if matches!(c, '\n' | '\t') && self.shape != Shape::Line {
            self.base = None;
            return to.write_char(c);
        }
        match kind(c) {
            Kind::Plain => self.plain(c, to),
            Kind::Gap if self.shape == Shape::Command => self.escape(c, to),
            Kind::Gap => {
                self.base = None;
                to.write_char(c)
            }
            Kind::Mark if self.base.is_some() && self.marks < MAX_MARKS => {
                self.marks += 1;
                // What a joiner behind it joins is the mark: a virama, say.
                self.base = Some(c);
                to.write_char(c)
            }
            Kind::Joiner if self.base.is_some() => {
                self.held = Some(c);
                Ok(())
            }
            Kind::Variation if self.marks == 0 && self.base.is_some() => match self.base {
                Some('0'..='9' | '#' | '*') => {
                    self.held = Some(c);
                    Ok(())
                }
                Some(base) if varies(base, c) => {
                    self.marks = MAX_MARKS;
                    to.write_char(c)
                }
                _ => self.escape(c, to),
            },
            Kind::Mark | Kind::Joiner | Kind::Variation | Kind::Hidden => self.escape(c, to),
        }
    }

    fn finish(&mut self, to: &mut impl fmt::Write) -> fmt::Result {
        match self.held.take() {
            Some(held) => self.escape(held, to),
            None => Ok(()),
        }
    }

    fn plain(&mut self, c: char, to: &mut impl fmt::Write) -> fmt::Result {
        self.base = (c != ' ').then_some(c);
        self.marks = 0;
        to.write_char(c)
    }

    fn escape(&mut self, c: char, to: &mut impl fmt::Write) -> fmt::Result {
        self.base = None;
        match c {
            '\n' => to.write_str("\\n"),
            '\r' => to.write_str("\\r"),
            '\t' => to.write_str("\\t"),
            c => write!(to, "\\u{{{:x}}}", u32::from(c)),
        }
    }
}

/// Whether `held` does something between these two: otherwise it only hides.
fn joins(before: char, held: char, after: char) -> bool {
    let is_emoji = |c: char| !c.is_ascii() && c.is_emoji_char();
    match held {
        // An emoji of several: a family, a profession.
        '\u{200d}' if is_emoji(before) && is_emoji(after) => true,
        '\u{200c}' | '\u{200d}' => is_joined(before) && is_joined(after),
        // A key cap.
        '\u{fe0f}' => after == '\u{20e3}',
        _ => false,
    }
}

/// Letters and marks of the scripts whose letters join: Arabic, Syriac, N'Ko, those of India and Southeast Asia,
/// Mongolian.
fn is_joined(c: char) -> bool {
    matches!(c, '\u{620}'..='\u{109f}' | '\u{1780}'..='\u{18aa}' | '\u{fb50}'..='\u{fefc}')
        && matches!(
            c.general_category_group(),
            GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark
        )
}

/// Whether characters such as `base` have looks to choose from.
fn varies(base: char, selector: char) -> bool {
    match selector {
        '\u{fe0e}' | '\u{fe0f}' => {
            base.is_emoji_char() || base.general_category_group() == GeneralCategoryGroup::Symbol
        }
        '\u{fe00}'..='\u{fe02}' | '\u{e0100}'..='\u{e01ef}' => matches!(
            base,
            '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}'
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
