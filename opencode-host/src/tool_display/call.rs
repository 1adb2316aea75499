//! The tool call that is shown: typed, or as JSON from a row.

use opencode_client::reply::{ToolPart, ToolStatus};
use serde_json::{Map, Value};

use super::text::text;

/// A tool call: a [`ToolPart`], or one in the JSON in which it is stored,
/// `{type:"tool", tool, status, title?, input?, metadata?, output?, error?, callID?, messageID?}`.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a>(Source<'a>);

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Part(&'a ToolPart),
    Json(&'a Value),
}

impl<'a> From<&'a ToolPart> for Call<'a> {
    fn from(part: &'a ToolPart) -> Self {
        Self(Source::Part(part))
    }
}

impl<'a> From<&'a Value> for Call<'a> {
    fn from(part: &'a Value) -> Self {
        Self(Source::Json(part))
    }
}

impl<'a> Call<'a> {
    pub(super) fn tool(self) -> &'a str {
        let tool = match self.0 {
            Source::Part(part) => said(Some(&part.tool)),
            Source::Json(part) => text(part, "tool"),
        };
        tool.unwrap_or_default()
    }

    /// `None` when a stored part does not say it in a known word.
    pub(super) fn status(self) -> Option<ToolStatus> {
        match self.0 {
            Source::Part(part) => Some(part.status),
            Source::Json(part) => match text(part, "status")? {
                "pending" => Some(ToolStatus::Pending),
                "running" => Some(ToolStatus::Running),
                "completed" => Some(ToolStatus::Completed),
                "error" => Some(ToolStatus::Error),
                _ => None,
            },
        }
    }

    pub(super) fn title(self) -> Option<&'a str> {
        match self.0 {
            Source::Part(part) => said(part.title.as_ref()),
            Source::Json(part) => text(part, "title"),
        }
    }

    pub(super) fn output(self) -> Option<&'a str> {
        match self.0 {
            Source::Part(part) => said(part.output.as_ref()),
            Source::Json(part) => text(part, "output"),
        }
    }

    pub(super) fn error(self) -> Option<&'a str> {
        match self.0 {
            Source::Part(part) => said(part.error.as_ref()),
            Source::Json(part) => text(part, "error"),
        }
    }

    pub(super) fn call_id(self) -> Option<&'a str> {
        match self.0 {
            Source::Part(part) => said(part.call_id.as_ref()),
            Source::Json(part) => text(part, "callID"),
        }
    }

    pub(super) fn message_id(self) -> Option<&'a str> {
        match self.0 {
            Source::Part(part) => said(part.message_id.as_ref()),
            Source::Json(part) => text(part, "messageID"),
        }
    }

    /// The arguments; `null` when there are none.
    pub(super) fn input(self) -> &'a Value {
        match self.0 {
            Source::Part(part) => part.input.as_ref().unwrap_or(&Value::Null),
            Source::Json(part) => &part["input"],
        }
    }

    pub(super) fn metadata(self) -> Option<&'a Map<String, Value>> {
        match self.0 {
            Source::Part(part) => part.metadata.as_ref(),
            Source::Json(part) => part["metadata"].as_object(),
        }
    }
}

/// A text that holds more than white space.
fn said(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str)
        .filter(|text| !text.trim().is_empty())
}
