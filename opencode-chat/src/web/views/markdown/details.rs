//! `<details>` as GitHub has it: a block of HTML that opens it, Markdown, and one that closes it.

use comrak::nodes::{Node, NodeValue};
use opencode_host::visible::line;

/// What opens.
pub(super) struct Details {
    pub(super) is_open: bool,
    /// What is seen while it is folded.
    pub(super) summary: String,
    /// What stands in the same block of HTML, without tags.
    pub(super) text: String,
    /// Whether it closes in the same block.
    pub(super) is_closed: bool,
}

impl Details {
    /// Of a node that opens some.
    pub(super) fn of(node: Node<'_>) -> Option<Self> {
        let data = node.data();
        let NodeValue::HtmlBlock(html) = &data.value else {
            return None;
        };
        let html = html.literal.trim();
        let (is_open, rest) = match html.strip_prefix("<details>") {
            Some(rest) => (false, rest),
            None => (true, html.strip_prefix("<details open>")?),
        };
        let rest = rest.trim_start();
        let named = rest.strip_prefix("<summary>");
        let (summary, rest) = match named.and_then(|rest| rest.split_once("</summary>")) {
            Some((summary, rest)) => (without_tags(summary), rest.trim()),
            None => (String::new(), rest),
        };
        let inside = rest.strip_suffix("</details>");
        Some(Self {
            is_open,
            summary: if summary.is_empty() {
                "Details".to_owned()
            } else {
                summary
            },
            text: without_tags(inside.unwrap_or(rest)),
            is_closed: inside.is_some(),
        })
    }
}

/// Whether a node closes what another one has opened.
pub(super) fn is_end(node: Node<'_>) -> bool {
    matches!(&node.data().value, NodeValue::HtmlBlock(html) if html.literal.trim() == "</details>")
}

/// The words of a line of HTML. They are escaped where they are written.
fn without_tags(html: &str) -> String {
    let mut words = String::new();
    let mut rest = html;
    while let Some((before, behind)) = rest.split_once('<') {
        words.push_str(before);
        match behind.split_once('>') {
            Some((_, behind)) => rest = behind,
            None => {
                words.push('<');
                rest = behind;
            }
        }
    }
    words.push_str(rest);
    line(words.trim()).to_string()
}
