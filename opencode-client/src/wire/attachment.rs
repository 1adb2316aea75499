use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tolerant::{Fields, Oddity, Skipped, Wire};

/// A file that a tool call gave beside its output: a picture that was read, a screenshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolAttachment {
    /// Its MIME type, as the server says it.
    #[serde(default)]
    pub mime: String,
    /// Its name, where the server says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Where its bytes are: a `data:` URL as a rule. Empty where they were too large to keep.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
}

impl Wire for ToolAttachment {
    const ODD: Oddity = Oddity::Part;

    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        let attachment = Self {
            mime: fields.text("mime").unwrap_or_default(),
            filename: fields.text("filename"),
            url: fields.text("url").unwrap_or_default(),
        };
        (attachment != Self::default()).then_some(attachment)
    }
}
