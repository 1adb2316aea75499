//! The answer of a running turn, as one browser has it.
//!
//! [`LiveAnswer`] folds what the host tells into what is shown, and knows what
//! of it the browser lacks: [`LiveAnswer::patches`] renders that and no more. The
//! page that is opened in the middle and the stream that goes on from there are
//! made by this one type, so that they agree.

mod patches;
#[cfg(test)]
mod tests;

use opencode_host::client::reply::{Change, PendingRequest, PersistedPart, SnapshotPart, ToolPart};
use opencode_host::id::{MessageId, TurnId};

use super::base_path::BasePath;
use super::message;
use super::request;
use super::steps::Steps;
use super::tool::ToolView;

/// Bytes of an answer that are shown while it comes. The whole shows when it has ended.
const MAX_LIVE: usize = 1 << 20;
/// What a part takes beside its text.
const PART_SIZE: usize = 256;
const TOO_LONG: &str = "This answer is very long. The rest shows when it is complete.";

/// The answer of a running turn.
#[derive(Debug)]
pub(super) struct LiveAnswer {
    base: BasePath,
    turn: TurnId,
    element: String,
    /// The conversation's folder: paths inside are shown relative to it.
    folder: Option<String>,
    parts: Vec<LivePart>,
    requests: Vec<LiveRequest>,
    notice: Option<String>,
    /// Bytes held.
    size: usize,
    /// There was no room for all of it: what comes is not appended any more, so that no text has a hole.
    full: bool,
    /// The browser lacks everything.
    outdated: bool,
    notice_outdated: bool,
    /// Elements the browser has and should not.
    removed: Vec<String>,
}

#[derive(Debug)]
struct LivePart {
    key: String,
    content: Content,
    lacks: Lacks,
}

#[derive(Debug)]
enum Content {
    Text {
        reasoning: bool,
        text: String,
        /// What tells the blocks that the browser has.
        blocks: Vec<u64>,
    },
    Tool {
        view: Box<ToolView>,
        steps: Steps,
    },
}

/// What the browser lacks of a part. The greater includes the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lacks {
    Nothing,
    /// What was appended to its text.
    Growth,
    /// Its content.
    Content,
    /// The part.
    Part,
}

#[derive(Debug)]
struct LiveRequest {
    request: PendingRequest,
    sent: bool,
}

impl LiveAnswer {
    /// An answer of which nothing has come.
    pub(super) fn new(
        base: BasePath,
        turn: TurnId,
        message: MessageId,
        folder: Option<String>,
    ) -> Self {
        Self {
            base,
            turn,
            element: message::element(message),
            folder,
            parts: Vec::new(),
            requests: Vec::new(),
            notice: None,
            size: 0,
            full: false,
            outdated: true,
            notice_outdated: false,
            removed: Vec::new(),
        }
    }

    /// Forgets what was, and takes the reply as a whole.
    pub(super) fn reset(&mut self, parts: &[SnapshotPart], requests: &[PendingRequest]) {
        self.parts.clear();
        self.size = 0;
        self.full = false;
        self.notice = None;
        for known in parts {
            self.add(&known.part_id, &known.part);
        }
        self.requests = requests
            .iter()
            .map(|request| LiveRequest {
                request: request.clone(),
                sent: false,
            })
            .collect();
        self.outdated = true;
    }

    /// Takes the next change.
    pub(super) fn apply(&mut self, change: &Change<'_>) {
        self.fold(change);
        self.mark(change, Lacks::Growth);
    }

    /// Notes that the browser lacks a change that is folded in already.
    pub(super) fn missed(&mut self, change: &Change<'_>) {
        self.mark(change, Lacks::Content);
    }

    fn fold(&mut self, change: &Change<'_>) {
        match change {
            Change::PartAdded { part_id, part } => self.add(part_id, part),
            Change::PartDelta {
                part_id,
                kind,
                delta,
            } => {
                if !self.parts.iter().any(|part| part.key == *part_id) {
                    let empty = String::new();
                    let part = match kind.as_ref() {
                        "reasoning" => PersistedPart::Reasoning { content: empty },
                        _ => PersistedPart::Text { content: empty },
                    };
                    self.add(part_id, &part);
                }
                self.grow(part_id, delta);
            }
            Change::PartReplaced { part_id, part }
            | Change::PartFinal { part_id, part }
            | Change::Tool { part_id, part } => self.replace(part_id, part),
            Change::PartRemoved { part_id } => {
                self.parts.retain(|part| part.key != *part_id);
                self.recount();
            }
            Change::Subtask {
                part_id, change, ..
            } => {
                let newest_first = self.parts.iter_mut().rev();
                let task = newest_first
                    .filter(|part| part_id.as_ref().is_none_or(|id| part.key == *id))
                    .find_map(|part| {
                        if let Content::Tool { steps, .. } = &mut part.content {
                            Some((steps, &mut part.lacks))
                        } else {
                            None
                        }
                    });
                if let Some((steps, lacks)) = task {
                    steps.apply(change);
                    *lacks = (*lacks).max(Lacks::Content);
                }
            }
            Change::Retry {
                attempt,
                message,
                action,
                ..
            } => {
                let mut message = message.chars().take(300).collect::<String>();
                if let Some(action) = action {
                    message.push_str(". ");
                    message.extend(action.to_string().chars().take(600));
                }
                self.notice = Some(format!(
                    "The model's provider is busy, attempt {attempt}: {message}"
                ));
                self.notice_outdated = true;
            }
            Change::ServerUnreachable { message } => {
                self.notice = Some(message.to_string());
                self.notice_outdated = true;
            }
            Change::ServerReachable => {
                self.notice = self.full.then(|| TOO_LONG.to_owned());
                self.notice_outdated = true;
            }
            Change::Question { request } => self.ask(PendingRequest::Question(request.clone())),
            Change::Permission { request } => self.ask(PendingRequest::Permission(request.clone())),
            Change::QuestionReplied { request_id, .. }
            | Change::QuestionRejected { request_id }
            | Change::PermissionReplied { request_id, .. } => {
                self.requests
                    .retain(|known| known.request.id() != request_id);
            }
            Change::Snapshot { parts } => {
                let requests: Vec<_> = self.requests.drain(..).map(|known| known.request).collect();
                self.reset(parts, &requests);
            }
            _ => {}
        }
        let goes_on = matches!(
            change,
            Change::PartAdded { .. } | Change::PartDelta { .. } | Change::Tool { .. }
        );
        if goes_on && !self.full && self.notice.take().is_some() {
            self.notice_outdated = true;
        }
    }

    fn mark(&mut self, change: &Change<'_>, growth: Lacks) {
        let (part_id, lacks) = match change {
            Change::PartAdded { part_id, .. } => (part_id, Lacks::Part),
            Change::PartDelta { part_id, .. }
            | Change::PartReplaced { part_id, .. }
            | Change::PartFinal { part_id, .. }
            | Change::Tool { part_id, .. }
            | Change::Subtask {
                part_id: Some(part_id),
                ..
            } => (part_id, growth),
            Change::PartRemoved { part_id } => {
                self.removed.push(part_element(&self.element, part_id));
                return;
            }
            Change::Question { .. } | Change::Permission { .. } => {
                let id = match change {
                    Change::Question { request } => request.id.as_str(),
                    Change::Permission { request } => request.id.as_str(),
                    _ => return,
                };
                if let Some(known) = self
                    .requests
                    .iter_mut()
                    .find(|known| known.request.id() == id)
                {
                    known.sent = false;
                }
                return;
            }
            Change::QuestionReplied { request_id, .. }
            | Change::QuestionRejected { request_id }
            | Change::PermissionReplied { request_id, .. } => {
                self.removed.push(request::element(request_id));
                return;
            }
            Change::Snapshot { .. } => {
                self.outdated = true;
                return;
            }
            _ => return,
        };
        if let Some(part) = self
            .parts
            .iter_mut()
            .rev()
            .find(|part| part.key == *part_id)
        {
            part.lacks = part.lacks.max(lacks);
        }
    }

    fn add(&mut self, key: &str, part: &PersistedPart) {
        if self.parts.iter().any(|part| part.key == key) {
            self.replace(key, part);
            return;
        }
        if self.full || !self.has_room_for(PART_SIZE) {
            return;
        }
        let content = match part {
            PersistedPart::Text { .. } => Content::text(false),
            PersistedPart::Reasoning { .. } => Content::text(true),
            PersistedPart::Tool(tool) => Content::Tool {
                view: self.tool(key, tool),
                steps: Steps::default(),
            },
        };
        let content = match part {
            PersistedPart::Tool(_) if !self.has_room_for(content.size()) => return,
            _ => content,
        };
        self.size += PART_SIZE + content.size();
        self.parts.push(LivePart {
            key: key.to_owned(),
            content,
            lacks: Lacks::Part,
        });
        if let PersistedPart::Text { content } | PersistedPart::Reasoning { content } = part {
            self.grow(key, content);
        }
    }

    fn replace(&mut self, key: &str, part: &PersistedPart) {
        let Some(at) = self.parts.iter().rposition(|known| known.key == key) else {
            return;
        };
        match part {
            PersistedPart::Text { content: new } | PersistedPart::Reasoning { content: new } => {
                if let Content::Text { text, .. } = &mut self.parts[at].content {
                    text.clear();
                }
                self.recount();
                self.grow(key, new);
            }
            PersistedPart::Tool(tool) => {
                let new = self.tool(key, tool);
                if let Content::Tool { view, .. } = &mut self.parts[at].content {
                    *view = new;
                }
                self.recount();
            }
        }
    }

    /// Appends what there is room for.
    fn grow(&mut self, key: &str, delta: &str) {
        let room = if self.full {
            0
        } else {
            MAX_LIVE.saturating_sub(self.size)
        };
        let kept = &delta[..delta.floor_char_boundary(room)];
        let grown = self.parts.iter_mut().rev().find(|part| part.key == key);
        if let Some(LivePart {
            content: Content::Text { text, .. },
            ..
        }) = grown
        {
            text.push_str(kept);
            self.size += kept.len();
        }
        if kept.len() < delta.len() {
            self.is_full();
        }
    }

    fn ask(&mut self, request: PendingRequest) {
        if !self
            .requests
            .iter()
            .any(|known| known.request.id() == request.id())
        {
            self.requests.push(LiveRequest {
                request,
                sent: false,
            });
        }
    }

    fn tool(&self, key: &str, tool: &ToolPart) -> Box<ToolView> {
        let mut view = ToolView::of(tool, self.folder.as_deref());
        view.id = Some(part_element(&self.element, key));
        Box::new(view)
    }

    fn has_room_for(&mut self, bytes: usize) -> bool {
        let fits = self.size + bytes <= MAX_LIVE;
        if !fits {
            self.is_full();
        }
        fits
    }

    fn recount(&mut self) {
        self.size = self
            .parts
            .iter()
            .map(|part| PART_SIZE + part.content.size())
            .sum();
    }

    fn is_full(&mut self) {
        self.full = true;
        if self.notice.as_deref() != Some(TOO_LONG) {
            self.notice = Some(TOO_LONG.to_owned());
            self.notice_outdated = true;
        }
    }
}

/// The element of a part.
fn part_element(message: &str, key: &str) -> String {
    format!("{message}-{key}")
}

impl Content {
    fn text(reasoning: bool) -> Self {
        Self::Text {
            reasoning,
            text: String::new(),
            blocks: Vec::new(),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Text { text, .. } => text.len(),
            Self::Tool { view, .. } => view.size(),
        }
    }
}
