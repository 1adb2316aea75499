//! Which messages the reply is made of.

use super::part::{Content, Slot};
use super::room::MAX_MESSAGES;
use super::{Change, Reply, Scope};
use crate::id::{MessageId, PartId};
use crate::wire::{MessageInfo, MessageTime, PartBody, Role, Tokens};

#[derive(Debug)]
pub(super) struct TrackedMessage {
    pub(super) id: MessageId,
    pub(super) standing: Standing,
    /// What the server says of it, as far as that was heard.
    pub(super) info: Option<MessageInfo>,
    /// Cost and tokens of each step, by part.
    pub(super) steps: Vec<(PartId, f64, Tokens)>,
    /// Why its last step ended, once one has.
    pub(super) step_ended: Option<String>,
}

/// The most steps of one message that are counted. One is the rule.
pub(super) const MAX_STEPS: usize = 256;

impl TrackedMessage {
    /// Hears what the server says of the message. An end that was said stays.
    pub(super) fn hear(&mut self, info: &MessageInfo) {
        let mut info = info.clone();
        if let Some(before) = self.info.take() {
            info.finish = info.finish.or(before.finish);
            info.error = info.error.or(before.error);
            info.time.completed = info.time.completed.or(before.time.completed);
        }
        self.info = Some(info);
    }

    fn parent(&self) -> Option<&MessageId> {
        self.info.as_ref()?.parent_id.as_ref()
    }

    fn is_finished(&self) -> bool {
        self.info.as_ref().is_some_and(MessageInfo::is_finished)
    }

    /// It ended the answer, if it called no tools: the model stopped, and did not say that it was for tools.
    fn is_last_word(&self) -> bool {
        let info = self.info.as_ref();
        info.is_some_and(|info| info.finish.is_some() && !info.wants_more())
    }

    /// All that was heard of it.
    pub(super) fn known(&self) -> MessageInfo {
        let (cost, tokens) = self.usage();
        let mut info = self.info.clone().unwrap_or_else(|| MessageInfo {
            id: self.id.clone(),
            role: Role::Assistant,
            parent_id: None,
            time: MessageTime::default(),
            finish: None,
            cost,
            tokens,
            error: None,
            summary: self.standing == Standing::Summary,
        });
        (info.cost, info.tokens) = (cost, tokens);
        if !info.is_finished() {
            info.finish.clone_from(&self.step_ended);
        }
        info
    }

    /// Cost and tokens, by the steps; where none says any, by the message.
    pub(super) fn usage(&self) -> (f64, Tokens) {
        let mut sum = (0.0, Tokens::default());
        for (_, cost, tokens) in &self.steps {
            sum.0 += cost;
            sum.1 += *tokens;
        }
        if sum == (0.0, Tokens::default()) {
            let told = self.info.as_ref();
            told.map_or(sum, |info| (info.cost, info.tokens))
        } else {
            sum
        }
    }
}

/// Whether a message belongs to the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing but parts of it came so far.
    Unknown,
    /// It answers the prompt.
    Answer,
    /// A summary that the server made in the middle of the answer: its cost counts, its text
    /// is no part of the reply.
    Summary,
    /// The prompt itself, or part of another turn.
    Foreign,
}

impl Standing {
    /// Whether a message's cost, tokens and errors are the turn's.
    pub(super) fn counts(self) -> bool {
        matches!(self, Self::Answer | Self::Summary)
    }
}

impl Reply {
    /// Hears a part of a user message: the server may have written it itself, to go on with the answer; see
    /// [`Exchange`](crate::Exchange).
    pub(super) fn heard_of_user(&mut self, message: &MessageId, body: &PartBody) {
        let Scope::Prompt(prompt) = &self.scope else {
            return;
        };
        let behind_summary = || {
            let mut own = self.messages.iter().rev();
            own.find(|message| message.standing.counts())
                .is_some_and(|last| last.standing == Standing::Summary && last.is_finished())
        };
        let goes_on = match body {
            PartBody::Compaction => true,
            PartBody::Text {
                synthetic: true, ..
            } => behind_summary(),
            _ => false,
        };
        if goes_on && self.state.prompt_seen && message != prompt {
            self.continue_with(message);
        }
    }

    /// What answers this message is part of the reply from now on.
    pub(super) fn continue_with(&mut self, message: &MessageId) {
        if !self.continued.contains(message) && self.continued.len() < MAX_MESSAGES {
            self.continued.push(message.clone());
        }
    }

    pub(super) fn message_updated(&mut self, info: &MessageInfo) {
        let standing = self.standing_of(info);
        let Some(at) = self.track(&info.id) else {
            return;
        };
        let tracked = &mut self.messages[at];
        let before = std::mem::replace(&mut tracked.standing, standing);
        tracked.hear(info);
        if standing.counts() {
            if let Some(error) = info.error.as_ref().filter(|error| !error.is_abort()) {
                self.state.error = Some(error.clone());
            }
            self.emit(&Change::message(info));
        }
        if before == Standing::Unknown {
            self.state.restarted |= standing == Standing::Answer
                && (0..at).any(|earlier| {
                    let earlier_message = &self.messages[earlier];
                    earlier_message.is_last_word()
                        && earlier_message.parent() == info.parent_id.as_ref()
                        && !self.calls_tools(earlier)
                });
            self.message_became(at, standing);
        }
    }

    /// Whether a message called tools: then it was not the last, whatever word it ended with.
    fn calls_tools(&self, message: usize) -> bool {
        let mut slots = self.slots.iter();
        slots.any(|slot| slot.message == Some(message) && matches!(slot.content, Content::Tool(_)))
    }

    /// Whether a message belongs to the reply; notes that the prompt was seen.
    pub(super) fn standing_of(&mut self, info: &MessageInfo) -> Standing {
        let answers = match &self.scope {
            Scope::Session => info.role == Role::Assistant,
            Scope::Prompt(prompt) => {
                let to = info.parent_id.as_ref();
                let answers = info.role == Role::Assistant
                    && to.is_some_and(|to| to == prompt || self.continued.contains(to));
                self.state.prompt_seen |= answers || info.id == *prompt;
                answers
            }
        };
        if self.scope == Scope::Session {
            self.state.prompt_seen = true;
        }
        if answers && info.summary {
            Standing::Summary
        } else if answers {
            Standing::Answer
        } else {
            Standing::Foreign
        }
    }

    /// Parts that came before their message was known are shown, or forgotten.
    pub(super) fn message_became(&mut self, at: usize, standing: Standing) {
        match standing {
            Standing::Answer => {
                for slot in 0..self.slots.len() {
                    if self.slots[slot].message == Some(at) {
                        self.announce(slot);
                    }
                }
            }
            Standing::Foreign | Standing::Summary => {
                self.remove_slots(|slot| slot.message == Some(at));
            }
            Standing::Unknown => {}
        }
    }

    pub(super) fn message_removed(&mut self, message: &MessageId) {
        if let Some(at) = self
            .messages
            .iter()
            .position(|tracked| tracked.id == *message)
        {
            self.messages[at].standing = Standing::Foreign;
            self.remove_slots(|slot| slot.message == Some(at));
        }
    }

    pub(super) fn part_removed(&mut self, part: &PartId) {
        if let Some(&slot) = self.index.get(part) {
            let removed = self.slots[slot].announced;
            self.remove_slots(|slot| slot.id.as_ref() == Some(part));
            if removed {
                self.emit(&Change::PartRemoved {
                    part_id: part.as_str().into(),
                });
            }
        }
    }

    pub(super) fn remove_slots(&mut self, gone: impl Fn(&Slot) -> bool) {
        self.slots.retain(|slot| !gone(slot));
        self.reindex();
    }

    pub(super) fn reindex(&mut self) {
        self.last_grown = 0;
        self.used = 0;
        self.index.clear();
        for (at, slot) in self.slots.iter().enumerate() {
            self.used += slot.charged;
            if let Some(id) = &slot.id {
                self.index.insert(id.clone(), at);
            }
        }
    }

    /// The place of a message among those seen, newly made where it is the first word of it. `None` where there are
    /// too many to tell apart.
    pub(super) fn track(&mut self, id: &MessageId) -> Option<usize> {
        // The newest is nearly always the one.
        if let Some(at) = self.messages.iter().rposition(|message| message.id == *id) {
            return Some(at);
        }
        if self.messages.len() >= MAX_MESSAGES {
            self.state.cut = true;
            return None;
        }
        let standing = match &self.scope {
            Scope::Prompt(prompt) if prompt == id => Standing::Foreign,
            _ => Standing::Unknown,
        };
        self.messages.push(TrackedMessage {
            id: id.clone(),
            standing,
            info: None,
            steps: Vec::new(),
            step_ended: None,
        });
        Some(self.messages.len() - 1)
    }
}
