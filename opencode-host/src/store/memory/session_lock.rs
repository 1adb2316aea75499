use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::lock;
use super::tables::Tables;
use crate::id::ConversationId;
use crate::store::{SessionGate, SessionLock, SessionRecord, StoreError, StoreResult};

#[derive(Debug)]
pub(super) struct MemorySessionLock {
    pub(super) tables: Arc<Mutex<Tables>>,
    pub(super) id: ConversationId,
    pub(super) current: Option<SessionRecord>,
    pub(super) _gate: SessionGate,
}

#[async_trait]
impl SessionLock for MemorySessionLock {
    fn current(&self) -> Option<&SessionRecord> {
        self.current.as_ref()
    }

    async fn set(
        self: Box<Self>,
        session: &SessionRecord,
    ) -> StoreResult<Result<(), Box<SessionRecord>>> {
        let mut tables = lock(&self.tables);
        let row = tables.conversations.get_mut(&self.id);
        let row = row.ok_or_else(|| StoreError::NotFound {
            what: "conversation",
            id: self.id.to_string(),
        })?;
        // The gate is held: nobody else has set it.
        row.conversation.session = Some(session.clone());
        Ok(Ok(()))
    }
}
