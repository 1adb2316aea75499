//! What a test holds in its hands while an impostor runs: gates and faults.

use serde_json::Value;

use crate::faults::{Action, Calls, Events, Fault, FaultId, List, OddRecord, Oddity};
use crate::impostor::{Impostor, WaitError};
use crate::state::World;

/// A named point where the impostor waits for the test; see [`Impostor::gate`].
pub struct Gate<'a> {
    impostor: &'a Impostor,
    world: &'a World,
    name: String,
}

impl std::fmt::Debug for Gate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Gate<'a> {
    pub(crate) fn new(impostor: &'a Impostor, world: &'a World, name: String) -> Self {
        Self {
            impostor,
            world,
            name,
        }
    }

    /// Opens the gate for good: what waits goes on, what was held is sent.
    pub fn open(&self) {
        self.world.open_gate(&self.name);
    }

    /// Closes it again.
    pub fn close(&self) {
        self.world.update(|state| state.gates.close(&self.name));
    }

    /// Lets this many pass and stays closed.
    pub fn let_through(&self, passes: usize) {
        self.world
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

impl Impostor {
    /// The faults: set them, take them away.
    pub fn faults(&self) -> Faults<'_> {
        Faults::new(&self.world)
    }

    /// A gate, by name. It is closed until it is opened.
    pub fn gate(&self, name: impl Into<String>) -> Gate<'_> {
        Gate::new(self, &self.world, name.into())
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

impl<'a> Faults<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self { world }
    }

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

    /// Calls are accepted and never answered, and do nothing.
    pub fn swallow(&self, on: &str, calls: Calls) -> FaultId {
        self.request(on, calls, Action::Swallow)
    }

    /// The history of every session answers 500.
    pub fn history_fails(&self, calls: Calls) -> FaultId {
        self.add(Fault::HistoryFails { calls })
    }

    /// Each session is forgotten as soon as its creation was answered.
    pub fn forget_sessions(&self) -> FaultId {
        self.add(Fault::ForgetSessions)
    }

    /// Records of the assistant are odd, in events and lists. For a choice of them add a [`Fault::Odd`].
    pub fn odd(&self, what: Oddity) -> FaultId {
        self.add(Fault::Odd(OddRecord::new(what)))
    }

    /// A list begins and ends with this record.
    pub fn stray(&self, among: List, record: Value) -> FaultId {
        self.add(Fault::Stray { among, record })
    }

    /// The list of a session's messages names each of them twice.
    pub fn repeat_messages(&self) -> FaultId {
        self.add(Fault::RepeatMessages)
    }

    /// Every request is answered 401 from now on.
    pub fn refuse_auth(&self) -> FaultId {
        self.add(Fault::RefuseAuth)
    }
}
