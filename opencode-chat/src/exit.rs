//! Exit codes, and how a failure is told.

use std::process::ExitCode;

use opencode_client::Error as ClientError;
use opencode_host::BuildError;
use opencode_host::outcome::Reason;
use opencode_host::store::{BadServerName, StoreError, TurnStatus};

use crate::people::PeopleError;
use crate::terminal;

/// The process could not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// 1 for an error of the work itself, 2 for usage or configuration.
    code: u8,
    /// What happened and what to do, for a person.
    message: String,
    /// The word for programs.
    pub(crate) reason: Reason,
}

impl Failure {
    /// Something is set up wrongly: the person can mend it.
    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self {
            code: 2,
            message: message.into(),
            reason: Reason::Internal,
        }
    }

    /// The work itself failed.
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self {
            code: 1,
            message: message.into(),
            reason: Reason::Internal,
        }
    }

    /// The same failure with a word for programs.
    pub(crate) fn because(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// What happened and what to do.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Says it on stderr.
    pub(crate) fn tell(self) -> ExitCode {
        terminal::tell(format_args!("error: {}", self.message));
        ExitCode::from(self.code)
    }

    /// The exit code alone, when it was told already.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NewerSchema { .. }
            | StoreError::Configuration(_)
            | StoreError::QuotaExceeded { .. }
            | StoreError::NotFound { .. } => Self::configuration(error.to_string()),
            error => Self::error(error.to_string()),
        }
    }
}

impl From<PeopleError> for Failure {
    fn from(error: PeopleError) -> Self {
        match error {
            PeopleError::Database(_) | PeopleError::Hash(_) => Self::error(error.to_string()),
            error => Self::configuration(error.to_string()),
        }
    }
}

impl From<BadServerName> for Failure {
    fn from(error: BadServerName) -> Self {
        Self::configuration(error.to_string())
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::error(error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Connection { .. } | ClientError::Timeout { .. } => Self::configuration(
                format!("{error}. Start it with `opencode serve`, or check --opencode-url"),
            )
            .because(Reason::Unreachable),
            ClientError::Unauthorized { .. } => {
                Self::configuration(format!(
                    "{error} or --opencode-password. A user other than `opencode` is given with --opencode-username"
                ))
                    .because(Reason::Unauthorized)
            }
            ClientError::Configuration(_) => Self::configuration(error.to_string()),
            _ => Self::error(error.to_string()),
        }
    }
}

/// The exit code of a turn: 0 completed, 1 error or failed, 3 cancelled.
pub(crate) fn of_turn(status: TurnStatus) -> ExitCode {
    match status {
        TurnStatus::Completed => ExitCode::SUCCESS,
        TurnStatus::Cancelled => ExitCode::from(3),
        TurnStatus::Error | TurnStatus::Failed => ExitCode::FAILURE,
    }
}
