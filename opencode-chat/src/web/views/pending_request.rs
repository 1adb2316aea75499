//! What the agent waits for a person to answer, as forms.

use askama::Template;
use opencode_host::client::reply::PendingRequest;
use opencode_host::client::wire::QuestionRequest;
use opencode_host::id::TurnId;

use crate::permission::Asked;
use crate::web::base_path::BasePath;

/// One request.
#[derive(Debug, Template)]
#[template(path = "request.html")]
pub(crate) struct RequestView<'a> {
    base: &'a BasePath,
    turn: TurnId,
    request: &'a PendingRequest,
    /// The folder that the agent works in.
    folder: Option<&'a str>,
}

impl<'a> RequestView<'a> {
    pub(crate) fn new(
        base: &'a BasePath,
        turn: TurnId,
        request: &'a PendingRequest,
        folder: Option<&'a str>,
    ) -> Self {
        Self {
            base,
            turn,
            request,
            folder,
        }
    }
}

/// The element of a request.
pub(crate) fn element(request: &str) -> String {
    format!("request-{request}")
}

/// The element of all that is asked in the turn that fills a message.
pub(crate) fn requests_of(message: &str) -> String {
    format!("{message}-requests")
}

/// One question that is answered by a click on an option.
fn is_single(request: &QuestionRequest) -> bool {
    matches!(request.questions.as_slice(), [question] if !question.multiple)
}

/// The lines of a diff, each with what it is.
fn rows(diff: &str) -> impl Iterator<Item = (&'static str, &str)> {
    let mut in_hunk = false;
    diff.split('\n').map(move |line| {
        let kind = match line.as_bytes().first() {
            _ if line.starts_with("@@") => "hunk",
            Some(b'+') if in_hunk => "added",
            Some(b'-') if in_hunk => "removed",
            _ => "same",
        };
        in_hunk |= kind == "hunk";
        (kind, line)
    })
}
