//! Makes strict JSON of what servers really send.
//!
//! JavaScript cuts strings by UTF-16 units, so that half of an emoji travels as
//! `\ud83d`, which is no character; the output of programs holds bytes that are
//! no UTF-8; a model's arguments nest as deep as it likes. None of that is a
//! reason to lose the rest. This walk is a loop, not a recursion: depth comes
//! from outside.

use super::skipped::{Oddity, Skipped};

/// How deep a mended text nests: below what `serde_json` reads.
const MAX_DEPTH: usize = 120;

/// Stands in JSON where a value was left out for its depth or size.
pub(super) const LEFT_OUT: &str = "[left out: too deep or too large]";

/// The first JSON value of `bytes`, mended. `None` when it is not JSON even so.
/// Brackets are only counted: whoever parses the text checks that they match.
pub(super) fn mend(bytes: &[u8], skipped: &mut Skipped) -> Option<Vec<u8>> {
    let mut mender = Mender {
        bytes,
        at: 0,
        out: Vec::with_capacity(bytes.len()),
        skipped,
    };
    let mut depth = 0_usize;
    loop {
        match mender.peek()? {
            b' ' | b'\t' | b'\n' | b'\r' => {
                mender.at += 1;
                continue;
            }
            byte @ (b',' | b':') => {
                mender.copy(byte);
                continue;
            }
            b'{' | b'[' if depth == MAX_DEPTH => mender.leave_out()?,
            byte @ (b'{' | b'[') => {
                depth += 1;
                mender.copy(byte);
            }
            byte @ (b'}' | b']') => {
                depth = depth.checked_sub(1)?;
                mender.copy(byte);
            }
            b'"' => mender.string()?,
            _ => mender.word()?,
        }
        if depth == 0 {
            return Some(mender.out);
        }
    }
}

struct Mender<'a> {
    bytes: &'a [u8],
    at: usize,
    out: Vec<u8>,
    skipped: &'a mut Skipped,
}

impl Mender<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn copy(&mut self, byte: u8) {
        self.at += 1;
        self.out.push(byte);
    }

    fn odd_character(&mut self) {
        self.skipped.note(Oddity::Characters);
        self.out.extend_from_slice("\u{FFFD}".as_bytes());
    }

    /// A number or a literal. A number that is none becomes `null`: `NaN`, `1e999`.
    fn word(&mut self) -> Option<()> {
        let rest = &self.bytes[self.at..];
        let end = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.'))
            .unwrap_or(rest.len());
        let word = str::from_utf8(&rest[..end])
            .ok()
            .filter(|word| !word.is_empty())?;
        self.at += end;
        if matches!(word, "true" | "false" | "null")
            || serde_json::from_str::<serde_json::Number>(word).is_ok()
        {
            self.out.extend_from_slice(word.as_bytes());
            return Some(());
        }
        let number = word.parse::<f64>().ok()?;
        self.skipped.note(Oddity::Number);
        if number.is_finite() {
            self.out.extend_from_slice(format!("{number:?}").as_bytes());
        } else {
            self.out.extend_from_slice(b"null");
        }
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.copy(b'"');
        loop {
            let rest = &self.bytes[self.at..];
            let end = memchr::memchr2(b'"', b'\\', rest)?;
            self.plain(&rest[..end]);
            self.at += end;
            if rest[end] == b'"' {
                self.copy(b'"');
                return Some(());
            }
            self.escape()?;
        }
    }

    /// What stands between escapes. Control characters are let through: programs print them.
    fn plain(&mut self, text: &[u8]) {
        for chunk in text.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character < ' ' {
                    self.skipped.note(Oddity::Characters);
                    self.out
                        .extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
                } else {
                    let mut buffer = [0; 4];
                    self.out
                        .extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                }
            }
            if !chunk.invalid().is_empty() {
                self.odd_character();
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let escaped = *self.bytes.get(self.at + 1)?;
        if escaped != b'u' {
            if matches!(
                escaped,
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't'
            ) {
                self.out.extend_from_slice(&[b'\\', escaped]);
                self.at += 2;
            } else {
                // What follows the backslash stays as it is.
                self.at += 1;
                self.odd_character();
            }
            return Some(());
        }
        let unit = self.unit(self.at);
        let low = self.unit(self.at + 6);
        let length = match (unit, low) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                self.at += 6;
                self.odd_character();
                return Some(());
            }
            (Some(_), _) => 6,
            (None, _) => {
                // Cut in the middle of its digits.
                let digits = self.bytes[self.at + 2..].iter();
                self.at += 2 + digits
                    .take(4)
                    .take_while(|byte| byte.is_ascii_hexdigit())
                    .count();
                self.odd_character();
                return Some(());
            }
        };
        self.out
            .extend_from_slice(&self.bytes[self.at..self.at + length]);
        self.at += length;
        Some(())
    }

    /// The UTF-16 unit of an escape `\uXXXX` that starts at `at`.
    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, byte| {
            Some(unit * 16 + char::from(*byte).to_digit(16)?)
        })
    }

    /// Passes over the array or object that starts here, however deep it goes.
    fn leave_out(&mut self) -> Option<()> {
        self.skipped.note(Oddity::Nesting);
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    self.at = end_of_string(self.bytes, self.at)?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        self.out
            .extend_from_slice(format!("\"{LEFT_OUT}\"").as_bytes());
        Some(())
    }
}

/// Behind the quote that ends the string whose content starts at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// About how many values JSON holds: each takes far more memory than its bytes may show.
pub(super) fn values(bytes: &[u8]) -> usize {
    let (mut values, mut at) = (1, 0);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => match end_of_string(bytes, at) {
                Some(end) => at = end,
                None => break,
            },
            b',' | b'{' | b'[' => values += 1,
            _ => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn mended(text: &[u8]) -> Option<(Value, Skipped)> {
        let mut skipped = Skipped::default();
        let text = mend(text, &mut skipped)?;
        Some((serde_json::from_slice(&text).ok()?, skipped))
    }

    fn string(text: &[u8]) -> String {
        match mended(text) {
            Some((Value::String(text), skipped)) if !skipped.is_empty() => text,
            other => panic!("{}: {other:?}", String::from_utf8_lossy(text)),
        }
    }

    #[test]
    fn half_a_character_is_replaced_and_the_rest_kept() {
        for (sent, read) in [
            (&br#""cut \ud83d""#[..], "cut \u{FFFD}"),
            (br#""\ude00 cut""#, "\u{FFFD} cut"),
            (br#""\ud83d\n""#, "\u{FFFD}\n"),
            (br#""\ud83d\ud83d\ude00""#, "\u{FFFD}\u{1F600}"),
            (br#""\ud83dx\u00e9""#, "\u{FFFD}x\u{e9}"),
            (br#""\ud83""#, "\u{FFFD}"),
            (br#""\u""#, "\u{FFFD}"),
            (br#""\ud83d\u""#, "\u{FFFD}\u{FFFD}"),
            (br#""\x41""#, "\u{FFFD}x41"),
            (b"\"a\xF0\x9F\x98b\xFF\"", "a\u{FFFD}b\u{FFFD}"),
            (b"\"a\nb\0\"", "a\nb\0"),
        ] {
            assert_eq!(string(sent), read, "{}", String::from_utf8_lossy(sent));
        }
    }

    #[test]
    fn numbers_that_are_none_are_null() {
        let read = |number: &str| {
            let (value, skipped) = mended(format!("[1,{number},2]").as_bytes()).unwrap();
            assert_eq!(skipped.iter().collect::<Vec<_>>(), [(Oddity::Number, 1)]);
            assert_eq!((&value[0], &value[2]), (&1.into(), &2.into()), "{number}");
            value[1].clone()
        };
        for number in ["1e999", "-1e999", "NaN", "-NaN", "Infinity", "-Infinity"] {
            assert_eq!(read(number), Value::Null, "{number}");
        }
        for (number, meant) in [("01", 1.0), ("+1", 1.0), (".5", 0.5), ("5.", 5.0)] {
            assert_eq!(read(number), meant, "{number}");
        }
        for word in ["nothing", "<html>", "'a'", "1x"] {
            assert!(mended(format!("[{word}]").as_bytes()).is_none(), "{word}");
        }
    }

    #[test]
    fn depth_costs_what_is_deep_and_no_stack() {
        for levels in [MAX_DEPTH, 200, 5_000, 1_000_000] {
            let deep = format!(
                r#"{{"deep":{}"]"{},"good":[1,"[",{{}}]}}"#,
                "[".repeat(levels),
                "]".repeat(levels)
            );
            let (value, skipped) = mended(deep.as_bytes()).unwrap();
            assert_eq!(value["good"], serde_json::json!([1, "[", {}]), "{levels}");
            assert!(value.to_string().contains(LEFT_OUT));
            assert_eq!(skipped.iter().collect::<Vec<_>>(), [(Oddity::Nesting, 1)]);
        }
        assert!(mended("[".repeat(1_000_000).as_bytes()).is_none());
    }

    #[test]
    fn what_is_cut_off_is_no_json() {
        for cut in [
            "",
            "{",
            r#"{"a":"#,
            r#"{"a":"b"#,
            r#""\ud83d"#,
            r#""\"#,
            "[1,",
            "nul",
        ] {
            assert!(mended(cut.as_bytes()).is_none(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn strict_json_stays_as_it_is(text in ".{0,40}", number in any::<f64>(), whole in any::<i64>()) {
            let value = serde_json::json!({"a": [text, number, {"b": text}], "c": whole, "d": [null, true, {}, []]});
            let strict = value.to_string();
            let want: Value = serde_json::from_str(&strict).unwrap();
            for text in [&strict, &format!("{value:#} trailing")] {
                let (read, skipped) = mended(text.as_bytes()).unwrap();
                prop_assert_eq!(&read, &want);
                prop_assert!(skipped.is_empty());
            }
        }

        #[test]
        fn never_panics(drawn in prop::collection::vec(any::<[u8; 2]>(), 0..80)) {
            // Most of them mean something.
            let meaning = b"{}\":,\\[ud8";
            let byte = |[which, any]: &[u8; 2]| *meaning.get(usize::from(*which) % (meaning.len() + 1)).unwrap_or(any);
            let bytes: Vec<u8> = drawn.iter().map(byte).collect();
            let _ = mended(&bytes);
            let _ = values(&bytes);
        }
    }
}
