//! Who is here, and what each waits for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bounds::Bounds;

/// The longest a request's head may take to come.
const HEAD: Duration = Duration::from_secs(20);
/// The longest between two requests. Longer than proxies keep a connection, so that they close it first.
const IDLE: Duration = Duration::from_secs(75);
/// The longest a client may take nothing of what is sent to it.
const STALLED: Duration = Duration::from_secs(60);
/// A request under way that waits so long for its client makes room for another where there is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between two requests.
    Idle,
    /// Waits for the rest of a request's head.
    Head,
    /// Waits for more of a request's body: how long it may is the body's to say.
    Body,
    /// The application is at work.
    Work,
}

#[derive(Clone, Copy, Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Since when the client takes nothing.
    stalled: Option<Instant>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Seat {
    state: Mutex<State>,
    end: CancellationToken,
}

impl Seat {
    fn new() -> Self {
        let state = State {
            phase: Phase::Head,
            since: Instant::now(),
            stalled: None,
        };
        Self {
            state: Mutex::new(state),
            end: CancellationToken::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(&self, from: impl Fn(Phase) -> bool, to: Phase) {
        let mut state = self.state();
        if state.phase != to && from(state.phase) {
            state.phase = to;
            state.since = Instant::now();
        }
    }

    /// Bytes came. Between two requests they begin the next one.
    pub(super) fn hear(&self) {
        self.go_on(|phase| phase == Phase::Idle, Phase::Head);
    }

    /// A request is taken, or more of it came.
    pub(super) fn work(&self) {
        self.go_on(|_| true, Phase::Work);
    }

    /// More of a body is waited for.
    pub(super) fn wait_for_body(&self) {
        self.go_on(|phase| phase == Phase::Work, Phase::Body);
    }

    /// A body is not waited for any more.
    pub(super) fn leave_body(&self) {
        self.go_on(|phase| phase == Phase::Body, Phase::Work);
    }

    /// A request is answered.
    pub(super) fn rest(&self) {
        self.go_on(|_| true, Phase::Idle);
    }

    /// Whether the client takes what is sent.
    pub(super) fn takes(&self, takes: bool) {
        let mut state = self.state();
        state.stalled = match state.stalled {
            _ if takes => None,
            Some(since) => Some(since),
            None => Some(Instant::now()),
        };
    }

    /// Ends it at once.
    pub(super) fn end(&self) {
        self.end.cancel();
    }

    pub(super) async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// Whether no request of it is under way.
    pub(super) fn waits_for_request(&self) -> bool {
        let state = self.state();
        matches!(state.phase, Phase::Idle | Phase::Head) && state.stalled.is_none()
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let state = self.state();
        let passed = |since: Instant| now.saturating_duration_since(since);
        match *state {
            State {
                stalled: Some(since),
                ..
            } => passed(since) >= STALLED,
            State {
                phase: Phase::Idle,
                since,
                ..
            } => passed(since) >= IDLE,
            State {
                phase: Phase::Head,
                since,
                ..
            } => passed(since) >= HEAD,
            State {
                phase: Phase::Body | Phase::Work,
                ..
            } => false,
        }
    }

    /// Since when it waits for its client, where it may make room for another.
    fn waits_since(&self, now: Instant) -> Option<Instant> {
        let state = self.state();
        let (since, at_least) = match *state {
            State {
                stalled: Some(since),
                ..
            }
            | State {
                phase: Phase::Body,
                since,
                ..
            } => (since, PATIENCE),
            State {
                phase: Phase::Idle | Phase::Head,
                since,
                ..
            } => (since, Duration::ZERO),
            State {
                phase: Phase::Work, ..
            } => return None,
        };
        (now.saturating_duration_since(since) >= at_least).then_some(since)
    }
}

/// Where a connection sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Among those that get pages.
    Room,
    /// Among those that hear of the process's health alone.
    Reserve,
}

/// All connections.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    bounds: Bounds,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    room: BTreeMap<u64, Arc<Seat>>,
    reserve: BTreeMap<u64, Arc<Seat>>,
}

impl Taken {
    fn of(&mut self, place: Place) -> &mut BTreeMap<u64, Arc<Seat>> {
        match place {
            Place::Room => &mut self.room,
            Place::Reserve => &mut self.reserve,
        }
    }

    /// Whether there is a free seat, after the one that waits longest for its client had to leave.
    fn has_room(&mut self, place: Place, most: usize) -> bool {
        self.of(place).len() < most || self.make_room(place)
    }

    fn make_room(&mut self, place: Place) -> bool {
        let now = Instant::now();
        let seats = self.of(place);
        let waits = |(number, seat): (&u64, &Arc<Seat>)| Some((seat.waits_since(now)?, *number));
        let Some((_, number)) = seats.iter().filter_map(waits).min() else {
            return false;
        };
        if let Some(seat) = seats.remove(&number) {
            seat.end();
        }
        true
    }
}

impl Seats {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            taken: Arc::default(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for one more connection; `None` where even the reserve is at work.
    pub(super) fn admit(&self) -> Option<Ticket> {
        let mut taken = self.taken();
        let place = if taken.has_room(Place::Room, self.bounds.connections) {
            Place::Room
        } else if taken.has_room(Place::Reserve, self.bounds.reserve) {
            Place::Reserve
        } else {
            return None;
        };
        let number = taken.next;
        taken.next += 1;
        let seat = Arc::new(Seat::new());
        taken.of(place).insert(number, Arc::clone(&seat));
        Some(Ticket {
            seats: self.clone(),
            place,
            number,
            seat,
        })
    }

    /// Ends the connection that has waited longest for its client, if any.
    pub(super) fn make_room(&self) {
        self.taken().make_room(Place::Room);
    }

    /// Ends those that have waited too long.
    pub(super) fn end_overdue(&self) {
        let now = Instant::now();
        let taken = self.taken();
        let all = taken.room.values().chain(taken.reserve.values());
        all.filter(|seat| seat.is_overdue(now))
            .for_each(|seat| seat.end());
    }

    pub(super) fn end_all(&self) {
        let taken = self.taken();
        let all = taken.room.values().chain(taken.reserve.values());
        all.for_each(|seat| seat.end());
    }
}

/// A connection's right to its seat, which is free again without it.
#[derive(Debug)]
pub(super) struct Ticket {
    seats: Seats,
    place: Place,
    number: u64,
    seat: Arc<Seat>,
}

impl Ticket {
    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.seats.taken().of(self.place).remove(&self.number);
    }
}
