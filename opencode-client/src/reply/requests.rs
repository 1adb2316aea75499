//! What the agent waits for a person to answer.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::part::Content;
use super::{Change, Reply};
use crate::event::EventBody;
use crate::id::SessionId;
use crate::wire::{PermissionReply, PermissionRequest, QuestionRequest, ToolRef};

/// The most requests that wait at once.
const MAX_REQUESTS: usize = 100;
/// The most refused calls that are remembered.
const MAX_REFUSED: usize = 256;

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
    fn add(&mut self, request: PendingRequest) -> bool {
        let new =
            self.0.len() < MAX_REQUESTS && !self.0.iter().any(|known| known.id() == request.id());
        if new {
            self.0.push(request);
        }
        new
    }

    fn remove(&mut self, id: &str) -> Option<PendingRequest> {
        let at = self.0.iter().position(|request| request.id() == id)?;
        Some(self.0.remove(at))
    }
}

impl Reply {
    /// Questions and permissions, of this session or of a child's.
    pub(super) fn request_event(&mut self, event: &EventBody<'_>) {
        match event {
            EventBody::QuestionAsked(request) => {
                self.asked(PendingRequest::Question(QuestionRequest::clone(request)))
            }
            EventBody::PermissionAsked(request) => {
                self.asked(PendingRequest::Permission(PermissionRequest::clone(
                    request,
                )));
            }
            EventBody::QuestionReplied { question, answers } => {
                self.requests.remove(question.as_str());
                self.emit(&Change::QuestionReplied {
                    request_id: question.as_str().into(),
                    answers: answers.clone(),
                });
            }
            EventBody::QuestionRejected { question } => {
                let refused = self.requests.remove(question.as_str());
                self.note_refused(refused.as_ref());
                self.emit(&Change::QuestionRejected {
                    request_id: question.as_str().into(),
                });
            }
            EventBody::PermissionReplied { permission, reply } => {
                let answered = self.requests.remove(permission.as_str());
                if *reply == PermissionReply::Reject {
                    self.note_refused(answered.as_ref());
                }
                self.emit(&Change::PermissionReplied {
                    request_id: permission.as_str().into(),
                    reply: *reply,
                });
            }
            _ => {}
        }
    }

    fn note_refused(&mut self, request: Option<&PendingRequest>) {
        let refused = &mut self.state.refused;
        if let Some(tool) = request.and_then(PendingRequest::tool)
            && refused.len() < MAX_REFUSED
        {
            refused.push(tool.call_id.clone());
        }
    }

    /// Notes a request that waits, from an event or from the server's list.
    pub fn asked(&mut self, request: PendingRequest) {
        let ours = request.session() == &self.session || self.subtasks.knows(request.session());
        if !ours || !self.requests.add(request.clone()) {
            return;
        }
        if let Some(tool) = request.tool() {
            let at =
                self.newest_tool(|part| part.call_id.as_deref() == Some(tool.call_id.as_str()));
            if let Some(at) = at
                && self.merge_request_into(at)
            {
                self.emit_part(at, |part_id, part| Change::Tool { part_id, part });
            }
        }
        self.emit(&match request {
            PendingRequest::Question(request) => Change::Question { request },
            PendingRequest::Permission(request) => Change::Permission { request },
        });
    }

    /// Replaces what is known to wait by the server's own list: after a gap,
    /// what was asked or answered meanwhile.
    pub fn sync_requests(&mut self, waiting: Vec<PendingRequest>) {
        self.requests
            .0
            .retain(|known| waiting.iter().any(|request| request.id() == known.id()));
        for request in waiting {
            self.asked(request);
        }
    }

    /// A question can come before its tool part says what is asked, or after: either way the part shows it, and
    /// keeps the id of the request. False when it says nothing new.
    pub(super) fn merge_request_into(&mut self, at: usize) -> bool {
        let Content::Tool(tool) = &mut self.slots[at].content else {
            return false;
        };
        let waiting = self.requests.0.iter().find_map(|request| match request {
            PendingRequest::Question(question)
                if question
                    .tool
                    .as_ref()
                    .is_some_and(|of| Some(of.call_id.as_str()) == tool.call_id.as_deref()) =>
            {
                Some(question)
            }
            _ => None,
        });
        let Some(question) = waiting.filter(|_| tool.request_id.is_none()) else {
            return false;
        };
        tool.request_id = Some(question.id.to_string());
        tool.input
            .get_or_insert_with(|| json!({ "questions": question.questions }));
        self.fit_tool(at);
        true
    }
}
