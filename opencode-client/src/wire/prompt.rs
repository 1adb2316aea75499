//! What is asked of a session, and of which model.

use std::iter;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

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
    /// Files of the session's folder that the model is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ShownFile>,
}

/// A file of the session's folder that the model is shown beside a prompt's words: a picture, or a PDF where the model
/// takes it.
///
/// OpenCode reads it from the folder when the prompt comes (1.18.33). A model that takes no such file is told so in its
/// place; a prompt with a file that is not there, or with a picture that cannot be decoded, is refused as a whole, by an
/// error of the session's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ShownFile {
    /// Its path in the folder. One that leads out of it is never sent.
    pub path: String,
    /// Its MIME type.
    pub mime_type: String,
    /// What the model is told that it is called.
    pub name: String,
}

impl ShownFile {
    /// The file at this path in the session's folder.
    pub fn new(
        path: impl Into<String>,
        mime_type: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            mime_type: mime_type.into(),
            name: name.into(),
        }
    }

    /// Its `file:` URL; `None` where it is not in the folder.
    fn url(&self, folder: &str) -> Option<Url> {
        let mut names = self.path.split('/');
        if names.any(|name| matches!(name, "" | "." | "..") || name.contains(['\\', '\0'])) {
            return None;
        }
        let mut url = Url::from_directory_path(folder).ok()?;
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend(self.path.split('/'));
        Some(url)
    }
}

impl Prompt {
    /// A prompt with nothing but words.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// The request body of the prompt endpoints, which want `{providerID, modelID}`. Files are those of `folder`.
    pub(crate) fn body(&self, ids: &PromptIds, folder: Option<&str>) -> Value {
        let text = json!({"type": "text", "id": ids.part, "text": self.text});
        let files = self.files.iter().enumerate().filter_map(|(at, file)| {
            Some(json!({
                "type": "file", "id": ids.file(at), "mime": file.mime_type, "filename": file.name,
                "url": file.url(folder?)?.as_str(),
            }))
        });
        let mut body = json!({
            "messageID": ids.message,
            "parts": iter::once(text).chain(files).collect::<Vec<_>>(),
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
    let mut body = prompt.body(ids, None);
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
    fn a_shown_file_is_one_of_the_folder_and_always_the_same_part() {
        let ids = PromptIds {
            message: "msg_1".into(),
            part: "prt_0123456789abcdefghijklmnop".into(),
        };
        let mut prompt = Prompt::text("Which colour?");
        let file = |path: &str| ShownFile::new(path, "image/png", "Red.png");
        let out = [
            "",
            "/etc/passwd",
            "../a.png",
            "a/../../b.png",
            "a//b",
            "./a",
            "a\\..\\b",
        ];
        prompt.files = out.map(file).to_vec();
        prompt.files.push(file("in/a #1?.png"));
        assert_eq!(
            prompt.body(&ids, Some("/srv/a b"))["parts"],
            json!([
                {"type": "text", "id": "prt_0123456789abcdefghijklmnop", "text": "Which colour?"},
                {
                    "type": "file", "id": "prt_0123456789abcdefghijklmn07", "mime": "image/png",
                    "filename": "Red.png", "url": "file:///srv/a%20b/in/a%20%231%3F.png",
                },
            ])
        );
        for nowhere in [None, Some("relative")] {
            assert_eq!(
                prompt.body(&ids, nowhere)["parts"].as_array().map(Vec::len),
                Some(1)
            );
        }
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
