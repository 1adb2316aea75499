//! Fences inside fences.
//!
//! A model that shows Markdown writes three backticks around it and three around the code in it. The standard ends the
//! outer block at the first inner end; the reader does not expect that. The outer fence is made longer here.

use std::borrow::Cow;

/// The text, with longer fences around Markdown that holds fences.
pub(super) fn nested(text: &str) -> Cow<'_, str> {
    if !text.contains("```md") && !text.contains("```markdown") {
        return Cow::Borrowed(text);
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut longer = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (end, has_inner) = match Fence::of(lines[at]) {
            Some(outer) if outer.is_markdown() => inside(&lines, at, outer),
            Some(outer) => (closing(&lines, at, outer), false),
            None => (at, false),
        };
        if has_inner {
            longer.extend([at, end]);
        }
        at = end + 1;
    }
    if longer.is_empty() {
        return Cow::Borrowed(text);
    }
    let whole = lines.iter().enumerate().map(|(at, line)| {
        if longer.contains(&at) && Fence::of(line).is_some() {
            // No model nests deeper than it writes backticks.
            Cow::Owned(line.replacen("```", "````````", 1))
        } else {
            Cow::Borrowed(*line)
        }
    });
    Cow::Owned(whole.collect())
}

/// A line that opens a block, or closes one.
#[derive(Clone, Copy)]
struct Fence<'a> {
    length: usize,
    info: &'a str,
}

impl<'a> Fence<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let line = line.trim();
        let info = line.trim_start_matches('`');
        let length = line.len() - info.len();
        (length >= 3 && !info.contains('`')).then(|| Self {
            length,
            info: info.trim(),
        })
    }

    fn is_markdown(self) -> bool {
        matches!(self.info, "md" | "markdown")
    }
}

/// Where a block ends that opens at a line: the last line, where it does not.
fn closing(lines: &[&str], opening: usize, outer: Fence<'_>) -> usize {
    let ends = |line: &&str| {
        Fence::of(line).is_some_and(|fence| fence.info.is_empty() && fence.length >= outer.length)
    };
    let behind = &lines[opening + 1..];
    behind
        .iter()
        .position(ends)
        .map_or(lines.len() - 1, |at| opening + 1 + at)
}

/// Where Markdown ends that opens at a line, and whether it holds fences of its length.
fn inside(lines: &[&str], opening: usize, outer: Fence<'_>) -> (usize, bool) {
    let (mut depth, mut has_inner) = (0, false);
    for (at, line) in lines.iter().enumerate().skip(opening + 1) {
        let Some(fence) = Fence::of(line).filter(|fence| fence.length >= outer.length) else {
            continue;
        };
        if !fence.info.is_empty() {
            depth += 1;
            has_inner = true;
        } else if depth > 0 {
            depth -= 1;
        } else {
            return (at, has_inner);
        }
    }
    (lines.len() - 1, has_inner)
}
