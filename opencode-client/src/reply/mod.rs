//! The answer to one prompt while it is being composed.
//!
//! [`Reply::apply`] folds live events, [`Reply::reconcile`] brings in the
//! authoritative exchange; both end in the same [`ReplyResult`]. Only parts of
//! assistant messages that answer this prompt enter the reply. Events may come
//! twice, late, or in another order: the result is the exchange's all the same.

mod change;
mod checkpoint;
mod heard;
mod messages;
mod part;
mod reconcile;
mod requests;
mod result;
mod room;
mod subtask;
mod todo;
mod tool_part;
mod view;

use std::collections::HashMap;

pub use change::{Change, Observer, ObserverError, ProblemSink, SnapshotPart};
pub use checkpoint::Checkpoint;
pub use part::{PartKind, PersistedPart, Provenance};
pub use requests::{PendingRequest, Requests};
pub use result::{ReplyResult, is_blank};
pub use room::{MAX_DETAIL_BYTES, MAX_PARTS, MAX_REPLY_BYTES};
pub use tool_part::{MAX_ERROR_CHARS, ToolPart, ToolStatus};
pub use view::{Gone, Notice, View, ViewPart};

use crate::error::UpstreamError;
use crate::event::{Event, EventBody, PartDelta};
use crate::id::{MessageId, PartId, SessionId};
use crate::wire::{Part, PartBody, SessionStatus, Tokens};
use messages::{MAX_STEPS, Standing, TrackedMessage};
use part::{Content, Slot};
use subtask::Subtasks;

/// Which messages of a session make up the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The assistant messages that name this prompt as their parent.
    Prompt(MessageId),
    /// Every assistant message: a child session, or a session watched as a whole.
    Session,
}

/// The answer to one prompt while it is being composed.
#[derive(Debug)]
pub struct Reply {
    session: SessionId,
    scope: Scope,
    /// What the server wrote to itself, to go on with the answer.
    continued: Vec<MessageId>,
    messages: Vec<TrackedMessage>,
    slots: Vec<Slot>,
    index: HashMap<PartId, usize>,
    /// The slot that grew last: the next delta is nearly always for it.
    last_grown: usize,
    requests: Requests,
    subtasks: Subtasks,
    observers: Vec<Box<dyn Observer>>,
    problems: Option<ProblemSink>,
    state: State,
    changes: u64,
    /// The most bytes it may take, and what it takes.
    limit: usize,
    used: usize,
}

/// What the events said about the turn beside its parts.
#[derive(Clone, Debug, Default)]
struct State {
    prompt_seen: bool,
    idle_seen: bool,
    /// The tool calls whose request the person refused.
    refused: Vec<String>,
    first_text: bool,
    error: Option<UpstreamError>,
    retry: Option<(u32, String)>,
    retries: u32,
    restarted: bool,
    /// The folder that the answer's events are of.
    directory: Option<Box<str>>,
    /// Events were missed at some time: a text whose beginning was not heard may lack it.
    gapped: bool,
    /// Words or parts were left out for lack of room.
    cut: bool,
    /// Details of tools were.
    trimmed: bool,
}

impl Reply {
    /// An empty reply to one prompt.
    pub fn new(session: SessionId, prompt: MessageId) -> Self {
        Self::with_scope(session, Scope::Prompt(prompt))
    }

    /// An empty reply with a scope of its own.
    pub fn with_scope(session: SessionId, scope: Scope) -> Self {
        Self {
            session,
            scope,
            continued: Vec::new(),
            messages: Vec::new(),
            slots: Vec::new(),
            index: HashMap::new(),
            last_grown: 0,
            requests: Requests::default(),
            subtasks: Subtasks::default(),
            observers: Vec::new(),
            problems: None,
            state: State::default(),
            changes: 0,
            limit: room::MAX_REPLY_BYTES,
            used: 0,
        }
    }

    /// Leaves a message out of the reply: the prompt, where the scope does not name it.
    pub fn leave_out(&mut self, message: &MessageId) {
        if let Some(at) = self.track(message) {
            self.messages[at].standing = Standing::Foreign;
        }
    }

    /// Has `observer` hear every change from now on.
    pub fn observe(&mut self, observer: impl Observer + 'static) {
        self.observers.push(Box::new(observer));
    }

    /// Where the failures of observers are reported; a warning is traced without.
    pub fn report_problems_to(&mut self, sink: ProblemSink) {
        self.problems = Some(sink);
    }

    /// Whether the server has shown that it knows the prompt: the prompt's own
    /// message, or one that answers it.
    pub fn prompt_seen(&self) -> bool {
        self.state.prompt_seen
    }

    /// Whether the session went idle after the prompt was seen. Idle events
    /// come twice and late: a reason to look at the exchange, not an end.
    pub fn take_idle(&mut self) -> bool {
        std::mem::take(&mut self.state.idle_seen)
    }

    /// What the server reported about this turn, aborts excepted.
    pub fn error(&self) -> Option<&UpstreamError> {
        self.state.error.as_ref()
    }

    /// Whether the person refused what this tool call asked: a question, a permission.
    pub fn has_refused(&self, call_id: &str) -> bool {
        self.state.refused.iter().any(|refused| refused == call_id)
    }

    /// Whether words or parts of the answer were left out because it is larger than is kept; see
    /// [`MAX_REPLY_BYTES`] and [`MAX_PARTS`].
    pub fn is_cut(&self) -> bool {
        self.state.cut
    }

    /// Whether details of tool calls were left out because they are larger than is kept; see [`MAX_DETAIL_BYTES`].
    pub fn is_trimmed(&self) -> bool {
        self.state.trimmed
    }

    /// Whether a first piece of the answer has come.
    pub fn has_begun(&self) -> bool {
        self.state.first_text
    }

    /// How often the server said that it waits for its provider.
    pub fn retries(&self) -> u32 {
        self.state.retries
    }

    /// The questions and permission requests that wait for an answer.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// How many changes observers were told of.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How many messages answer the prompt so far.
    pub fn message_count(&self) -> usize {
        self.messages
            .iter()
            .filter(|message| message.standing.counts())
            .count()
    }

    /// How many tool calls the reply holds so far.
    pub fn tool_count(&self) -> usize {
        self.visible()
            .filter(|slot| matches!(slot.content, Content::Tool(_)))
            .count()
    }

    /// Whether some tool call of the reply has ended.
    pub fn has_ended_tool(&self) -> bool {
        self.visible()
            .any(|slot| matches!(&slot.content, Content::Tool(tool) if tool.status.is_terminal()))
    }

    /// Whether, since this was last asked, the answer went on after it had
    /// ended: a server that loops.
    pub fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.state.restarted)
    }

    /// Sessions that tools of this reply said they work in, and that events of
    /// should be heard.
    pub fn children(&self) -> impl Iterator<Item = &SessionId> {
        self.subtasks.sessions()
    }

    /// Cost in US dollars and tokens of the steps that ended so far.
    pub fn usage(&self) -> (f64, Tokens) {
        let (mut cost, mut tokens) = (0.0, Tokens::default());
        for message in self
            .messages
            .iter()
            .filter(|message| message.standing.counts())
        {
            let (own_cost, own_tokens) = message.usage();
            cost += own_cost;
            tokens += own_tokens;
        }
        (cost, tokens)
    }

    /// Folds one event in. Events of other sessions than this turn's and its
    /// children's are ignored.
    pub fn apply(&mut self, event: &Event<'_>) {
        if event.session != Some(self.session.as_str()) {
            self.apply_of_child(event);
            return;
        }
        let elsewhere = self.is_elsewhere(event);
        match &event.body {
            EventBody::PartDelta(delta) => self.part_delta(delta),
            EventBody::PartUpdated(part) => self.part_updated(part),
            EventBody::PartRemoved { part } => self.part_removed(part),
            EventBody::MessageUpdated(info) => self.message_updated(info),
            EventBody::MessageRemoved { message } => self.message_removed(message),
            EventBody::SessionStatus(SessionStatus::Idle) | EventBody::SessionIdle if elsewhere => {
            }
            EventBody::SessionStatus(status) => self.status(status),
            EventBody::SessionIdle => self.idle(),
            EventBody::SessionError(error) => self.session_error(error),
            EventBody::TodoUpdated(todos) => self.todo_updated(todos),
            _ => self.request_event(&event.body),
        }
    }

    /// Whether the event is of another folder than the answer's. Servers up to 1.15.4 that are
    /// told to stop a session without its folder say there that it is idle: it works on.
    fn is_elsewhere(&mut self, event: &Event<'_>) -> bool {
        let known = self.state.directory.as_deref();
        let elsewhere = known.is_some() && event.directory.is_some() && known != event.directory;
        if let EventBody::PartUpdated(_) | EventBody::MessageUpdated(_) = event.body {
            self.state.directory = event.directory.map(Into::into);
        }
        elsewhere
    }

    fn status(&mut self, status: &SessionStatus) {
        match status {
            SessionStatus::Idle => self.idle(),
            SessionStatus::Retry {
                attempt,
                message,
                next,
                action,
            } => {
                // The same wait may be said more than once.
                let retry = (*attempt, message.clone());
                if self.state.retry.as_ref() != Some(&retry) {
                    self.state.retry = Some(retry);
                    self.state.retries += 1;
                    self.emit(&Change::Retry {
                        attempt: *attempt,
                        message: message.into(),
                        next_ms: *next,
                        action: action.clone(),
                    });
                }
            }
            SessionStatus::Busy | SessionStatus::Unknown => {}
        }
    }

    fn idle(&mut self) {
        if self.state.prompt_seen {
            self.state.idle_seen = true;
        }
    }

    fn session_error(&mut self, error: &UpstreamError) {
        if error.is_abort() {
            return;
        }
        // Servers say an error twice, the second time with a stack trace: the first is the better one.
        if self.state.error.is_none() {
            self.state.error = Some(error.clone());
            self.emit(&Change::SessionError {
                error: error.clone(),
            });
        }
    }

    fn part_delta(&mut self, delta: &PartDelta<'_>) {
        if !delta.field.is_empty() && delta.field != "text" {
            return;
        }
        let known = match self.slots.get(self.last_grown) {
            Some(slot) if slot.id.as_ref().is_some_and(|id| id.as_str() == delta.part) => {
                Some(self.last_grown)
            }
            _ => self.index.get(&*delta.part).copied(),
        };
        let Some(at) = known.or_else(|| self.insert_undecided(delta)) else {
            return;
        };
        self.last_grown = at;
        let text = self.slots[at].joined(&delta.delta);
        let text = self.fit_text(&text, self.room());
        if self.slots[at].grow(text) {
            self.used += text.len();
            self.slots[at].charged += text.len();
            self.grew(at, text);
        }
    }

    /// A place for a part whose first delta came before the part itself; `None` where it is none of ours.
    fn insert_undecided(&mut self, delta: &PartDelta<'_>) -> Option<usize> {
        let message = self.track(&MessageId::from(&*delta.message))?;
        if matches!(
            self.messages[message].standing,
            Standing::Foreign | Standing::Summary
        ) {
            return None;
        }
        let part = PartId::from(&*delta.part);
        self.recognise(&part, message, |slot| {
            !slot.finalised && slot.content.text().is_some()
        });
        if let Some(&at) = self.index.get(&part) {
            return Some(at);
        }
        let at = self.insert(part, message, Content::Undecided(String::new()))?;
        self.slots[at].torn = self.state.gapped;
        Some(at)
    }

    /// Events may have been missed before the next one. A text that goes on then
    /// without what came between is marked with `[…]` there, until the server
    /// says the whole of it: it does so when the part ends, and its messages
    /// hold no unfinished text (1.18.33).
    pub fn gap(&mut self) {
        self.state.gapped = true;
        for slot in &mut self.slots {
            slot.torn = !slot.finalised && slot.content.text().is_some();
        }
    }

    /// Has a part that is here under another name be known by this one too.
    fn recognise(&mut self, id: &PartId, message: usize, fits: impl Fn(&Slot) -> bool) {
        if self.index.contains_key(id) {
            return;
        }
        let twin = |slot: &Slot| slot.may_be_named(id, message) && fits(slot);
        if let Some(at) = self.slots.iter().rposition(twin) {
            self.index.insert(id.clone(), at);
        }
    }

    /// A place for a new part; `None` where there is no room.
    fn insert(&mut self, id: PartId, message: usize, content: Content) -> Option<usize> {
        if !self.has_room_for_part() {
            return None;
        }
        let at = self.slots.len();
        self.index.insert(id.clone(), at);
        self.slots.push(Slot::new(Some(id), Some(message), content));
        self.charge(at);
        Some(at)
    }

    fn part_updated(&mut self, part: &Part) {
        let message = match self.index.get(&part.id) {
            Some(&at) => self.slots[at].message,
            None => None,
        };
        let Some(message) = message.or_else(|| self.track(&part.message_id)) else {
            return;
        };
        match (self.messages[message].standing, &part.body) {
            (Standing::Foreign, body) => return self.heard_of_user(&part.message_id, body),
            (Standing::Summary, body) if !matches!(body, PartBody::StepFinish { .. }) => return,
            _ => {}
        }
        self.recognise(&part.id, message, |slot| slot.content.may_be(&part.body));
        match &part.body {
            PartBody::Text { text, ended, .. } => {
                self.text_updated(part, message, &Content::Text(String::new()), text, *ended);
            }
            PartBody::Reasoning { text, ended } => {
                self.text_updated(
                    part,
                    message,
                    &Content::Reasoning(String::new()),
                    text,
                    *ended,
                );
            }
            PartBody::Tool(call) => self.tool_updated(part, message, call),
            PartBody::StepFinish {
                cost,
                tokens,
                reason,
            } => self.step_finished(part, message, (*cost, *tokens), reason.as_deref()),
            PartBody::Compaction | PartBody::Other { .. } => {}
        }
    }

    fn text_updated(
        &mut self,
        part: &Part,
        message: usize,
        empty: &Content,
        text: &str,
        ended: bool,
    ) {
        let known = self.index.get(&part.id).copied();
        let Some(at) = known.or_else(|| self.insert(part.id.clone(), message, empty.clone()))
        else {
            return;
        };
        let slot = &mut self.slots[at];
        slot.decide(empty);
        let own = slot.content.text().map_or(0, str::len);
        self.announce(at);
        let text = self.fit_text(text, self.room() + own);
        let update = self.slots[at].take_text(text, ended);
        self.charge(at);
        match update {
            part::TextUpdate::Same => {}
            part::TextUpdate::Grew { from } => self.grew(at, &text[from..]),
            part::TextUpdate::Replaced => {
                self.emit_part(at, |part_id, part| Change::PartReplaced { part_id, part })
            }
        }
        if ended && self.slots[at].finalise() {
            self.emit_part(at, |part_id, part| Change::PartFinal { part_id, part });
        }
    }

    fn grew(&mut self, at: usize, delta: &str) {
        if !self.is_visible(at) || matches!(self.slots[at].content, Content::Undecided(_)) {
            return;
        }
        self.announce(at);
        self.state.first_text = true;
        if self.observers.is_empty() {
            self.changes += 1;
            return;
        }
        let slot = &self.slots[at];
        let Some(kind) = slot.content.kind() else {
            return;
        };
        let change = Change::PartDelta {
            part_id: slot.key().to_owned().into(),
            kind,
            delta: delta.into(),
        };
        self.emit(&change);
    }

    fn step_finished(
        &mut self,
        part: &Part,
        message: usize,
        (cost, tokens): (f64, Tokens),
        reason: Option<&str>,
    ) {
        let tracked = &mut self.messages[message];
        tracked.step_ended = Some(reason.unwrap_or_default().to_owned());
        // A message has one step, which may have its id at times only.
        let same = |id: &PartId| *id == part.id || id.is_stand_in() != part.id.is_stand_in();
        if tracked.steps.len() == MAX_STEPS || tracked.steps.iter().any(|(id, ..)| same(id)) {
            return;
        }
        tracked.steps.push((part.id.clone(), cost, tokens));
        if tracked.standing.counts() {
            self.emit(&Change::step(cost, tokens));
        }
    }

    fn is_visible(&self, at: usize) -> bool {
        match self.slots[at].message {
            None => true,
            Some(message) => match self.messages[message].standing {
                Standing::Answer => true,
                // A session watched as a whole: a server may not say who wrote.
                Standing::Unknown => self.scope == Scope::Session,
                Standing::Foreign | Standing::Summary => false,
            },
        }
    }

    /// The parts that belong to the reply, in order.
    fn visible(&self) -> impl Iterator<Item = &Slot> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(at, _)| self.is_visible(*at))
            .map(|(_, slot)| slot)
    }

    /// Tells observers of a part, once, when it is known to belong here.
    fn announce(&mut self, at: usize) {
        if self.slots[at].announced
            || !self.is_visible(at)
            || matches!(self.slots[at].content, Content::Undecided(_))
        {
            return;
        }
        self.slots[at].announced = true;
        self.state.first_text |= !self.slots[at].content.is_empty();
        self.emit_part(at, |part_id, part| Change::PartAdded { part_id, part });
    }

    fn emit_part(
        &mut self,
        at: usize,
        change: impl FnOnce(std::borrow::Cow<'static, str>, PersistedPart) -> Change<'static>,
    ) {
        if !self.slots[at].announced {
            return;
        }
        let slot = &self.slots[at];
        let change = change(slot.key().to_owned().into(), slot.persisted());
        self.emit(&change);
    }

    fn emit(&mut self, change: &Change<'_>) {
        self.changes += 1;
        for observer in &mut self.observers {
            if let Err(error) = observer.changed(change) {
                match &self.problems {
                    Some(sink) => sink.report(&error),
                    None => tracing::warn!(%error, "an observer of the reply failed"),
                }
            }
        }
    }
}
