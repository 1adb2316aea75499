//! The turns that run in this process, or are watched in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::turn::LiveTurn;
use crate::id::TurnId;

/// The turns that run in this process, or are watched in it.
#[derive(Debug, Default)]
pub(crate) struct LiveTurns {
    turns: Mutex<HashMap<TurnId, Weak<LiveTurn>>>,
}

impl LiveTurns {
    /// The turn, made when nobody has it yet. It is gone with its last holder.
    pub(crate) fn turn(&self, id: TurnId) -> Arc<LiveTurn> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&id).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= 64 && turns.len().is_power_of_two() {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(LiveTurn::default());
        turns.insert(id, Arc::downgrade(&turn));
        turn
    }

    /// Those that run here.
    pub(crate) fn here(&self) -> Vec<(TurnId, Arc<LiveTurn>)> {
        self.those(|turn| turn.claim().is_some())
    }

    /// Those that are followed here and run elsewhere, if they run.
    pub(crate) fn followed_elsewhere(&self) -> Vec<(TurnId, Arc<LiveTurn>)> {
        self.those(|turn| turn.is_followed() && !turn.is_local())
    }

    /// How many run here, and how many are watched here.
    #[cfg(feature = "metrics")]
    pub(crate) fn counts(&self) -> (usize, usize) {
        let turns = self.those(|_| true);
        let here = turns.iter().filter(|(_, turn)| turn.claim().is_some());
        let watched = turns.iter().filter(|(_, turn)| turn.is_followed());
        (here.count(), watched.count())
    }

    fn those(&self, wanted: impl Fn(&LiveTurn) -> bool) -> Vec<(TurnId, Arc<LiveTurn>)> {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = turns.iter();
        let turns = turns.filter_map(|(id, turn)| Some((*id, turn.upgrade()?)));
        turns.filter(|(_, turn)| wanted(turn)).collect()
    }
}
