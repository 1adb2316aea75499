//! What a failed call means for a turn.

use opencode_client::Error as ClientError;
use tokio::time::Instant;

/// A failed call that a retry will not mend, or has not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// The server does not know the session.
    SessionLost,
    /// The password is wrong.
    Unauthorized(String),
    /// The server refused the request.
    Refused(String),
    /// The server would not do as the rules say.
    Unsafe(String),
    /// The server answers, with errors.
    Broken(String),
    /// The server cannot be reached.
    Unreachable(String),
    /// The server took a call and did not answer it in time.
    Unanswered(String),
    /// The server tells what the session does, and not what it has said; that may pass.
    Unread(String),
    /// It does not tell it any more, and the session was not prompted yet.
    Unreadable(String),
}

/// A run of reads of the session's history that failed while the server told what the session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The first of them.
    pub(crate) since: Instant,
    /// They are not held for something that passes any more.
    pub(crate) believed: bool,
    /// No further read will do better.
    pub(crate) hopeless: bool,
}

/// What an error says about the history that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfHistory {
    /// Nothing: it is about the way there.
    Nothing,
    /// The server cannot give it.
    NotGiven,
    /// The server will never give it.
    NeverGiven,
}

impl OfHistory {
    pub(crate) fn says(error: &ClientError) -> Self {
        match error {
            ClientError::TooLarge { .. } => Self::NeverGiven,
            ClientError::Server { status, .. } if !matches!(status, 502..=504) => Self::NotGiven,
            ClientError::BadRequest { .. } => Self::NotGiven,
            _ => Self::Nothing,
        }
    }
}
