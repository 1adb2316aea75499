//! Which picture stands beside a tool.

use std::fmt;

/// The icon of a tool: a name a renderer maps to a picture of its own.
///
/// Most names are those of the Heroicons set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Icon {
    /// A sheet of paper: reading a file.
    Document,
    /// A sheet with a plus: writing a new file.
    DocumentPlus,
    /// A sheet with a magnifying glass: searching in files.
    DocumentMagnifyingGlass,
    /// A pencil on a square: changing a file.
    PencilSquare,
    /// A prompt sign: a shell command.
    CommandLine,
    /// A magnifying glass: searching.
    MagnifyingGlass,
    /// Stacked sheets: listing a folder.
    RectangleStack,
    /// The globe: something on the web.
    Globe,
    /// A list: the plan.
    QueueList,
    /// A robot: a sub-agent.
    Robot,
    /// Sparkles: a skill, or a tool nobody described.
    Sparkles,
    /// A question mark: the user is asked.
    QuestionMarkCircle,
    /// A product's own icon, by the name its renderer knows.
    Named(&'static str),
}

impl Icon {
    /// The icon's name in snake case, as in `pencil_square`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::DocumentPlus => "document_plus",
            Self::DocumentMagnifyingGlass => "document_magnifying_glass",
            Self::PencilSquare => "pencil_square",
            Self::CommandLine => "command_line",
            Self::MagnifyingGlass => "magnifying_glass",
            Self::RectangleStack => "rectangle_stack",
            Self::Globe => "globe",
            Self::QueueList => "queue_list",
            Self::Robot => "robot",
            Self::Sparkles => "sparkles",
            Self::QuestionMarkCircle => "question_mark_circle",
            Self::Named(name) => name,
        }
    }
}

impl fmt::Display for Icon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
