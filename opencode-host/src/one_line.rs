//! Outside text made fit for one line of a page, a prompt or a terminal.

/// `text` on one line: runs of white space become one space, control characters (terminal escapes)
/// and marks that reorder text are dropped, and what is longer than `max` characters ends in `…`.
///
/// Looks at no more of `text` than it needs, so that a long document costs nothing.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut length = 0;
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() {
            gap = true;
            continue;
        }
        if is_unsafe(c) {
            continue;
        }
        let width = if gap && length > 0 { 2 } else { 1 };
        if length + width > max {
            line.push('…');
            break;
        }
        if width == 2 {
            line.push(' ');
        }
        gap = false;
        line.push(c);
        length += width;
    }
    line
}

/// Controls, and the Unicode marks that change the direction of what follows them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn folds_white_space_and_drops_controls() {
        assert_eq!(one_line("  a\n\t b\u{2028}c  ", 80), "a b c");
        assert_eq!(one_line("\u{1b}[31mred\u{7}", 80), "[31mred");
        assert_eq!(one_line("gpj.\u{202e}exe", 80), "gpj.exe");
        assert_eq!(one_line("👩‍👩‍👧 ok", 80), "👩‍👩‍👧 ok");
        assert_eq!(one_line(" \n ", 80), "");
    }

    #[test]
    fn cuts_at_a_character() {
        assert_eq!(one_line("日本語", 3), "日本語");
        assert_eq!(one_line("日本語です", 3), "日本語…");
        assert_eq!(one_line("ab cd", 3), "ab…");
        assert_eq!(one_line("abc", 0), "…");
    }
}
