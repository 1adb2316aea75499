//! What the impostor answers: rules, and the steps of an answer.
//!
//! A [`Script`] is an ordered list of rules; the first whose `match` is contained in the prompt's text gives the
//! [`Step`]s. Scripts are built in Rust or read from JSON, with the same words:
//!
//! ```
//! use opencode_impostor::{Script, Step};
//!
//! let from_rust = Script::new().on("[[hi]]", [Step::text("Hello."), Step::finish("stop")]);
//! let from_json: Script = r#"{"rules": [{"match": "[[hi]]", "steps": [{"text": "Hello."}, {"finish": "stop"}]}]}"#
//!     .parse()
//!     .unwrap();
//! assert_eq!(from_rust, from_json);
//! ```

use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::faults::Fault;
use crate::odd;

mod kinds;
mod step;

pub use kinds::{
    ApplyPatch, Delivery, Deltas, Edit, Flood, Garbage, McpCall, PatchKind, PatchedFile,
    Permission, ProviderError, Question, RawEvent, Retry, Streamed, Todo, Tool, ToolError,
    WriteFile, attachment,
};
pub use step::{Step, Subtask};

/// Ordered rules, the faults to set at the start, and the version to be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The first rule that fits answers the prompt. A prompt that none fits gets the friendly default answer.
    pub rules: Vec<Rule>,
    /// Faults that are in force from the start.
    pub faults: Vec<Fault>,
    /// The version whose habits the server has; [`ImpostorBuilder::dialect`](crate::ImpostorBuilder::dialect) wins.
    /// Looked at when the server starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
}

/// One rule of a [`Script`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// A substring of the prompt's text; absent: every prompt.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// How often the rule may be used; absent: always. A used-up rule is passed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// The answer.
    pub steps: Vec<Step>,
}

impl Script {
    /// A script without rules: every prompt gets the friendly default answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A script that answers every prompt with these steps.
    pub fn always(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::new().otherwise(steps)
    }

    /// Adds a rule: prompts that contain `marker` get these steps.
    pub fn on(mut self, marker: impl Into<String>, steps: impl IntoIterator<Item = Step>) -> Self {
        self.rules.push(Rule {
            matches: Some(marker.into()),
            times: None,
            steps: steps.into_iter().collect(),
        });
        self
    }

    /// Adds a rule that is used once.
    pub fn once(
        mut self,
        marker: impl Into<String>,
        steps: impl IntoIterator<Item = Step>,
    ) -> Self {
        self.rules.push(Rule {
            matches: Some(marker.into()),
            times: Some(1),
            steps: steps.into_iter().collect(),
        });
        self
    }

    /// Adds a rule for every other prompt.
    pub fn otherwise(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.rules.push(Rule {
            matches: None,
            times: None,
            steps: steps.into_iter().collect(),
        });
        self
    }

    /// Adds the rules of another script after the own ones.
    pub fn then(mut self, other: Script) -> Self {
        self.rules.extend(other.rules);
        self.faults.extend(other.faults);
        self
    }

    /// Reads a script from a JSON file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a script; the message says where.
    pub fn load(path: impl AsRef<Path>) -> std::io::Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        text.parse().map_err(|error| {
            std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("{} is not a script: {error}", path.display()),
            )
        })
    }

    /// The steps for a prompt; counts the use of a rule that is limited.
    pub(crate) fn answer(&mut self, prompt: &str) -> Option<Vec<Step>> {
        let rule = self.rules.iter_mut().find(|rule| {
            rule.times != Some(0)
                && rule
                    .matches
                    .as_deref()
                    .is_none_or(|marker| prompt.contains(marker))
        })?;
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        Some(rule.steps.clone())
    }
}

impl FromStr for Script {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(&odd::from_file(text))
    }
}
