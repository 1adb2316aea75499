//! Links as people mean them: bare ones end where the words around them begin, and a path of the agent's folder is shown.

use comrak::Arena;
use comrak::nodes::{AstNode, Node, NodeValue};
use opencode_host::visible::line;

use crate::web::views::markdown::html::escape;

/// Cuts what is no part of a bare link, and shows where a link leads that leads to no address.
pub(super) fn mend<'a>(arena: &'a Arena<'a>, node: Node<'a>) {
    let url = match &node.data().value {
        NodeValue::Link(link) => link.url.clone(),
        _ => return,
    };
    if let Some(keeps) = bare_end(node, &url) {
        cut(arena, node, keeps);
    } else if is_path(&url) {
        let mut html = " <code>".to_owned();
        escape(&mut html, &line(&url).to_string());
        html.push_str("</code>");
        node.append(arena.alloc(AstNode::from(NodeValue::Raw(html))));
    }
}

/// The only text of a link.
fn text_of(node: Node<'_>) -> Option<Node<'_>> {
    let child = node.first_child()?;
    let is_text = matches!(child.data().value, NodeValue::Text(_));
    (is_text && child.next_sibling().is_none()).then_some(child)
}

/// Of a bare link that runs on into words of Chinese or Japanese: how many bytes of its text are the link.
fn bare_end(node: Node<'_>, url: &str) -> Option<usize> {
    let child = text_of(node)?;
    let data = child.data();
    let NodeValue::Text(text) = &data.value else {
        return None;
    };
    let is_bare = url == text || url.strip_prefix("http://") == Some(text);
    if !is_bare {
        return None;
    }
    let host = text.find("://").map_or(0, |at| at + 3);
    let path = text[host..].find('/').map_or(text.len(), |at| host + at);
    let mut letters = text.char_indices();
    letters
        .find(|(at, c)| ends_address(*c) || (*at < path && is_cjk(*c)))
        .map(|(at, _)| at)
        .filter(|at| *at > host)
}

/// Marks that no address has as they are.
fn ends_address(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ff20}' | '\u{ff3b}'..='\u{ff40}' | '\u{ff5b}'..='\u{ff65}' | '“' | '”' | '‘' | '’' | '…')
}

/// Letters of Chinese, Japanese and Korean.
fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Leaves so many bytes of a bare link's text; the rest is text behind it.
fn cut<'a>(arena: &'a Arena<'a>, node: Node<'a>, keeps: usize) {
    let Some(child) = text_of(node) else { return };
    let mut rest = String::new();
    if let NodeValue::Text(text) = &mut child.data_mut().value {
        let mut kept = text.to_string();
        rest = kept.split_off(keeps);
        *text = kept.into();
    }
    if let NodeValue::Link(link) = &mut node.data_mut().value {
        link.url.truncate(link.url.len().saturating_sub(rest.len()));
    }
    node.insert_after(arena.alloc(AstNode::from(NodeValue::Text(rest.into()))));
}

/// Whether a link leads to no address and no place of its page, but to a file.
fn is_path(url: &str) -> bool {
    let scheme = url.find(':').unwrap_or(usize::MAX);
    let other = url.find(['/', '?', '#']).unwrap_or(usize::MAX - 1);
    !url.is_empty() && !url.starts_with('#') && !url.starts_with("//") && scheme > other
}
