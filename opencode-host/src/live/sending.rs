//! Telling other nodes of the turns that run here and that they watch.
//!
//! Nothing is kept for them: once an interval, each of these turns is asked what is new since it was told last, as a watcher
//! asks. A turn that nobody watches elsewhere costs nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::bus::{Interest, LiveBus, LiveMessage, NodeId};
use super::cursor::Cursor;
use super::message::{self, Body};
use super::relay::{INTERVAL, Relay};
use super::turn::LiveTurn;
use crate::id::TurnId;

/// How often it is looked who watches, where nothing was heard.
const LOOK: Duration = Duration::from_secs(2);

/// How long a message is kept for those who watch, and how often older ones are removed.
const KEPT: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(20);

/// How long a worker that ends takes to tell what is left to be told.
const LAST: Duration = Duration::from_secs(1);

/// A turn that is watched elsewhere.
struct Told {
    turn: Arc<LiveTurn>,
    generation: u64,
    /// What was told last.
    cursor: Cursor,
    /// What the others ask for, and what they were given.
    asked: HashMap<NodeId, u64>,
    given: HashMap<NodeId, u64>,
}

/// The task that tells others of the turns of this process.
#[derive(Debug)]
pub(crate) struct Telling {
    over: CancellationToken,
    task: JoinHandle<()>,
}

impl Telling {
    /// Tells others of the turns of this process that they watch. Of several tasks, one does.
    pub(crate) fn start(relay: &Arc<Relay>) -> Self {
        let over = CancellationToken::new();
        let task = tokio::spawn(send(Arc::clone(relay), over.clone()));
        Self { over, task }
    }

    /// Tells what is left to be told, and ends.
    pub(crate) async fn end(mut self) {
        self.over.cancel();
        if timeout(LAST, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn send(relay: Arc<Relay>, over: CancellationToken) {
    let Some(bus) = relay.bus.clone() else {
        return;
    };
    let _alone = tokio::select! {
        () = over.cancelled() => return,
        alone = relay.sending.lock() => alone,
    };
    tokio::select! {
        () = relay.listen() => {}
        () = keep_sending(&relay, &*bus, &over) => {}
    }
}

async fn keep_sending(relay: &Relay, bus: &dyn LiveBus, over: &CancellationToken) {
    let mut told = HashMap::new();
    let (mut look, mut sweep) = (Instant::now(), Instant::now() + SWEEP);
    loop {
        let is_over = over.is_cancelled();
        let now = Instant::now();
        if relay.watched.take() || now >= look {
            look = now + LOOK;
            if !look_who_watches(relay, bus, &mut told).await {
                relay.watched.set();
            }
        }
        tell(relay, bus, &mut told).await;
        if is_over {
            return;
        }
        if now >= sweep {
            sweep = now + SWEEP;
            relay.ask("live.sweep", bus.sweep(KEPT)).await;
        }
        let next = look.min(sweep);
        let resting = async {
            sleep(INTERVAL).await;
            if told.is_empty() {
                tokio::select! {
                    () = relay.watched.wait() => {}
                    () = sleep_until(next) => {}
                }
            }
        };
        tokio::select! {
            () = over.cancelled() => {}
            () = resting => {}
        }
    }
}

/// Takes down who watches what runs here. Answers whether that is known.
async fn look_who_watches(
    relay: &Relay,
    bus: &dyn LiveBus,
    told: &mut HashMap<TurnId, Told>,
) -> bool {
    let here = relay.turns.here();
    if here.is_empty() {
        return true;
    }
    let ids: Vec<_> = here.iter().map(|(id, _)| *id).collect();
    let asking = bus.watched(relay.node, &ids);
    let Some(found) = relay.ask("live.watched", asking).await else {
        return false;
    };
    let mut asked: HashMap<TurnId, HashMap<NodeId, u64>> = HashMap::new();
    for (node, Interest { turn, asked: times }) in found {
        asked.entry(turn).or_default().insert(node, times);
    }
    for (id, turn) in here {
        match (asked.remove(&id), turn.claim()) {
            (Some(asked), Some(generation)) => {
                let known = told.entry(id).or_insert_with(|| Told {
                    turn,
                    generation,
                    cursor: Cursor::START,
                    asked: HashMap::new(),
                    given: HashMap::new(),
                });
                known.given.retain(|node, _| asked.contains_key(node));
                known.asked = asked;
            }
            (Some(_), None) => {}
            (None, _) => {
                told.remove(&id);
            }
        }
    }
    true
}

/// Tells what is new, all of it at once.
async fn tell(relay: &Relay, bus: &dyn LiveBus, told: &mut HashMap<TurnId, Told>) {
    let (mut messages, mut cursors, mut over) = (Vec::new(), Vec::new(), Vec::new());
    for (&id, known) in &mut *told {
        if let Some(generation) = known.turn.claim()
            && generation != known.generation
        {
            (known.generation, known.cursor) = (generation, Cursor::START);
            known.given.clear();
        }
        let is_asked = known.asked != known.given;
        if let Some(out) = known.turn.outgoing(known.cursor, is_asked) {
            cursors.push((id, out.cursor));
            messages.push(LiveMessage::new(id, out.place, message::write(out.body)));
        }
        if let Some(place) = known.turn.last_message() {
            messages.push(LiveMessage::new(id, place, message::write(Body::Ended)));
            over.push(id);
        } else if known.turn.claim().is_none() {
            // It was given back, or lost.
            over.push(id);
        }
    }
    if !messages.is_empty()
        && relay
            .ask("live.publish", bus.publish(&messages))
            .await
            .is_none()
    {
        // The same, and what is new by then, next time.
        return;
    }
    for (id, cursor) in cursors {
        if let Some(known) = told.get_mut(&id) {
            known.cursor = cursor;
            known.given.clone_from(&known.asked);
        }
    }
    for id in over {
        told.remove(&id);
    }
}
