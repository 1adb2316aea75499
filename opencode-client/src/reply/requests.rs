//! What the agent waits for a person to answer.

use serde::{Deserialize, Serialize};

use crate::id::SessionId;
use crate::wire::{PermissionRequest, QuestionRequest, ToolRef};

/// The most requests that wait at once.
const MAX_REQUESTS: usize = 100;

/// One request that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum PendingRequest {
    /// A question.
    Question(QuestionRequest),
    /// A request for permission.
    Permission(PermissionRequest),
}

impl PendingRequest {
    /// The request's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Question(request) => request.id.as_str(),
            Self::Permission(request) => request.id.as_str(),
        }
    }

    /// The session that asks.
    pub fn session(&self) -> &SessionId {
        match self {
            Self::Question(request) => &request.session_id,
            Self::Permission(request) => &request.session_id,
        }
    }

    /// The tool call that waits.
    pub fn tool(&self) -> Option<&ToolRef> {
        match self {
            Self::Question(request) => request.tool.as_ref(),
            Self::Permission(request) => request.tool.as_ref(),
        }
    }
}

/// The requests that wait, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Requests(Vec<PendingRequest>);

impl Requests {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The requests, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &PendingRequest> {
        self.0.iter()
    }

    /// Notes a request; false when it is known, or when too many wait.
    pub(super) fn add(&mut self, request: PendingRequest) -> bool {
        let new =
            self.0.len() < MAX_REQUESTS && !self.0.iter().any(|known| known.id() == request.id());
        if new {
            self.0.push(request);
        }
        new
    }

    /// Takes out a request that waits no more.
    pub(super) fn remove(&mut self, id: &str) -> Option<PendingRequest> {
        let at = self.0.iter().position(|request| request.id() == id)?;
        Some(self.0.remove(at))
    }

    /// Keeps those alone that are among `waiting`.
    pub(super) fn keep(&mut self, waiting: &[PendingRequest]) {
        self.0
            .retain(|known| waiting.iter().any(|request| request.id() == known.id()));
    }

    /// The question that waits for the answer of a tool call.
    pub(super) fn question_of(&self, call_id: Option<&str>) -> Option<&QuestionRequest> {
        self.0.iter().find_map(|request| match request {
            PendingRequest::Question(question) => {
                let tool = question.tool.as_ref()?;
                (Some(tool.call_id.as_str()) == call_id).then_some(question)
            }
            PendingRequest::Permission(_) => None,
        })
    }
}
