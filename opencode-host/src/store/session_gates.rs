//! Locks within one process, one per conversation, for minting sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::{StoreError, StoreResult};
use crate::id::ConversationId;

/// One lock per conversation, within this process: what a store without row
/// locks stands on for [`super::Conversations::lock_session`], and what one with row
/// locks puts before them, so that waiters hold no connection.
#[derive(Debug, Default)]
pub struct SessionGates {
    gates: Mutex<HashMap<ConversationId, Weak<tokio::sync::Mutex<()>>>>,
}

/// The right to mint for one conversation, in this process. Dropping it lets the next one in.
#[derive(Debug)]
pub struct SessionGate {
    _held: OwnedMutexGuard<()>,
}

impl SessionGates {
    /// Waits for the conversation's lock, at most `wait`, first come first served.
    ///
    /// # Errors
    /// [`StoreError::LockTimeout`] when it is not free in time.
    pub async fn enter(&self, id: ConversationId, wait: Duration) -> StoreResult<SessionGate> {
        let gate = self.gate(id);
        let held = tokio::time::timeout(wait, gate.lock_owned())
            .await
            .map_err(|_| StoreError::LockTimeout)?;
        Ok(SessionGate { _held: held })
    }

    fn gate(&self, id: ConversationId) -> Arc<tokio::sync::Mutex<()>> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&id).and_then(Weak::upgrade) {
            return gate;
        }
        // Nobody holds these or waits for them any more.
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::default();
        gates.insert(id, Arc::downgrade(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_is_forgotten_when_nobody_holds_it() {
        let gates = SessionGates::default();
        for number in 0..100 {
            let id = ConversationId::from_uuid(uuid::Uuid::from_u128(number));
            let held = gates.enter(id, Duration::ZERO).await.unwrap();
            let again = gates.enter(id, Duration::ZERO).await;
            assert!(matches!(again, Err(StoreError::LockTimeout)));
            drop(held);
        }
        assert_eq!(gates.gates.lock().unwrap().len(), 1);
    }
}
