//! Which messages the reply is made of.

use crate::id::{MessageId, PartId};
use crate::wire::{Message, MessageInfo, MessageTime, PartBody, Role, Tokens};

/// The most upstream messages that are told apart.
const MAX_MESSAGES: usize = 4096;

/// Which messages of a session make up the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The assistant messages that name this prompt as their parent.
    Prompt(MessageId),
    /// Every assistant message: a child session, or a session watched as a whole.
    Session,
}

/// One message, and what was heard of it.
#[derive(Debug)]
pub(super) struct TrackedMessage {
    pub(super) id: MessageId,
    pub(super) standing: Standing,
    /// What the server says of it, as far as that was heard.
    pub(super) info: Option<MessageInfo>,
    /// Cost and tokens of each step, by part.
    steps: Vec<(PartId, f64, Tokens)>,
    /// Why its last step ended, once one has.
    step_ended: Option<String>,
}

/// The most steps of one message that are counted. One is the rule.
const MAX_STEPS: usize = 256;

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

    pub(super) fn parent(&self) -> Option<&MessageId> {
        self.info.as_ref()?.parent_id.as_ref()
    }

    fn is_finished(&self) -> bool {
        self.info.as_ref().is_some_and(MessageInfo::is_finished)
    }

    /// Whether anything was heard of it beside its parts.
    pub(super) fn is_heard(&self) -> bool {
        self.info.is_some() || !self.steps.is_empty()
    }

    /// Notes that a step ended. False when that was known, or when there were too many.
    fn step_ended(&mut self, part: &PartId, usage: (f64, Tokens), reason: Option<&str>) -> bool {
        self.step_ended = Some(reason.unwrap_or_default().to_owned());
        // A message has one step, which may have its id at times only.
        let same = |id: &PartId| id == part || id.is_stand_in() != part.is_stand_in();
        let new = self.steps.len() < MAX_STEPS && !self.steps.iter().any(|(id, ..)| same(id));
        if new {
            self.steps.push((part.clone(), usage.0, usage.1));
        }
        new
    }

    /// It ended the answer, if it called no tools: the model stopped, and did not say that it was for tools.
    pub(super) fn is_last_word(&self) -> bool {
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

/// The messages of a session as far as they were seen, and which of them are the answer.
#[derive(Debug)]
pub(super) struct Messages {
    scope: Scope,
    /// What the server wrote to itself, to go on with the answer.
    continued: Vec<MessageId>,
    tracked: Vec<TrackedMessage>,
    /// The server has shown that it knows the prompt.
    pub(super) prompt_seen: bool,
    /// There were too many to tell apart: some are left out.
    pub(super) is_cut: bool,
}

impl Messages {
    pub(super) fn new(scope: Scope) -> Self {
        Self {
            scope,
            continued: Vec::new(),
            tracked: Vec::new(),
            prompt_seen: false,
            is_cut: false,
        }
    }

    /// The prompt that is answered, where it is one.
    pub(super) fn prompt(&self) -> Option<&MessageId> {
        match &self.scope {
            Scope::Prompt(prompt) => Some(prompt),
            Scope::Session => None,
        }
    }

    /// Every message that was seen, in that order.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &TrackedMessage> {
        self.tracked.iter()
    }

    /// The messages whose cost is the turn's.
    pub(super) fn counted(&self) -> impl Iterator<Item = &TrackedMessage> {
        self.all().filter(|message| message.standing.counts())
    }

    pub(super) fn at(&self, at: usize) -> &TrackedMessage {
        &self.tracked[at]
    }

    pub(super) fn set_standing(&mut self, at: usize, standing: Standing) {
        self.tracked[at].standing = standing;
    }

    /// The place of a message that was seen.
    pub(super) fn place_of(&self, id: &MessageId) -> Option<usize> {
        // The newest is nearly always the one.
        self.tracked.iter().rposition(|message| message.id == *id)
    }

    /// The place of a message among those seen, newly made where it is the first word of it. `None` where there are
    /// too many to tell apart.
    pub(super) fn track(&mut self, id: &MessageId) -> Option<usize> {
        if let Some(at) = self.place_of(id) {
            return Some(at);
        }
        if self.tracked.len() >= MAX_MESSAGES {
            self.is_cut = true;
            return None;
        }
        let standing = match &self.scope {
            Scope::Prompt(prompt) if prompt == id => Standing::Foreign,
            _ => Standing::Unknown,
        };
        self.tracked.push(TrackedMessage {
            id: id.clone(),
            standing,
            info: None,
            steps: Vec::new(),
            step_ended: None,
        });
        Some(self.tracked.len() - 1)
    }

    /// Whether the parts of the message in this place are shown; those of none are.
    pub(super) fn shows(&self, message: Option<usize>) -> bool {
        message.is_none_or(|at| match self.tracked[at].standing {
            Standing::Answer => true,
            // A session watched as a whole: a server may not say who wrote.
            Standing::Unknown => self.scope == Scope::Session,
            Standing::Foreign | Standing::Summary => false,
        })
    }

    /// Hears of a message. The standing that it had is told, and its place; `None` where there are too many.
    pub(super) fn hear(&mut self, info: &MessageInfo) -> Option<(usize, Standing)> {
        let standing = self.standing_of(info);
        let at = self.track(&info.id)?;
        let tracked = &mut self.tracked[at];
        let before = std::mem::replace(&mut tracked.standing, standing);
        tracked.hear(info);
        Some((at, before))
    }

    /// Whether a message belongs to the reply; notes that the prompt was seen.
    fn standing_of(&mut self, info: &MessageInfo) -> Standing {
        let answers = match &self.scope {
            Scope::Session => info.role == Role::Assistant,
            Scope::Prompt(prompt) => {
                let to = info.parent_id.as_ref();
                let answers = info.role == Role::Assistant
                    && to.is_some_and(|to| to == prompt || self.continued.contains(to));
                self.prompt_seen |= answers || info.id == *prompt;
                answers
            }
        };
        if self.scope == Scope::Session {
            self.prompt_seen = true;
        }
        if answers && info.summary {
            Standing::Summary
        } else if answers {
            Standing::Answer
        } else {
            Standing::Foreign
        }
    }

    /// Hears a message of the exchange, which is the answer's, and its steps. `None` where there are too many.
    pub(super) fn hear_answer(&mut self, message: &Message) -> Option<usize> {
        let at = self.track(&message.info.id)?;
        if let Some(parent) = &message.info.parent_id {
            self.continue_with(parent);
        }
        let tracked = &mut self.tracked[at];
        tracked.standing = if message.info.summary {
            Standing::Summary
        } else {
            Standing::Answer
        };
        tracked.hear(&message.info);
        Some(at)
    }

    /// Takes a message from a checkpoint: one that answers, at least. `None` where there are too many.
    pub(super) fn restore(&mut self, id: &MessageId) -> Option<usize> {
        let at = self.track(id)?;
        if !self.tracked[at].standing.counts() {
            self.tracked[at].standing = Standing::Answer;
        }
        Some(at)
    }

    /// Takes from a checkpoint what was heard of a message.
    pub(super) fn restore_heard(&mut self, info: MessageInfo, standing: Standing) {
        if let Some(at) = self.restore(&info.id) {
            self.tracked[at].standing = standing;
            if let Some(parent) = &info.parent_id {
                self.continue_with(parent);
            }
            self.tracked[at].info = Some(info);
        }
    }

    /// Notes that a step of a message ended. Whether that is news of the turn's cost.
    pub(super) fn step_ended(
        &mut self,
        at: usize,
        part: &PartId,
        usage: (f64, Tokens),
        reason: Option<&str>,
    ) -> bool {
        let tracked = &mut self.tracked[at];
        tracked.step_ended(part, usage, reason) && tracked.standing.counts()
    }

    /// Hears a part of a user message: the server may have written it itself, to go on with the answer; see
    /// [`Exchange`](crate::Exchange).
    pub(super) fn heard_of_user(&mut self, message: &MessageId, body: &PartBody) {
        let Scope::Prompt(prompt) = &self.scope else {
            return;
        };
        let behind_summary = || {
            let mut own = self.tracked.iter().rev();
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
        if goes_on && self.prompt_seen && message != prompt {
            self.continue_with(message);
        }
    }

    /// What answers this message is part of the reply from now on.
    fn continue_with(&mut self, message: &MessageId) {
        if !self.continued.contains(message) && self.continued.len() < MAX_MESSAGES {
            self.continued.push(message.clone());
        }
    }

    /// Cost in US dollars and tokens of the steps that ended so far.
    pub(super) fn usage(&self) -> (f64, Tokens) {
        let (mut cost, mut tokens) = (0.0, Tokens::default());
        for (own_cost, own_tokens) in self.counted().map(TrackedMessage::usage) {
            cost += own_cost;
            tokens += own_tokens;
        }
        (cost, tokens)
    }
}
