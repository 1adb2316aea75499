//! The rows, and the rules by which they change.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use opencode_client::reply::PersistedPart;

use crate::clock::Timestamp;
use crate::id::{ConversationId, MessageId, TurnId};
use crate::store::{
    Attached, Attachment, CancelOutcome, Changed, Claim, ClaimedTurn, Conversation,
    ConversationSummary, Lease, Message, NewAttachment, NewTurn, OnBusy, Phase, StoreError,
    StoreResult, Submitted, TurnEvent, TurnRow,
};

/// Everything, behind one mutex: each method of the store is one transaction.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) conversations: HashMap<ConversationId, ConversationRow>,
    pub(super) names: HashMap<String, ConversationId>,
    /// By age.
    pub(super) turns: BTreeMap<u64, TurnEntry>,
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
pub(super) struct TurnEntry {
    pub(super) row: TurnRow,
    pub(super) events: Vec<TurnEvent>,
}

impl Tables {
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn entry(&self, id: TurnId) -> Option<&TurnEntry> {
        self.turns.get(self.turn_index.get(&id)?)
    }

    pub(super) fn row(&self, id: TurnId) -> Option<&TurnRow> {
        self.entry(id).map(|entry| &entry.row)
    }

    pub(super) fn row_mut(&mut self, id: TurnId) -> Option<&mut TurnRow> {
        let entry = self.turns.get_mut(self.turn_index.get(&id)?)?;
        Some(&mut entry.row)
    }

    pub(super) fn message_mut(&mut self, id: MessageId) -> Option<&mut Message> {
        self.messages.get_mut(self.message_index.get(&id)?)
    }

    /// Lets a rule change the turn that a lease is on.
    pub(super) fn change<T>(
        &mut self,
        lease: &Lease,
        now: Timestamp,
        rule: impl FnOnce(&mut TurnRow, Timestamp) -> StoreResult<Changed<T>>,
    ) -> StoreResult<T> {
        let row = self.row_mut(lease.turn).ok_or_else(|| lease.lost())?;
        let changed = rule(row, now)?;
        Ok(self.write(lease.turn, changed, now))
    }

    /// The unfinished turns of a conversation, oldest first.
    pub(super) fn unfinished(&self, conversation: &ConversationRow) -> Vec<TurnId> {
        let open = conversation
            .turns
            .iter()
            .rev()
            .map_while(|number| self.open.contains(number).then(|| &self.turns[number].row));
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
            .get(&self.turns.get(number)?.row.turn.conversation)?;
        let mut earlier = conversation.turns.range(..number);
        let first = earlier.find(|number| self.open.contains(number))?;
        self.turns.get(first).map(|entry| entry.row.turn.id)
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

    /// Writes beside a turn's row what its change means for its message, its events and the open turns.
    fn write<T>(&mut self, turn: TurnId, changed: Changed<T>, now: Timestamp) -> T {
        if let Some(number) = self.turn_index.get(&turn)
            && let Some(entry) = self.turns.get_mut(number)
        {
            if entry.row.is_settled() {
                self.open.remove(number);
            }
            if let Some(write) = &changed.message {
                entry.events.extend(write.event(now));
                let message = entry.row.turn.message;
                if let Some(message) = self.message_mut(message) {
                    write.apply(message, now);
                }
            }
        }
        changed.answer
    }

    pub(super) fn cancel(&mut self, id: TurnId, now: Timestamp) -> StoreResult<CancelOutcome> {
        let row = self.row_mut(id);
        let row = row.ok_or_else(|| StoreError::not_found("turn", id))?;
        let cancelled = row.cancel(now);
        Ok(self.write(id, cancelled, now))
    }

    pub(super) fn claim(&mut self, claim: &Claim, now: Timestamp) -> Option<ClaimedTurn> {
        let number = self.claimable(claim.only, now)?;
        let TurnEntry { row, .. } = self.turns.get_mut(&number)?;
        let lease = row.claim(claim, now);
        let turn = row.turn.clone();
        let conversation = self.conversations.get(&turn.conversation)?;
        Some(ClaimedTurn {
            lease,
            turn,
            conversation: conversation.conversation.clone(),
            now,
        })
    }

    /// The turn that the next claim takes.
    fn claimable(&mut self, only: Option<TurnId>, now: Timestamp) -> Option<u64> {
        let mut busy = BTreeSet::new();
        let mut best: Option<(bool, Timestamp, u64)> = None;
        for number in &self.open {
            let Some(TurnEntry { row, .. }) = self.turns.get_mut(number) else {
                continue;
            };
            row.cut_lease(now);
            let is_first = busy.insert(row.turn.conversation);
            if is_first && row.is_free(now) && only.is_none_or(|id| id == row.turn.id) {
                // Those left behind come before the queued ones, by when their lease ended.
                let queued = row.turn.phase() == Phase::Queued;
                let ended = row
                    .lease
                    .map_or(Timestamp::default(), |lease| lease.expires_at);
                let candidate = (queued, ended, *number);
                best = Some(best.map_or(candidate, |known| known.min(candidate)));
            }
        }
        best.map(|(.., number)| number)
    }

    pub(super) fn uploaded_bytes(&self, conversation: ConversationId) -> u64 {
        let files = self.attachments.values();
        Attachment::uploaded_bytes(files.filter(|file| file.conversation == conversation))
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
        let row = TurnRow::queued(new, now);
        let turn = row.turn.clone();
        let number = self.next_number();
        self.turn_index.insert(turn.id, number);
        self.open.insert(number);
        if let Some(conversation) = self.conversations.get_mut(&new.conversation) {
            conversation.used_at = now;
            conversation
                .excerpt
                .get_or_insert_with(|| ConversationSummary::excerpt_of(new.said()));
            conversation.turns.insert(number);
            if let Some(key) = &new.client_key {
                conversation.keys.insert(key.clone(), turn.id);
            }
        }
        let entry = TurnEntry {
            row,
            events: Vec::new(),
        };
        self.turns.insert(number, entry);
        Ok(Submitted {
            turn,
            created: true,
        })
    }
}

/// About how many bytes a message has.
pub(super) fn size_of(message: &Message) -> u64 {
    let parts = message.answer.parts.iter().map(|part| match part {
        PersistedPart::Text { content } | PersistedPart::Reasoning { content } => content.len(),
        PersistedPart::Tool(_) => serde_json::to_vec(part).map_or(0, |json| json.len()),
    });
    (message.answer.content.len() + message.answer.reasoning.len() + parts.sum::<usize>()) as u64
}
