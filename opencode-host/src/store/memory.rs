//! The store that is gone with its process.
//!
//! It keeps every rule of a store with rows in maps behind one lock; `turn_row` decides what becomes of a turn.

mod tables;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    AnswerOutcome, AnswerState, Attached, Attachment, CancelOutcome, Claim, ClaimedTurn,
    Conversation, ConversationSummary, Conversations, Files, Finish, Finished, Lease, LeaseStatus,
    Message, MessageEntry, Messages, NewAnswer, NewAttachment, NewTurn, Note, Queue, RequestAnswer,
    SessionGates, SessionRecord, StoreError, StoreResult, Submitted, Swapped, Turn, TurnEvent,
    TurnRow,
};
use crate::blobs::Digest;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::id::{AttachmentId, ConversationId, MessageId, TurnId};
use tables::{ConversationRow, Tables, size_of};

/// A store that is gone with its process: for tests, and for turns nobody needs
/// to find again. The rules are those of every [`Store`](super::Store).
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    tables: Mutex<Tables>,
    gates: SessionGates,
}

impl MemoryStore {
    /// An empty store whose leases expire by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            tables: Mutex::default(),
            gates: SessionGates::default(),
        }
    }

    /// No method leaves the tables half changed where it could panic, so a poisoned
    /// mutex still guards whole rows.
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Conversations for MemoryStore {
    async fn open_conversation(&self, name: &str) -> StoreResult<Conversation> {
        let mut tables = self.lock();
        if let Some(row) = tables
            .names
            .get(name)
            .and_then(|id| tables.conversations.get(id))
        {
            return Ok(row.conversation.clone());
        }
        let now = self.clock.now();
        let id = ConversationId::from_uuid(self.clock.new_uuid());
        let conversation = Conversation {
            id,
            name: name.to_owned(),
            session: None,
            created_at: now,
        };
        tables.names.insert(name.to_owned(), id);
        let row = ConversationRow {
            conversation: conversation.clone(),
            excerpt: None,
            used_at: now,
            keys: HashMap::new(),
            turns: BTreeSet::new(),
        };
        tables.conversations.insert(id, row);
        Ok(conversation)
    }

    async fn conversation(&self, id: ConversationId) -> StoreResult<Option<Conversation>> {
        Ok(self
            .lock()
            .conversations
            .get(&id)
            .map(|row| row.conversation.clone()))
    }

    async fn conversation_named(&self, name: &str) -> StoreResult<Option<Conversation>> {
        let tables = self.lock();
        let row = tables
            .names
            .get(name)
            .and_then(|id| tables.conversations.get(id));
        Ok(row.map(|row| row.conversation.clone()))
    }

    async fn conversations(&self, limit: u32) -> StoreResult<Vec<ConversationSummary>> {
        let tables = self.lock();
        let mut rows: Vec<_> = tables.conversations.values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.used_at, row.conversation.id)));
        let summaries = rows
            .into_iter()
            .take(limit as usize)
            .map(|row| ConversationSummary {
                conversation: row.conversation.clone(),
                excerpt: row.excerpt.clone(),
                used_at: row.used_at,
                busy: !tables.unfinished(row).is_empty(),
            });
        Ok(summaries.collect())
    }

    async fn delete_conversation(&self, id: ConversationId) -> StoreResult<Option<Conversation>> {
        let mut tables = self.lock();
        let Some(row) = tables.conversations.remove(&id) else {
            return Ok(None);
        };
        tables.names.remove(&row.conversation.name);
        for number in row.turns {
            tables.open.remove(&number);
            let Some(entry) = tables.turns.remove(&number) else {
                continue;
            };
            let turn = entry.row.turn;
            tables.turn_index.remove(&turn.id);
            for message in [turn.user_message, turn.message] {
                if let Some(number) = tables.message_index.remove(&message) {
                    tables.messages.remove(&number);
                }
            }
        }
        let of_others = |_: &u64, file: &mut Attachment| file.conversation != id;
        tables.attachments.retain(of_others);
        Ok(Some(row.conversation))
    }

    async fn swap_session(
        &self,
        id: ConversationId,
        expected: Option<&SessionRecord>,
        new: &SessionRecord,
    ) -> StoreResult<Swapped> {
        let mut tables = self.lock();
        let row = tables.conversations.get_mut(&id);
        let row = row.ok_or_else(|| StoreError::not_found("conversation", id))?;
        let session = &mut row.conversation.session;
        if session.as_ref() != expected {
            return Ok(Swapped::No(session.clone().map(Box::new)));
        }
        *session = Some(new.clone());
        Ok(Swapped::Yes)
    }

    fn session_gates(&self) -> &SessionGates {
        &self.gates
    }
}

#[async_trait]
impl Queue for MemoryStore {
    async fn now(&self) -> StoreResult<Timestamp> {
        Ok(self.clock.now())
    }

    async fn submit(&self, turn: &NewTurn) -> StoreResult<Submitted> {
        self.lock().submit(turn, self.clock.now())
    }

    async fn request_cancel(&self, turn: TurnId) -> StoreResult<CancelOutcome> {
        self.lock().cancel(turn, self.clock.now())
    }

    async fn answer(&self, turn: TurnId, answer: &NewAnswer) -> StoreResult<AnswerOutcome> {
        let (mut tables, now) = (self.lock(), self.clock.now());
        let row = tables.row_mut(turn);
        let row = row.ok_or_else(|| StoreError::not_found("turn", turn))?;
        Ok(row.answer(answer, now).answer)
    }

    async fn answered(
        &self,
        lease: &Lease,
        request: &str,
        state: Option<&AnswerState>,
    ) -> StoreResult<()> {
        let rule = |row: &mut TurnRow, _| row.answered(lease, request, state);
        self.lock().change(lease, self.clock.now(), rule)
    }

    async fn claim(&self, claim: &Claim) -> StoreResult<Option<ClaimedTurn>> {
        Ok(self.lock().claim(claim, self.clock.now()))
    }

    async fn renew(&self, leases: &[Lease], length: Duration) -> StoreResult<Vec<LeaseStatus>> {
        let mut tables = self.lock();
        let now = self.clock.now();
        let renewed = leases.iter().map(|lease| match tables.row_mut(lease.turn) {
            Some(row) => row.renew(lease, length, now),
            None => LeaseStatus::Lost,
        });
        Ok(renewed.collect())
    }

    async fn check(&self, leases: &[Lease]) -> StoreResult<Vec<LeaseStatus>> {
        let tables = self.lock();
        let status = |lease: &Lease| {
            tables
                .row(lease.turn)
                .map_or(LeaseStatus::Lost, |row| row.status(lease))
        };
        Ok(leases.iter().map(status).collect())
    }

    async fn release(&self, lease: &Lease) -> StoreResult<()> {
        let rule = |row: &mut TurnRow, _| row.release(lease);
        self.lock().change(lease, self.clock.now(), rule)
    }

    async fn note(&self, lease: &Lease, note: Note<'_>) -> StoreResult<()> {
        let rule = |row: &mut TurnRow, now| row.note(lease, note, now);
        self.lock().change(lease, self.clock.now(), rule)
    }

    async fn finish(&self, lease: &Lease, finish: &Finish) -> StoreResult<Finished> {
        let rule = |row: &mut TurnRow, now| row.finish(lease, finish, now);
        self.lock().change(lease, self.clock.now(), rule)
    }

    async fn settle(&self, lease: &Lease) -> StoreResult<bool> {
        let rule = |row: &mut TurnRow, _| row.settle(lease);
        self.lock().change(lease, self.clock.now(), rule)
    }
}

#[async_trait]
impl Messages for MemoryStore {
    async fn message(&self, id: MessageId) -> StoreResult<Option<Message>> {
        let tables = self.lock();
        Ok(tables
            .message_index
            .get(&id)
            .and_then(|number| tables.messages.get(number))
            .cloned())
    }

    async fn messages(
        &self,
        conversation: Option<ConversationId>,
        after: Option<MessageId>,
        limit: u32,
    ) -> StoreResult<Vec<Message>> {
        let tables = self.lock();
        let after = match after {
            None => 0,
            Some(id) => {
                let number = tables.message_index.get(&id);
                *number.ok_or_else(|| StoreError::NotFound {
                    what: "message",
                    id: id.to_string(),
                })?
            }
        };
        let newer = tables
            .messages
            .range(after + 1..)
            .map(|(_, message)| message);
        let wanted =
            newer.filter(|message| conversation.is_none_or(|id| id == message.conversation));
        Ok(wanted.take(limit as usize).cloned().collect())
    }

    async fn message_index(
        &self,
        conversation: Option<ConversationId>,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<MessageEntry>> {
        let tables = self.lock();
        let newer = tables.messages.range(after.saturating_add(1)..);
        let wanted = newer
            .filter(|(_, message)| conversation.is_none_or(|id| id == message.conversation))
            .map(|(place, message)| MessageEntry {
                place: *place,
                id: message.id.to_string(),
                bytes: size_of(message),
            });
        Ok(wanted.take(limit as usize).collect())
    }

    async fn turn(&self, id: TurnId) -> StoreResult<Option<Turn>> {
        Ok(self.lock().row(id).map(|row| row.turn.clone()))
    }

    async fn turn_events(&self, id: TurnId) -> StoreResult<Vec<TurnEvent>> {
        Ok(self
            .lock()
            .entry(id)
            .map(|entry| entry.events.clone())
            .unwrap_or_default())
    }

    async fn answers(&self, turn: TurnId) -> StoreResult<Vec<RequestAnswer>> {
        let tables = self.lock();
        Ok(tables
            .row(turn)
            .map(|row| row.answers.clone())
            .unwrap_or_default())
    }

    async fn turn_ahead(&self, id: TurnId) -> StoreResult<Option<TurnId>> {
        Ok(self.lock().ahead(id))
    }
}

#[async_trait]
impl Files for MemoryStore {
    async fn attach(&self, file: &NewAttachment) -> StoreResult<Attached> {
        self.lock().attach(file, self.clock.now())
    }

    async fn attachment(&self, id: AttachmentId) -> StoreResult<Option<Attachment>> {
        let tables = self.lock();
        let found = tables.attachments.values().find(|file| file.id == id);
        Ok(found.cloned())
    }

    async fn attachments(&self, message: MessageId) -> StoreResult<Vec<Attachment>> {
        let tables = self.lock();
        let files = tables.attachments.values();
        Ok(files
            .filter(|file| file.message == message)
            .cloned()
            .collect())
    }

    async fn uploaded_bytes(&self, conversation: ConversationId) -> StoreResult<u64> {
        Ok(self.lock().uploaded_bytes(conversation))
    }

    async fn newest_attachments(
        &self,
        conversation: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Attachment>> {
        let tables = self.lock();
        let files = tables.attachments.values().rev();
        let wanted = files.filter(|file| file.conversation == conversation);
        Ok(wanted.take(limit as usize).cloned().collect())
    }

    async fn digests_in_use(&self, digests: &[Digest]) -> StoreResult<Vec<Digest>> {
        let tables = self.lock();
        let named: HashSet<_> = tables
            .attachments
            .values()
            .map(|file| file.digest)
            .collect();
        let wanted = digests.iter().filter(|digest| named.contains(*digest));
        Ok(wanted.copied().collect())
    }

    async fn detach(&self, id: AttachmentId) -> StoreResult<Option<Attachment>> {
        let mut tables = self.lock();
        let found = tables.attachments.iter().find(|(_, file)| file.id == id);
        let number = found.map(|(number, _)| *number);
        Ok(number.and_then(|number| tables.attachments.remove(&number)))
    }
}
