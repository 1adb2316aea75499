//! The upstream messages of turns that ended a moment ago, kept by the worker that ran them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opencode_client::Exchange;

use crate::id::TurnId;

/// How many exchanges a worker keeps for hooks that are about to be called.
const KEPT: usize = 32;

/// The exchanges of turns that ended a moment ago.
#[derive(Debug, Default)]
pub(crate) struct RecentExchanges(Mutex<VecDeque<(TurnId, Arc<Exchange>)>>);

impl RecentExchanges {
    /// Keeps an exchange until it is forgotten, or 32 others have come since.
    pub(crate) fn keep(&self, turn: TurnId, exchange: Exchange) {
        let mut kept = self.lock();
        kept.retain(|(known, _)| *known != turn);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((turn, Arc::new(exchange)));
    }

    pub(crate) fn of(&self, turn: TurnId) -> Option<Arc<Exchange>> {
        let kept = self.lock();
        let found = kept.iter().find(|(known, _)| *known == turn);
        found.map(|(_, exchange)| Arc::clone(exchange))
    }

    pub(crate) fn forget(&self, turn: TurnId) {
        self.lock().retain(|(known, _)| *known != turn);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(TurnId, Arc<Exchange>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
