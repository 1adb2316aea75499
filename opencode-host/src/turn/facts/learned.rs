//! What a step of a turn can teach.

use std::time::Duration;

use opencode_client::SessionId;
use tokio::time::Instant;

use super::failed_call::{Failure, Unread};
use super::look::Look;
use super::prompt_run::{Names, Said};
use super::{Consulted, Funds};
use crate::store::{PromptRecord, SessionRecord};
use crate::turn::control::Orders;

/// What came of a step, or was heard or ordered meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Learned {
    /// There are orders.
    Ordered(Orders),
    /// The store says that the turn is another worker's.
    LeaseLost,
    /// What the session's stream said, and what the reply holds.
    Heard(Heard),
    /// What the product says of the turn.
    Consulted(Consulted),
    /// What the ledger says of the turn's budget.
    Reserved {
        /// How much the turn may use.
        funds: Funds,
        /// How long it has run, earlier claims of it included.
        time: Duration,
    },
    /// The conversation has a session, and it is listened to.
    Connected {
        /// The session.
        session: SessionRecord,
        /// Its stream is connected.
        live: bool,
    },
    /// The row's session is to be stopped.
    TakenUp,
    /// The row, as it was read again.
    Row(SessionRecord),
    /// The server did not take the transcript; it is tried again.
    NotCarriedOver(Failure),
    /// The row has the prompt's ids, which are new.
    Recorded {
        /// The session and the ids.
        record: PromptRecord,
        /// The store was asked then, and said that the turn is ours.
        fenced: Instant,
    },
    /// The prompt is nowhere upstream.
    Absent {
        /// The store was asked then, and said that the turn is ours.
        fenced: Instant,
    },
    /// The server can call the turn's tools here, or cannot be brought to.
    Offered,
    /// The prompt is upstream, or nobody can see whether. Or it is not, and too many workers died over it.
    Found {
        /// Its message is there.
        seen: bool,
        /// Whether it names something.
        names: Names,
        /// The history cannot be read.
        unread: Option<Unread>,
    },
    /// The server took the prompt.
    Posted {
        /// Whether it names something.
        names: Names,
    },
    /// The server refused the prompt because of a name.
    PostRefused(Names),
    /// The post was not answered, or with an error.
    NotPosted {
        /// Why.
        failure: Failure,
        /// It was not sent.
        unsent: bool,
    },
    /// What the server has of the turn.
    Looked(Look),
    /// The server did not tell what the session does.
    NoStatus(Failure),
    /// The server told what the session does, and not what it has said.
    HistoryFailed {
        /// What that means for the step.
        failure: Failure,
        /// What that means for the history.
        unread: Unread,
        /// There was no answer in time.
        unanswered: bool,
    },
    /// What the server's lists say of the prompt's names.
    Named(Names),
    /// A fresh session is in the lost one's place.
    Recreated {
        /// The lost one.
        lost: SessionId,
        /// The fresh one.
        session: SessionRecord,
        /// Its stream is connected.
        live: bool,
    },
    /// This request has an answer: one in the person's place, or a person's.
    Declined(String),
    /// The server heard that the session is to stop.
    Aborted,
    /// The step did not succeed.
    Failed(Failure),
    /// The step succeeded, and taught nothing.
    Done,
    /// The step was broken off, or was none.
    Nothing,
}

/// What was heard since the last step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Heard {
    /// When the server gave a sign of life last.
    pub(crate) alive: Option<Instant>,
    /// When an event of the session came last.
    pub(crate) event: Option<Instant>,
    /// The session was idle.
    pub(crate) idle: bool,
    /// Something was missed.
    pub(crate) gap: bool,
    /// The session reported an error, or went on after its end.
    pub(crate) error: bool,
    /// The stream was lost; whether it is back.
    pub(crate) reconnected: Option<bool>,
    /// What the reply holds now.
    pub(crate) said: Said,
}

impl Learned {
    /// A step has succeeded which shows that calls do not fail any more.
    pub(crate) fn mends(&self) -> bool {
        match self {
            Self::Ordered(_)
            | Self::LeaseLost
            | Self::Heard(_)
            | Self::Consulted(_)
            | Self::Declined(_)
            | Self::NotCarriedOver(_)
            | Self::NotPosted { .. }
            | Self::NoStatus(_)
            | Self::HistoryFailed { .. }
            | Self::Failed(_)
            | Self::Nothing => false,
            Self::Reserved { .. }
            | Self::Connected { .. }
            | Self::TakenUp
            | Self::Row(_)
            | Self::Recorded { .. }
            | Self::Absent { .. }
            | Self::Offered
            | Self::Found { .. }
            | Self::Posted { .. }
            | Self::PostRefused(_)
            | Self::Looked(_)
            | Self::Named(_)
            | Self::Recreated { .. }
            | Self::Aborted
            | Self::Done => true,
        }
    }

    /// The step has failed.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::NotCarriedOver(_)
                | Self::NotPosted { .. }
                | Self::NoStatus(_)
                | Self::HistoryFailed { .. }
                | Self::Failed(_)
        )
    }
}
