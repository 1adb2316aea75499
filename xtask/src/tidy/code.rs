//! Rust source with everything blanked that is not code.

/// `source` with spaces in place of comments and of what is in string and character literals. Quotes, line
/// breaks and byte positions stay.
pub(super) fn only_code(source: &str) -> String {
    let mut blanker = Blanker {
        rest: source,
        out: String::with_capacity(source.len()),
    };
    while !blanker.rest.is_empty() {
        blanker.step();
    }
    blanker.out
}

/// The line of a place in a text, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

struct Blanker<'a> {
    rest: &'a str,
    out: String,
}

impl Blanker<'_> {
    /// Takes one token, as far as tokens matter here.
    fn step(&mut self) {
        let rest = self.rest;
        if rest.starts_with("//") {
            self.blank(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.blank(block_comment(rest));
        } else if let Some(inside) = rest.strip_prefix('"') {
            self.literal(1, string(inside), 1);
        } else if let Some(inside) = rest.strip_prefix('\'') {
            match character(inside) {
                Some(length) => self.literal(1, length, 1),
                // A lifetime.
                None => self.keep(1),
            }
        } else if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            let word = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let raw = matches!(&rest[..word], "r" | "br" | "cr");
            self.keep(word);
            if raw {
                self.raw_string();
            }
        } else {
            self.keep(rest.chars().next().map_or(1, char::len_utf8));
        }
    }

    /// A raw string, when the prefix just taken begins one: `#`s and a quote follow.
    fn raw_string(&mut self) {
        let hashes = self.rest.len() - self.rest.trim_start_matches('#').len();
        let Some(body) = self.rest[hashes..].strip_prefix('"') else {
            // A raw identifier, or a name that is just this letter.
            return;
        };
        let end = format!("\"{}", "#".repeat(hashes));
        let length = body.find(&end).unwrap_or(body.len());
        self.literal(hashes + 1, length, end.len());
    }

    /// Keeps `open`, blanks `length`, keeps `close`, all in bytes.
    fn literal(&mut self, open: usize, length: usize, close: usize) {
        self.keep(open);
        self.blank(length);
        self.keep(close.min(self.rest.len()));
    }

    fn keep(&mut self, bytes: usize) {
        self.out.push_str(&self.rest[..bytes]);
        self.rest = &self.rest[bytes..];
    }

    fn blank(&mut self, bytes: usize) {
        for c in self.rest[..bytes].chars() {
            match c {
                '\n' => self.out.push('\n'),
                c => self.out.extend(std::iter::repeat_n(' ', c.len_utf8())),
            }
        }
        self.rest = &self.rest[bytes..];
    }
}

/// The length of the comment that `text` begins with. Comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of the string that `text` is the inside of.
fn string(text: &str) -> usize {
    let mut escaped = false;
    text.find(|c| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end
    })
    .unwrap_or(text.len())
}

/// The length of the character literal that `text` is the inside of; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    if first == '\\' {
        // The escaped character may be a quote itself.
        let escaped = 1 + text[1..].chars().next()?.len_utf8();
        return Some(escaped + text[escaped..].find('\'')?);
    }
    let length = first.len_utf8();
    text[length..].starts_with('\'').then_some(length)
}

#[cfg(test)]
mod tests {
    use super::only_code;

    #[track_caller]
    fn keeps(source: &str, expected: &str) {
        let code = only_code(source);
        assert_eq!(code, expected);
        assert_eq!(code.len(), source.len());
    }

    #[test]
    fn comments_are_blanked() {
        keeps("a // b\nc", "a     \nc");
        keeps("a /* b /* c */\n d */ e", "a             \n      e");
        keeps("a /* open", "a        ");
        keeps("/// doc é", "          ");
    }

    #[test]
    fn strings_are_blanked_inside() {
        keeps(r#"f("a\"b//", 1)"#, r#"f("      ", 1)"#);
        keeps(r#"b"x" c"y""#, r#"b" " c" ""#);
        keeps("\"a\nb\" c", "\" \n \" c");
        keeps(r#""\\" x"#, r#""  " x"#);
        keeps("\"open", "\"    ");
    }

    #[test]
    fn raw_strings_end_at_their_own_hashes() {
        keeps(r#"r"a\" b"#, r#"r"  " b"#);
        keeps("r#\"a\"b\"# c", "r#\"   \"# c");
        keeps("br##\"\"#\"## c", "br##\"  \"## c");
        keeps("r#type \"x\"", "r#type \" \"");
        keeps("var \"x\"", "var \" \"");
    }

    #[test]
    fn characters_and_lifetimes_are_told_apart() {
        keeps("'\"' \"x\"", "' ' \" \"");
        keeps(r"'\'' a", r"'  ' a");
        keeps(r"'\u{e9}' a", r"'      ' a");
        keeps("&'a str, 'x: loop", "&'a str, 'x: loop");
        keeps("'é' b'x'", "'  ' b' '");
    }
}
