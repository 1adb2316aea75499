use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tolerant::{Fields, Oddity, Skipped, Wire};

/// What the person can do about a busy provider, such as raising a limit (1.18.3 on).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryAction {
    /// What it is about, in a few words.
    #[serde(default)]
    pub title: String,
    /// What happened, and what helps.
    #[serde(default)]
    pub message: String,
    /// What the link is called.
    #[serde(default)]
    pub label: String,
    /// Where it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl std::fmt::Display for RetryAction {
    /// The words of the action and, behind them, where it is done.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = if self.message.is_empty() {
            &self.title
        } else {
            &self.message
        };
        f.write_str(words)?;
        match (&self.link, self.label.is_empty()) {
            (Some(link), true) => write!(f, " ({link})"),
            (Some(link), false) => write!(f, " ({}: {link})", self.label),
            (None, _) => Ok(()),
        }
    }
}

impl Wire for RetryAction {
    const ODD: Oddity = Oddity::Field;

    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        let mut text = |key| fields.words(key).unwrap_or_default();
        let (title, message, label) = (text("title"), text("message"), text("label"));
        let link = fields.words("link");
        let action = Self {
            title,
            message,
            label,
            link,
        };
        (action != Self::default()).then_some(action)
    }
}
