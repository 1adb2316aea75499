//! Markdown of answers as HTML that cannot do anything but be read.
//!
//! Two walls: HTML that a model writes is shown as text, never taken over, except for a few plain tags that are written
//! anew; and what comrak makes is cleaned by ammonia against a short list of elements. Images become links, so that opening
//! a page fetches nothing from elsewhere. Code and formulas are rendered apart (`code`, `math`) and put in afterwards.
//!
//! The result is a list of blocks (paragraphs, lists, code, …): a text that grows changes its last block, and the others
//! are not sent again. Models do not write as the standard reads: `nodes` mends what comrak has read, `fences` what it would
//! misread.

mod cleaner;
mod code;
mod details;
mod fences;
mod html;
mod links;
mod math;
mod nodes;
#[cfg(test)]
mod tests;

use comrak::nodes::{Node, NodeValue};
use comrak::{Arena, Options, format_html, parse_document};
use opencode_host::visible::block;

use code::Code;
use details::Details;
use html::escape;
use math::Formula;

/// A text longer than this is shown as it is: nobody reads it, and it would cost time on every change.
pub(super) const MAX_MARKDOWN: usize = 256 << 10;
/// Blocks nested deeper than this are not Markdown that a person wrote.
pub(super) const MAX_DEPTH: usize = 64;

/// One top-level block, before it is cleaned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    html: String,
    /// What is put in the places that `html` leaves for them.
    pieces: Vec<Piece>,
}

/// What is rendered by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Code(Code),
    Formula(Formula),
}

impl Block {
    /// The block as HTML that is safe to show. Two equal blocks have the same HTML.
    pub(crate) fn html(&self) -> String {
        let clean = cleaner::clean(&self.html);
        if self.pieces.is_empty() {
            return clean;
        }
        let mut whole = String::with_capacity(clean.len());
        let mut parts = clean.split(PLACE);
        whole.push_str(parts.next().unwrap_or_default());
        for part in parts {
            // `N"></span>`, and what stands behind it.
            let Some((number, rest)) = part.split_once("\"></span>") else {
                continue;
            };
            let piece = number
                .parse()
                .ok()
                .and_then(|at: usize| self.pieces.get(at));
            match piece {
                Some(Piece::Code(code)) => whole.push_str(&code.html()),
                Some(Piece::Formula(formula)) => whole.push_str(&formula.html()),
                None => {}
            }
            whole.push_str(rest);
        }
        whole
    }
}

/// How the place of a piece begins. Nothing that a model writes comes through as an element with an attribute like this.
const PLACE: &str = "<span data-piece=\"";

/// The blocks of a text.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    if text.len() > MAX_MARKDOWN {
        return vec![as_it_is(text)];
    }
    let text = fences::nested(text);
    let options = options();
    let arena = Arena::new();
    let root = parse_document(&arena, &text, &options);
    if root
        .descendants()
        .any(|node| node.ancestors().nth(MAX_DEPTH).is_some())
    {
        return vec![as_it_is(&text)];
    }
    nodes::mend(&arena, root, &text);
    let mut blocks = Blocks {
        options,
        blocks: Vec::new(),
    };
    blocks.all(root);
    blocks.blocks
}

/// The blocks so far.
struct Blocks {
    options: Options<'static>,
    blocks: Vec<Block>,
}

impl Blocks {
    fn all(&mut self, root: Node<'_>) {
        let mut rest = root.first_child();
        while let Some(node) = rest {
            rest = node.next_sibling();
            let mut draft = Draft::new(&self.options);
            if let Some(details) = Details::of(node) {
                rest = draft.details(node, &details);
            } else if matches!(node.data().value, NodeValue::FootnoteDefinition(_)) {
                rest = draft.footnotes(node);
            } else {
                draft.node(node);
            }
            self.blocks.extend(draft.done());
        }
    }
}

/// A block that is being made.
struct Draft<'a> {
    options: &'a Options<'static>,
    block: Block,
}

impl<'a> Draft<'a> {
    fn new(options: &'a Options<'static>) -> Self {
        let block = Block {
            html: String::new(),
            pieces: Vec::new(),
        };
        Self { options, block }
    }

    /// The block, unless nothing of it is seen.
    fn done(self) -> Option<Block> {
        (!self.block.html.trim().is_empty()).then_some(self.block)
    }

    /// Writes a node, with a place for each piece in it.
    fn node(&mut self, node: Node<'_>) {
        for inner in node.descendants() {
            let mut data = inner.data_mut();
            let piece = match &mut data.value {
                NodeValue::CodeBlock(code) => match Formula::of_block(code) {
                    Some(formula) => Piece::Formula(formula),
                    None => Piece::Code(Code::of(code)),
                },
                NodeValue::Math(math) => Piece::Formula(Formula::of(math)),
                _ => continue,
            };
            let place = format!("{PLACE}{}\"></span>", self.block.pieces.len());
            data.value = NodeValue::Raw(place);
            self.block.pieces.push(piece);
        }
        // Writing into a string fails only where a node cannot be written: it is left out.
        let _ = format_html(node, self.options, &mut self.block.html);
    }

    /// Writes what is folded away, up to the end that belongs to it. Gives what comes behind.
    fn details<'n>(&mut self, opening: Node<'n>, details: &Details) -> Option<Node<'n>> {
        let html = &mut self.block.html;
        html.push_str(if details.is_open {
            "<details open>"
        } else {
            "<details>"
        });
        html.push_str("<summary>");
        escape(html, &details.summary);
        html.push_str("</summary>");
        if !details.text.is_empty() {
            html.push_str("<p>");
            escape(html, &details.text);
            html.push_str("</p>");
        }
        let mut rest = opening.next_sibling();
        if !details.is_closed {
            while let Some(node) = rest {
                rest = node.next_sibling();
                if let Some(inner) = Details::of(node) {
                    rest = self.details(node, &inner);
                } else if details::is_end(node) {
                    break;
                } else {
                    self.node(node);
                }
            }
        }
        self.block.html.push_str("</details>\n");
        rest
    }

    /// Writes this footnote and those behind it as one list. Gives what comes behind.
    fn footnotes<'n>(&mut self, first: Node<'n>) -> Option<Node<'n>> {
        self.block.html.push_str("<section><ol>\n");
        let mut rest = Some(first);
        while let Some(node) = rest {
            if !matches!(node.data().value, NodeValue::FootnoteDefinition(_)) {
                break;
            }
            rest = node.next_sibling();
            self.block.html.push_str("<li>");
            for child in node.children() {
                self.node(child);
            }
            self.block.html.push_str("</li>\n");
        }
        self.block.html.push_str("</ol></section>\n");
        rest
    }
}

fn as_it_is(text: &str) -> Block {
    let mut html = "<pre>".to_owned();
    escape(&mut html, &block(text).to_string());
    html.push_str("</pre>");
    Block {
        html,
        pieces: Vec::new(),
    }
}

fn options() -> Options<'static> {
    let mut options = Options::default();
    options.extension.autolink = true;
    options.extension.cjk_friendly_emphasis = true;
    options.extension.footnotes = true;
    options.extension.math_dollars = true;
    options.extension.math_latex = true;
    options.extension.strikethrough = true;
    // One tilde is then told from two, and written out again.
    options.extension.subscript = true;
    options.extension.table = true;
    options.extension.tasklist = true;
    options.render.escape = true;
    options.render.hardbreaks = true;
    options
}
