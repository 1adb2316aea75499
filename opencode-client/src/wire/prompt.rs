//! What is asked of a session, and of which model.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Error;
use crate::id::PromptIds;

/// A model, named `provider/model`. The model's own name may hold slashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelRef {
    /// The provider.
    pub provider: String,
    /// The model.
    pub model: String,
}

impl std::str::FromStr for ModelRef {
    type Err = Error;

    /// # Errors
    /// When there is no provider before the first slash, or nothing behind it.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once('/') {
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => Ok(Self {
                provider: provider.to_owned(),
                model: model.to_owned(),
            }),
            _ => Err(Error::Configuration(format!(
                "a model is named provider/model, for instance anthropic/claude-sonnet-4-5; got {text:?}"
            ))),
        }
    }
}

impl TryFrom<String> for ModelRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ModelRef> for String {
    fn from(model: ModelRef) -> Self {
        model.to_string()
    }
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// A prompt's own system instructions, and what becomes of those that are said with every prompt.
///
/// A client alone has none that are said with every prompt: both are the same there. In JSON a plain text is a
/// replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", from = "SystemJson")]
pub enum System {
    /// These are said behind them.
    Append(String),
    /// These are said in their place.
    Replace(String),
}

/// As [`System`] is read: rows of earlier versions have a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum SystemJson {
    Text(String),
    Append { append: String },
    Replace { replace: String },
}

impl From<SystemJson> for System {
    fn from(json: SystemJson) -> Self {
        match json {
            SystemJson::Append { append } => Self::Append(append),
            SystemJson::Text(text) | SystemJson::Replace { replace: text } => Self::Replace(text),
        }
    }
}

impl System {
    /// The instructions of a prompt, where `always` is said with every prompt. `None` where there is nothing to say.
    pub fn beside(self, always: Option<String>) -> Option<Self> {
        let is_said = |text: &String| !text.trim().is_empty();
        let said = match self {
            Self::Replace(text) => text,
            Self::Append(text) => {
                let both = [always, Some(text)].into_iter().flatten().filter(is_said);
                both.collect::<Vec<_>>().join("\n\n")
            }
        };
        is_said(&said).then_some(Self::Replace(said))
    }

    /// The words.
    pub fn text(&self) -> &str {
        match self {
            Self::Append(text) | Self::Replace(text) => text,
        }
    }
}

/// What is asked of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// The person's words.
    pub text: String,
    /// Which agent answers; the server's default without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Which model answers; the agent's default without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// Further system instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// Tools switched on or off by name.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub tools: serde_json::Map<String, Value>,
    /// A variant of the model, such as its reasoning effort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The shape the answer must have, as the server's `format`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Value>,
}

impl Prompt {
    /// A prompt with nothing but words.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// The request body of the prompt endpoints, which want `{providerID, modelID}`.
    pub(crate) fn body(&self, ids: &PromptIds) -> Value {
        let mut body = json!({
            "messageID": ids.message,
            "parts": [{"type": "text", "id": ids.part, "text": self.text}],
        });
        if let Some(agent) = &self.agent {
            body["agent"] = json!(agent);
        }
        if let Some(model) = &self.model {
            body["model"] = json!({"providerID": model.provider, "modelID": model.model});
        }
        if let Some(system) = &self.system {
            body["system"] = json!(system.text());
        }
        if !self.tools.is_empty() {
            body["tools"] = Value::Object(self.tools.clone());
        }
        if let Some(variant) = &self.variant {
            body["variant"] = json!(variant);
        }
        if let Some(format) = &self.format {
            body["format"] = format.clone();
        }
        body
    }
}

/// The request body of a message that nobody answers.
pub(crate) fn unanswered(ids: &PromptIds, text: &str, model: Option<&ModelRef>) -> Value {
    let prompt = Prompt {
        model: model.cloned(),
        ..Prompt::text(text)
    };
    let mut body = prompt.body(ids);
    body["noReply"] = json!(true);
    body["parts"][0]["synthetic"] = json!(true);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_text_is_read_as_it_was_written_and_a_plain_one_as_a_replacement() {
        for system in [
            System::Append("a".to_owned()),
            System::Replace("b".to_owned()),
        ] {
            let json = serde_json::to_value(&system).unwrap();
            assert_eq!(serde_json::from_value::<System>(json).unwrap(), system);
        }
        let plain: Prompt = serde_json::from_value(json!({"text": "", "system": "b"})).unwrap();
        assert_eq!(plain.system, Some(System::Replace("b".to_owned())));
        assert!(serde_json::from_value::<System>(json!({"prepend": "a"})).is_err());
    }

    #[test]
    fn models_are_split_at_the_first_slash() {
        let model: ModelRef = "openrouter/meta/llama-3".parse().unwrap();
        assert_eq!(
            (model.provider.as_str(), model.model.as_str()),
            ("openrouter", "meta/llama-3")
        );
        for bad in ["", "gpt", "/x", "x/"] {
            assert!(bad.parse::<ModelRef>().is_err(), "{bad:?}");
        }
    }
}
