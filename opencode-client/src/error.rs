//! What can go wrong between this client and a server, split by what a caller
//! does next.

use std::fmt;

use crate::id::SessionId;

/// The longest piece of a response body that an error message carries, in characters.
pub(crate) const BODY_EXCERPT_CHARS: usize = 200;

/// A failed call.
///
/// `Display` never repeats the source's text, and never holds a password or a
/// query string.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection, or it broke. The request may or may not have been acted on.
    #[error("cannot reach OpenCode at {server}: {detail}")]
    Connection {
        /// Scheme, host and port of the server.
        server: String,
        /// What the network said, without URL.
        detail: String,
    },
    /// No answer in time. The request may or may not have been acted on.
    #[error("OpenCode did not answer {call} within {seconds} s")]
    Timeout {
        /// Method and path.
        call: String,
        /// The limit, in seconds.
        seconds: u64,
    },
    /// The server does not know this session (404 on a session's path).
    #[error("OpenCode does not know session {session}")]
    SessionNotFound {
        /// The session asked for.
        session: SessionId,
    },
    /// The server refused the request (4xx other than the ones told apart here).
    #[error("OpenCode refused {call} with status {status}: {message}")]
    BadRequest {
        /// Method and path.
        call: String,
        /// HTTP status.
        status: u16,
        /// The server's message, or the start of the body.
        message: String,
    },
    /// Wrong or missing password (401 or 403).
    #[error(
        "OpenCode at {server} refused the password; set the one it was started with (OPENCODE_SERVER_PASSWORD)"
    )]
    Unauthorized {
        /// Scheme, host and port of the server.
        server: String,
    },
    /// The server failed (5xx), or answered success with something that is not
    /// what it should be.
    #[error("OpenCode failed {call} with status {status}: {message}")]
    Server {
        /// Method and path.
        call: String,
        /// HTTP status.
        status: u16,
        /// The server's message, or the start of the body.
        message: String,
    },
    /// The answer is larger than what is read: over 128 MiB, or over four million JSON values. It was not taken.
    #[error("OpenCode's answer to {call} is larger than what is read (128 MiB)")]
    TooLarge {
        /// Method and path.
        call: String,
    },
    /// The client itself was set up wrongly.
    #[error("{0}")]
    Configuration(String),
}

impl Error {
    /// Whether the same call may succeed when it is made again unchanged. Such a call may have been acted on although
    /// no answer came.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Connection { .. } | Self::Timeout { .. } | Self::Server { .. }
        )
    }

    /// A short name for logs and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connection { .. } => "connection",
            Self::Timeout { .. } => "timeout",
            Self::SessionNotFound { .. } => "session_not_found",
            Self::BadRequest { .. } => "bad_request",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Server { .. } => "server",
            Self::TooLarge { .. } => "too_large",
            Self::Configuration(_) => "configuration",
        }
    }
}

/// The start of a body, at most [`BODY_EXCERPT_CHARS`] characters, on one line.
pub(crate) fn excerpt(body: &[u8]) -> String {
    // Four bytes is the longest UTF-8 character: no more of the body can matter.
    let head = &body[..body.len().min(BODY_EXCERPT_CHARS * 4)];
    cut(&String::from_utf8_lossy(head), BODY_EXCERPT_CHARS)
}

/// `text` on one line, cut to `limit` characters. Controls, such as those of a terminal, are written out: `\u{1b}`.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    let mut line = String::new();
    for c in text.trim().chars().take(limit) {
        match c {
            '\n' | '\t' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    if let Some((at, _)) = line.char_indices().nth(limit) {
        line.truncate(at);
    }
    line
}

/// An error the model's provider or the server reported about a turn, as it
/// stands in `info.error` of a message or in `session.error`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct UpstreamError {
    /// The server's name of the error, for instance `APIError`.
    pub name: String,
    /// Its message.
    pub message: String,
    /// The provider's HTTP status, when there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_code: Option<u16>,
    /// The provider's URL without query, when it was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
    /// Whether the server holds a retry for useful.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retryable: Option<bool>,
}

impl UpstreamError {
    /// The name under which the server reports an aborted message.
    pub const ABORTED: &'static str = "MessageAbortedError";

    /// Reads the server's `{name, data: {message, statusCode, isRetryable, metadata: {url}}}`.
    /// Anything else still becomes an error that says what was there.
    pub(crate) fn from_json(error: &serde_json::Value) -> Self {
        let data = &error["data"];
        let message = data["message"]
            .as_str()
            .or_else(|| error["message"].as_str())
            .map_or_else(|| cut(&error.to_string(), BODY_EXCERPT_CHARS), first_line);
        Self {
            name: cut(
                error["name"].as_str().unwrap_or("UnknownError"),
                BODY_EXCERPT_CHARS,
            ),
            message,
            status_code: data["statusCode"]
                .as_u64()
                .and_then(|code| u16::try_from(code).ok()),
            url: data["metadata"]["url"].as_str().map(without_query),
            retryable: data["isRetryable"].as_bool(),
        }
    }

    /// Whether this is the mark of an abort, not a failure.
    pub fn is_abort(&self) -> bool {
        self.name == Self::ABORTED
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)?;
        if let Some(code) = self.status_code {
            write!(f, " (status {code})")?;
        }
        Ok(())
    }
}

/// Servers up to 1.18 put a stack trace behind the message.
fn first_line(message: &str) -> String {
    cut(message.lines().next().unwrap_or_default(), 500)
}

fn without_query(url: &str) -> String {
    cut(url.split(['?', '#']).next().unwrap_or_default(), 2000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn upstream_error_of_the_wire() {
        let error = UpstreamError::from_json(
            &json!({"name":"APIError","data":{"message":"upstream says no",
            "statusCode":401,"isRetryable":false,"metadata":{"url":"http://127.0.0.1:9999/v1?key=secret"}}}),
        );
        assert_eq!(error.status_code, Some(401));
        assert_eq!(error.url.as_deref(), Some("http://127.0.0.1:9999/v1"));
        assert_eq!(error.to_string(), "APIError: upstream says no (status 401)");
    }

    #[test]
    fn odd_upstream_errors_are_kept() {
        assert_eq!(UpstreamError::from_json(&json!("boom")).message, "\"boom\"");
        assert_eq!(
            UpstreamError::from_json(&json!({"message":"a\n  at x"})).message,
            "a"
        );
    }

    #[test]
    fn excerpts_are_bounded_in_characters() {
        assert_eq!(excerpt("é".repeat(1000).as_bytes()).chars().count(), 200);
        assert_eq!(excerpt(b"<html>\n500</html>"), "<html> 500</html>");
    }
}
