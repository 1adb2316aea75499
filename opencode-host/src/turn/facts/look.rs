//! What a look at the server showed.

use opencode_client::UpstreamError;

use super::failed_call::Unread;

/// What the server has of a turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Look {
    /// What it showed.
    pub(crate) inspection: Inspection,
    /// The history cannot be read.
    pub(crate) unread: Option<Unread>,
    /// What the agent waits for.
    pub(crate) requests: Requests,
}

/// What is known of what the agent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requests {
    /// The server was not asked.
    Unasked,
    /// The reply has them all.
    Synced,
    /// So it has, and there are some: the store has noted that the attempts start anew.
    Waiting,
}

/// What a look at the server showed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inspection {
    /// The session works, by the status map.
    pub(crate) busy: bool,
    /// The prompt's message, or an answer to it, is there.
    pub(crate) prompt_seen: bool,
    /// The newest message of the answer, if there is one.
    pub(crate) last: Option<LastMessage>,
    /// The person declined what the agent asked, and the answer stopped there.
    pub(crate) declined: bool,
    /// How often the answer went on after its end.
    pub(crate) restarts: usize,
    /// The server does not give the session's history any more: all but `busy` is what streamed.
    pub(crate) unread: bool,
}

/// The newest message of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LastMessage {
    /// Its error.
    pub(crate) error: Option<UpstreamError>,
    /// The server is done with it.
    pub(crate) finished: bool,
    /// It stopped for tools: another is to follow.
    pub(crate) wants_more: bool,
    /// It ran out of output tokens.
    pub(crate) truncated: bool,
}
