//! How a conversation stands: idle, answering, waiting for a person, failed.

use opencode_host::store::{ConversationSummary, StoreError};

use super::app::App;
use super::problem::Problem;

/// How many conversations of those in which the agent works are looked at for what it waits for.
const LOOKED_AT: usize = 30;

/// How a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    Idle,
    Answering,
    /// The agent waits for a person.
    Waiting,
    Failed,
}

impl Standing {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Idle => "",
            Self::Answering => "busy",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Idle => "",
            Self::Answering => "answering",
            Self::Waiting => "waiting for you",
            Self::Failed => "failed",
        }
    }
}

/// How a conversation stands. Of those in which the agent works, so many are looked into.
pub(crate) async fn of_busy(
    app: &App,
    summary: &ConversationSummary,
    looked_at: &mut usize,
) -> Result<Standing, Problem> {
    if !summary.busy {
        return Ok(if summary.failed {
            Standing::Failed
        } else {
            Standing::Idle
        });
    }
    *looked_at += 1;
    if *looked_at > LOOKED_AT {
        return Ok(Standing::Answering);
    }
    let store = app.host.store();
    let turns = store.active_turns(summary.conversation.id, 1).await?;
    let Some(turn) = turns.first() else {
        return Ok(Standing::Answering);
    };
    match app.host.view(turn.id).await {
        Ok((_, view)) if view.requests().next().is_some() => Ok(Standing::Waiting),
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(Standing::Answering),
        Err(error) => Err(error.into()),
    }
}
