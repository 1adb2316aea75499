//! The handle of a running impostor.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::script::{Garbage, Script, Step};
use crate::state::{State, World};
use crate::{listener, ports, turn};

/// A wait that ran out of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitError(String);

impl WaitError {
    fn new(so_far: String) -> Self {
        Self(so_far)
    }
}

impl std::fmt::Display for WaitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "what the test waits for did not happen; so far: {}",
            self.0
        )
    }
}

impl std::error::Error for WaitError {}

/// A running double of an OpenCode server. It stops when this is dropped.
pub struct Impostor {
    pub(crate) world: Arc<World>,
    port: u16,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Impostor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Impostor")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.world.life().cancel();
        if let Some(server) = self.server.get_mut().take() {
            server.abort();
        }
        // Answers that wait at a gate would keep everything alive.
        self.world.abandon();
    }
}

impl Impostor {
    pub(crate) fn new(world: Arc<World>, port: u16, server: JoinHandle<()>) -> Self {
        Self {
            world,
            port,
            server: Mutex::new(Some(server)),
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Replaces the script; prompts under way keep their steps.
    pub fn set_script(&self, script: Script) {
        self.world.update(|state| {
            for fault in &script.faults {
                state.faults.add(fault.clone());
            }
            state.script = script;
        });
    }

    /// Puts a rule in front of all others.
    pub fn answer_next(&self, marker: impl Into<String>, steps: impl IntoIterator<Item = Step>) {
        let rule = Script::new().once(marker, steps).rules.remove(0);
        self.world
            .update(|state| state.script.rules.insert(0, rule));
    }

    /// A copy of the ledger as it is now.
    pub fn ledger(&self) -> Ledger {
        self.world.quietly(|state| state.ledger.clone())
    }

    /// Reads the ledger without copying it.
    pub fn with_ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        self.world.quietly(|state| read(&state.ledger))
    }

    /// Waits until the ledger is as wanted. No sleeping: every change is looked at.
    ///
    /// # Errors
    /// It did not happen within the [patience](crate::ImpostorBuilder::patience); the error tells what did.
    pub async fn wait_for(&self, wanted: impl FnMut(&Ledger) -> bool) -> Result<(), WaitError> {
        let mut wanted = wanted;
        self.wait_until(move |ledger| wanted(ledger).then_some(()))
            .await
    }

    /// Waits until the ledger has something to give.
    ///
    /// # Errors
    /// It did not happen within the [patience](crate::ImpostorBuilder::patience); the error tells what did.
    pub async fn wait_until<T>(
        &self,
        mut find: impl FnMut(&Ledger) -> Option<T>,
    ) -> Result<T, WaitError> {
        let found = self.world.until(|state| find(&state.ledger));
        tokio::time::timeout(self.world.config.patience, found)
            .await
            .map_err(|_| WaitError::new(self.with_ledger(Ledger::summary)))
    }

    /// Fails when a client did what it must not do.
    ///
    /// # Panics
    /// There are violations; the message lists them.
    #[track_caller]
    pub fn assert_clean(&self) {
        let violations = self.with_ledger(|ledger| ledger.violations().to_vec());
        assert!(
            violations.is_empty(),
            "clients broke the rules of the protocol:\n  {}",
            violations.join("\n  ")
        );
    }

    /// What the server has stored of a session: `[{info, parts}]`.
    pub fn messages(&self, session: &str) -> Vec<Value> {
        self.world.quietly(|state| {
            let messages = state.sessions.get(session).map(|found| &found.messages);
            messages
                .into_iter()
                .flatten()
                .map(|message| message.to_json())
                .collect()
        })
    }

    /// A session's info, or `None` when there is no such session.
    pub fn session(&self, session: &str) -> Option<Value> {
        self.world
            .quietly(|state| state.sessions.get(session).map(|found| found.to_json()))
    }

    /// Forgets a session: it answers 404 from now on, and no event says so.
    pub fn forget(&self, session: &str) {
        self.world.update(|state| {
            if let Some(run) = state
                .sessions
                .get(session)
                .and_then(|found| found.run.clone())
            {
                run.cancel();
            }
            state.forget_session(session);
            state.ledger.session_forgotten(session);
        });
    }

    /// Forgets the servers of tools that were added, in all folders, as where a folder's instance is disposed of.
    pub fn forget_tools(&self) {
        self.world.update(State::forget_tools);
    }

    /// Sends an event of a session to everybody who listens.
    pub fn emit(&self, session: &str, kind: &str, properties: &Value) {
        self.world
            .update(|state| state.emit(session, kind, properties));
    }

    /// Sends a heartbeat on every stream now.
    pub fn heartbeat(&self) {
        self.world.update(|state| {
            let event = state.server_event("server.heartbeat");
            state.bus.publish(&event);
        });
    }

    /// Sends bytes as they are on every stream.
    pub fn send_raw(&self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.world.update(|state| state.bus.publish_raw(&bytes));
    }

    /// Sends a frame that cannot be read on every stream.
    pub fn send_garbage(&self, garbage: Garbage) {
        self.send_raw(turn::garbage_frame(garbage));
    }

    /// Sends `events` events of a session nobody knows, with `size` bytes of text each.
    pub fn flood(&self, directory: &str, events: usize, size: usize) {
        self.world
            .update(|state| state.flood(directory, events, size));
    }

    /// Cuts every open event stream; returns how many there were. Clients may connect again.
    pub fn drop_streams(&self) -> usize {
        self.world.update(|state| state.bus.cut(None))
    }

    /// Dies at once, as by `kill -9`: the listener and every connection are closed, and what was kept in memory only
    /// is gone.
    pub async fn kill(&self) {
        self.world.life().cancel();
        if let Some(server) = self.server.lock().await.take() {
            server.await.ok();
        }
    }

    /// Comes back on the same port: the sessions are there, what was being streamed is empty and unfinished, and
    /// nothing is busy. A server that lives is killed first.
    ///
    /// # Errors
    /// The port was taken meanwhile.
    pub async fn restart(&self) -> std::io::Result<()> {
        self.kill().await;
        let listener = ports::listen(self.port).await?;
        *self
            .world
            .life
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = CancellationToken::new();
        let server = tokio::spawn(listener::serve(self.world.clone(), listener));
        *self.server.lock().await = Some(server);
        Ok(())
    }
}
