//! The handle of a running impostor.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Dialect};
use crate::faults::{Action, Calls, Events, Fault, FaultId};
use crate::ledger::Ledger;
use crate::script::{Garbage, Script, Step};
use crate::state::World;
use crate::tape::Tape;
use crate::{listener, turn};

/// Collects how an impostor shall be; see [`Impostor::builder`].
#[derive(Debug, Clone, Default)]
pub struct ImpostorBuilder {
    config: Config,
    script: Option<Script>,
    tape: Option<Arc<Tape>>,
    allow_concurrent_prompts: bool,
}

impl ImpostorBuilder {
    /// What it answers; [`Script::standard`] when not said.
    pub fn script(mut self, script: Script) -> Self {
        self.script = Some(script);
        self
    }

    /// Plays a tape instead of a script.
    pub fn tape(mut self, tape: Tape) -> Self {
        self.tape = Some(Arc::new(tape));
        self
    }

    /// Plays the tape in its own time (1.0), or faster; not said: as fast as it goes.
    pub fn tape_speed(mut self, speed: f64) -> Self {
        self.config.tape_speed = Some(speed);
        self
    }

    /// The port on 127.0.0.1; 0, the default, lets the system choose.
    pub fn port(mut self, port: u16) -> Self {
        self.config.port = port;
        self
    }

    /// Asks every request for HTTP Basic authentication, user `opencode`.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.config.password = Some(password.into());
        self
    }

    /// The habits of another version.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.config.dialect = dialect;
        self
    }

    /// The time between heartbeats; 10 s by default.
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.config.heartbeat = every;
        self
    }

    /// Whether `/global/event` carries the `sync` copies of durable events; it does by default.
    pub fn sync_events(mut self, sync: bool) -> Self {
        self.config.sync = sync;
        self
    }

    /// Sends the burst of `plugin.added` and the like that a real server sends for each new directory.
    pub fn startup_events(mut self, send: bool) -> Self {
        self.config.startup_events = send;
        self
    }

    /// The agents there are. A prompt that names another one fails as on the real server. Not said: any will do.
    pub fn agents<S: Into<String>>(mut self, agents: impl IntoIterator<Item = S>) -> Self {
        self.config.agents = Some(agents.into_iter().map(Into::into).collect());
        self
    }

    /// The models there are, as `provider/model`. A prompt that names another one fails as on the real server. Not
    /// said: any will do.
    pub fn models<S: AsRef<str>>(mut self, models: impl IntoIterator<Item = S>) -> Self {
        self.config.models = Some(
            models
                .into_iter()
                .map(|model| {
                    let (provider, model) = model
                        .as_ref()
                        .split_once('/')
                        .unwrap_or(("local", model.as_ref()));
                    (provider.to_owned(), model.to_owned())
                })
                .collect(),
        );
        self
    }

    /// What each model step costs (US dollars) and uses (tokens); 0.00009, 50 and 20 by default, as on the tapes.
    pub fn usage(mut self, cost: f64, input_tokens: u64, output_tokens: u64) -> Self {
        self.config.cost = cost;
        self.config.input_tokens = input_tokens;
        self.config.output_tokens = output_tokens;
        self
    }

    /// The server's clock is this many milliseconds ahead of (or, negative, behind) the machine's.
    pub fn clock_skew_ms(mut self, skew: i64) -> Self {
        self.config.clock_skew_ms = skew;
        self
    }

    /// The directory of requests that name none; the process's own by default.
    pub fn directory(mut self, directory: impl Into<String>) -> Self {
        self.config.directory = directory.into();
        self
    }

    /// Sets a fault from the start.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.script
            .get_or_insert_with(Script::standard)
            .faults
            .push(fault);
        self
    }

    /// How long [`Impostor::wait_for`] and its kin wait before they give up; 20 s by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.config.patience = patience;
        self
    }

    /// A prompt to a busy session is no violation.
    pub fn allow_concurrent_prompts(mut self) -> Self {
        self.allow_concurrent_prompts = true;
        self
    }

    /// Starts the server. It stops when the handle is dropped.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn start(self) -> std::io::Result<Impostor> {
        let script = self.script.unwrap_or_else(Script::standard);
        let port = self.config.port;
        let world = Arc::new(World::new(self.config, script, self.tape));
        world.update(|state| {
            state.ledger.allow_concurrent_prompts = self.allow_concurrent_prompts;
        });
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = listener.local_addr()?.port();
        let server = tokio::spawn(listener::serve(world.clone(), listener));
        Ok(Impostor {
            world,
            port,
            server: Mutex::new(Some(server)),
        })
    }
}

/// A running double of an OpenCode server. It stops when this is dropped.
pub struct Impostor {
    world: Arc<World>,
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
        if let Some(server) = self.server.get_mut().take() {
            server.abort();
        }
        self.world.life().cancel();
    }
}

impl Impostor {
    /// An impostor with everything as it is by default: the standard script on a free port.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start() -> std::io::Result<Self> {
        Self::builder().start().await
    }

    /// An impostor that plays this script.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn scripted(script: Script) -> std::io::Result<Self> {
        Self::builder().script(script).start().await
    }

    /// An impostor that plays a tape of the library, by name (`"write-file"`).
    ///
    /// # Errors
    /// There is no such tape, or no port can be bound.
    pub async fn tape(name: &str) -> std::io::Result<Self> {
        Self::builder().tape(crate::tape(name)?).start().await
    }

    /// Everything that can be chosen.
    pub fn builder() -> ImpostorBuilder {
        ImpostorBuilder::default()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The faults: set them, take them away.
    pub fn faults(&self) -> Faults<'_> {
        Faults { world: &self.world }
    }

    /// A gate, by name. It is closed until it is opened.
    pub fn gate(&self, name: impl Into<String>) -> Gate<'_> {
        Gate {
            impostor: self,
            name: name.into(),
        }
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
    /// It did not happen within the [patience](ImpostorBuilder::patience); the error tells what did.
    pub async fn wait_for(&self, wanted: impl FnMut(&Ledger) -> bool) -> Result<(), WaitError> {
        let mut wanted = wanted;
        self.wait_until(move |ledger| wanted(ledger).then_some(()))
            .await
    }

    /// Waits until the ledger has something to give.
    ///
    /// # Errors
    /// It did not happen within the [patience](ImpostorBuilder::patience); the error tells what did.
    pub async fn wait_until<T>(
        &self,
        mut find: impl FnMut(&Ledger) -> Option<T>,
    ) -> Result<T, WaitError> {
        let found = self.world.until(|state| find(&state.ledger));
        tokio::time::timeout(self.world.config.patience, found)
            .await
            .map_err(|_| WaitError(self.with_ledger(Ledger::summary)))
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
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await?;
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

/// A wait that ran out of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitError(String);

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

/// A named point where the impostor waits for the test; see [`Impostor::gate`].
#[derive(Debug)]
pub struct Gate<'a> {
    impostor: &'a Impostor,
    name: String,
}

impl Gate<'_> {
    /// Opens the gate for good: what waits goes on, what was held is sent.
    pub fn open(&self) {
        self.impostor.world.open_gate(&self.name);
    }

    /// Closes it again.
    pub fn close(&self) {
        self.impostor
            .world
            .update(|state| state.gates.close(&self.name));
    }

    /// Lets this many pass and stays closed.
    pub fn let_through(&self, passes: usize) {
        self.impostor
            .world
            .update(|state| state.gates.let_through(&self.name, passes));
    }

    /// Waits until something waits at the gate.
    ///
    /// # Errors
    /// Nothing came in time.
    pub async fn reached(&self) -> Result<(), WaitError> {
        self.impostor
            .wait_for(|ledger| ledger.waiting_at(&self.name) > 0)
            .await
    }
}

/// Sets faults; see [`Impostor::faults`].
#[derive(Clone, Copy)]
pub struct Faults<'a> {
    world: &'a World,
}

impl std::fmt::Debug for Faults<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

impl Faults<'_> {
    /// Sets a fault. Open event streams feel it too.
    pub fn add(&self, fault: Fault) -> FaultId {
        self.world.update(|state| {
            if let Fault::DropStreams { after, path, .. } = &fault {
                state.bus.cut_open_streams_after(*after, path.as_deref());
            }
            let id = state.faults.add(fault);
            let faults = &state.faults;
            state.bus.set_silence(|path| faults.silence(path).is_some());
            id
        })
    }

    /// Takes a fault away.
    pub fn remove(&self, id: FaultId) {
        self.world.update(|state| {
            state.faults.remove(id);
            let faults = &state.faults;
            state.bus.set_silence(|path| faults.silence(path).is_some());
        });
    }

    /// Takes all faults away.
    pub fn clear(&self) {
        self.world.update(|state| {
            state.faults.clear();
            state.bus.set_silence(|_| false);
        });
    }

    /// Does something to calls of an endpoint, named like `"POST /session/:id/prompt_async"`.
    pub fn request(&self, on: &str, calls: Calls, action: Action) -> FaultId {
        self.add(Fault::Request {
            on: on.to_owned(),
            calls,
            action,
        })
    }

    /// Closes the connection before the call is done.
    pub fn lose_request(&self, on: &str, calls: Calls) -> FaultId {
        self.request(on, calls, Action::LoseRequest)
    }

    /// Does the call, and closes the connection without an answer.
    pub fn lose_response(&self, on: &str, calls: Calls) -> FaultId {
        self.request(on, calls, Action::LoseResponse)
    }

    /// Closes the connection of the next `tries` event streams without an answer.
    pub fn refuse_streams(&self, tries: u64) -> [FaultId; 2] {
        ["GET /event", "GET /global/event"]
            .map(|on| self.request(on, Calls::First(tries), Action::LoseRequest))
    }

    /// `/global/event` answers 404, as servers do that do not have it.
    pub fn no_global_event(&self) -> FaultId {
        let action = Action::error(404, "NotFoundError", "Not found");
        self.request("GET /global/event", Calls::All, action)
    }

    /// Cuts each event stream after this many events.
    pub fn drop_streams_after(&self, events: u64) -> FaultId {
        self.add(Fault::DropStreams {
            after: events,
            path: None,
            times: None,
        })
    }

    /// Event streams say nothing after `server.connected`, not even a heartbeat.
    pub fn silent_streams(&self) -> FaultId {
        self.add(Fault::SilentStreams {
            path: None,
            heartbeats: false,
        })
    }

    /// Events are never sent.
    pub fn lose_events(&self, events: Events) -> FaultId {
        self.add(Fault::LoseEvents { events })
    }

    /// Events wait at a gate; those after them go their way.
    pub fn hold_events(&self, events: Events, gate: &str) -> FaultId {
        self.add(Fault::HoldEvents {
            events,
            gate: gate.to_owned(),
            following: false,
        })
    }

    /// The user's own text part is never sent.
    pub fn omit_user_part(&self) -> FaultId {
        self.lose_events(Events::of("message.part.updated").role("user"))
    }

    /// After an abort, the second idle waits at a gate: it may come in the middle of the next turn.
    pub fn late_idle(&self, gate: &str) -> FaultId {
        self.add(Fault::LateIdle {
            gate: gate.to_owned(),
        })
    }

    /// Prompts are answered 204, but show and run only when the gate opens.
    pub fn hold_prompts(&self, gate: &str) -> FaultId {
        self.add(Fault::HoldPrompts {
            gate: gate.to_owned(),
        })
    }

    /// Every request is answered 401 from now on.
    pub fn refuse_auth(&self) -> FaultId {
        self.add(Fault::RefuseAuth)
    }
}
