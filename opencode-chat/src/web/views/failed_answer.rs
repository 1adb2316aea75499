//! What failed, why, and what the person can do about it.

use opencode_host::outcome::{Reason, TurnError};
use opencode_host::store::Message;

/// A failed message, in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What happened, in a few words.
    pub(crate) title: &'static str,
    /// The error as it was reported: name and status.
    pub(crate) name: String,
    /// What was said about it.
    pub(crate) message: String,
    /// What to do. Words between backticks are commands.
    advice: &'static str,
}

impl Failure {
    /// Of a message that ended with an error.
    pub(crate) fn of(message: &Message) -> Self {
        let error = message.answer.error.as_ref();
        let reason = message.answer.reason.unwrap_or(Reason::Internal);
        let (title, advice) = match reason {
            Reason::Upstream => upstream(error),
            other => own(other),
        };
        let status = error.and_then(|error| error.status_code);
        let name = match error {
            Some(error) => match status {
                Some(status) => format!("{} {status}", error.name),
                None => error.name.clone(),
            },
            None => reason.as_str().to_owned(),
        };
        Self {
            title,
            name,
            message: error.map(|error| error.message.clone()).unwrap_or_default(),
            advice,
        }
    }

    /// The advice in pieces: words, and commands (`true`).
    pub(crate) fn advice(&self) -> impl Iterator<Item = (bool, &'static str)> {
        self.advice
            .split('`')
            .enumerate()
            .map(|(at, piece)| (at % 2 == 1, piece))
            .filter(|(_, piece)| !piece.is_empty())
    }
}

/// Errors of the model's provider, or of the server.
fn upstream(error: Option<&TurnError>) -> (&'static str, &'static str) {
    let name = error.map(|error| error.name.as_str()).unwrap_or_default();
    match (error.and_then(|error| error.status_code), name) {
        (Some(401 | 403), _) | (_, "ProviderAuthError") => (
            "The model's provider refused the credentials",
            "Sign in with `opencode auth login`, then try again.",
        ),
        (Some(402), _) => (
            "The model's provider wants to be paid",
            "Check your plan or credits there, then try again.",
        ),
        (Some(404), _) => (
            "There is no such model",
            "List the models there are with `opencode models` and set another one in OpenCode's configuration.",
        ),
        (Some(413), _) | (_, "ContextOverflowError") => (
            "The conversation is too long for the model",
            "Start a new conversation, or ask with less text.",
        ),
        (Some(429), _) => (
            "The model's provider is busy",
            "Wait a minute, then try again.",
        ),
        (Some(500..=599), _) => (
            "The model's provider has a problem",
            "Wait a little, then try again.",
        ),
        _ => (
            "The model's provider reported an error",
            "Try again. If it stays, check the model and the provider with `opencode models`.",
        ),
    }
}

/// Errors that this application found itself.
fn own(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::UnknownName => (
            "OpenCode knows no agent or model of that name",
            "Choose one that it knows, or add this one to its configuration; `opencode agent list` and `opencode models` say which there are.",
        ),
        Reason::Refused => (
            "This was not passed on to the agent",
            "Ask in other words, or for something else.",
        ),
        Reason::EmptyReply => (
            "The agent said nothing",
            "Try again, or ask in other words.",
        ),
        Reason::Interrupted => (
            "The answer was interrupted",
            "What had arrived is kept. Let the agent go on from there.",
        ),
        Reason::Stale => (
            "OpenCode took the prompt and never answered",
            "Try again. If it stays, restart OpenCode.",
        ),
        Reason::Idle => (
            "The agent went quiet",
            "What had arrived is kept. Try again.",
        ),
        Reason::Timeout => (
            "The answer took too long",
            "What had arrived is kept. Ask for less at once, or allow more time with `--timeout`.",
        ),
        Reason::Budget => (
            "The budget is used up",
            "What had arrived is kept. Ask again once there is more of it.",
        ),
        Reason::Loop => (
            "OpenCode answered the same prompt over and over",
            "It was stopped. Try again; a newer OpenCode may cure it.",
        ),
        Reason::Unreachable => (
            "OpenCode cannot be reached",
            "See what is wrong with `opencode-chat doctor`, then try again.",
        ),
        Reason::UnsafeServer => (
            "This OpenCode does not keep to permission rules",
            "Nothing was asked of it. Update it (1.1.16 or newer) with `npm install -g opencode-ai`; `opencode-chat doctor` says more.",
        ),
        Reason::Unauthorized => (
            "OpenCode refused the password",
            "Set `OPENCODE_SERVER_PASSWORD` to the server's password, and `OPENCODE_SERVER_USERNAME` if it has a user of its own, and restart this application.",
        ),
        _ => (
            "Something unexpected happened",
            "Try again. The log of this application says more.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream_of(status_code: Option<u16>, name: &str) -> String {
        let error = TurnError {
            name: name.to_owned(),
            message: String::new(),
            status_code,
            url: None,
        };
        upstream(Some(&error)).1.to_owned()
    }

    #[test]
    fn every_error_says_what_to_do() {
        assert!(upstream_of(Some(401), "APIError").contains("`opencode auth login`"));
        assert!(upstream_of(None, "ProviderAuthError").contains("`opencode auth login`"));
        assert!(upstream_of(Some(429), "APIError").contains("Wait"));
        assert!(upstream_of(None, "UnknownError").contains("Try again"));
        assert!(own(Reason::UnknownName).1.contains("`opencode models`"));
        assert!(
            own(Reason::Unreachable)
                .1
                .contains("`opencode-chat doctor`")
        );
    }
}
