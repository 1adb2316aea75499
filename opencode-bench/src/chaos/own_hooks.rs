//! Hooks of the application's: they note that they are called, for which turn and under which id, and fail at times.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opencode_host::id::TurnId;
use opencode_host::product::{Delivery, HookError};
use opencode_host::store::{Message, MessageStatus};
use serde::{Deserialize, Serialize};

use crate::crowd::Asked;
use crate::notes::{Note, Notes};

/// How long a hook takes, for workers to die in.
const LONG: Duration = Duration::from_millis(60);

/// One in so many calls fails.
const FAILING: u128 = 6;

/// The hooks.
const HOOKS: [&str; 2] = ["on_finalized", "on_turn_finished"];

/// A call of a hook.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Call {
    hook: String,
    turn: String,
    /// How the turn ended, as it was told.
    status: MessageStatus,
    /// The idempotency key.
    id: String,
    attempt: u32,
}

/// Notes that a hook is called; fails, or notes that it succeeds.
///
/// # Errors
/// At times, so that it is called again.
pub(crate) async fn called(
    notes: &Notes,
    hook: &str,
    turn: TurnId,
    status: MessageStatus,
    delivery: &Delivery,
) -> Result<(), HookError> {
    let call = Call {
        hook: hook.to_owned(),
        turn: turn.to_string(),
        status,
        id: delivery.id.to_string(),
        attempt: delivery.attempt,
    };
    notes.add(Note::HookBegun(call.clone()))?;
    tokio::time::sleep(LONG).await;
    let number = delivery.id.as_uuid().as_u128() + u128::from(delivery.attempt);
    if number.is_multiple_of(FAILING) {
        return Err("not this time".into());
    }
    Ok(notes.add(Note::HookDone(call))?)
}

/// What was called, by turn and hook.
#[derive(Debug, Default)]
pub(crate) struct Calls(BTreeMap<String, BTreeMap<String, OfHook>>);

/// The calls of a hook for a turn.
#[derive(Debug, Default)]
struct OfHook {
    begun: usize,
    done: usize,
    ids: BTreeSet<String>,
    statuses: Vec<MessageStatus>,
}

impl Calls {
    pub(crate) fn of(notes: &[Note]) -> Self {
        let mut calls = Self::default();
        for note in notes {
            let (call, done) = match note {
                Note::HookBegun(call) => (call, false),
                Note::HookDone(call) => (call, true),
                Note::Ran(_) => continue,
            };
            let of_turn = calls.0.entry(call.turn.clone()).or_default();
            let of_hook = of_turn.entry(call.hook.clone()).or_default();
            of_hook.begun += usize::from(!done);
            of_hook.done += usize::from(done);
            of_hook.ids.insert(call.id.clone());
            of_hook.statuses.push(call.status);
        }
        calls
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        let hooks = self.0.values().flat_map(BTreeMap::values);
        hooks.map(|hook| hook.begun).sum()
    }

    /// Both hooks of a turn that has ended succeeded, under one id, and were told of that end.
    pub(crate) fn judge(&self, asked: &Asked, message: &Message) -> Vec<String> {
        let mut wrong = Vec::new();
        let nothing = BTreeMap::new();
        let of_turn = self.0.get(&asked.turn.to_string()).unwrap_or(&nothing);
        for hook in HOOKS {
            if of_turn.get(hook).is_none_or(|calls| calls.done == 0) {
                wrong.push(format!("{hook} never succeeded: {:?}", of_turn.get(hook)));
            }
        }
        let ids: BTreeSet<_> = of_turn.values().flat_map(|calls| &calls.ids).collect();
        if ids.len() > 1 {
            wrong.push(format!("its hooks were called under several ids: {ids:?}"));
        }
        let mut told = of_turn.values().flat_map(|calls| &calls.statuses);
        if let Some(other) = told.find(|told| **told != message.status) {
            wrong.push(format!("a hook was told that it had ended as {other:?}"));
        }
        wrong
    }

    /// No hook was called for another turn than these.
    pub(crate) fn strangers(&self, known: &BTreeSet<String>) -> Vec<String> {
        let strangers = self.0.keys().filter(|turn| !known.contains(*turn));
        strangers
            .map(|turn| format!("hooks were called for {turn}, which nobody asked"))
            .collect()
    }
}
