//! The reply: the answer of a session, the requests that wait, and what child sessions do for it.

use super::answer::Answer;
use super::change::{Change, SnapshotPart};
use super::checkpoint::Checkpoint;
use super::growth::{Growth, SaveMark};
use super::heard;
use super::messages::{Scope, Standing};
use super::observers::{Observer, ProblemSink};
use super::part::PersistedPart;
use super::requests::{PendingRequest, Requests};
use super::result::{ReplyResult, is_blank};
use super::room::MAX_REPLY_BYTES;
use super::slot::{Content, Slot};
use super::subtask::Subtasks;
use super::view::View;
use crate::error::UpstreamError;
use crate::event::{Event, EventBody};
use crate::exchange::Exchange;
use crate::id::{MessageId, SessionId};
use crate::wire::{PermissionReply, PermissionRequest, QuestionRequest, Tokens};

/// The most refused calls that are remembered.
const MAX_REFUSED: usize = 256;

/// The answer to one prompt while it is being composed.
#[derive(Debug)]
pub struct Reply {
    answer: Answer,
    requests: Requests,
    /// The tool calls whose request the person refused.
    refused: Vec<String>,
    subtasks: Subtasks,
}

impl Reply {
    /// An empty reply to one prompt.
    pub fn new(session: SessionId, prompt: MessageId) -> Self {
        Self::with_scope(session, Scope::Prompt(prompt))
    }

    /// An empty reply with a scope of its own.
    pub fn with_scope(session: SessionId, scope: Scope) -> Self {
        Self {
            answer: Answer::new(session, scope, MAX_REPLY_BYTES),
            requests: Requests::default(),
            refused: Vec::new(),
            subtasks: Subtasks::default(),
        }
    }

    /// Goes on from a checkpoint: a reply that holds what it held. The exchange and the live stream bring the rest.
    pub fn restore(session: SessionId, prompt: MessageId, checkpoint: Checkpoint) -> Self {
        let mut reply = Self::new(session, prompt);
        let answer = &mut reply.answer;
        (reply.requests, reply.refused) =
            checkpoint.restore(&mut answer.messages, &mut answer.parts);
        answer.said.has_begun = !answer.parts.slots().is_empty();
        reply.adopt_all();
        reply
    }

    /// Leaves a message out of the reply: the prompt, where the scope does not name it.
    pub fn leave_out(&mut self, message: &MessageId) {
        if let Some(at) = self.answer.messages.track(message) {
            self.answer.messages.set_standing(at, Standing::Foreign);
        }
    }

    /// Has `observer` hear every change from now on.
    pub fn observe(&mut self, observer: impl Observer + 'static) {
        self.answer.observers.add(observer);
    }

    /// Where the failures of observers are reported; a warning is traced without.
    pub fn report_problems_to(&mut self, sink: ProblemSink) {
        self.answer.observers.report_problems_to(sink);
    }

    /// Whether the session went idle after the prompt was seen. Idle events
    /// come twice and late: a reason to look at the exchange, not an end.
    pub fn take_idle(&mut self) -> bool {
        std::mem::take(&mut self.answer.said.idle_seen)
    }

    /// Whether, since this was last asked, the answer went on after it had
    /// ended: a server that loops.
    pub fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.answer.said.restarted)
    }

    /// What the server reported about this turn, aborts excepted.
    pub fn error(&self) -> Option<&UpstreamError> {
        self.answer.said.error.as_ref()
    }

    /// Whether the person refused what this tool call asked: a question, a permission.
    pub fn has_refused(&self, call_id: &str) -> bool {
        self.refused.iter().any(|refused| refused == call_id)
    }

    /// Whether words or parts of the answer were left out because it is larger than is kept; see
    /// [`MAX_REPLY_BYTES`] and [`MAX_PARTS`](super::MAX_PARTS).
    pub fn is_cut(&self) -> bool {
        self.answer.messages.is_cut || self.answer.parts.room.is_cut
    }

    /// Whether details of tool calls were left out because they are larger than is kept; see
    /// [`MAX_DETAIL_BYTES`](super::MAX_DETAIL_BYTES).
    pub fn is_trimmed(&self) -> bool {
        self.answer.parts.room.is_trimmed
    }

    /// Whether a first piece of the answer has come.
    pub fn has_begun(&self) -> bool {
        self.answer.said.has_begun
    }

    /// How often the server said that it waits for its provider.
    pub fn retries(&self) -> u32 {
        self.answer.said.retries
    }

    /// The questions and permission requests that wait for an answer.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// How many changes there were. Observers were told of each.
    pub fn changes(&self) -> u64 {
        self.answer.observers.changes()
    }

    /// How many messages answer the prompt so far.
    pub fn message_count(&self) -> usize {
        self.answer.messages.counted().count()
    }

    /// How many tool calls the reply holds so far.
    pub fn tool_count(&self) -> usize {
        self.answer
            .visible()
            .filter(|slot| matches!(slot.content, Content::Tool(_)))
            .count()
    }

    /// Whether some tool call of the reply has ended.
    pub fn has_ended_tool(&self) -> bool {
        self.answer
            .visible()
            .any(|slot| matches!(&slot.content, Content::Tool(tool) if tool.status.is_terminal()))
    }

    /// Sessions that tools of this reply said they work in, and that events of
    /// should be heard.
    pub fn children(&self) -> impl Iterator<Item = &SessionId> {
        self.subtasks.sessions()
    }

    /// Cost in US dollars and tokens of the steps that ended so far.
    pub fn usage(&self) -> (f64, Tokens) {
        self.answer.messages.usage()
    }

    /// Cost in US dollars and tokens of what child sessions have done for the reply, as far as their events were heard. It is
    /// no part of [`usage`](Self::usage), nor of an [`Exchange`]'s, and is not in a [`Checkpoint`].
    pub fn usage_of_subtasks(&self) -> (f64, Tokens) {
        self.subtasks.usage()
    }

    /// Bytes of the text so far, without copying it.
    pub fn text_len(&self) -> usize {
        self.texts().map(str::len).sum()
    }

    /// Whether some text part says more than nothing; see [`is_blank`].
    pub fn has_words(&self) -> bool {
        self.texts().any(|text| !is_blank(text))
    }

    /// The text parts so far.
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.answer
            .visible()
            .filter_map(|slot| match &slot.content {
                Content::Text(text) | Content::Undecided(text) => Some(text.as_str()),
                Content::Reasoning(_) | Content::Tool(_) => None,
            })
    }

    /// The parts so far, in order, without those that hold nothing yet.
    pub fn parts(&self) -> Vec<PersistedPart> {
        let held = self
            .answer
            .visible()
            .filter(|slot| !slot.content.is_empty());
        held.map(Slot::persisted).collect()
    }

    /// What the reply comes to so far.
    pub fn result(&self) -> ReplyResult {
        ReplyResult::of(self.parts())
    }

    /// The parts so far with the ids that changes name them by.
    pub fn snapshot(&self) -> Vec<SnapshotPart> {
        self.answer.snapshot()
    }

    /// The reply as it is now.
    pub fn view(&self) -> View {
        View::new(self.snapshot(), self.requests.iter().cloned())
    }

    /// What would be lost if the process died now.
    pub fn checkpoint(&self) -> Checkpoint {
        let Answer {
            messages, parts, ..
        } = &self.answer;
        Checkpoint::of(messages, parts, &self.requests, &self.refused)
    }

    /// What has come to the [checkpoint](Self::checkpoint) since the reply was saved up to `mark`, which costs what has come
    /// and not what there is, and the mark of now. `None` where nothing has; all there is since the default mark.
    pub fn growth_since(&self, mark: &SaveMark) -> (Option<Growth>, SaveMark) {
        let Answer {
            messages, parts, ..
        } = &self.answer;
        let rest = Checkpoint::rest_of(messages, parts, &self.requests, &self.refused);
        Growth::since(mark, rest, messages, parts)
    }

    /// The exchange as far as the stream told it, for a server that does not give its own any more: what was missed
    /// is not in it. A message that nothing ended is unfinished there. Details of tool calls that were cut for lack
    /// of room are left out.
    pub fn as_exchange(&self) -> Exchange {
        heard::as_exchange(&self.answer.messages, &self.answer.parts)
    }

    /// Folds one event in. Events of other sessions than this turn's and its
    /// children's are ignored.
    pub fn apply(&mut self, event: &Event<'_>) {
        if event.session != Some(self.answer.session.as_str()) {
            self.apply_of_child(event);
            return;
        }
        if let Some(at) = self.answer.apply(event, &self.requests) {
            self.adopt_child_of(at);
        }
        self.request_event(&event.body);
    }

    /// Events may have been missed before the next one. A text that goes on then
    /// without what came between is marked with `[…]` there, until the server
    /// says the whole of it: it does so when the part ends, and its messages
    /// hold no unfinished text (1.18.33).
    pub fn gap(&mut self) {
        self.answer.parts.tear();
    }

    /// Takes the exchange in. It is authoritative for text and ended tools, and
    /// for the order of parts. Kept beside it, in place: parts that exist on
    /// the stream only, and text that was streamed and that the exchange lacks
    /// because its server died in the middle of it.
    pub fn reconcile(&mut self, exchange: &Exchange) {
        self.answer.reconcile(exchange);
        self.adopt_all();
    }

    /// Notes a request that waits, from an event or from the server's list.
    pub fn asked(&mut self, request: PendingRequest) {
        let ours =
            request.session() == &self.answer.session || self.subtasks.knows(request.session());
        if !ours || !self.requests.add(request.clone()) {
            return;
        }
        if let Some(tool) = request.tool() {
            self.answer.show_request(&tool.call_id, &self.requests);
        }
        self.answer.observers.tell(|| match request {
            PendingRequest::Question(request) => Change::Question { request },
            PendingRequest::Permission(request) => Change::Permission { request },
        });
    }

    /// Replaces what is known to wait by the server's own list: after a gap,
    /// what was asked or answered meanwhile.
    pub fn sync_requests(&mut self, waiting: Vec<PendingRequest>) {
        self.requests.keep(&waiting);
        for request in waiting {
            self.asked(request);
        }
    }

    /// Questions and permissions, of this session or of a child's.
    fn request_event(&mut self, event: &EventBody<'_>) {
        let (answered, is_refused) = match event {
            EventBody::QuestionAsked(request) => {
                self.asked(PendingRequest::Question(QuestionRequest::clone(request)));
                return;
            }
            EventBody::PermissionAsked(request) => {
                self.asked(PendingRequest::Permission(PermissionRequest::clone(
                    request,
                )));
                return;
            }
            EventBody::QuestionReplied { question, .. } => (question.as_str(), false),
            EventBody::QuestionRejected { question } => (question.as_str(), true),
            EventBody::PermissionReplied { permission, reply } => {
                (permission.as_str(), *reply == PermissionReply::Reject)
            }
            _ => return,
        };
        let answered = self.requests.remove(answered);
        if is_refused {
            self.note_refused(answered.as_ref());
        }
        if let Some(change) = Change::of_answered(event) {
            self.answer.observers.tell(|| change);
        }
    }

    fn note_refused(&mut self, request: Option<&PendingRequest>) {
        if let Some(tool) = request.and_then(PendingRequest::tool)
            && self.refused.len() < MAX_REFUSED
        {
            self.refused.push(tool.call_id.clone());
        }
    }

    /// An event of another session than the turn's own: nested progress when
    /// the session is a child, else none of ours.
    fn apply_of_child(&mut self, event: &Event<'_>) {
        let Some(session) = event.session else { return };
        if let EventBody::Session(child) = &event.body {
            let parent = child.parent_id.as_ref();
            if parent
                .is_some_and(|parent| *parent == self.answer.session || self.subtasks.knows(parent))
            {
                self.subtasks.follow(session, None);
            }
            return;
        }
        if self.subtasks.of(session).is_none() {
            return;
        }
        // A child's requests wait for the same person.
        self.request_event(&event.body);
        let Some(child) = self.subtasks.of(session) else {
            return;
        };
        let observers = &mut self.answer.observers;
        for change in child.apply(event, !observers.is_empty()) {
            observers.tell(|| Change::Subtask {
                part_id: child.part().map(Into::into),
                session_id: session.into(),
                change: Box::new(change),
            });
        }
    }

    /// A `task` part has said which session it works in.
    fn adopt_child_of(&mut self, at: usize) {
        if let Some((session, part)) = self.answer.task_of(at) {
            self.subtasks.follow(session, Some(part));
        }
    }

    fn adopt_all(&mut self) {
        for at in 0..self.answer.parts.slots().len() {
            self.adopt_child_of(at);
        }
    }
}
