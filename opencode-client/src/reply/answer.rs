//! The answer of one session while it is composed: its messages and parts, and what is told of them.

use std::borrow::Cow;

use super::change::{Change, SnapshotPart};
use super::merge::Merge;
use super::messages::{Messages, Scope, Standing};
use super::observers::Observers;
use super::part::PersistedPart;
use super::parts::{MAX_TODOS, Parts};
use super::requests::Requests;
use super::slot::{Content, Slot, TextUpdate};
use super::tracked::Tracked;
use crate::error::UpstreamError;
use crate::event::{Event, EventBody, PartDelta};
use crate::exchange::Exchange;
use crate::id::{MessageId, PartId, SessionId};
use crate::wire::{MessageInfo, Part, PartBody, SessionStatus, Todo, Tokens, ToolCall};

/// The answer of one session while it is composed. Requests and child sessions are beside it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) session: SessionId,
    pub(super) messages: Messages,
    pub(super) parts: Parts,
    pub(super) said: Said,
    pub(super) observers: Observers,
}

/// What the events said of the turn beside messages and parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) idle_seen: bool,
    pub(super) has_begun: bool,
    pub(super) error: Option<UpstreamError>,
    retry: Option<(u32, String)>,
    pub(super) retries: u32,
    pub(super) restarted: bool,
    /// The folder that the answer's events are of.
    directory: Option<Box<str>>,
}

impl Answer {
    /// No answer yet, whose parts may take so many bytes.
    pub(super) fn new(session: SessionId, scope: Scope, limit: usize) -> Self {
        Self {
            session,
            messages: Messages::new(scope),
            parts: Parts::new(limit),
            said: Said::default(),
            observers: Observers::default(),
        }
    }

    /// Folds an event of the session in. The place of the tool call that it is about, if it is about one.
    pub(super) fn apply(&mut self, event: &Event<'_>, waiting: &Requests) -> Option<usize> {
        let elsewhere = self.is_elsewhere(event);
        match &event.body {
            EventBody::PartDelta(delta) => self.part_delta(delta),
            EventBody::PartUpdated(part) => return self.part_updated(part, waiting),
            EventBody::PartRemoved { part } => self.part_removed(part),
            EventBody::MessageUpdated(info) => self.message_updated(info),
            EventBody::MessageRemoved { message } => self.message_removed(message),
            EventBody::SessionStatus(SessionStatus::Idle) | EventBody::SessionIdle if elsewhere => {
            }
            EventBody::SessionStatus(status) => self.status(status),
            EventBody::SessionIdle => self.idle(),
            EventBody::SessionError(error) => self.session_error(error),
            EventBody::TodoUpdated(todos) => self.todo_updated(todos),
            _ => {}
        }
        None
    }

    /// Whether the event is of another folder than the answer's. Servers up to 1.15.4 that are
    /// told to stop a session without its folder say there that it is idle: it works on.
    fn is_elsewhere(&mut self, event: &Event<'_>) -> bool {
        let known = self.said.directory.as_deref();
        let elsewhere = known.is_some() && event.directory.is_some() && known != event.directory;
        if let EventBody::PartUpdated(_) | EventBody::MessageUpdated(_) = event.body {
            self.said.directory = event.directory.map(Into::into);
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
                if self.said.retry.as_ref() != Some(&retry) {
                    self.said.retry = Some(retry);
                    self.said.retries += 1;
                    self.observers.tell(|| Change::Retry {
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
        self.said.idle_seen |= self.messages.prompt_seen;
    }

    fn session_error(&mut self, error: &UpstreamError) {
        // Servers say an error twice, the second time with a stack trace: the first is the better one.
        if !error.is_abort() && self.said.error.is_none() {
            self.said.error = Some(error.clone());
            self.observers.tell(|| Change::SessionError {
                error: error.clone(),
            });
        }
    }

    fn part_delta(&mut self, delta: &PartDelta<'_>) {
        if !delta.field.is_empty() && delta.field != "text" {
            return;
        }
        let known = self.parts.place_of_delta(delta);
        let Some(at) = known.or_else(|| self.insert_undecided(delta)) else {
            return;
        };
        if let Some(text) = self.parts.grow(at, &delta.delta) {
            self.grew(at, &text);
        }
    }

    /// A place for a part whose first delta came before the part itself; `None` where it is none of ours.
    fn insert_undecided(&mut self, delta: &PartDelta<'_>) -> Option<usize> {
        let message = self.messages.track(&MessageId::from(&*delta.message))?;
        match self.messages.at(message).standing {
            Standing::Foreign | Standing::Summary => None,
            Standing::Answer | Standing::Unknown => {
                let part = PartId::from(&*delta.part);
                self.parts.insert_undecided(part, message)
            }
        }
    }

    fn part_updated(&mut self, part: &Part, waiting: &Requests) -> Option<usize> {
        let known = self.parts.place_of(&part.id);
        let message = match known.and_then(|at| self.parts.at(at).message) {
            Some(message) => message,
            None => self.messages.track(&part.message_id)?,
        };
        match (self.messages.at(message).standing, &part.body) {
            (Standing::Foreign, body) => {
                self.messages.heard_of_user(&part.message_id, body);
                return None;
            }
            (Standing::Summary, body) if !matches!(body, PartBody::StepFinish { .. }) => {
                return None;
            }
            _ => {}
        }
        self.parts
            .recognise(&part.id, message, |slot| slot.content.may_be(&part.body));
        match &part.body {
            PartBody::Text { text, ended, .. } => {
                let empty = Content::Text(Tracked::default());
                self.text_updated(part, message, empty, text, *ended);
            }
            PartBody::Reasoning { text, ended } => {
                let empty = Content::Reasoning(Tracked::default());
                self.text_updated(part, message, empty, text, *ended);
            }
            PartBody::Tool(call) => return self.tool_updated(part, message, call, waiting),
            PartBody::StepFinish {
                cost,
                tokens,
                reason,
            } => self.step_finished(part, message, (*cost, *tokens), reason.as_deref()),
            PartBody::Compaction | PartBody::Other { .. } => {}
        }
        None
    }

    fn text_updated(
        &mut self,
        part: &Part,
        message: usize,
        empty: Content,
        text: &str,
        ended: bool,
    ) {
        let at = match self.parts.place_of(&part.id) {
            Some(at) => {
                self.parts.at_mut(at).decide(&empty);
                at
            }
            None => match self.parts.insert(part.id.clone(), message, empty) {
                Some(at) => at,
                None => return,
            },
        };
        self.announce(at);
        match self.parts.take_text(at, text, ended) {
            TextUpdate::Same => {}
            TextUpdate::Grew { from } => {
                // As much of it as there was room for.
                let to = self.parts.at(at).content.text().map_or(from, str::len);
                self.grew(at, &text[from..to]);
            }
            TextUpdate::Replaced => {
                self.tell_part(at, |part_id, part| Change::PartReplaced { part_id, part });
            }
        }
        if ended && self.parts.at_mut(at).finalise() {
            self.tell_part(at, |part_id, part| Change::PartFinal { part_id, part });
        }
    }

    fn grew(&mut self, at: usize, delta: &str) {
        let slot = self.parts.at(at);
        if !self.messages.shows(slot.message) || matches!(slot.content, Content::Undecided(_)) {
            return;
        }
        self.announce(at);
        self.said.has_begun = true;
        let slot = self.parts.at(at);
        if let Some(kind) = slot.content.kind() {
            self.observers.tell(|| Change::PartDelta {
                part_id: slot.key().into(),
                kind,
                delta: delta.into(),
            });
        }
    }

    fn tool_updated(
        &mut self,
        part: &Part,
        message: usize,
        call: &ToolCall,
        waiting: &Requests,
    ) -> Option<usize> {
        let (at, changed) = self.parts.take_call(part, message, call, waiting)?;
        let slot = self.parts.at(at);
        if !slot.announced {
            self.announce(at);
        } else if changed && self.messages.shows(slot.message) {
            self.tell_part(at, |part_id, part| Change::Tool { part_id, part });
        }
        let slot = self.parts.at_mut(at);
        if matches!(&slot.content, Content::Tool(tool) if tool.status.is_terminal()) {
            slot.finalise();
        }
        Some(at)
    }

    fn step_finished(
        &mut self,
        part: &Part,
        message: usize,
        usage: (f64, Tokens),
        reason: Option<&str>,
    ) {
        if self.messages.step_ended(message, &part.id, usage, reason) {
            self.observers.tell(|| Change::step(usage.0, usage.1));
        }
    }

    fn part_removed(&mut self, part: &PartId) {
        if let Some(at) = self.parts.place_of(part) {
            let was_announced = self.parts.at(at).announced;
            self.parts.remove(|slot| slot.id.as_ref() == Some(part));
            if was_announced {
                self.observers.tell(|| Change::PartRemoved {
                    part_id: part.as_str().into(),
                });
            }
        }
    }

    fn message_updated(&mut self, info: &MessageInfo) {
        let Some((at, before)) = self.messages.hear(info) else {
            return;
        };
        let standing = self.messages.at(at).standing;
        if standing.counts() {
            if let Some(error) = info.error.as_ref().filter(|error| !error.is_abort()) {
                self.said.error = Some(error.clone());
            }
            self.observers.tell(|| Change::message(info));
        }
        if before == Standing::Unknown {
            self.said.restarted |= standing == Standing::Answer && self.goes_on_after_its_end(at);
            self.message_became(at, standing);
        }
    }

    /// Whether an earlier message than this one, in answer to the same, had ended the answer.
    fn goes_on_after_its_end(&self, at: usize) -> bool {
        let parent = self.messages.at(at).parent();
        let mut earlier = self.messages.all().take(at).enumerate();
        earlier.any(|(earlier, message)| {
            message.is_last_word() && message.parent() == parent && !self.parts.calls_tools(earlier)
        })
    }

    /// Parts that came before their message was known are shown, or forgotten.
    fn message_became(&mut self, message: usize, standing: Standing) {
        match standing {
            Standing::Answer => {
                for at in 0..self.parts.slots().len() {
                    if self.parts.at(at).message == Some(message) {
                        self.announce(at);
                    }
                }
            }
            Standing::Foreign | Standing::Summary => {
                self.parts.remove(|slot| slot.message == Some(message));
            }
            Standing::Unknown => {}
        }
    }

    fn message_removed(&mut self, message: &MessageId) {
        if let Some(at) = self.messages.place_of(message) {
            self.messages.set_standing(at, Standing::Foreign);
            self.parts.remove(|slot| slot.message == Some(at));
        }
    }

    fn todo_updated(&mut self, todos: &[Todo]) {
        if !self.messages.prompt_seen {
            // A late word about an earlier turn.
            return;
        }
        let todos = &todos[..todos.len().min(MAX_TODOS)];
        if let Some(at) = self.parts.take_plan(&self.messages, todos) {
            self.announce(at);
            self.observers.tell(|| Change::Todos {
                todos: todos.to_vec(),
            });
        }
    }

    /// Has the tool call that asks show its question.
    pub(super) fn show_request(&mut self, call_id: &str, waiting: &Requests) {
        let newest = self.parts.newest_tool(&self.messages, |tool| {
            tool.call_id.as_deref() == Some(call_id)
        });
        if let Some(at) = newest
            && self.parts.merge_request(at, waiting)
        {
            self.tell_part(at, |part_id, part| Change::Tool { part_id, part });
        }
    }

    /// The child session that the tool call in this place works in, and the call's id.
    pub(super) fn task_of(&self, at: usize) -> Option<(&str, String)> {
        let slot = self.parts.at(at);
        match &slot.content {
            Content::Tool(tool) => Some((tool.child_session()?, slot.key().to_owned())),
            _ => None,
        }
    }

    /// Takes the exchange in; see [`Reply::reconcile`](super::fold::Reply::reconcile).
    pub(super) fn reconcile(&mut self, exchange: &Exchange) {
        let before = self.snapshot();
        self.messages.prompt_seen |= exchange.prompt_seen || !exchange.messages.is_empty();
        let mut places = Vec::with_capacity(exchange.messages.len());
        for message in &exchange.messages {
            let at = self.messages.hear_answer(message);
            places.push(at);
            let error = message.info.error.as_ref();
            if let Some(error) = error.filter(|error| at.is_some() && !error.is_abort()) {
                self.said.error = Some(error.clone());
            }
        }
        for (message, at) in exchange.messages.iter().zip(&places) {
            for part in &message.parts {
                if let PartBody::StepFinish {
                    cost,
                    tokens,
                    reason,
                } = &part.body
                    && let Some(at) = *at
                {
                    self.step_finished(part, at, (*cost, *tokens), reason.as_deref());
                }
            }
        }
        let mut streamed = self.parts.take();
        streamed.retain(|slot| {
            let is_answer = |at| self.messages.at(at).standing == Standing::Answer;
            slot.message.is_none_or(is_answer)
        });
        let mut merged = Merge::new(streamed, self.parts.is_gapped);
        for (message, at) in exchange.messages.iter().zip(places) {
            if let Some(at) = at.filter(|_| !message.info.summary) {
                merged.take_message(message, at);
            }
        }
        let ids: Vec<_> = self.messages.all().map(|message| &message.id).collect();
        self.parts.put(merged.finish(exchange, &ids));
        for at in 0..self.parts.slots().len() {
            let slot = self.parts.at_mut(at);
            slot.announced = !slot.content.is_empty();
            self.said.has_begun |= slot.announced;
        }
        let after = self.snapshot();
        if before != after {
            self.observers.tell(|| Change::Snapshot { parts: after });
        }
    }

    /// The parts that belong to the answer, in order.
    pub(super) fn visible(&self) -> impl Iterator<Item = &Slot> {
        let slots = self.parts.slots().iter();
        slots.filter(|slot| self.messages.shows(slot.message))
    }

    /// The parts that observers know of, with the ids that changes name them by.
    pub(super) fn snapshot(&self) -> Vec<SnapshotPart> {
        let shown = self.visible().filter(|slot| slot.announced);
        shown
            .map(|slot| SnapshotPart {
                part_id: slot.key().into(),
                part: slot.persisted(),
            })
            .collect()
    }

    /// Tells observers of a part, once, when it is known to belong here.
    fn announce(&mut self, at: usize) {
        let slot = self.parts.at_mut(at);
        if slot.announced
            || !self.messages.shows(slot.message)
            || matches!(slot.content, Content::Undecided(_))
        {
            return;
        }
        slot.announced = true;
        self.said.has_begun |= !slot.content.is_empty();
        self.tell_part(at, |part_id, part| Change::PartAdded { part_id, part });
    }

    /// Tells observers what has become of a part that they know of.
    fn tell_part(
        &mut self,
        at: usize,
        change: impl for<'a> FnOnce(Cow<'a, str>, PersistedPart) -> Change<'a>,
    ) {
        let slot = self.parts.at(at);
        if slot.announced {
            self.observers
                .tell(|| change(slot.key().into(), slot.persisted()));
        }
    }
}
