//! The rows, and the rules by which they change.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use opencode_client::reply::PersistedPart;

use crate::clock::Timestamp;
use crate::id::{ConversationId, MessageId, TurnId};
use crate::store::{
    Attached, Attachment, AttachmentSource, CancelOutcome, Conversation, ConversationSummary,
    Finish, Lease, LeaseStatus, Message, NewAttachment, NewTurn, OnBusy, StoreError, StoreResult,
    Submitted, Turn, TurnEvent, TurnState,
};

/// Everything, behind one mutex: each method of the store is one transaction.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) conversations: HashMap<ConversationId, ConversationRow>,
    pub(super) names: HashMap<String, ConversationId>,
    /// By age.
    pub(super) turns: BTreeMap<u64, TurnRow>,
    pub(super) turn_index: HashMap<TurnId, u64>,
    /// The turns that are not settled.
    pub(super) open: BTreeSet<u64>,
    /// By age.
    pub(super) messages: BTreeMap<u64, Message>,
    pub(super) message_index: HashMap<MessageId, u64>,
    /// By age.
    pub(super) attachments: BTreeMap<u64, Attachment>,
    pub(super) last_number: u64,
}

#[derive(Debug)]
pub(super) struct ConversationRow {
    pub(super) conversation: Conversation,
    pub(super) excerpt: Option<String>,
    pub(super) used_at: Timestamp,
    pub(super) keys: HashMap<String, TurnId>,
    pub(super) turns: BTreeSet<u64>,
}

#[derive(Debug)]
pub(super) struct TurnRow {
    pub(super) turn: Turn,
    pub(super) lease: Option<HeldLease>,
    pub(super) events: Vec<TurnEvent>,
    pub(super) readable: Readable,
}

#[derive(Debug)]
pub(super) struct HeldLease {
    pub(super) taken_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// Whether this version can read a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    Yes,
    No,
    /// No, and a claim has said so.
    NoAndTold,
}

impl TurnRow {
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.turn.state, TurnState::Finished { settled: true, .. })
    }

    pub(super) fn is_unfinished(&self) -> bool {
        !matches!(self.turn.state, TurnState::Finished { .. })
    }

    pub(super) fn can_be_claimed(&self, now: Timestamp) -> bool {
        let free = self
            .lease
            .as_ref()
            .is_none_or(|lease| lease.expires_at <= now);
        free && !self.is_settled() && self.readable != Readable::NoAndTold
    }

    pub(super) fn holds(&self, lease: &Lease) -> bool {
        self.turn.generation == lease.generation && self.lease.is_some()
    }

    pub(super) fn status(&self, lease: &Lease) -> LeaseStatus {
        if self.holds(lease) {
            LeaseStatus::Held {
                cancel_requested: self.turn.cancel_requested_at.is_some(),
            }
        } else {
            LeaseStatus::Lost
        }
    }
}

impl Tables {
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn row(&self, id: TurnId) -> Option<&TurnRow> {
        self.turns.get(self.turn_index.get(&id)?)
    }

    pub(super) fn row_mut(&mut self, id: TurnId) -> Option<&mut TurnRow> {
        self.turns.get_mut(self.turn_index.get(&id)?)
    }

    pub(super) fn message_mut(&mut self, id: MessageId) -> Option<&mut Message> {
        self.messages.get_mut(self.message_index.get(&id)?)
    }

    /// The row of a turn that this lease may write to.
    pub(super) fn held(&mut self, lease: &Lease) -> StoreResult<&mut TurnRow> {
        let lost = StoreError::LeaseLost { turn: lease.turn };
        self.row_mut(lease.turn)
            .filter(|row| row.holds(lease))
            .ok_or(lost)
    }

    /// The row of a running turn that this lease may write to.
    pub(super) fn running(&mut self, lease: &Lease) -> StoreResult<&mut TurnRow> {
        let row = self.held(lease)?;
        if row.turn.state == TurnState::Running {
            Ok(row)
        } else {
            Err(StoreError::LeaseLost { turn: lease.turn })
        }
    }

    /// The unfinished turns of a conversation, oldest first.
    pub(super) fn unfinished(&self, conversation: &ConversationRow) -> Vec<TurnId> {
        let open = conversation
            .turns
            .iter()
            .rev()
            .map_while(|number| self.open.contains(number).then(|| &self.turns[number]));
        let mut ids: Vec<_> = open
            .filter(|row| row.is_unfinished())
            .map(|row| row.turn.id)
            .collect();
        ids.reverse();
        ids
    }

    /// The oldest unsettled turn before this one in its conversation.
    pub(super) fn ahead(&self, id: TurnId) -> Option<TurnId> {
        let number = self.turn_index.get(&id)?;
        let conversation = self
            .conversations
            .get(&self.turns.get(number)?.turn.conversation)?;
        let mut earlier = conversation.turns.range(..number);
        let first = earlier.find(|number| self.open.contains(number))?;
        self.turns.get(first).map(|row| row.turn.id)
    }

    pub(super) fn attach(&mut self, new: &NewAttachment, now: Timestamp) -> StoreResult<Attached> {
        let mut files = self.attachments.values();
        if let Some(known) = files.find(|file| file.message == new.message && file.name == new.name)
        {
            return Ok(Attached {
                attachment: known.clone(),
                created: false,
            });
        }
        let number = self.message_index.get(&new.message);
        let message = number.and_then(|number| self.messages.get(number));
        let message = message.ok_or_else(|| StoreError::NotFound {
            what: "message",
            id: new.message.to_string(),
        })?;
        let attachment = new.attached(message.conversation, now);
        let number = self.next_number();
        self.attachments.insert(number, attachment.clone());
        Ok(Attached {
            attachment,
            created: true,
        })
    }

    pub(super) fn insert_message(&mut self, message: Message) {
        let number = self.next_number();
        self.message_index.insert(message.id, number);
        self.messages.insert(number, message);
    }

    /// Writes an end: to the turn, its message and its events.
    pub(super) fn end(&mut self, turn: TurnId, finish: &Finish, settled: bool, now: Timestamp) {
        let Some(row) = self.row_mut(turn) else {
            return;
        };
        row.turn.state = TurnState::Finished {
            status: finish.status,
            settled,
        };
        row.turn.finished_at = Some(now);
        row.events.push(TurnEvent {
            name: Finish::EVENT.to_owned(),
            payload: finish.event.clone(),
            at: now,
        });
        let message = row.turn.message;
        if settled && let Some(number) = self.turn_index.get(&turn) {
            self.open.remove(number);
        }
        if let Some(message) = self.message_mut(message) {
            message.status = finish.status.message_status();
            message.reason = finish.reason;
            message.content.clone_from(&finish.content);
            message.parts.clone_from(&finish.parts);
            message.reasoning.clone_from(&finish.reasoning);
            message.usage = finish.usage;
            message.truncated = finish.truncated;
            message.error.clone_from(&finish.error);
            message.finished_at = Some(now);
        }
    }

    pub(super) fn cancel(&mut self, id: TurnId, now: Timestamp) -> StoreResult<CancelOutcome> {
        let not_found = || StoreError::NotFound {
            what: "turn",
            id: id.to_string(),
        };
        let row = self.row_mut(id).ok_or_else(not_found)?;
        if let TurnState::Finished { status, .. } = row.turn.state {
            return Ok(CancelOutcome::Already(status));
        }
        row.turn.cancel_requested_at.get_or_insert(now);
        if row.turn.state == TurnState::Queued && row.turn.prompted.is_none() {
            let waited = now.since(row.turn.created_at);
            self.end(id, &Finish::never_started(waited), true, now);
            return Ok(CancelOutcome::Cancelled);
        }
        Ok(CancelOutcome::Requested)
    }

    /// The turn that the next claim takes.
    pub(super) fn claimable(&mut self, only: Option<TurnId>, now: Timestamp) -> Option<u64> {
        for number in &self.open {
            if let Some(lease) = self
                .turns
                .get_mut(number)
                .and_then(|row| row.lease.as_mut())
                && lease.taken_at > now
            {
                lease.expires_at = now.after(lease.expires_at.since(lease.taken_at));
                lease.taken_at = now;
            }
        }
        let mut busy = BTreeSet::new();
        let mut best: Option<(bool, Timestamp, u64)> = None;
        for number in &self.open {
            let row = &self.turns[number];
            let is_first = busy.insert(row.turn.conversation);
            if is_first && row.can_be_claimed(now) && only.is_none_or(|id| id == row.turn.id) {
                // Those left behind come before the queued ones, by when their lease ended.
                let queued = row.turn.state == TurnState::Queued;
                let ended = row
                    .lease
                    .as_ref()
                    .map_or(Timestamp::default(), |lease| lease.expires_at);
                let candidate = (queued, ended, *number);
                best = Some(best.map_or(candidate, |known| known.min(candidate)));
            }
        }
        best.map(|(.., number)| number)
    }

    pub(super) fn uploaded_bytes(&self, conversation: ConversationId) -> u64 {
        let uploads = self.attachments.values().filter(|file| {
            file.conversation == conversation && file.source == AttachmentSource::Upload
        });
        uploads.map(|file| file.size).fold(0, u64::saturating_add)
    }

    pub(super) fn submit(&mut self, new: &NewTurn, now: Timestamp) -> StoreResult<Submitted> {
        if let Some(row) = self.row(new.id) {
            return Ok(Submitted {
                turn: row.turn.clone(),
                created: false,
            });
        }
        let not_found = || StoreError::NotFound {
            what: "conversation",
            id: new.conversation.to_string(),
        };
        let conversation = self
            .conversations
            .get(&new.conversation)
            .ok_or_else(not_found)?;
        let known = new
            .client_key
            .as_ref()
            .and_then(|key| self.row(*conversation.keys.get(key)?));
        if let Some(row) = known {
            return Ok(Submitted {
                turn: row.turn.clone(),
                created: false,
            });
        }
        new.check_quota(self.uploaded_bytes(new.conversation))?;
        let unfinished = self.unfinished(conversation);
        match (new.on_busy, unfinished.first()) {
            (OnBusy::Reject, Some(turn)) => return Err(StoreError::Busy { turn: *turn }),
            (OnBusy::Interrupt, _) => {
                for turn in unfinished {
                    self.cancel(turn, now)?;
                }
            }
            (OnBusy::Enqueue | OnBusy::Reject, _) => {}
        }
        for message in new.messages(now) {
            self.insert_message(message);
        }
        for file in new.files() {
            self.attach(&file, now)?;
        }
        let turn = Turn::queued(new, now);
        let number = self.next_number();
        self.turn_index.insert(turn.id, number);
        self.open.insert(number);
        if let Some(row) = self.conversations.get_mut(&new.conversation) {
            row.used_at = now;
            row.excerpt
                .get_or_insert_with(|| ConversationSummary::excerpt_of(new.said()));
            row.turns.insert(number);
            if let Some(key) = &new.client_key {
                row.keys.insert(key.clone(), turn.id);
            }
        }
        let row = TurnRow {
            turn: turn.clone(),
            lease: None,
            events: Vec::new(),
            readable: Readable::Yes,
        };
        self.turns.insert(number, row);
        Ok(Submitted {
            turn,
            created: true,
        })
    }
}

/// About how many bytes a message has.
pub(super) fn size_of(message: &Message) -> u64 {
    let parts = message.parts.iter().map(|part| match part {
        PersistedPart::Text { content } | PersistedPart::Reasoning { content } => content.len(),
        PersistedPart::Tool(_) => serde_json::to_vec(part).map_or(0, |json| json.len()),
    });
    (message.content.len() + message.reasoning.len() + parts.sum::<usize>()) as u64
}
