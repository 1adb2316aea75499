//! The parts of an answer as HTML.

use askama::Template;
use opencode_host::client::reply::PersistedPart;

use super::markdown;
use super::tool::ToolView;

/// One part.
#[derive(Debug)]
pub(crate) enum PartView {
    Text(TextView),
    Tool(Box<ToolView>),
}

/// A text or reasoning part.
#[derive(Debug, Template)]
#[template(path = "text.html")]
pub(crate) struct TextView {
    /// The element, where it may change.
    pub(crate) id: Option<String>,
    pub(crate) reasoning: bool,
    pub(crate) blocks: Vec<BlockView>,
}

/// One block of a text.
#[derive(Debug, Template)]
#[template(
    source = "<div class=\"block\" dir=\"auto\"{% if let Some(id) = id %} id=\"{{ id }}\"{% endif %}>{{ html|safe }}</div>",
    ext = "html"
)]
pub(crate) struct BlockView {
    pub(crate) id: Option<String>,
    pub(crate) html: String,
}

impl TextView {
    /// The element that holds the blocks of a text.
    pub(crate) fn body(element: &str, reasoning: bool) -> String {
        if reasoning {
            format!("{element}-body")
        } else {
            element.to_owned()
        }
    }
}

impl BlockView {
    /// The element of a block.
    pub(crate) fn element(part: &str, at: usize) -> String {
        format!("{part}-{at}")
    }
}

impl PartView {
    /// The parts of an answer that has ended, and whether these are all: of their text at most so many bytes are shown.
    /// Nothing of them changes any more.
    pub(crate) fn all_of(
        parts: &[PersistedPart],
        folder: Option<&str>,
        limit: usize,
    ) -> (Vec<Self>, bool) {
        let mut shown = Vec::new();
        let mut left = limit;
        for part in parts {
            if left == 0 {
                return (shown, false);
            }
            let cut = |content: &str| content[..content.floor_char_boundary(left)].to_owned();
            let (beginning, size) = match part {
                PersistedPart::Text { content } if content.len() > left => {
                    let content = cut(content);
                    (Some(PersistedPart::Text { content }), left)
                }
                PersistedPart::Reasoning { content } if content.len() > left => {
                    let content = cut(content);
                    (Some(PersistedPart::Reasoning { content }), left)
                }
                PersistedPart::Text { content } | PersistedPart::Reasoning { content } => {
                    (None, content.len())
                }
                PersistedPart::Tool(_) => (None, 0),
            };
            let is_cut = beginning.is_some();
            let view = Self::of(beginning.as_ref().unwrap_or(part), folder);
            let tool = match &view {
                Some(Self::Tool(tool)) => tool.size(),
                _ => 0,
            };
            shown.extend(view);
            if is_cut {
                return (shown, false);
            }
            left = left.saturating_sub(size + tool);
        }
        (shown, true)
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
