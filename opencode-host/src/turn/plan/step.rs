//! What a turn can do next, and how it can end.

use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::{Reason, TurnError};
use crate::store::TurnStatus;

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Ask the product whether the turn may begin.
    Consult,
    /// Reserve what the turn may use.
    Reserve,
    /// Ensure the session and listen to it.
    Connect,
    /// Give the fresh session a transcript of the conversation's earlier messages.
    CarryOver,
    /// Take the session as the row has it, without a word to the server: enough to stop it.
    TakeUp,
    /// Mint the prompt's ids and write them down.
    Mint,
    /// Look for the recorded prompt upstream.
    Look,
    /// Post the recorded prompt, which is nowhere upstream.
    Post {
        /// When the store last said that the turn is ours. The post goes out soon after, or not at all.
        fenced: Instant,
    },
    /// Let the server that is at work call the turn's tools here.
    Offer,
    /// Listen, for so long at most.
    Follow {
        /// At most.
        at_most: Duration,
    },
    /// Read status and exchange.
    Inspect,
    /// Ask for the agents and the models that there are.
    AskNames,
    /// Replace the lost session, and prompt it.
    Recreate,
    /// Answer a request in the place of the person, whose time for it is up.
    Decline {
        /// The request's id.
        request: String,
    },
    /// Tell the session to stop.
    Abort {
        /// How the turn ends once it has; `None` where it goes on elsewhere.
        ending: Option<Ending>,
    },
    /// Wait, then try again what failed.
    Wait {
        /// So long.
        pause: Duration,
    },
    /// The turn is over.
    End(Ending),
    /// The turn is not to be worked on here any more.
    Leave,
}

/// How the turn ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending {
    /// The result.
    pub(crate) status: TurnStatus,
    /// Why, where that needs a word.
    pub(crate) reason: Option<Reason>,
    /// What went wrong.
    pub(crate) error: Option<TurnError>,
    /// The text is cut.
    pub(crate) truncated: bool,
}

impl Ending {
    pub(crate) fn completed(truncated: bool) -> Self {
        let reason = truncated.then_some(Reason::Length);
        Self {
            status: TurnStatus::Completed,
            reason,
            error: None,
            truncated,
        }
    }

    pub(crate) fn cancelled(reason: Reason) -> Self {
        Self {
            status: TurnStatus::Cancelled,
            reason: Some(reason),
            error: None,
            truncated: false,
        }
    }

    pub(crate) fn error(reason: Reason, error: TurnError) -> Self {
        Self {
            status: TurnStatus::Error,
            reason: Some(reason),
            error: Some(error),
            truncated: false,
        }
    }

    pub(crate) fn own(reason: Reason, message: impl Into<String>) -> Self {
        Self::error(reason, TurnError::of(reason, message))
    }

    /// Something unexpected: the person gets a fixed text, the reporter the detail.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        let error = TurnError::of(Reason::Internal, message);
        Self {
            status: TurnStatus::Failed,
            reason: Some(Reason::Internal),
            error: Some(error),
            truncated: false,
        }
    }
}

impl Step {
    /// Whether the step goes to the server, or has another go there. Such steps are spaced.
    pub(crate) fn asks(&self) -> bool {
        match self {
            Self::Consult
            | Self::Follow { .. }
            | Self::Wait { .. }
            | Self::TakeUp
            | Self::End(_)
            | Self::Leave => false,
            Self::Reserve
            | Self::Connect
            | Self::CarryOver
            | Self::Mint
            | Self::Look
            | Self::Post { .. }
            | Self::Offer
            | Self::Inspect
            | Self::AskNames
            | Self::Recreate
            | Self::Decline { .. }
            | Self::Abort { .. } => true,
        }
    }
}
