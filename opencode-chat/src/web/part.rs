//! The parts of an answer as HTML.

use askama::Template;
use opencode_host::client::reply::PersistedPart;

use super::markdown;
use super::tool::ToolView;

/// One part.
#[derive(Debug)]
pub(super) enum PartView {
    Text(TextView),
    Tool(Box<ToolView>),
}

/// A text or reasoning part.
#[derive(Debug, Template)]
#[template(path = "text.html")]
pub(super) struct TextView {
    /// The element, where it may change.
    pub(super) id: Option<String>,
    pub(super) reasoning: bool,
    pub(super) blocks: Vec<BlockView>,
}

/// One block of a text.
#[derive(Debug, Template)]
#[template(
    source = "<div class=\"block\"{% if let Some(id) = id %} id=\"{{ id }}\"{% endif %}>{{ html|safe }}</div>",
    ext = "html"
)]
pub(super) struct BlockView {
    pub(super) id: Option<String>,
    pub(super) html: String,
}

impl TextView {
    /// The element that holds the blocks of a text.
    pub(super) fn body(element: &str, reasoning: bool) -> String {
        if reasoning {
            format!("{element}-body")
        } else {
            element.to_owned()
        }
    }
}

impl BlockView {
    /// The element of a block.
    pub(super) fn element(part: &str, at: usize) -> String {
        format!("{part}-{at}")
    }
}

impl PartView {
    /// The parts of an answer that has ended; nothing of them changes any more.
    pub(super) fn all_of(parts: &[PersistedPart], folder: Option<&str>) -> Vec<Self> {
        parts
            .iter()
            .filter_map(|part| Self::of(part, folder))
            .collect()
    }

    fn of(part: &PersistedPart, folder: Option<&str>) -> Option<Self> {
        let text = |content: &str, reasoning| {
            let blocks = markdown::blocks(content);
            let blocks = blocks
                .iter()
                .map(|block| BlockView {
                    id: None,
                    html: block.html(),
                })
                .collect();
            (!content.trim().is_empty()).then_some(Self::Text(TextView {
                id: None,
                reasoning,
                blocks,
            }))
        };
        match part {
            PersistedPart::Text { content } => text(content, false),
            PersistedPart::Reasoning { content } => text(content, true),
            PersistedPart::Tool(tool) => Some(Self::Tool(Box::new(ToolView::of(tool, folder)))),
        }
    }
}

impl std::fmt::Display for PartView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Tool(tool) => tool.fmt(f),
        }
    }
}
