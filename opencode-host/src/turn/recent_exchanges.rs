//! The upstream messages of turns that ended a moment ago, kept by the worker that ran them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opencode_client::Exchange;

use crate::id::TurnId;

/// How many exchanges a worker keeps for hooks that are about to be called.
const KEPT: usize = 32;

/// How many bytes they have together at most. What is not kept is read from the server once more.
const BYTES: usize = 8 << 20;

/// The exchanges of turns that ended a moment ago, oldest first.
#[derive(Debug, Default)]
pub(crate) struct RecentExchanges(Mutex<VecDeque<Recent>>);

#[derive(Debug)]
struct Recent {
    turn: TurnId,
    exchange: Arc<Exchange>,
    bytes: usize,
}

impl RecentExchanges {
    /// Keeps an exchange until it is forgotten, or too many or too large others have come since. One that is larger than
    /// all may be together is not kept.
    pub(crate) fn keep(&self, turn: TurnId, exchange: Exchange) {
        let bytes = exchange.size();
        let mut kept = self.lock();
        kept.retain(|recent| recent.turn != turn);
        if bytes > BYTES {
            return;
        }
        kept.push_back(Recent {
            turn,
            exchange: Arc::new(exchange),
            bytes,
        });
        let mut all: usize = kept.iter().map(|recent| recent.bytes).sum();
        while (all > BYTES || kept.len() > KEPT)
            && let Some(oldest) = kept.pop_front()
        {
            all -= oldest.bytes;
        }
    }

    pub(crate) fn of(&self, turn: TurnId) -> Option<Arc<Exchange>> {
        let kept = self.lock();
        let found = kept.iter().find(|recent| recent.turn == turn);
        found.map(|recent| Arc::clone(&recent.exchange))
    }

    pub(crate) fn forget(&self, turn: TurnId) {
        self.lock().retain(|recent| recent.turn != turn);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Recent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use opencode_client::wire::Message;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn exchange(bytes: usize) -> Exchange {
        let message: Message = serde_json::from_value(json!({
            "info": {"id": "msg_1", "sessionID": "ses_1", "role": "assistant"},
            "parts": [{
                "id": "prt_1", "sessionID": "ses_1", "messageID": "msg_1", "type": "tool", "tool": "read", "callID": "c",
                "state": {"status": "completed", "input": {}, "output": "x".repeat(bytes)},
            }],
        }))
        .unwrap();
        Exchange {
            prompt_seen: true,
            messages: vec![message],
        }
    }

    fn turn(at: u128) -> TurnId {
        TurnId::from_uuid(Uuid::from_u128(at))
    }

    fn kept(recent: &RecentExchanges) -> Vec<u128> {
        (0..100)
            .filter(|at| recent.of(turn(*at)).is_some())
            .collect()
    }

    #[test]
    fn the_newest_are_kept_as_many_as_may_be_and_as_large() {
        let recent = RecentExchanges::default();
        for at in 0..40 {
            recent.keep(turn(at), exchange(10));
        }
        assert_eq!(kept(&recent), (8..40).collect::<Vec<_>>());
        // A third of the room each: with the third, the first of them goes too.
        for at in 50..53 {
            recent.keep(turn(at), exchange(BYTES / 3));
        }
        assert_eq!(kept(&recent), [51, 52]);
        // Larger than all: nothing goes for it, and what was kept of the same turn is not its exchange any more.
        recent.keep(turn(52), exchange(BYTES));
        assert_eq!(kept(&recent), [51]);
        recent.keep(turn(51), exchange(10));
        recent.forget(turn(51));
        assert_eq!(kept(&recent), [0_u128; 0]);
    }
}
