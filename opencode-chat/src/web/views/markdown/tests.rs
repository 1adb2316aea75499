//! What a text becomes.

use super::{Block, MAX_DEPTH, MAX_MARKDOWN, blocks};

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
    <div class="code"><div class="code-head"><span class="language">rust</span><button type="button" class="copy">Copy</button></div><pre tabindex="0"><code><span class="k">fn </span><span class="f">main</span>() {}
    </code></pre></div>
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
    insta::assert_snapshot!(html(hostile[0]), @r#"<div class="code"><div class="code-head"><span class="language"></span><button type="button" class="copy">Copy</button></div><pre tabindex="0"><code>&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt; &lt;b&gt;bold&lt;/b&gt; [x](javascript:alert(3))</code></pre></div>"#);
    insta::assert_snapshot!(html(hostile[2]), @r#"<p><a href="https://example.org/pixel.png" target="_blank" rel="noopener noreferrer nofollow">track</a> <a target="_blank" rel="noopener noreferrer nofollow">rel <code>/conversations/1/delete</code></a> <a target="_blank" rel="noopener noreferrer nofollow">data</a></p>"#);
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

#[test]
fn code_has_its_language_and_its_colours() {
    let html = html("```rust\n// <one>\nlet x = \"two\";\n```");
    for wanted in [
        "<span class=\"language\">rust</span>",
        "class=\"copy\">Copy</button>",
        "<span class=\"c\">// &lt;one&gt;",
        "<span class=\"k\">let</span>",
        "<span class=\"s\">&quot;two&quot;</span>",
    ] {
        assert!(html.contains(wanted), "{wanted} in {html}");
    }
    // What nobody knows, what is long, and what has no end yet is shown all the same.
    for text in [
        "```nosuch\nlet x\n```".to_owned(),
        format!("```json\n{}let x\n```", "[1,\n".repeat(50_000)),
        format!("```rust\n{}let x", "x\n".repeat(5_000)),
        format!("```json\n\"{}\"\nlet x\n```", "y".repeat(9_000)),
    ] {
        assert!(self::html(&text).contains("let x"), "{}", &text[..20]);
    }
}

#[test]
fn every_language_that_models_name_is_known_in_its_own_words() {
    for (language, code, class) in [
        ("python", "def f(): pass", "<span class=\"k\">def"),
        ("tsx", "const x = <b>1</b>", "<span class=\"k\">const"),
        ("json", "{\"a\": 1}", "<span class=\"n\">1</span>"),
        ("console", "# c", "<span class=\"c\"># c"),
        ("c++", "return 1;", "<span class=\"k\">return"),
        ("C#", "return 1;", "<span class=\"k\">return"),
        ("diff", "+a\n-b", "<span class=\"i\">+a"),
    ] {
        let html = html(&format!("```{language}\n{code}\n```"));
        assert!(html.contains(class), "{language}: {html}");
    }
}

#[test]
fn formulas_are_drawn_and_what_cannot_be_read_stays() {
    for (text, wanted) in [
        (
            r"so \(x^2\) is",
            "<math><msup><mi>x</mi><mn>2</mn></msup></math>",
        ),
        (r"so $x^2$ is", "<msup><mi>x</mi><mn>2</mn></msup>"),
        (
            "\\[\n\\frac{a}{b}\n\\]",
            "<span class=\"formula\"><math display=\"block\">",
        ),
        ("$$\\frac{a}{b}$$", "<mfrac><mi>a</mi><mi>b</mi></mfrac>"),
        ("```math\n\\sqrt{2}\n```", "<msqrt><mn>2</mn></msqrt>"),
        (
            r"\[\begin{aligned} a &= b \\ &= c \end{aligned}\]",
            "<mtd class=\"right\">",
        ),
        (
            r"a \(\nosuch{x}\) b",
            r#"<code class="latex">\(\nosuch{x}\)</code>"#,
        ),
        (r"\(\text{<script>alert(1)</script>}\)", "&lt;script&gt;"),
        ("It costs $5 or $6.", "It costs $5 or $6."),
        ("From $5-$10 or 5$ to 6$.", "From $5-$10 or 5$ to 6$."),
    ] {
        let html = html(text);
        assert!(html.contains(wanted), "{text}: {html}");
        assert!(
            !html.contains(" style=") && !html.contains("<script"),
            "{html}"
        );
    }
    for open in [
        "{",
        r"\sqrt{",
        r"\frac{",
        r"\left(",
        "x^{",
        r"\begin{matrix}",
        r"\color{red}",
        "x_1 ",
    ] {
        let deep = open.repeat(2000 / open.len());
        assert!(!html(&format!("\\({deep}\\)")).is_empty());
    }
}

#[test]
fn markdown_is_read_as_models_write_it() {
    for (text, wanted) in [
        ("about ~5~ or ~~6~~", "about ~5~ or <del>6</del>"),
        ("**注意：**请看", "<strong>注意：</strong>请看"),
        (
            "见https://example.org/a。然后",
            "href=\"https://example.org/a\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">https://example.org/a</a>。然后",
        ),
        ("访问https://example.org查看", "https://example.org</a>查看"),
        (
            "https://zh.wikipedia.org/wiki/中文",
            ">https://zh.wikipedia.org/wiki/中文</a>",
        ),
        ("one\ntwo", "one<br>\ntwo"),
        (
            "- [x] done\n- [ ] open",
            "<span class=\"task\">☑</span> done",
        ),
        (
            "- [x] done\n\n- [ ] open",
            "<p><span class=\"task\">☐</span> open</p>",
        ),
        (
            "a<sup>2</sup> <kbd>Ctrl</kbd> H<sub>2</sub>O",
            "a<sup>2</sup> <kbd>Ctrl</kbd> H<sub>2</sub>O",
        ),
        ("the <sub> tag", "the &lt;sub&gt; tag"),
        ("<kbd onclick=\"x()\">a</kbd>", "&lt;kbd onclick="),
        ("See it[^1].\n\n[^1]: The **note**.", "See it<sup>1</sup>."),
        (
            "See it[^1].\n\n[^1]: The **note**.",
            "<section><ol>\n<li><p>The <strong>note</strong>. </p>\n</li>\n</ol></section>",
        ),
        (
            "[report](out/report.md)",
            "report <code>out/report.md</code>",
        ),
        ("[report](/srv/a.md)", "report <code>/srv/a.md</code>"),
    ] {
        let html = html(text);
        assert!(html.contains(wanted), "{text}: {html}");
    }
}

#[test]
fn what_is_folded_away_is_folded_away() {
    let text =
        "<details>\n<summary>The <b>log</b></summary>\n\n**one**\n\n- two\n\n</details>\n\nbehind";
    let all = blocks(text);
    assert_eq!(all.len(), 2);
    assert_eq!(
        all[0].html().replace('\n', ""),
        "<details><summary>The log</summary><p><strong>one</strong></p><ul><li>two</li></ul></details>"
    );
    assert!(
        html("<details open><summary>a</summary>b <i>c</i></details>\n\nd")
            .contains("<details open=\"\"><summary>a</summary><p>b c</p></details>")
    );
    // One that grows still has no end.
    assert!(html("<details>\n\n<script>alert(1)</script>\n\nx").contains("&lt;script&gt;"));
    // In a list it is text, and hides nothing.
    let inner = html("- a\n\n  <details><summary>b\u{202e}c</summary>\n\n  d");
    assert!(
        !inner.contains('\u{202e}') && inner.contains("b\\u{202e}c"),
        "{inner}"
    );
    assert!(html("<details><summary>b\u{202e}c</summary>\n\nd").contains("b\\u{202e}c"));
}

#[test]
fn fences_inside_of_markdown_are_its_own() {
    let text = "```markdown\n# Title\n\n```rust\nlet x;\n```\n\nmore\n```\n\nbehind **it**";
    let all = blocks(text);
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[0].html().contains("more"));
    assert!(all[1].html().contains("behind <strong>it</strong>"));
    // Others end where they end.
    let text = "```rust\nlet x;\n```\n\n**between**\n\n```\ny\n```";
    assert_eq!(blocks(text).len(), 3);
    let text = "```md\n# a\n```\n\n**between**\n\n```rust\ny\n```";
    assert_eq!(blocks(text).len(), 3);
}
