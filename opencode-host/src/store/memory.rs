//! The store that is gone with its process: rows in maps behind one lock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use opencode_client::reply::PersistedPart;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{
    Account, Attachment, Conversation, ConversationCursor, ConversationRow, Effect, Lease,
    LeaseStatus, LedgerRow, Message, MessageEntry, MessageRow, Phase, RowStore, Rows, Schedule,
    Server, ServerName, StoreResult, Tables, Tenant, TenantRow, TurnRow,
};
use crate::blobs::Digest;
use crate::budget::{Spending, Spent};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::id::{AttachmentId, ConversationId, EffectId, MessageId, ScheduleId, TurnId};

/// A store that is gone with its process: for tests, and for turns nobody needs
/// to find again. The rules are those of every [`Store`](super::Store).
pub type MemoryStore = RowStore<MemoryTables>;

impl MemoryStore {
    /// An empty store whose leases expire by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::over(MemoryTables::new(clock))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

/// The tables of a [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryTables {
    clock: Arc<dyn Clock>,
    maps: Arc<Mutex<Maps>>,
}

impl MemoryTables {
    /// Empty tables.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let maps = Arc::default();
        Self { clock, maps }
    }
}

/// The rows of a [`MemoryStore`], locked. No method fails, so what is put needs no undoing.
#[derive(Debug)]
pub struct MemoryRows(OwnedMutexGuard<Maps>);

/// Turns, messages and files by age, and where they are by their ids.
#[derive(Debug, Default)]
struct Maps {
    conversations: HashMap<ConversationId, ConversationRow>,
    names: HashMap<(Tenant, String), ConversationId>,
    turns: BTreeMap<u64, TurnRow>,
    turn_numbers: HashMap<TurnId, u64>,
    keys: HashMap<(ConversationId, String), TurnId>,
    /// The turns that are not settled.
    open: BTreeSet<u64>,
    messages: BTreeMap<u64, MessageRow>,
    message_numbers: HashMap<MessageId, u64>,
    files: BTreeMap<u64, Attachment>,
    effects: Vec<Effect>,
    ledger: BTreeMap<TurnId, LedgerRow>,
    servers: BTreeMap<ServerName, Server>,
    tenants: BTreeMap<Tenant, TenantRow>,
    schedules: BTreeMap<ScheduleId, Schedule>,
    last_number: u64,
}

impl Maps {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn turn(&self, id: TurnId) -> Option<&TurnRow> {
        self.turns.get(self.turn_numbers.get(&id)?)
    }

    fn open_turns(&self) -> impl Iterator<Item = &TurnRow> {
        self.open.iter().filter_map(|number| self.turns.get(number))
    }

    /// The server that a turn's conversation is placed on.
    fn server_of(&self, row: &TurnRow) -> Option<&ServerName> {
        let conversation = self.conversations.get(&row.turn.conversation)?;
        conversation.conversation.server.as_ref()
    }

    /// The first turns of their conversations that can be claimed, oldest first.
    fn claimable(&self, now: Timestamp) -> impl Iterator<Item = &TurnRow> {
        let mut busy = HashSet::new();
        let first = self.open_turns();
        let first = first.filter(move |row| busy.insert(row.turn.conversation));
        first.filter(move |row| row.is_claimable(now))
    }

    fn tenant_of(&self, row: &TurnRow) -> Option<&Tenant> {
        let conversation = self.conversations.get(&row.turn.conversation)?;
        Some(&conversation.conversation.tenant)
    }

    /// The next turn to be claimed, of those that are wanted.
    fn next_turn(&self, now: Timestamp, is_wanted: impl Fn(&TurnRow) -> bool) -> Option<TurnId> {
        let wanted = self.claimable(now).filter(|row| is_wanted(row));
        // Of equals the first.
        let next = wanted.min_by_key(|row| row.precedence());
        next.map(|row| row.turn.id)
    }
}

#[async_trait]
impl Tables for MemoryTables {
    type Rows = MemoryRows;

    async fn begin(&self) -> StoreResult<MemoryRows> {
        Ok(MemoryRows(Arc::clone(&self.maps).lock_owned().await))
    }

    fn keeps_ledger(&self) -> bool {
        true
    }

    fn keeps_servers(&self) -> bool {
        true
    }

    fn keeps_shares(&self) -> bool {
        true
    }

    fn keeps_schedules(&self) -> bool {
        true
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

#[async_trait]
impl Rows for MemoryRows {
    async fn commit(self) -> StoreResult<()> {
        Ok(())
    }

    async fn conversation(&mut self, id: ConversationId) -> StoreResult<Option<ConversationRow>> {
        Ok(self.0.conversations.get(&id).cloned())
    }

    async fn conversation_named(
        &mut self,
        tenant: &Tenant,
        name: &str,
    ) -> StoreResult<Option<ConversationRow>> {
        let id = self.0.names.get(&(tenant.clone(), name.to_owned()));
        Ok(id.and_then(|id| self.0.conversations.get(id)).cloned())
    }

    async fn newest_conversations(
        &mut self,
        before: ConversationCursor,
        limit: u32,
    ) -> StoreResult<Vec<ConversationRow>> {
        let rows = self.0.conversations.values();
        let mut rows: Vec<_> = rows.filter(|row| row.cursor() < before).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.cursor()));
        Ok(rows.into_iter().take(limit as usize).cloned().collect())
    }

    async fn put_conversation(&mut self, row: ConversationRow) -> StoreResult<()> {
        let Conversation {
            id, tenant, name, ..
        } = row.conversation.clone();
        self.0.names.insert((tenant, name), id);
        self.0.conversations.insert(id, row);
        Ok(())
    }

    async fn delete_conversation(&mut self, id: ConversationId) -> StoreResult<()> {
        let maps = &mut *self.0;
        maps.conversations.remove(&id);
        maps.names.retain(|_, known| *known != id);
        maps.keys.retain(|(conversation, _), _| *conversation != id);
        let of_it = |row: &TurnRow| row.turn.conversation == id;
        for (number, row) in maps.turns.extract_if(.., |_, row| of_it(row)) {
            maps.open.remove(&number);
            maps.turn_numbers.remove(&row.turn.id);
        }
        let of_it = |row: &MessageRow| row.message.conversation == id;
        for (_, row) in maps.messages.extract_if(.., |_, row| of_it(row)) {
            maps.message_numbers.remove(&row.message.id);
        }
        maps.files.retain(|_, file| file.conversation != id);
        maps.schedules.retain(|_, known| known.conversation != id);
        Ok(())
    }

    async fn turn(&mut self, id: TurnId) -> StoreResult<Option<TurnRow>> {
        Ok(self.0.turn(id).cloned())
    }

    async fn turn_with_key(
        &mut self,
        conversation: ConversationId,
        key: &str,
    ) -> StoreResult<Option<TurnRow>> {
        let id = self.0.keys.get(&(conversation, key.to_owned()));
        Ok(id.and_then(|id| self.0.turn(*id)).cloned())
    }

    async fn unsettled(&mut self, conversation: ConversationId) -> StoreResult<Vec<TurnId>> {
        let open = self.0.open_turns().map(|row| &row.turn);
        let of_it = open.filter(|turn| turn.conversation == conversation);
        Ok(of_it.map(|turn| turn.id).collect())
    }

    async fn next_turn(
        &mut self,
        now: Timestamp,
        only: Option<TurnId>,
    ) -> StoreResult<Option<TurnId>> {
        let is_wanted = |row: &TurnRow| only.is_none_or(|id| id == row.turn.id);
        Ok(self.0.next_turn(now, is_wanted))
    }

    async fn next_turn_on(
        &mut self,
        server: &ServerName,
        queued: bool,
        now: Timestamp,
        only: Option<TurnId>,
    ) -> StoreResult<Option<TurnId>> {
        let maps = &*self.0;
        let is_wanted = |row: &TurnRow| {
            let may_have = match maps.server_of(row) {
                Some(of) => of == server && (queued || row.turn.phase() != Phase::Queued),
                None => row.needs_no_server(),
            };
            may_have && only.is_none_or(|id| id == row.turn.id)
        };
        Ok(maps.next_turn(now, is_wanted))
    }

    async fn put_turn(&mut self, row: TurnRow) -> StoreResult<()> {
        let turn = &row.turn;
        let number = match self.0.turn_numbers.get(&turn.id) {
            Some(known) => *known,
            None => self.0.next_number(),
        };
        self.0.turn_numbers.insert(turn.id, number);
        if let Some(key) = &turn.client_key {
            self.0
                .keys
                .insert((turn.conversation, key.clone()), turn.id);
        }
        if row.is_settled() {
            self.0.open.remove(&number);
        } else {
            self.0.open.insert(number);
        }
        self.0.turns.insert(number, row);
        Ok(())
    }

    async fn set_aside(&mut self, _: TurnId) -> StoreResult<()> {
        Ok(())
    }

    async fn drop_unread(&mut self, _: TurnId) -> StoreResult<Option<MessageId>> {
        Ok(None)
    }

    async fn message(&mut self, id: MessageId) -> StoreResult<Option<MessageRow>> {
        let number = self.0.message_numbers.get(&id);
        Ok(number
            .and_then(|number| self.0.messages.get(number))
            .cloned())
    }

    async fn message_index(
        &mut self,
        conversation: Option<ConversationId>,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<MessageEntry>> {
        let later = self.0.messages.range(after.saturating_add(1)..);
        let later = later.map(|(place, row)| (place, &row.message));
        let wanted = later
            .filter(|(_, message)| conversation.is_none_or(|id| id == message.conversation))
            .map(|(place, message)| {
                MessageEntry::new(*place, message.id.to_string(), size_of(message))
                    .hidden(message.hidden)
            });
        Ok(wanted.take(limit as usize).collect())
    }

    async fn put_message(&mut self, row: MessageRow) -> StoreResult<()> {
        let number = match self.0.message_numbers.get(&row.message.id) {
            Some(known) => *known,
            None => self.0.next_number(),
        };
        self.0.message_numbers.insert(row.message.id, number);
        self.0.messages.insert(number, row);
        Ok(())
    }

    async fn file(&mut self, id: AttachmentId) -> StoreResult<Option<Attachment>> {
        let found = self.0.files.values().find(|file| file.id == id);
        Ok(found.cloned())
    }

    async fn files(&mut self, message: MessageId) -> StoreResult<Vec<Attachment>> {
        let files = self.0.files.values();
        let files = files.filter(|file| file.message == message);
        Ok(files.cloned().collect())
    }

    async fn newest_files(
        &mut self,
        conversation: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Attachment>> {
        let files = self.0.files.values().rev();
        let files = files.filter(|file| file.conversation == conversation);
        Ok(files.take(limit as usize).cloned().collect())
    }

    async fn digests_in_use(&mut self, digests: &[Digest]) -> StoreResult<Vec<Digest>> {
        let used: HashSet<_> = self.0.files.values().map(|file| file.digest).collect();
        let used = digests.iter().filter(|digest| used.contains(digest));
        Ok(used.copied().collect())
    }

    async fn add_file(&mut self, file: Attachment) -> StoreResult<()> {
        let number = self.0.next_number();
        self.0.files.insert(number, file);
        Ok(())
    }

    async fn delete_file(&mut self, id: AttachmentId) -> StoreResult<()> {
        self.0.files.retain(|_, file| file.id != id);
        Ok(())
    }

    async fn effects(&mut self) -> StoreResult<Vec<Effect>> {
        Ok(self.0.effects.clone())
    }

    async fn effect(&mut self, id: EffectId) -> StoreResult<Option<Effect>> {
        let known = self.0.effects.iter().find(|known| known.id == id);
        Ok(known.cloned())
    }

    async fn set_effect(&mut self, id: EffectId, effect: Option<Effect>) -> StoreResult<()> {
        let effects = &mut self.0.effects;
        let known = effects.iter().position(|known| known.id == id);
        let place = known.unwrap_or(effects.len());
        effects.splice(place..(place + 1).min(effects.len()), effect);
        Ok(())
    }

    async fn ledger_row(&mut self, turn: TurnId) -> StoreResult<Option<LedgerRow>> {
        Ok(self.0.ledger.get(&turn).cloned())
    }

    async fn put_ledger_row(&mut self, row: LedgerRow) -> StoreResult<()> {
        self.0.ledger.insert(row.turn, row);
        Ok(())
    }

    async fn spending(
        &mut self,
        of: &Account,
        since: Timestamp,
        without: Option<TurnId>,
    ) -> StoreResult<Spending> {
        let rows = self.0.ledger.values();
        let rows = rows.filter(|row| row.is_of(of) && row.at >= since && Some(row.turn) != without);
        Ok(rows.fold(Spending::default(), |sum, row| {
            Spending::new(sum.used.plus(row.spent), sum.reserved.plus(row.reserved))
        }))
    }

    async fn close_ledger(&mut self, conversation: ConversationId) -> StoreResult<()> {
        let rows = self.0.ledger.values_mut();
        for row in rows.filter(|row| row.conversation == conversation) {
            row.end(&Spent::default());
            row.deleted = true;
        }
        Ok(())
    }

    async fn prune_ledger(&mut self, before: Timestamp, limit: u32) -> StoreResult<u64> {
        let rows = self.0.ledger.values();
        let mut old: Vec<_> = rows
            .filter(|row| row.deleted && row.at < before)
            .map(|row| (row.at, row.turn))
            .collect();
        old.sort();
        old.truncate(limit as usize);
        for (_, turn) in &old {
            self.0.ledger.remove(turn);
        }
        Ok(old.len() as u64)
    }

    async fn servers(&mut self) -> StoreResult<Vec<Server>> {
        Ok(self.0.servers.values().cloned().collect())
    }

    async fn put_server(&mut self, server: Server) -> StoreResult<()> {
        self.0.servers.insert(server.name.clone(), server);
        Ok(())
    }

    async fn turns_on(&mut self, server: Option<&ServerName>) -> StoreResult<Vec<TurnId>> {
        let open = self.0.open_turns();
        let on = open.filter(|row| self.0.server_of(row) == server);
        Ok(on.map(|row| row.turn.id).collect())
    }

    async fn conversations_on(
        &mut self,
        server: &ServerName,
        limit: u32,
    ) -> StoreResult<Vec<ConversationRow>> {
        let rows = self.0.conversations.values();
        let on = rows.filter(|row| row.conversation.server.as_ref() == Some(server));
        let mut on: Vec<_> = on.collect();
        on.sort_by_key(|row| std::cmp::Reverse(row.cursor()));
        Ok(on.into_iter().take(limit as usize).cloned().collect())
    }

    async fn queued_of_tenants(
        &mut self,
        server: Option<&ServerName>,
        now: Timestamp,
    ) -> StoreResult<Vec<(Tenant, TurnId)>> {
        let maps = &*self.0;
        let mut best: BTreeMap<&Tenant, &TurnRow> = BTreeMap::new();
        for row in maps.claimable(now) {
            let is_queued = row.turn.phase() == Phase::Queued;
            let is_there = is_queued && (server.is_none() || maps.server_of(row) == server);
            let Some(tenant) = maps.tenant_of(row).filter(|_| is_there) else {
                continue;
            };
            let known = best.entry(tenant).or_insert(row);
            if row.precedence() < known.precedence() {
                *known = row;
            }
        }
        let found = best.into_iter();
        Ok(found
            .map(|(tenant, row)| (tenant.clone(), row.turn.id))
            .collect())
    }

    async fn running_of(&mut self, tenant: &Tenant) -> StoreResult<u64> {
        let maps = &*self.0;
        let runs = |row: &&TurnRow| row.turn.phase() == Phase::Running && !row.waits;
        let running = maps.open_turns().filter(runs);
        Ok(running
            .filter(|row| maps.tenant_of(row) == Some(tenant))
            .count() as u64)
    }

    async fn tenant_row(&mut self, tenant: &Tenant) -> StoreResult<Option<TenantRow>> {
        Ok(self.0.tenants.get(tenant).cloned())
    }

    async fn tenant_rows(&mut self) -> StoreResult<Vec<TenantRow>> {
        Ok(self.0.tenants.values().cloned().collect())
    }

    async fn put_tenant_row(&mut self, row: TenantRow) -> StoreResult<()> {
        self.0.tenants.insert(row.tenant.clone(), row);
        Ok(())
    }

    async fn next_moment(&mut self, now: Timestamp) -> StoreResult<Option<Timestamp>> {
        let queued = self.0.open_turns().map(|row| &row.turn);
        let queued = queued.filter(|turn| turn.phase() == Phase::Queued);
        Ok(queued
            .filter_map(|turn| turn.not_before)
            .filter(|at| *at > now)
            .min())
    }

    async fn schedules(&mut self) -> StoreResult<Vec<Schedule>> {
        Ok(self.0.schedules.values().cloned().collect())
    }

    async fn set_schedule(
        &mut self,
        id: ScheduleId,
        schedule: Option<Schedule>,
    ) -> StoreResult<()> {
        self.0.schedules.remove(&id);
        self.0.schedules.extend(schedule.map(|new| (id, new)));
        Ok(())
    }

    /// Copies no checkpoint: leases are looked at often.
    async fn lease_status(&mut self, lease: &Lease) -> StoreResult<LeaseStatus> {
        let row = self.0.turn(lease.turn);
        Ok(row.map_or(LeaseStatus::Lost, |row| row.status(lease)))
    }
}

/// About how many bytes a message has.
fn size_of(message: &Message) -> u64 {
    let answer = &message.answer;
    let parts = answer.parts.iter().map(|part| match part {
        PersistedPart::Text { content } | PersistedPart::Reasoning { content } => content.len(),
        PersistedPart::Tool(_) => serde_json::to_vec(part).map_or(0, |json| json.len()),
    });
    (answer.content.len() + answer.reasoning.len() + parts.sum::<usize>()) as u64
}
