//! What the agent waits for a person to answer, as forms.

use askama::Template;
use opencode_host::client::reply::PendingRequest;
use opencode_host::client::wire::{PermissionRequest, QuestionRequest};
use opencode_host::id::TurnId;

use super::base_path::BasePath;

/// Characters of each thing that permission is asked for.
const MAX_SHOWN: usize = 2000;

/// One request.
#[derive(Debug, Template)]
#[template(path = "request.html")]
pub(super) struct RequestView<'a> {
    base: &'a BasePath,
    turn: TurnId,
    request: &'a PendingRequest,
}

impl<'a> RequestView<'a> {
    pub(super) fn new(base: &'a BasePath, turn: TurnId, request: &'a PendingRequest) -> Self {
        Self {
            base,
            turn,
            request,
        }
    }
}

/// The element of a request.
pub(super) fn element(request: &str) -> String {
    format!("request-{request}")
}

/// One question that is answered by a click on an option.
fn is_single(request: &QuestionRequest) -> bool {
    matches!(request.questions.as_slice(), [question] if !question.multiple)
}

/// The exact things asked for, each once: the command where there is one.
fn wanted(request: &PermissionRequest) -> Vec<String> {
    let command = request
        .metadata
        .get("command")
        .and_then(|command| command.as_str());
    match command {
        Some(command) => vec![shown(command)],
        None => request
            .patterns
            .iter()
            .map(|pattern| shown(pattern))
            .collect(),
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// What the agent wants to do, in words.
fn purpose(permission: &str) -> String {
    match permission {
        "bash" => "run a command".to_owned(),
        "edit" => "change files".to_owned(),
        "external_directory" => "leave its folder".to_owned(),
        "webfetch" => "read a web page".to_owned(),
        "" => "go on".to_owned(),
        other => format!("use “{other}”"),
    }
}
