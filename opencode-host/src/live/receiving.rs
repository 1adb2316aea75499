//! Following turns that run on other nodes, once for all who follow them here.
//!
//! Their rows are looked at all at once, and so is the bus. Where the bus has brought the reply of a turn, and as long as
//! nothing is missing from it, watchers are told its changes. Where it has not, they get the reply as it was saved.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::bus::{Interest, LiveBus, LiveMessage, MessagePlace, Read};
use super::cursor::Cursor;
use super::message::{self, Refused};
use super::relay::{INTERVAL, Relay};
use super::turn::{Applied, LiveTurn, Row};
use crate::clock::Timestamp;
use crate::id::TurnId;
use crate::store::TurnStanding;

/// For how long it is said that a turn is watched, and how often again.
const LENGTH: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(10);

/// How long a node that runs a turn may take to bring what was asked for, or its last changes. What was saved is shown
/// then.
const GRACE: Duration = Duration::from_secs(1);

/// A call of the bus that gives so many bytes may not have given all.
const MUCH: usize = 1 << 20;

/// A turn that is followed here.
struct Followed {
    turn: Arc<LiveTurn>,
    /// By which number the whole was asked for, since when, and whether it has come.
    asked: u64,
    since: Instant,
    answered: bool,
    /// When it is to be said again that it is watched; `None` for now.
    said: Option<Instant>,
    /// The messages that were read.
    read: MessagePlace,
    /// Of which claim messages could not be, and why.
    refused: Option<(u64, &'static str)>,
    /// What the row said last: the claim, and when there was progress.
    progress: Option<Progress>,
    /// What of it was shown.
    shown: Option<Progress>,
    /// Where the copy was then.
    was: Option<Cursor>,
    /// The row has said that it is over.
    over: Option<Instant>,
    ended: bool,
}

type Progress = (u64, Option<Timestamp>);

impl Followed {
    fn new(turn: Arc<LiveTurn>, asked: u64, now: Instant) -> Self {
        Self {
            turn,
            asked,
            since: now,
            answered: false,
            said: None,
            read: MessagePlace::default(),
            refused: None,
            progress: None,
            shown: None,
            was: None,
            over: None,
            ended: false,
        }
    }

    /// Something is missing: the whole is asked for, once more.
    fn ask(&mut self, relay: &Relay, now: Instant) {
        if self.answered {
            (self.answered, self.since, self.said) = (false, now, None);
            self.asked = relay.next_ask();
        }
    }

    /// Whether what was saved is to be shown.
    fn falls_back(&self, has_bus: bool, now: Instant) -> bool {
        !has_bus || (!self.answered && now >= self.since + GRACE)
    }
}

/// Ends with its task.
struct Receiving(Arc<Relay>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.stopped_receiving();
    }
}

/// Sees to it that turns are looked after that are followed here and run elsewhere.
pub(crate) fn attend(relay: &Arc<Relay>) {
    if relay.is_to_receive() {
        tokio::spawn(receive(Arc::clone(relay)));
    }
}

/// Follows what is followed here and runs elsewhere, until there is no such turn.
async fn receive(relay: Arc<Relay>) {
    let receiving = Receiving(Arc::clone(&relay));
    tokio::select! {
        () = relay.listen() => {}
        () = keep_receiving(&relay) => {}
    }
    drop(receiving);
}

async fn keep_receiving(relay: &Relay) {
    let bus = relay.bus.as_deref();
    let mut followed: HashMap<TurnId, Followed> = HashMap::new();
    let mut look = Instant::now();
    loop {
        let now = Instant::now();
        let turns = relay.turns.followed_elsewhere();
        if turns.is_empty() && relay.rests() {
            return;
        }
        let mut had = std::mem::take(&mut followed);
        for (id, turn) in turns {
            let known = had.remove(&id);
            let known = known.filter(|known| Arc::ptr_eq(&known.turn, &turn));
            let known = known.unwrap_or_else(|| Followed::new(turn, relay.next_ask(), now));
            followed.insert(id, known);
        }
        let mut is_due = now >= look;
        if let Some(bus) = bus {
            say_what_is_watched(relay, bus, &mut followed).await;
            if relay.published.take() || is_due {
                is_due |= read(relay, bus, &mut followed).await;
            }
        } else {
            relay.published.take();
        }
        if is_due {
            look = now + relay.look_interval;
            look_at_rows(relay, &mut followed).await;
        }
        sleep_until((now + INTERVAL).min(look)).await;
        tokio::select! {
            () = relay.published.wait() => {}
            () = sleep_until(look) => {}
        }
    }
}

/// Says what is watched here, where that is new or may be forgotten.
async fn say_what_is_watched(
    relay: &Relay,
    bus: &dyn LiveBus,
    followed: &mut HashMap<TurnId, Followed>,
) {
    let now = Instant::now();
    let is_new = |known: &Followed| known.said.is_none_or(|again| now >= again);
    if !followed.values().any(is_new) {
        return;
    }
    // All of them, so that the next time is the same.
    let interests: Vec<_> = followed
        .iter_mut()
        .map(|(turn, known)| {
            if known.said.is_some_and(|again| now >= again) && !known.answered {
                // It may not have been heard, or its answer was lost.
                known.asked = relay.next_ask();
            }
            Interest {
                turn: *turn,
                asked: known.asked,
            }
        })
        .collect();
    let saying = bus.watch(relay.node, &interests, LENGTH);
    let said = relay.ask("live.watch", saying).await.is_some();
    for Interest { turn, .. } in interests {
        if let Some(known) = followed.get_mut(&turn) {
            let pause = if said { AGAIN } else { GRACE };
            known.said = Some(now + pause);
        }
    }
}

/// Reads what others have sent. Answers whether a turn has ended there: its row is to be looked at.
async fn read(relay: &Relay, bus: &dyn LiveBus, followed: &mut HashMap<TurnId, Followed>) -> bool {
    let reads: Vec<_> = followed
        .iter()
        .map(|(turn, known)| Read {
            turn: *turn,
            after: known.read,
        })
        .collect();
    let Some(messages) = relay.ask("live.read", bus.read(&reads)).await else {
        return false;
    };
    let size: usize = messages.iter().map(LiveMessage::size).sum();
    if size >= MUCH {
        // There may be more than one call gives.
        relay.published.set();
    }
    let mut ended = false;
    for message in messages {
        if let Some(known) = followed.get_mut(&message.turn) {
            ended |= take(relay, known, &message);
        }
    }
    ended
}

/// Takes one message. Answers whether its turn has ended.
fn take(relay: &Relay, known: &mut Followed, message: &LiveMessage) -> bool {
    let (now, place) = (Instant::now(), message.place());
    known.read = known.read.max(place);
    let body = message
        .text()
        .map_err(Refused::Size)
        .and_then(message::read);
    let body = match body {
        Ok(body) => body,
        Err(refused) => {
            let reason = Some((place.generation, refused.reason()));
            if std::mem::replace(&mut known.refused, reason) != reason {
                trace_refused(relay, message, refused);
            }
            known.ask(relay, now);
            return false;
        }
    };
    match known.turn.apply(place.generation, body) {
        Applied::Done => {}
        Applied::Known => known.answered = true,
        Applied::Gap => {
            if known.answered {
                gap(relay, message.turn);
            }
            known.ask(relay, now);
        }
        Applied::Unknown => {
            known.answered = false;
            known.since = now.checked_sub(GRACE).unwrap_or(now);
        }
        Applied::Ended => {
            known.ended = true;
            return true;
        }
    }
    false
}

fn gap(relay: &Relay, turn: TurnId) {
    let telemetry = &relay.telemetry;
    telemetry.event("live.gap", [("turn", turn.to_string().into())]);
}

fn trace_refused(relay: &Relay, message: &LiveMessage, refused: Refused) {
    let size = match refused {
        Refused::Size(size) => Some(size),
        _ => None,
    };
    relay.telemetry.event(
        "live.refused",
        [
            ("turn", message.turn.to_string().into()),
            ("generation", message.place().generation.into()),
            ("reason", refused.reason().into()),
            ("size", size.into()),
        ],
    );
}

/// Looks how the turns stand, all at once, and reads what was saved of those that the bus does not bring.
async fn look_at_rows(relay: &Relay, followed: &mut HashMap<TurnId, Followed>) {
    let ids: Vec<_> = followed.keys().copied().collect();
    let standings = match relay.store.standings(&ids).await {
        Ok(standings) => {
            relay.succeeded();
            standings
        }
        Err(error) => return relay.report_once(&error, "live.look"),
    };
    let now = Instant::now();
    let mut wanted = Vec::new();
    for (id, standing) in ids.iter().zip(standings) {
        if let Some(known) = followed.get_mut(id)
            && stands(known, standing, relay.bus.is_some(), now)
        {
            wanted.push(*id);
        }
    }
    if wanted.is_empty() {
        return;
    }
    let turns = match relay.store.turns(&wanted).await {
        Ok(turns) => turns,
        Err(error) => return relay.report_once(&error, "live.look"),
    };
    for turn in turns {
        let Some(known) = followed.get_mut(&turn.id) else {
            continue;
        };
        if known.falls_back(relay.bus.is_some(), now) {
            known.shown = Some((turn.generation, turn.progress_at()));
            known.turn.set_saved(turn.checkpoint);
        } else if known.turn.lags(&turn.checkpoint) {
            gap(relay, turn.id);
            known.ask(relay, now);
        }
    }
}

/// Takes down how a turn stands. Answers whether what was saved of it is to be read.
fn stands(
    known: &mut Followed,
    standing: Option<TurnStanding>,
    has_bus: bool,
    now: Instant,
) -> bool {
    let Some(standing) = standing else {
        known.turn.set_row(Row::Deleted);
        return false;
    };
    if standing.over {
        // The last changes may be on their way.
        let since = *known.over.get_or_insert(now);
        if !known.answered || known.ended || now >= since + GRACE {
            known.turn.set_row(Row::Over);
        }
        return false;
    }
    known.turn.set_row(Row::Open {
        unreachable: standing.unreachable,
    });
    let progress = Some((standing.generation, standing.progress_at));
    let progressed = progress != known.progress;
    known.progress = progress;
    let copied = known.turn.copied();
    let rested = copied == std::mem::replace(&mut known.was, copied);
    if let Some(copied) = copied
        && standing.generation > copied.generation
        && known.answered
    {
        // Another claim: its node brings it, or what was saved is shown.
        (known.answered, known.since) = (false, now);
    }
    if known.falls_back(has_bus, now) {
        return known.shown != progress;
    }
    known.answered && progressed && rested
}
