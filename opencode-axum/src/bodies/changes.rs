//! The schema of what the events of a turn's stream hold, whose JSON the client library defines.

use opencode_client::wire::PermissionReply;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::parts::Part;
use super::turns::{Reply, Result as TurnResult};

/// What the events of a turn hold, by their names: the fields are the names, and the values what `data` is as JSON.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of events that are written one by one")]
pub(crate) struct TurnEvents {
    /// One change of the reply.
    change: Change,
    /// The reply as a whole, in place of what was shown.
    snapshot: Snapshot,
    /// What came of the turn. The last event.
    finished: TurnResult,
    /// The turn was deleted. The last event.
    deleted: Deleted,
}

/// Nothing is told of what was deleted.
#[derive(ToSchema)]
struct Deleted {}

/// A reply as a whole.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    /// Every part, in order.
    parts: Vec<PlacedPart>,
    /// What the agent asks, oldest first.
    requests: Vec<PendingRequest>,
    /// Why nothing comes for the moment, if something is known to be in the way.
    notice: Option<Notice>,
}

/// A part, and the id by which changes name it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PlacedPart {
    part_id: String,
    part: Part,
}

/// Why nothing comes for the moment. It is gone as soon as the answer goes on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Notice {
    /// The model's provider was busy and is tried again.
    Retry {
        /// Number of the next try.
        attempt: u32,
        /// What the provider said.
        message: String,
        /// When it is tried: milliseconds since 1970, by OpenCode's clock.
        next_ms: u64,
        action: Option<RetryAction>,
    },
    /// OpenCode cannot be reached, and is tried again.
    ServerUnreachable {
        /// What a person is told.
        message: String,
    },
}

/// What the person can do about a busy provider.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryAction {
    /// What it is about, in a few words.
    title: String,
    /// What happened, and what helps.
    message: String,
    /// What the link is called.
    label: String,
    /// Where it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

/// What the agent asks and waits for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
enum PendingRequest {
    /// A question to the person.
    Question(QuestionRequest),
    /// A request for permission.
    Permission(PermissionRequest),
}

/// A question of the agent's.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct QuestionRequest {
    /// What an answer names it by.
    id: String,
    /// The session of OpenCode's that asks; a sub-agent has one of its own.
    #[serde(rename = "sessionID")]
    session_id: String,
    /// What is asked, in order; every one wants an answer.
    questions: Vec<OneQuestion>,
    /// The tool call that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool: Option<AskingCall>,
}

/// One question.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Question)]
struct OneQuestion {
    question: String,
    /// A very short label.
    header: String,
    options: Vec<Choice>,
    /// Whether several may be chosen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    multiple: bool,
}

/// A choice of a question.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QuestionOption)]
struct Choice {
    /// What is answered.
    label: String,
    /// What it means.
    description: String,
}

/// A request for permission.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct PermissionRequest {
    /// What an answer names it by.
    id: String,
    /// The session of OpenCode's that asks; a sub-agent has one of its own.
    #[serde(rename = "sessionID")]
    session_id: String,
    /// What it is about: `bash`, `external_directory`, …
    permission: String,
    /// The exact things asked for.
    patterns: Vec<String>,
    /// What an `always` grants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    always: Vec<String>,
    /// Details, such as the command.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// The tool call that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool: Option<AskingCall>,
}

/// The tool call that waits for an answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AskingCall {
    /// The message of OpenCode's that it stands in; may be empty.
    #[serde(rename = "messageID")]
    message_id: String,
    /// The model's id of the call.
    #[serde(rename = "callID")]
    call_id: String,
}

/// One change of a reply.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Change {
    /// A part appeared.
    PartAdded { part_id: String, part: Part },
    /// A text or reasoning part grew.
    PartDelta {
        part_id: String,
        kind: PartKind,
        /// What was appended.
        delta: String,
    },
    /// OpenCode has replaced the text that deltas had made.
    PartReplaced { part_id: String, part: Part },
    /// A text or reasoning part is done: here it is whole.
    PartFinal { part_id: String, part: Part },
    /// A part was taken back.
    PartRemoved { part_id: String },
    /// A tool call went on: here it is as it is now.
    Tool { part_id: String, part: Part },
    /// The sub-agent of a `task` call went on.
    Subtask {
        /// The `task` part, once known.
        part_id: Option<String>,
        /// The sub-agent's session of OpenCode's.
        session_id: String,
        /// What changed there.
        #[schema(no_recursion)]
        change: Box<Change>,
    },
    /// A step of the model ended.
    Step {
        /// US dollars.
        cost: f64,
        input_tokens: u64,
        output_tokens: u64,
        cache_read_tokens: u64,
        cache_write_tokens: u64,
    },
    /// The model's provider was busy and is tried again.
    Retry {
        /// Number of the next try.
        attempt: u32,
        /// What the provider said.
        message: String,
        /// When it is tried: milliseconds since 1970, by OpenCode's clock.
        next_ms: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action: Option<RetryAction>,
    },
    /// OpenCode cannot be reached, and is tried again.
    ServerUnreachable {
        /// What a person is told.
        message: String,
    },
    /// OpenCode answers again.
    ServerReachable,
    /// OpenCode reported an error.
    SessionError { error: AgentError },
    /// A message of OpenCode's was made or changed.
    Message {
        message_id: String,
        /// Why the model stopped, once it has.
        finish: Option<String>,
        /// What went wrong, if something did.
        error: Option<AgentError>,
    },
    /// The agent's plan changed: here it is whole.
    Todos { todos: Vec<Todo> },
    /// The agent asks.
    Question { request: QuestionRequest },
    /// A question was answered.
    QuestionReplied {
        request_id: String,
        answers: Vec<Vec<String>>,
    },
    /// A question was declined.
    QuestionRejected { request_id: String },
    /// The agent asks for permission.
    Permission { request: PermissionRequest },
    /// A request for permission was answered.
    PermissionReplied {
        request_id: String,
        #[schema(value_type = Reply)]
        reply: PermissionReply,
    },
    /// Every part, where single changes cannot tell it. Requests stay.
    Snapshot { parts: Vec<PlacedPart> },
}

/// Which kind of words a part is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PartKind {
    Text,
    Reasoning,
}

/// An error that the model's provider or OpenCode reported.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AgentError {
    /// OpenCode's name of it.
    name: String,
    message: String,
    /// The provider's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    /// The provider's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Whether OpenCode holds a retry for useful.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
}

/// One line of the agent's plan.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Todo {
    /// What is to be done.
    content: String,
    /// `pending`, `in_progress`, `completed`, or a newer word.
    status: String,
    /// `high`, `medium`, `low`, or another word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    priority: String,
}

#[cfg(test)]
mod tests {
    use opencode_client::reply::{self, View};
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    /// What the library wrote is read by the schema's type and written the same.
    #[track_caller]
    fn is_whole<T: Serialize + DeserializeOwned>(json: &Value) {
        let read: T =
            serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json}"));
        assert_eq!(serde_json::to_value(read).unwrap(), *json);
    }

    fn request() -> Value {
        json!({
            "id": "que_1", "sessionID": "ses_1", "tool": {"messageID": "msg_1", "callID": "call_1"},
            "questions": [{
                "question": "Which?", "header": "One", "multiple": true,
                "options": [{"label": "A", "description": "The first."}],
            }],
        })
    }

    fn permission() -> Value {
        json!({
            "id": "per_1", "sessionID": "ses_1", "permission": "bash", "patterns": ["ls"], "always": ["ls *"],
            "metadata": {"command": "ls"}, "tool": {"messageID": "msg_1", "callID": "call_1"},
        })
    }

    fn action() -> Value {
        json!({"title": "Limit", "message": "Raise it.", "label": "here", "link": "https://example.org"})
    }

    #[test]
    fn the_schema_is_of_each_change_that_the_client_library_writes() {
        let words = json!({"type": "text", "content": "Half"});
        let error = json!({
            "name": "APIError", "message": "busy", "status_code": 429, "url": "https://example.org", "retryable": true,
        });
        let changes = [
            json!({"type": "part_added", "part_id": "prt_1", "part": words}),
            json!({"type": "part_delta", "part_id": "prt_1", "kind": "text", "delta": "a"}),
            json!({"type": "part_delta", "part_id": "prt_1", "kind": "reasoning", "delta": "a"}),
            json!({"type": "part_replaced", "part_id": "prt_1", "part": words}),
            json!({"type": "part_final", "part_id": "prt_1", "part": words}),
            json!({"type": "part_removed", "part_id": "prt_1"}),
            json!({"type": "tool", "part_id": "prt_1", "part": {"type": "tool", "tool": "read", "status": "running"}}),
            json!({
                "type": "subtask", "part_id": null, "session_id": "ses_2",
                "change": {"type": "part_removed", "part_id": "prt_1"},
            }),
            json!({
                "type": "step", "cost": 0.5, "input_tokens": 1, "output_tokens": 2, "cache_read_tokens": 3,
                "cache_write_tokens": 4,
            }),
            json!({"type": "retry", "attempt": 2, "message": "busy", "next_ms": 7, "action": action()}),
            json!({"type": "server_unreachable", "message": "away"}),
            json!({"type": "server_reachable"}),
            json!({"type": "session_error", "error": error}),
            json!({"type": "message", "message_id": "msg_1", "finish": "stop", "error": error}),
            json!({
                "type": "todos",
                "todos": [{"content": "Dig", "status": "in_progress", "priority": "high"}],
            }),
            json!({"type": "question", "request": request()}),
            json!({"type": "question_replied", "request_id": "que_1", "answers": [["A"]]}),
            json!({"type": "question_rejected", "request_id": "que_1"}),
            json!({"type": "permission", "request": permission()}),
            json!({"type": "permission_replied", "request_id": "per_1", "reply": "once"}),
            json!({"type": "snapshot", "parts": [{"part_id": "prt_1", "part": words}]}),
        ];
        for json in &changes {
            let change: reply::Change<'static> = serde_json::from_value(json.clone()).unwrap();
            let written = serde_json::to_value(&change).unwrap();
            // The example says all that the library says of it, and the schema's type as much.
            assert_eq!(written, *json);
            is_whole::<Change>(&written);
        }
        // Every kind of change has its example.
        let kinds = Change::kinds();
        for kind in &kinds {
            let mut examples = changes.iter();
            assert!(examples.any(|json| json["type"] == **kind), "{kind}");
        }
    }

    #[test]
    fn the_schema_is_of_the_snapshot_that_is_written() {
        let mut question = request();
        question["type"] = "question".into();
        let mut allowed = permission();
        allowed["type"] = "permission".into();
        let requests = [question, allowed].map(|json| serde_json::from_value(json).unwrap());
        let mut view = View::new([], requests);
        for notice in [
            json!({"type": "retry", "attempt": 2, "message": "busy", "next_ms": 7, "action": action()}),
            json!({"type": "server_unreachable", "message": "away"}),
        ] {
            view.apply(&serde_json::from_value(notice).unwrap());
            is_whole::<Snapshot>(&crate::stream::snapshot(&view));
        }
        let empty = crate::stream::snapshot(&View::default());
        is_whole::<Snapshot>(&empty);
    }

    impl Change {
        /// The names of all kinds, as the schema lists them.
        fn kinds() -> Vec<String> {
            let schema = serde_json::to_value(<Self as utoipa::PartialSchema>::schema()).unwrap();
            let kinds = schema["oneOf"].as_array().unwrap().iter();
            let kind = |kind: &Value| {
                kind["properties"]["type"]["enum"][0]
                    .as_str()
                    .map(str::to_owned)
            };
            kinds.map(|one| kind(one).unwrap()).collect()
        }
    }
}
