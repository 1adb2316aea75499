//! How servers say that they know no agent or model of a name.

use opencode_client::{Error as ClientError, UpstreamError};

/// How servers begin to say that a name is unknown (1.14.48 to 1.18.34), in lower case.
const WORDS: [&str; 3] = ["agent not found", "model not found", "provider not found"];

/// Whether the server says that it knows no agent or model of that name. What a provider answers, with a status of its
/// own, is about a model that the server does know.
pub(super) fn is_unknown(error: &UpstreamError) -> bool {
    let name = error.name.as_str();
    let by_name = ["Agent", "Model", "Provider"].iter().any(|kind| {
        name.strip_suffix("NotFoundError")
            .is_some_and(|rest| rest.ends_with(kind))
    });
    by_name || (error.status_code.is_none() && says_unknown(&error.message))
}

/// Whether a call was refused because a name is unknown.
pub(super) fn refuses(error: &ClientError) -> bool {
    match error {
        ClientError::BadRequest { message, .. } | ClientError::Server { message, .. } => {
            says_unknown(message)
        }
        _ => false,
    }
}

fn says_unknown(text: &str) -> bool {
    // `ProviderModelNotFoundError: Model not found: …` is said too.
    let said = match text.split_once(": ") {
        Some((name, rest)) if name.ends_with("Error") && !name.contains(' ') => rest,
        _ => text,
    };
    let said = said.to_lowercase();
    WORDS.iter().any(|words| said.starts_with(words)) || text.contains("ModelNotFoundError")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str, message: &str, status_code: Option<u16>) -> UpstreamError {
        UpstreamError {
            name: name.to_owned(),
            message: message.to_owned(),
            status_code,
            url: None,
            retryable: None,
        }
    }

    #[test]
    fn what_servers_say_of_unknown_names_is_known() {
        for (name, message) in [
            (
                "UnknownError",
                "Agent not found: \"nope\". Available agents: build, plan",
            ),
            ("UnknownError", "Model not found: local/nope."),
            (
                "UnknownError",
                "Model not found: local/nope. Did you mean: scripted?",
            ),
            (
                "UnknownError",
                "ProviderModelNotFoundError: Model not found: local/nope.",
            ),
            (
                "UnknownError",
                "ProviderModelNotFoundError: ProviderModelNotFoundError",
            ),
            ("UnknownError", "Error: agent not found: \"nope\""),
            ("UnknownError", "Provider not found: nope"),
            (
                "ProviderModelNotFoundError",
                "{\"providerID\":\"local\",\"modelID\":\"nope\"}",
            ),
            ("AgentNotFoundError", ""),
            ("ModelNotFoundError", ""),
        ] {
            assert!(is_unknown(&error(name, message, None)), "{name} {message}");
        }
        for (name, message, status) in [
            ("APIError", "Model not found: gpt-9", Some(404)),
            ("APIError", "upstream says no", Some(401)),
            ("UnknownError", "UnknownError: UnknownError", None),
            ("UnknownError", "the tool said: Agent not found: x", None),
            ("NotFoundError", "Session not found: ses_1", None),
            ("UnknownError", "", None),
        ] {
            assert!(
                !is_unknown(&error(name, message, status)),
                "{name} {message}"
            );
        }
    }
}
