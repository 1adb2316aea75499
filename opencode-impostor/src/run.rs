//! The loop of a session: takes its prompts one after the other, until there are none.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::ids;
use crate::replay;
use crate::sessions::Waiting;
use crate::state::{State, World};
use crate::turn::{self, End};

/// Puts a prompt in line, and starts the session's loop unless it runs.
pub(crate) fn enqueue(
    world: &Arc<World>,
    state: &mut State,
    session: &str,
    message_id: String,
    taped: Option<Vec<Value>>,
) {
    let Some(found) = state.sessions.get_mut(session) else {
        return;
    };
    if world.config.dialect.ids_order_the_loop {
        let newest = found
            .messages
            .iter()
            .filter(|message| message.id() != message_id)
            .filter_map(|message| ids::order(message.id()))
            .max();
        if newest >= ids::order(&message_id) && newest.is_some() {
            // The loop thinks this prompt was answered long ago.
            return;
        }
    }
    found.pending.push_back(Waiting { message_id, taped });
    if found.run.is_some() {
        return;
    }
    let token = CancellationToken::new();
    found.run = Some(token.clone());
    state.ledger.set_busy(session, true);
    let session = session.to_owned();
    let looped = world.clone();
    world.spawn(async move { drive(looped, session, token).await });
}

/// Takes the next prompt. Of several that wait, the newest is answered alone, as on 1.18.33.
fn take(state: &mut State, session: &str) -> Option<Waiting> {
    let found = state.sessions.get_mut(session)?;
    let newest = found.pending.pop_back();
    found.pending.clear();
    newest
}

/// The session takes new prompts from here on. Comes before the idle that tells clients so.
fn release(state: &mut State, session: &str) {
    if let Some(found) = state.sessions.get_mut(session) {
        found.run = None;
        found.pending.clear();
    }
    state.ledger.set_busy(session, false);
}

async fn drive(world: Arc<World>, session: String, token: CancellationToken) {
    let mut next = world.update(|state| take(state, &session));
    let mut first = true;
    while let Some(prompt) = next.take() {
        let user = prompt.message_id.as_str();
        let end = if let Some(parts) = &prompt.taped {
            replay::play(&world, &session, user, parts, &token).await
        } else {
            tokio::select! {
                biased;
                () = token.cancelled() => End::Aborted,
                end = turn::answer(&world, &session, user, first) => end,
            }
        };
        first = false;
        // A script without waits would otherwise keep everybody else from running.
        tokio::task::yield_now().await;
        next = world.update(|state| {
            if matches!(end, End::Done | End::Stopped | End::Replayed) {
                if world.config.dialect.ids_order_the_loop && never_ends(state, &session, user) {
                    return Some(prompt.clone());
                }
                if let Some(next) = take(state, &session) {
                    return Some(next);
                }
            }
            release(state, &session);
            match end {
                End::Aborted => finish_aborted(state, &session),
                End::Done | End::Stopped => {
                    turn::idle(state, &session, user, matches!(end, End::Done));
                }
                End::Failed | End::Replayed => {}
            }
            None
        });
    }
}

/// Whether the prompt sorts after the answer it got, so that the loop does not see the answer.
fn never_ends(state: &State, session: &str, user: &str) -> bool {
    state.sessions.get(session).is_some_and(|found| {
        found
            .messages
            .last()
            .is_some_and(|last| ids::order(last.id()) < ids::order(user))
    })
}

/// `POST …/abort`, from another folder on a version that minds it: the session is not found there, and said to be idle.
pub(crate) fn abort_elsewhere(state: &mut State, session: &str, directory: &str) {
    let status = json!({"sessionID": session, "status": {"type": "idle"}});
    state.emit_directory(directory, "session.status", &status);
    state.emit_directory(directory, "session.idle", &json!({"sessionID": session}));
}

/// `POST …/abort`. An idle session is told to be idle once more, as on 1.18.33.
pub(crate) fn abort(state: &mut State, session: &str) {
    match state.sessions.get(session).map(|found| found.run.clone()) {
        Some(Some(run)) => run.cancel(),
        Some(None) => state.set_status(session, None),
        None => {}
    }
}

/// What a real server sends after an abort: the error, an idle, the message with its error, and an idle again.
fn finish_aborted(state: &mut State, session: &str) {
    for child in state.children(session) {
        if state
            .sessions
            .get(&child)
            .is_some_and(|child| child.status.is_some())
        {
            finish_aborted(state, &child);
        }
    }
    state.questions.retain(|_, ask| ask.session != session);
    state.permissions.retain(|_, ask| ask.session != session);
    state.ledger.questions = state.questions.keys().cloned().collect();
    state.ledger.permissions = state.permissions.keys().cloned().collect();

    let error = json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}});
    state.emit(session, "session.error", &json!({"error": error}));
    state.set_status(session, None);
    turn::close_with_error(state, session, &error);
    match state.faults.late_idle() {
        Some(gate) if !state.gates.is_open(&gate) => {
            let status = json!({"sessionID": session, "status": {"type": "idle"}});
            state.hold(&gate, session, "session.status", &status);
            state.hold(
                &gate,
                session,
                "session.idle",
                &json!({"sessionID": session}),
            );
        }
        _ => state.set_status(session, None),
    }
}
