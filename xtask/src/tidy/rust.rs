//! Rules for Rust source.

use super::code::{line_of, only_code};
use super::finding::Finding;
use super::words::empty_word;

/// Lines of a file that needs no page.
const MAX_WITHOUT_PAGE: usize = 60;

/// Whether the first thing in a file is its page, behind at most attributes and notices.
fn has_page(source: &str) -> bool {
    let mut lines = source.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with("#!["));
    first.is_some_and(|line| line.starts_with("//!"))
}

/// The rules for one file.
pub(super) fn check(file: &str, source: &str) -> Vec<Finding> {
    let code = only_code(source);
    let mut findings: Vec<(usize, String)> = Vec::new();
    for (at, attribute) in attributes(&code) {
        let message = attribute_problem(attribute).map(String::from);
        findings.extend(message.map(|message| (line_of(&code, at), message)));
    }
    let mut words = Words::new(&code).peekable();
    while let Some((at, word)) = words.next() {
        let name = match word {
            "todo" | "unimplemented" if code[at + word.len()..].starts_with('!') => {
                findings.push((line_of(&code, at), format!("`{word}!`: finish it")));
                None
            }
            "mod" | "struct" | "enum" | "union" | "trait" | "type" => words.peek(),
            _ => None,
        };
        if let Some(&(at, name)) = name
            && let Some(empty) = empty_word(name)
        {
            let message = format!("`{empty}` in `{name}` says nothing: name what it is");
            findings.push((line_of(&code, at), message));
        }
    }
    for (index, line) in source.lines().enumerate() {
        if is_ignored_doctest(line) {
            let message = "an example is ignored: make it compile, or mark it `text`";
            findings.push((index + 1, message.to_owned()));
        }
    }
    if source.lines().count() > MAX_WITHOUT_PAGE && !has_page(source) {
        findings.push((
            1,
            "a file of this length begins with a page (`//!`): what it is, how it fits".to_owned(),
        ));
    }
    findings
        .into_iter()
        .map(|(line, message)| Finding {
            file: file.to_owned(),
            line,
            message,
        })
        .collect()
}

/// What is wrong with an attribute, given as the code between its brackets.
fn attribute_problem(attribute: &str) -> Option<&'static str> {
    let mut words = Words::new(attribute).map(|(_, word)| word);
    let name = words.next()?;
    // `cfg_attr` holds other attributes.
    let any_of = |wanted: &[&str]| {
        wanted.contains(&name)
            || name == "cfg_attr" && words.clone().any(|word| wanted.contains(&word))
    };
    if any_of(&["ignore"]) {
        return Some("a test is ignored: fix it or delete it");
    }
    let has_reason = words.clone().any(|word| word == "reason");
    if any_of(&["allow", "expect"]) && !has_reason {
        return Some("a lint waiver without a `reason`");
    }
    None
}

/// The line opens a code block, in a doc comment, that rustdoc would count as an ignored test.
fn is_ignored_doctest(line: &str) -> bool {
    let line = line.trim_start();
    let doc = line.strip_prefix("///").or(line.strip_prefix("//!"));
    let info = doc.and_then(|doc| doc.trim_start().strip_prefix("```"));
    info.is_some_and(|info| {
        info.split([',', ' '])
            .any(|word| word.trim().starts_with("ignore"))
    })
}

/// Every attribute: where it begins, and what is between its brackets.
fn attributes(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.match_indices('#').filter_map(|(at, _)| {
        let rest = code[at + 1..].trim_start_matches('!');
        let inside = rest.trim_start().strip_prefix('[')?;
        let mut depth = 1_usize;
        let end = inside.find(|c| {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => {}
            }
            depth == 0
        })?;
        Some((at, &inside[..end]))
    })
}

/// The identifiers and keywords of some code, with their place.
#[derive(Clone)]
struct Words<'a> {
    code: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn new(code: &'a str) -> Self {
        Self { code, at: 0 }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let of_word = |c: char| c.is_alphanumeric() || c == '_';
        let start = self.at + self.code[self.at..].find(of_word)?;
        let rest = &self.code[start..];
        let word = &rest[..rest.find(|c| !of_word(c)).unwrap_or(rest.len())];
        self.at = start + word.len();
        Some((start, word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn finds(source: &str, expected: &[(usize, &str)]) {
        let found = check("a.rs", source);
        let found: Vec<_> = found.iter().map(|f| (f.line, f.message.as_str())).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((line, message), (expected_line, part)) in found.iter().zip(expected) {
            assert_eq!(line, expected_line, "{message}");
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn ignored_tests_are_found() {
        finds("#[test]\n#[ignore]\nfn a() {}", &[(2, "ignored")]);
        finds("#[ignore = \"slow\"]", &[(1, "ignored")]);
        finds("#[cfg_attr(unix, ignore)]", &[(1, "ignored")]);
        finds("// #[ignore]\nlet s = \"#[ignore]\";", &[]);
        finds("#[serde(ignore_unknown)] struct A;", &[]);
    }

    #[test]
    fn ignored_examples_are_found() {
        finds("/// ```ignore\n/// x\n/// ```", &[(1, "example")]);
        finds("//! ```rust,ignore-windows", &[(1, "example")]);
        finds("/// ```no_run\n/// ```text", &[]);
        finds("// ```ignore", &[]);
    }

    #[test]
    fn a_waiver_needs_a_reason() {
        finds("#[allow(dead_code)]", &[(1, "reason")]);
        finds("#![expect(clippy::panic)]", &[(1, "reason")]);
        finds("#[cfg_attr(test, allow(unused))]", &[(1, "reason")]);
        finds("\n#[expect(\n  clippy::panic,\n)]", &[(2, "reason")]);
        finds("#[expect(\n  clippy::panic,\n  reason = \"x\",\n)]", &[]);
        finds("#[derive(Debug)] #[cfg(test)] x.expect(1); a.allow();", &[]);
    }

    #[test]
    fn a_long_file_without_a_page_is_found() {
        let code = "fn f() {}\n".repeat(61);
        finds(&code, &[(1, "page")]);
        finds(&format!("//! Functions.\n\n{code}"), &[]);
        finds(
            &format!("#![allow(dead_code, reason = \"x\")]\n//! Functions.\n{code}"),
            &[],
        );
        finds(&code[..60 * 10], &[]);
    }

    #[test]
    fn unfinished_code_is_found() {
        finds("fn a() {\n  todo!()\n}", &[(2, "todo!")]);
        finds("unimplemented!(\"later\")", &[(1, "unimplemented!")]);
        finds("let todo = 1; if todo != 2 {} // todo!", &[]);
        finds("\"todo!()\"; my_todo!();", &[]);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        finds("mod utils;", &[(1, "utils")]);
        finds(
            "pub(crate) struct\n  TurnManager<T>;",
            &[(2, "TurnManager")],
        );
        finds(
            "trait QueryHelper {}\nenum CommonError {}",
            &[(1, "helper"), (2, "common")],
        );
        finds("fn common_prefix(helper: Utility) {}", &[]);
        finds("// mod utils;\n\"struct Manager\"", &[]);
    }
}
