//! The end of what a server has printed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many lines are kept.
const LINES: usize = 20;
/// How many bytes of a line are kept.
const LINE_BYTES: usize = 500;

/// The last lines of an output, for the error that it ends in. Shared by its clones.
#[derive(Clone, Debug, Default)]
pub(super) struct LastLines {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    unfinished: Vec<u8>,
}

impl LastLines {
    /// Takes what came, and gives each line that is whole now to `heard`.
    pub(super) fn feed(&self, bytes: &[u8], mut heard: impl FnMut(&str)) {
        let mut kept = self.lock();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (piece, whole) = match piece.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (piece, false),
            };
            let room = LINE_BYTES.saturating_sub(kept.unfinished.len());
            kept.unfinished
                .extend_from_slice(&piece[..piece.len().min(room)]);
            if whole {
                let line = plain(&String::from_utf8_lossy(&std::mem::take(
                    &mut kept.unfinished,
                )));
                if !line.is_empty() {
                    heard(&line);
                    kept.keep(line);
                }
            }
        }
    }

    /// The lines, oldest first, indented; or that there are none.
    pub(super) fn told(&self) -> String {
        let kept = self.lock();
        let last = plain(&String::from_utf8_lossy(&kept.unfinished));
        let lines: Vec<&str> = kept
            .lines
            .iter()
            .map(String::as_str)
            .chain([last.as_str()])
            .filter(|line| !line.is_empty())
            .collect();
        if lines.is_empty() {
            "It printed nothing.".to_owned()
        } else {
            format!("It printed:\n  {}", lines.join("\n  "))
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        *self.lock() = Kept::default();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, line: String) {
        self.lines.push_back(line);
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }
}

/// A line without colours and other controls of a terminal.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // ESC [ parameters, up to a letter.
            for skipped in characters.by_ref() {
                if skipped.is_ascii_alphabetic() {
                    break;
                }
            }
        } else if !character.is_control() {
            plain.push(character);
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_without_colours() {
        let lines = LastLines::default();
        let mut heard = Vec::new();
        for piece in ["\u{1b}[91mErr", "or\u{1b}[0m: bad\r\n\nsecond\nthi"] {
            lines.feed(piece.as_bytes(), |line| heard.push(line.to_owned()));
        }
        assert_eq!(heard, ["Error: bad", "second"]);
        assert_eq!(lines.told(), "It printed:\n  Error: bad\n  second\n  thi");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let lines = LastLines::default();
        assert_eq!(lines.told(), "It printed nothing.");
        for number in 0..1000 {
            lines.feed(
                format!("{number} {}\n", "x".repeat(10_000)).as_bytes(),
                |_| {},
            );
        }
        let told = lines.told();
        assert!(told.len() < LINES * (LINE_BYTES + 10), "{}", told.len());
        assert!(
            told.contains("\n  980 ") && told.contains("\n  999 ") && !told.contains("\n  979 "),
            "{told}"
        );
    }
}
