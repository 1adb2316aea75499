//! How outside text gets into the HTML of a template.
//!
//! `askama.toml` names these: every `{{ value }}` of a template is a [`Line`], so that nobody can forget it, and
//! `{{ value|e("block") }}` and `{{ value|e("command") }}` are for texts of several lines. What goes back to the server
//! or into a box to write in must be what it is: `{{ value|e("exact") }}`, only for attributes and text areas.

use std::fmt::{self, Write};

use askama::filters::{Escaper, Html};
use opencode_host::visible;

/// One line: everything that hides is visible, line ends too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line;

/// Several lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block;

/// What a person approves: exactly what it is, in its own order. A right-to-left word cannot move what stands beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command;

impl Escaper for Line {
    fn write_escaped_str<W: Write>(&self, dest: W, text: &str) -> fmt::Result {
        write!(Escaping(dest), "{}", visible::line(text))
    }
}

impl Escaper for Block {
    fn write_escaped_str<W: Write>(&self, dest: W, text: &str) -> fmt::Result {
        write!(Escaping(dest), "{}", visible::block(text))
    }
}

impl Escaper for Command {
    fn write_escaped_str<W: Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        let shown = visible::command(text).to_string();
        let mut rest = shown.as_str();
        while let Some(from) = rest.find(is_right_to_left) {
            let word = &rest[from..];
            let is_over = |c: char| !is_right_to_left(c) && !matches!(c, '\u{200c}' | '\u{200d}');
            let to = word.find(is_over).unwrap_or(word.len());
            Html.write_escaped_str(&mut dest, &rest[..from])?;
            dest.write_str("<bdi>")?;
            Html.write_escaped_str(&mut dest, &word[..to])?;
            dest.write_str("</bdi>")?;
            rest = &word[to..];
        }
        Html.write_escaped_str(dest, rest)
    }
}

/// Letters and digits of the scripts that are written from right to left.
fn is_right_to_left(c: char) -> bool {
    matches!(
        c,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}'
            | '\u{1e800}'..='\u{1efff}'
    )
}

struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        Html.write_escaped_str(&mut self.0, text)
    }

    fn write_char(&mut self, c: char) -> fmt::Result {
        Html.write_escaped_char(&mut self.0, c)
    }
}

#[cfg(test)]
mod tests {
    use askama::Template;

    #[derive(Template)]
    #[template(
        source = "{{ text }}|{{ text|e(\"block\") }}|{{ text|e(\"command\") }}|{{ text|e(\"exact\") }}",
        ext = "html"
    )]
    struct All<'a> {
        text: &'a str,
    }

    fn shown(text: &str) -> Vec<String> {
        let all = All { text }.render().unwrap();
        all.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn every_value_of_a_template_is_safe_to_show() {
        assert_eq!(
            shown("<a>\n\u{202e}b\u{a0}"),
            [
                "&#60;a&#62;\\n\\u{202e}b\u{a0}",
                "&#60;a&#62;\n\\u{202e}b\u{a0}",
                "&#60;a&#62;\n\\u{202e}b\\u{a0}",
                "&#60;a&#62;\n\u{202e}b\u{a0}",
            ]
        );
    }

    #[test]
    fn a_word_from_right_to_left_moves_nothing_of_a_command() {
        assert_eq!(
            shown("cp שָׁלוֹם עולם; rm <x>")[2],
            "cp <bdi>שָׁלוֹם</bdi> <bdi>עולם</bdi>; rm &#60;x&#62;"
        );
    }
}
