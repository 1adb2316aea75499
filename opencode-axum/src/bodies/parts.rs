//! The schema of an answer's parts, whose JSON the client library defines.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A piece of an answer.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Part {
    /// Words of the answer.
    Text {
        content: String,
    },
    /// The model's thinking.
    Reasoning {
        content: String,
    },
    Tool(ToolPart),
}

/// A tool call.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolPart {
    /// The tool, by the name that the model called.
    tool: String,
    status: ToolStatus,
    /// A short description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    /// The arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<Value>,
    /// Details, different for every tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// What came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The model's id of the call.
    #[serde(rename = "callID", default, skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    /// The message of OpenCode's that the call stands in.
    #[serde(rename = "messageID", default, skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    /// Files that came beside the output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<ToolAttachment>,
    /// The question that the call asks or asked.
    #[serde(rename = "requestID", default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// Set for a part that stands in no message of OpenCode's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provenance: Option<String>,
}

/// How far a tool call is.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ToolStatus {
    Pending,
    Running,
    Completed,
    Error,
}

/// A file that came beside the output of a tool.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolAttachment {
    /// Its media type.
    mime: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
    /// Its bytes, as a `data:` URL; absent where they were too large to keep.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    url: String,
}

#[cfg(test)]
mod tests {
    use opencode_client::reply::{self, PersistedPart, Provenance};
    use opencode_client::wire;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schema_is_of_the_json_that_the_client_library_writes() {
        let call = reply::ToolPart {
            tool: "read".to_owned(),
            status: reply::ToolStatus::Completed,
            title: Some("a.png".to_owned()),
            input: Some(json!({"path": "a.png"})),
            metadata: json!({"lines": 3}).as_object().cloned(),
            output: Some("read".to_owned()),
            error: Some("no".to_owned()),
            call_id: Some("call_1".to_owned()),
            message_id: Some("msg_1".to_owned()),
            attachments: vec![wire::ToolAttachment {
                mime: "image/png".to_owned(),
                filename: Some("a.png".to_owned()),
                url: "data:image/png;base64,AA==".to_owned(),
            }],
            request_id: Some("que_1".to_owned()),
            provenance: Some(Provenance::TodoUpdated),
        };
        let content = "words".to_owned();
        for part in [
            PersistedPart::Tool(call),
            PersistedPart::Tool(reply::ToolPart::default()),
            PersistedPart::Text {
                content: content.clone(),
            },
            PersistedPart::Reasoning { content },
        ] {
            let json = serde_json::to_value(&part).unwrap();
            let read: Part = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), json);
        }
    }
}
