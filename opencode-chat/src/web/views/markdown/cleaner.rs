//! The second wall: which elements and attributes come through, whatever stands before it.

use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};

/// What is left of the HTML of a text.
pub(super) fn clean(html: &str) -> String {
    TEXT.clean(html).to_string()
}

/// What is left of the MathML of a formula.
pub(super) fn clean_math(mathml: &str) -> String {
    MATH.clean(mathml).to_string()
}

static TEXT: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut cleaner = Builder::empty();
    cleaner
        .add_tags([
            "a",
            "blockquote",
            "br",
            "code",
            "del",
            "details",
            "em",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "hr",
            "ins",
            "kbd",
            "li",
            "mark",
            "ol",
            "p",
            "pre",
            "samp",
            "section",
            "span",
            "strong",
            "sub",
            "summary",
            "sup",
            "table",
            "tbody",
            "td",
            "th",
            "thead",
            "tr",
            "ul",
            "var",
        ])
        .add_tag_attributes("a", ["href", "title"])
        .add_tag_attributes("details", ["open"])
        .add_tag_attributes("ol", ["start"])
        .add_tag_attributes("span", ["data-piece"])
        .add_tag_attributes("td", ["align"])
        .add_tag_attributes("th", ["align"])
        .add_allowed_classes("span", ["task"])
        .add_url_schemes(["http", "https", "mailto"])
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank");
    cleaner
});

static MATH: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut cleaner = Builder::empty();
    cleaner
        .add_tags([
            "math",
            "merror",
            "mfrac",
            "mi",
            "mmultiscripts",
            "mn",
            "mo",
            "mover",
            "mpadded",
            "mphantom",
            "mprescripts",
            "mroot",
            "mrow",
            "ms",
            "mspace",
            "msqrt",
            "mstyle",
            "msub",
            "msubsup",
            "msup",
            "mtable",
            "mtd",
            "mtext",
            "mtr",
            "munder",
            "munderover",
        ])
        .add_generic_attributes(["displaystyle", "mathvariant", "scriptlevel"])
        .add_tag_attributes("math", ["display"])
        .add_tag_attributes("mfrac", ["linethickness"])
        .add_tag_attributes(
            "mo",
            [
                "fence",
                "form",
                "largeop",
                "lspace",
                "maxsize",
                "minsize",
                "movablelimits",
                "rspace",
                "separator",
                "stretchy",
                "symmetric",
            ],
        )
        .add_tag_attributes("mover", ["accent"])
        .add_tag_attributes("munder", ["accentunder"])
        .add_tag_attributes("munderover", ["accent", "accentunder"])
        .add_tag_attributes("mpadded", ["depth", "height", "lspace", "voffset", "width"])
        .add_tag_attributes("mspace", ["depth", "height", "width"])
        .add_tag_attributes("mtd", ["columnspan", "rowspan"])
        .add_allowed_classes("mtd", ["left", "right"]);
    cleaner
});
