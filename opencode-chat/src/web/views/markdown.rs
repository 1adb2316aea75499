//! Markdown of answers as HTML that cannot do anything but be read.
//!
//! Two walls: HTML that a model writes is shown as text, never taken over; and
//! what comrak makes is cleaned by ammonia against a short list of elements.
//! Images become links, so that opening a page fetches nothing from elsewhere.
//!
//! The result is a list of blocks (paragraphs, lists, code, …): a text that
//! grows changes its last block, and the others are not sent again.

use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use comrak::nodes::{Node, NodeCodeBlock, NodeValue};
use comrak::{Arena, Options, format_html, parse_document};
use opencode_host::visible::{block, line};

/// A text longer than this is shown as it is: nobody reads it, and it would cost time on every change.
const MAX_MARKDOWN: usize = 256 << 10;
/// Blocks nested deeper than this are not Markdown that a person wrote.
const MAX_DEPTH: usize = 64;

/// One top-level block, before it is cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block(String);

impl Block {
    /// The block as HTML that is safe to show. Two equal blocks have the same HTML.
    pub(crate) fn html(&self) -> String {
        CLEANER.clean(&self.0).to_string()
    }

    /// What tells blocks apart.
    pub(crate) fn raw(&self) -> &str {
        &self.0
    }
}

/// The blocks of a text.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    if text.len() > MAX_MARKDOWN {
        return vec![as_it_is(text)];
    }
    let options = options();
    let arena = Arena::new();
    let root = parse_document(&arena, text, &options);
    if root
        .descendants()
        .any(|node| node.ancestors().nth(MAX_DEPTH).is_some())
    {
        return vec![as_it_is(text)];
    }
    for node in root.descendants() {
        disarm(node);
    }
    let blocks = root.children().filter_map(|block| {
        let mut html = String::new();
        format_html(block, &options, &mut html).ok()?;
        (!html.trim().is_empty()).then_some(Block(html))
    });
    blocks.collect()
}

fn as_it_is(text: &str) -> Block {
    let text = block(text).to_string();
    Block(format!("<pre>{}</pre>", ammonia::clean_text(&text)))
}

/// Takes away what could fetch, shows HTML as the text it is, and makes visible what hides. Here rather than in the
/// source: `&#x202e;` is such a character only once it is read.
fn disarm(node: Node<'_>) {
    let mut data = node.data_mut();
    match &mut data.value {
        NodeValue::Text(text) => *text = block(text).to_string().into(),
        NodeValue::Code(code) => code.literal = block(&code.literal).to_string(),
        NodeValue::CodeBlock(code) => code.literal = block(&code.literal).to_string(),
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
        _ => return,
    };
    data.value = harmless;
}

fn options() -> Options<'static> {
    let mut options = Options::default();
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.table = true;
    options.render.escape = true;
    options
}

static CLEANER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut cleaner = Builder::empty();
    cleaner
        .add_tags([
            "a",
            "blockquote",
            "br",
            "code",
            "del",
            "em",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "hr",
            "li",
            "ol",
            "p",
            "pre",
            "strong",
            "table",
            "tbody",
            "td",
            "th",
            "thead",
            "tr",
            "ul",
        ])
        .add_tag_attributes("a", ["href", "title"])
        .add_tag_attributes("ol", ["start"])
        .add_tag_attributes("td", ["align"])
        .add_tag_attributes("th", ["align"])
        .add_url_schemes(["http", "https", "mailto"])
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank");
    cleaner
});

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        blocks(text).iter().map(Block::html).collect()
    }

    #[test]
    fn markdown_is_rendered() {
        let text = "# Title\n\n*em* **strong** ~~old~~ `code`\n\n1. one\n2. two\n\n| a | b |\n|---|--:|\n| 1<br>2 | 3 |\n\n\
                    ```rust\nfn main() {}\n```\n";
        insta::assert_snapshot!(html(text), @r#"
        <h1>Title</h1>
        <p><em>em</em> <strong>strong</strong> <del>old</del> <code>code</code></p>
        <ol>
        <li>one</li>
        <li>two</li>
        </ol>
        <table>
        <thead>
        <tr>
        <th>a</th>
        <th align="right">b</th>
        </tr>
        </thead>
        <tbody>
        <tr>
        <td>1<br>2</td>
        <td align="right">3</td>
        </tr>
        </tbody>
        </table>
        <pre><code>fn main() {}
        </code></pre>
        "#);
    }

    #[test]
    fn html_is_shown_and_never_taken_over() {
        let hostile = [
            "<script>alert(1)</script><img src=x onerror=alert(2)> <b>bold</b> [x](javascript:alert(3))",
            "<iframe src=\"https://example.org\"></iframe>\n\n<svg onload=alert(1)>\n\nhi <a href='javascript:x'>y</a>",
            "![track](https://example.org/pixel.png) [rel](/conversations/1/delete) [data](data:text/html,x)",
            "<style>*{display:none}</style>\n\n<form action=/x><input name=y></form>",
            "[a](https://example.org/\"onclick=alert(1)) <https://example.org/?a=1&b=\"x>",
            "```html\n</code></pre><script>alert(1)</script>\n```",
        ];
        for text in hostile {
            let html = html(text);
            for tag in [
                "<script",
                "<img",
                "<svg",
                "<iframe",
                "<style",
                "<form",
                "<input",
                "<b>",
                "href=\"javascript",
                "href=\"data",
                "href=\"/",
            ] {
                assert!(!html.contains(tag), "{tag} in {html}");
            }
        }
        insta::assert_snapshot!(html(hostile[0]), @"<pre><code>&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt; &lt;b&gt;bold&lt;/b&gt; [x](javascript:alert(3))</code></pre>");
        insta::assert_snapshot!(html(hostile[2]), @r#"<p><a href="https://example.org/pixel.png" target="_blank" rel="noopener noreferrer nofollow">track</a> <a target="_blank" rel="noopener noreferrer nofollow">rel</a> <a target="_blank" rel="noopener noreferrer nofollow">data</a></p>"#);
    }

    #[test]
    fn what_hides_is_visible_wherever_a_text_holds_it() {
        for text in [
            "a\u{202e}b",
            "a&#x202e;b",
            "a&#8238;b",
            "`a\u{202e}b`",
            "```\na\u{202e}b\n```",
            "<i>a\u{202e}b</i>",
            "<div>\na\u{202e}b\n</div>",
            "# a\u{202e}b",
            "| a\u{202e}b |\n|---|\n| c |",
            "[a\u{202e}b](https://example.org/)",
            "![a\u{202e}b](https://example.org/x.png)",
            "[c](https://example.org/ \"a\u{202e}b\")",
            "[c][d]\n\n[d]: https://example.org/ 'a&#x202e;b'",
            &format!("a\u{202e}b{}", "x".repeat(MAX_MARKDOWN)),
            &format!("{}a\u{202e}b", "> ".repeat(MAX_DEPTH + 1)),
        ] {
            let html = html(text);
            assert!(
                html.contains("a\\u{202e}b"),
                "{} in {}",
                &text[..12.min(text.len())],
                &html[..99.min(html.len())]
            );
            assert!(!html.contains('\u{202e}'), "{html}");
        }
        let link = html("https://example.org/\u{202e}x [y](https://example.org/\u{200b})");
        assert!(!link.contains(['\u{202e}', '\u{200b}']), "{link}");
        assert!(html("שלום 👩\u{200d}🚀").contains("שלום 👩\u{200d}🚀"));
    }

    #[test]
    fn a_growing_text_changes_its_last_block_only() {
        let text = "First paragraph.\n\n- one\n- two\n\n```\ncode\n```\n\nLast";
        let whole = blocks(text);
        assert_eq!(whole.len(), 4);
        let more = blocks(&format!("{text} words"));
        assert_eq!(whole[..3], more[..3]);
        assert_ne!(whole[3], more[3]);
    }

    #[test]
    fn a_reference_defined_elsewhere_is_known_in_every_block() {
        let text = "See [the site].\n\n[the site]: https://example.org/";
        assert!(html(text).contains("href=\"https://example.org/\""));
    }

    #[test]
    fn absurd_texts_are_shown_as_they_are_and_in_time() {
        let began = std::time::Instant::now();
        for text in [
            "> ".repeat(5_000),
            "[".repeat(25_000),
            "*a **a ".repeat(5_000),
            "`".repeat(25_000),
            "<a ".repeat(10_000),
            "- ".repeat(5_000),
            "|a|\n|-|\n".repeat(2_500),
            "x".repeat(MAX_MARKDOWN + 1),
        ] {
            assert!(!html(&text).is_empty(), "{}", &text[..8]);
        }
        assert!(
            began.elapsed() < std::time::Duration::from_secs(60),
            "{:?}",
            began.elapsed()
        );
    }
}
