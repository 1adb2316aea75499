//! The server's state: sessions, messages, what waits for an answer. One lock guards all of it, and events are sent
//! under that lock, so what a client reads and what it hears never contradict each other.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, Event};
use crate::config::Config;
use crate::faults::{EventFate, FaultTable, Record, Seen};
use crate::gates::Gates;
use crate::ids::Ids;
use crate::ledger::Ledger;
use crate::mcp::Added;
use crate::script::Script;
use crate::sessions::{Message, Session};
use crate::tape::Tape;

/// Everything that requests, runs and tests share.
pub(crate) struct World {
    pub(crate) config: Config,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    runs: Mutex<JoinSet<()>>,
    pub(crate) started: Instant,
    /// Cancelled when the server dies; replaced when it comes back.
    pub(crate) life: Mutex<CancellationToken>,
}

impl World {
    pub(crate) fn new(config: Config, script: Script, tape: Option<Arc<Tape>>) -> Self {
        let mut faults = FaultTable::default();
        for fault in &script.faults {
            faults.add(fault.clone());
        }
        if config.dialect.silent_event {
            faults.add(crate::faults::Fault::SilentStreams {
                path: Some("/event".into()),
                heartbeats: false,
            });
        }
        let state = State {
            ids: Ids::new(config.clock_skew_ms),
            event_ids: config.dialect.event_ids,
            events_name_session: config.dialect.events_name_session,
            sessions: HashMap::new(),
            order: Vec::new(),
            bus: Bus::new(config.sync),
            faults,
            ledger: Ledger::default(),
            gates: Gates::default(),
            questions: BTreeMap::new(),
            permissions: BTreeMap::new(),
            held: HashMap::new(),
            mcp: BTreeMap::new(),
            stalled_by: None,
            directories: Vec::new(),
            script,
            tape,
        };
        Self {
            config,
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
            runs: Mutex::new(JoinSet::new()),
            started: Instant::now(),
            life: Mutex::new(CancellationToken::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panicking test thread leaves nothing half done that a later look could not bear.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes whoever waits for a change.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changes.send_modify(|count| *count += 1);
        result
    }

    /// Reads or changes the state without waking anybody: for deltas, of which there are many.
    pub(crate) fn quietly<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.lock())
    }

    /// Waits until `look` finds something.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            // The sender lives as long as `self`.
            changes.changed().await.ok();
        }
    }

    /// Waits at a gate until it is open.
    pub(crate) async fn pass(&self, gate: &str) {
        struct AtGate<'a>(&'a World, &'a str);
        impl Drop for AtGate<'_> {
            fn drop(&mut self) {
                self.0.update(|state| state.ledger.waits_at(self.1, false));
            }
        }
        self.update(|state| state.ledger.waits_at(gate, true));
        let _leave = AtGate(self, gate);
        self.until(|state| state.gates.try_pass(gate).then_some(()))
            .await;
    }

    /// Opens a gate and sends what was held behind it.
    pub(crate) fn open_gate(&self, gate: &str) {
        self.update(|state| {
            state.gates.open(gate);
            state.release_held(gate);
        });
    }

    /// Runs a task that dies with the server.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        while runs.try_join_next().is_some() {}
        runs.spawn(task);
    }

    /// Ends all tasks of [`World::spawn`], and forgets what a process keeps in memory only.
    pub(crate) async fn die(&self) {
        let mut runs =
            std::mem::take(&mut *self.runs.lock().unwrap_or_else(PoisonError::into_inner));
        runs.shutdown().await;
        self.update(State::die);
    }

    /// Ends all tasks of [`World::spawn`] without waiting for them.
    pub(crate) fn abandon(&self) {
        self.runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }

    /// The token of the server's present life.
    pub(crate) fn life(&self) -> CancellationToken {
        self.life
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Milliseconds since the impostor started.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// A question or permission that waits for the client.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) session: String,
    /// As `GET /question` or `GET /permission` lists it.
    pub(crate) body: Value,
    /// What the client said.
    pub(crate) answer: Option<Answer>,
}

/// What a client said to a question or permission.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// The chosen labels, per question.
    Labels(Value),
    /// `once` or `always`.
    Allowed(String),
    /// Rejected, with the reason given.
    Rejected(Option<String>),
}

/// The state behind the lock of [`World`].
pub(crate) struct State {
    pub(crate) ids: Ids,
    event_ids: bool,
    events_name_session: bool,
    pub(crate) sessions: HashMap<String, Session>,
    /// Session ids, oldest first.
    pub(crate) order: Vec<String>,
    pub(crate) bus: Bus,
    pub(crate) faults: FaultTable,
    pub(crate) ledger: Ledger,
    pub(crate) gates: Gates,
    pub(crate) questions: BTreeMap<String, Ask>,
    pub(crate) permissions: BTreeMap<String, Ask>,
    held: HashMap<String, Vec<Event>>,
    /// Servers of tools, by folder and name.
    pub(crate) mcp: BTreeMap<(String, String), Added>,
    stalled_by: Option<String>,
    pub(crate) directories: Vec<String>,
    pub(crate) script: Script,
    pub(crate) tape: Option<Arc<Tape>>,
}

impl State {
    /// An event of the server itself.
    pub(crate) fn server_event(&mut self, kind: &str) -> Event {
        Event {
            directory: None,
            id: self.event_id(),
            kind: kind.to_owned(),
            properties: "{}".into(),
            sync: None,
        }
    }

    fn event_id(&mut self) -> Option<String> {
        let id = self.ids.ascending("evt");
        self.event_ids.then_some(id)
    }

    /// Sends an event of a session. `sessionID` is put in front of the properties unless they name one.
    pub(crate) fn emit(&mut self, session: &str, kind: &str, properties: &Value) {
        if self.bus.is_idle() && !self.faults.touches_events() {
            return;
        }
        let properties = if properties.get("sessionID").is_some() {
            properties.to_string()
        } else {
            let rest = properties.to_string();
            let rest = rest.strip_prefix('{').unwrap_or("}");
            let comma = if rest == "}" { "" } else { "," };
            format!(r#"{{"sessionID":"{session}"{comma}{rest}"#)
        };
        self.emit_text(session, kind, properties, None);
    }

    /// As [`State::emit`], with the properties already serialised.
    pub(crate) fn emit_text(
        &mut self,
        session: &str,
        kind: &str,
        properties: String,
        role: Option<&str>,
    ) {
        if self.bus.is_idle() && !self.faults.touches_events() {
            return;
        }
        let durable = matches!(
            kind,
            "session.created"
                | "session.updated"
                | "session.deleted"
                | "message.updated"
                | "message.part.updated"
        );
        let properties = if durable && !self.events_name_session {
            let named = format!(r#"{{"sessionID":"{session}","#);
            let rest = properties.strip_prefix(&named);
            rest.map_or_else(|| properties.clone(), |rest| format!("{{{rest}"))
        } else {
            properties
        };
        let id = self.event_id();
        let Some(found) = self.sessions.get_mut(session) else {
            return;
        };
        let sync = durable.then(|| {
            found.seq += 1;
            (found.seq - 1, session.to_owned())
        });
        let directory = found.directory.clone();
        self.send(
            Event {
                directory: Some(directory),
                id,
                kind: kind.to_owned(),
                properties,
                sync,
            },
            role,
        );
    }

    /// Sends an event of a directory that belongs to no session.
    pub(crate) fn emit_directory(&mut self, directory: &str, kind: &str, properties: &Value) {
        let event = Event {
            directory: Some(directory.to_owned()),
            id: self.event_id(),
            kind: kind.to_owned(),
            properties: properties.to_string(),
            sync: None,
        };
        self.send(event, None);
    }

    fn send(&mut self, event: Event, role: Option<&str>) {
        if let Some(gate) = &self.stalled_by {
            self.held.entry(gate.clone()).or_default().push(event);
            return;
        }
        match self.faults.on_event(&event.kind, role) {
            EventFate::Send => self.bus.publish(&event),
            EventFate::Lose => {}
            EventFate::Hold { gate, following } => {
                if self.gates.is_open(&gate) {
                    self.bus.publish(&event);
                    return;
                }
                if following {
                    self.stalled_by = Some(gate.clone());
                }
                self.held.entry(gate).or_default().push(event);
            }
        }
    }

    /// Keeps an event until a gate opens.
    pub(crate) fn hold(&mut self, gate: &str, session: &str, kind: &str, properties: &Value) {
        let Some(found) = self.sessions.get(session) else {
            return;
        };
        let directory = Some(found.directory.clone());
        let id = self.event_id();
        self.held.entry(gate.to_owned()).or_default().push(Event {
            directory,
            id,
            kind: kind.to_owned(),
            properties: properties.to_string(),
            sync: None,
        });
    }

    fn release_held(&mut self, gate: &str) {
        if self.stalled_by.as_deref() == Some(gate) {
            self.stalled_by = None;
        }
        for event in self.held.remove(gate).unwrap_or_default() {
            self.bus.publish(&event);
        }
    }

    /// Sets a session's status and says so. `None` is idle, with its `session.idle`.
    pub(crate) fn set_status(&mut self, session: &str, status: Option<Value>) {
        let idle = status.is_none();
        let shown = status.clone().unwrap_or_else(|| json!({"type": "idle"}));
        if let Some(found) = self.sessions.get_mut(session) {
            found.status = status;
        }
        self.emit(session, "session.status", &json!({"status": shown}));
        if idle {
            self.emit(session, "session.idle", &json!({}));
        }
    }

    /// Stores a message and sends it.
    pub(crate) fn put_message(&mut self, session: &str, info: Value) {
        let Some(found) = self.sessions.get_mut(session) else {
            return;
        };
        let role = info["role"].as_str().unwrap_or_default().to_owned();
        let shown = info.clone();
        match found.message_mut(info["id"].as_str().unwrap_or_default()) {
            Some(message) => message.info = info,
            None => found.messages.push(Message {
                info,
                parts: Vec::new(),
            }),
        }
        let shown = self.as_sent(Record::Message, &role, shown);
        self.emit_of_role(session, "message.updated", &json!({"info": shown}), &role);
    }

    /// Stores a part of a message and sends it.
    pub(crate) fn put_part(&mut self, session: &str, part: Value) {
        let at = self.ids.now();
        let shown = part.clone();
        let Some(role) = self.store_part(session, part) else {
            return;
        };
        let shown = self.as_sent(Record::Part, &role, shown);
        let event = json!({"part": shown, "time": at});
        self.emit_of_role(session, "message.part.updated", &event, &role);
    }

    /// A record as an event tells it: faults may make it odd.
    pub(crate) fn as_sent(&mut self, kind: Record, role: &str, mut record: Value) -> Value {
        if self.faults.touches_records() {
            self.faults.alter(kind, Seen::Events, role, &mut record);
        }
        record
    }

    /// Stores a part without sending it; the role of its message.
    pub(crate) fn store_part(&mut self, session: &str, part: Value) -> Option<String> {
        let message = self
            .sessions
            .get_mut(session)?
            .message_mut(part["messageID"].as_str()?)?;
        match message
            .parts
            .iter_mut()
            .find(|known| known["id"] == part["id"])
        {
            Some(known) => *known = part,
            None => message.parts.push(part),
        }
        Some(message.info["role"].as_str().unwrap_or_default().to_owned())
    }

    fn emit_of_role(&mut self, session: &str, kind: &str, properties: &Value, role: &str) {
        let text = properties.to_string();
        let rest = text.strip_prefix('{').unwrap_or("}");
        let properties = format!(r#"{{"sessionID":"{session}",{rest}"#);
        self.emit_text(session, kind, properties, Some(role));
    }

    /// Sends a session's present info.
    pub(crate) fn touch_session(&mut self, session: &str) {
        let now = self.ids.now();
        let Some(found) = self.sessions.get_mut(session) else {
            return;
        };
        found.info["time"]["updated"] = now.into();
        let info = found.to_json();
        self.emit(session, "session.updated", &json!({"info": info}));
    }

    /// Forgets the servers of tools that were added.
    pub(crate) fn forget_tools(&mut self) {
        for added in std::mem::take(&mut self.mcp).into_values() {
            added.closed.cancel();
        }
    }

    /// The process dies: what it kept in memory is gone, what it stored stays.
    fn die(&mut self) {
        for session in self.sessions.values_mut() {
            session.status = None;
            session.pending.clear();
            session.run = None;
            session.live = None;
        }
        self.questions.clear();
        self.permissions.clear();
        self.held.clear();
        self.forget_tools();
        self.stalled_by = None;
        self.bus.clear();
        self.faults.died();
        self.ledger.died();
    }
}
