//! What comrak has read, mended: disarmed, made visible, and as models mean it.

use comrak::Arena;
use comrak::nodes::{AstNode, ListType, Node, NodeCodeBlock, NodeList, NodeValue};
use opencode_host::visible::{block, line};

use crate::web::views::markdown::{details, links};

/// Plain tags that are written anew where both of them stand.
const TAGS: [&str; 7] = ["sub", "sup", "kbd", "ins", "mark", "samp", "var"];

/// Mends all nodes of a document.
pub(super) fn mend<'a>(arena: &'a Arena<'a>, root: Node<'a>, source: &str) {
    let lines: Vec<&str> = source.split('\n').collect();
    let all: Vec<_> = root.descendants().collect();
    for node in &all {
        written_out(arena, node, &lines);
        tags(node);
    }
    for node in all {
        disarm(node);
        task(arena, node);
        links::mend(arena, node);
    }
}

/// Takes away what could fetch, shows HTML as the text it is, and makes visible what hides. Here rather than in the
/// source: `&#x202e;` is such a character only once it is read.
fn disarm(node: Node<'_>) {
    let is_top = node
        .parent()
        .is_some_and(|parent| parent.parent().is_none());
    if is_top && (details::is_end(node) || details::Details::of(node).is_some()) {
        return;
    }
    let mut data = node.data_mut();
    match &mut data.value {
        NodeValue::Text(text) => *text = block(text).to_string().into(),
        NodeValue::Code(code) => code.literal = block(&code.literal).to_string(),
        NodeValue::CodeBlock(code) => code.literal = block(&code.literal).to_string(),
        NodeValue::Math(math) => math.literal = block(&math.literal).to_string(),
        NodeValue::HtmlBlock(html) => html.literal = block(&html.literal).to_string(),
        NodeValue::HtmlInline(html) => *html = block(html).to_string(),
        NodeValue::Link(link) | NodeValue::Image(link) => {
            link.title = line(&link.title).to_string()
        }
        _ => {}
    }
    let harmless = match &mut data.value {
        NodeValue::Image(image) => NodeValue::Link(std::mem::take(image)),
        NodeValue::HtmlBlock(html) => NodeValue::CodeBlock(Box::new(NodeCodeBlock {
            literal: std::mem::take(&mut html.literal),
            ..NodeCodeBlock::default()
        })),
        // The one tag that tables cannot do without.
        NodeValue::HtmlInline(html) if matches!(html.as_str(), "<br>" | "<br/>" | "<br />") => {
            NodeValue::Raw("<br>".to_owned())
        }
        NodeValue::HtmlInline(html) => NodeValue::Text(std::mem::take(html).into()),
        NodeValue::FootnoteReference(reference) => {
            NodeValue::Raw(format!("<sup>{}</sup>", reference.ix))
        }
        _ => return,
    };
    data.value = harmless;
}

/// Writes out again what is a mark to comrak and none to those who wrote it: one tilde, and dollars around no formula.
fn written_out<'a>(arena: &'a Arena<'a>, node: Node<'a>, lines: &[&str]) {
    let text = |text: &str| arena.alloc(AstNode::from(NodeValue::Text(text.to_owned().into())));
    let is_single = matches!(node.data().value, NodeValue::Subscript);
    if is_single {
        node.prepend(text("~"));
        node.append(text("~"));
        node.data_mut().value = NodeValue::Escaped;
        return;
    }
    let mut data = node.data_mut();
    let start = data.sourcepos.start;
    let NodeValue::Math(math) = &data.value else {
        return;
    };
    let opens = |mark: &str| {
        let line = start.line.checked_sub(1).and_then(|at| lines.get(at));
        let from = line.and_then(|line| line.get(start.column.checked_sub(1)?..));
        from.is_none_or(|rest| rest.starts_with(mark))
    };
    let is_money = !math.display_math && opens("$") && !looks_like_formula(&math.literal);
    if is_money {
        data.value = NodeValue::Text(format!("${}$", math.literal).into());
    }
}

/// Whether what stands between two dollars is meant as a formula.
fn looks_like_formula(text: &str) -> bool {
    text.contains(['\\', '^', '_', '=', '<', '>', '+', '*'])
        || (text.chars().count() <= 3 && text.chars().all(|c| c.is_ascii_alphabetic()))
}

/// Takes over plain tags that stand around something in the same place, without what they carry.
fn tags(node: Node<'_>) {
    let name = match &node.data().value {
        NodeValue::HtmlInline(html) => {
            let name = html
                .strip_prefix('<')
                .and_then(|html| html.strip_suffix('>'));
            name.and_then(|name| TAGS.into_iter().find(|tag| *tag == name))
        }
        _ => None,
    };
    let Some(name) = name else { return };
    let end = format!("</{name}>");
    let is_end =
        |node: &Node<'_>| matches!(&node.data().value, NodeValue::HtmlInline(html) if *html == end);
    let found = node.following_siblings().skip(1).find(is_end);
    if let Some(found) = found {
        node.data_mut().value = NodeValue::Raw(format!("<{name}>"));
        found.data_mut().value = NodeValue::Raw(end.clone());
    }
}

/// Shows a task of a list as a sign before its words.
fn task<'a>(arena: &'a Arena<'a>, node: Node<'a>) {
    let is_done = match &node.data().value {
        NodeValue::TaskItem(task) => task.symbol.is_some(),
        _ => return,
    };
    let sign = if is_done { "☑" } else { "☐" };
    let sign = format!("<span class=\"task\">{sign}</span> ");
    let sign = arena.alloc(AstNode::from(NodeValue::Raw(sign)));
    let list = match node.parent().map(|parent| parent.data()) {
        Some(list) => match &list.value {
            NodeValue::List(list) => *list,
            _ => return,
        },
        None => return,
    };
    let first = node.first_child();
    match first.filter(|first| matches!(first.data().value, NodeValue::Paragraph)) {
        Some(words) => words.prepend(sign),
        None => node.prepend(sign),
    }
    node.data_mut().value = NodeValue::Item(NodeList {
        list_type: ListType::Bullet,
        ..list
    });
}
