//! One connection to an event stream, its reader task, and who listens on it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::options::{HubOptions, HubProblem};
use super::queue::{GapReason, Queue};
use super::transport::{OpenError, Transport};
use crate::envelope::{Envelope, EventKind, scan};
use crate::error::Error;
use crate::event::{Event, EventBody};
use crate::http::Client;
use crate::sse::{Frame, Framer};
use crate::tolerant::Skipped;

/// A connection that lasted so long was a good one: the back-off starts over.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);

/// How long a silent server may take to say that it is there.
const LOOK: Duration = Duration::from_millis(1500);

/// The most sessions, children counted, that are listened to at once.
const MAX_SESSIONS: usize = 1 << 16;

/// How far a connection is.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not live yet, or not any more.
    Connecting,
    /// `server.connected` was seen.
    Live,
    /// The server has no such stream. Final.
    Unsupported,
    /// The last attempt failed; another follows.
    Failed(Arc<Error>),
}

#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    options: HubOptions,
    path: &'static str,
    state: watch::Sender<State>,
    routes: Mutex<Routes>,
    /// Listeners were told that the server does not answer. Only the reader task writes it; apart from
    /// `routes`, so that a read that has bytes takes no lock for it.
    unreachable: AtomicBool,
}

#[derive(Debug, Default)]
struct Routes {
    /// Who listens to a session.
    sessions: HashMap<Box<[u8]>, Vec<Arc<Queue>>>,
    /// Every listener once.
    queues: Vec<Arc<Queue>>,
    reader: Option<tokio::task::AbortHandle>,
    /// When the last listener left.
    empty_since: Option<Instant>,
}

impl Connection {
    pub(super) fn global(client: Client, options: HubOptions) -> Self {
        Self::at("/global/event", client, options)
    }

    pub(super) fn of_directory(client: Client, options: HubOptions) -> Self {
        Self::at("/event", client, options)
    }

    fn at(path: &'static str, client: Client, options: HubOptions) -> Self {
        Self {
            client,
            options,
            path,
            state: watch::Sender::new(State::Connecting),
            routes: Mutex::default(),
            unreachable: AtomicBool::new(false),
        }
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        // Routes are whole at every step: a panic elsewhere cannot have left them half-written.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `queue` hear `session`, and the reader run.
    pub(super) fn add(self: &Arc<Self>, session: &[u8], queue: &Arc<Queue>) {
        let mut routes = self.routes();
        routes.route(session, queue);
        if routes.reader.is_none() {
            self.state.send_replace(State::Connecting);
            routes.reader = Some(tokio::spawn(Arc::clone(self).read_for_ever()).abort_handle());
        }
    }

    pub(super) fn remove(&self, queue: &Arc<Queue>) {
        let mut routes = self.routes();
        routes.queues.retain(|other| !Arc::ptr_eq(other, queue));
        routes.sessions.retain(|_, queues| {
            queues.retain(|other| !Arc::ptr_eq(other, queue));
            !queues.is_empty()
        });
        if routes.queues.is_empty() {
            routes.empty_since = Some(Instant::now());
        }
    }

    /// Ends the reader.
    pub(super) fn stop(&self) {
        if let Some(reader) = self.routes().reader.take() {
            reader.abort();
        }
    }

    /// Waits until the connection is live, or known to be unsupported.
    pub(super) async fn live(&self, limit: Duration) -> Result<State, Error> {
        let mut states = self.state.subscribe();
        let settled = states.wait_for(|state| match state {
            State::Live | State::Unsupported => true,
            State::Failed(error) => matches!(**error, Error::Unauthorized { .. }),
            State::Connecting => false,
        });
        let state = match tokio::time::timeout(limit, settled).await {
            // The sender lives in `self`.
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) | Err(_) => self.state.borrow().clone(),
        };
        match state {
            State::Live | State::Unsupported => Ok(state),
            State::Failed(error) => Err(Error::clone(&error)),
            State::Connecting => Err(Error::Timeout {
                call: format!("GET {}", self.path),
                seconds: limit.as_secs(),
            }),
        }
    }

    async fn read_for_ever(self: Arc<Self>) {
        let mut backoff = self.options.backoff.clone();
        let mut was_live = false;
        loop {
            let opened = tokio::time::timeout(
                self.options.connect_timeout,
                Transport::open(&self.client, self.path),
            );
            let error = match opened.await {
                Ok(Ok(transport)) => {
                    let since = Instant::now();
                    let Some(error) = self.read(transport, &mut was_live).await else {
                        return;
                    };
                    if since.elapsed() >= GOOD_CONNECTION {
                        backoff.reset();
                    }
                    error
                }
                Ok(Err(OpenError::Unsupported)) => {
                    if self.path == "/global/event" {
                        self.routes().reader = None;
                        self.state.send_replace(State::Unsupported);
                        return;
                    }
                    Error::Server {
                        call: format!("GET {}", self.path),
                        status: 404,
                        message: "this server has no event stream; is it OpenCode?".to_owned(),
                    }
                }
                Ok(Err(OpenError::Failed(error))) => error,
                Err(_) => Error::Timeout {
                    call: format!("GET {}", self.path),
                    seconds: self.options.connect_timeout.as_secs(),
                },
            };
            let error = Arc::new(error);
            self.state.send_replace(State::Failed(Arc::clone(&error)));
            self.report(&HubProblem::Disconnected(error));
            if self.stop_when_idle() {
                return;
            }
            tokio::time::sleep(backoff.next(random_fraction())).await;
        }
    }

    /// Reads until the connection ends; `None` when nobody has listened for a while.
    async fn read(&self, mut transport: Transport, was_live: &mut bool) -> Option<Error> {
        let mut framer = Framer::default();
        let mut wakes = Wakes::default();
        let mut tick = pin!(tokio::time::sleep(Duration::ZERO));
        let detail = loop {
            let mut heartbeat = false;
            let mut live = false;
            let read = transport.read(|bytes| {
                let mut routes = self.routes();
                wakes.listeners = routes.queues.len();
                framer.push(bytes, |frame| match frame {
                    Frame::Data(data) => match scan(data) {
                        Ok(envelope) => match envelope.kind {
                            EventKind::Connected => live = true,
                            EventKind::Heartbeat => heartbeat = true,
                            EventKind::Sync => {}
                            _ => routes.deliver(data, &envelope, &mut wakes.asleep),
                        },
                        Err(_) => self.report(&HubProblem::MalformedFrame { length: data.len() }),
                    },
                    Frame::Dropped { prefix, length } => {
                        self.report(&HubProblem::OversizedFrame { length });
                        routes.dropped(prefix);
                    }
                });
            });
            let read = tokio::time::timeout(self.options.quiet_timeout, self.attended(read));
            // A read that is broken off here has taken nothing yet.
            let read = tokio::select! {
                biased;
                () = tick.as_mut(), if wakes.due.is_some() => None,
                read = read => Some(read),
            };
            let Some(read) = read else {
                wakes.wake(Instant::now());
                continue;
            };
            if let Some(due) = wakes.heard(Instant::now()) {
                tick.as_mut().reset(due);
            }
            if live {
                if std::mem::replace(was_live, true) {
                    self.routes()
                        .queues
                        .iter()
                        .for_each(|queue| queue.gap(GapReason::Reconnected));
                }
                self.state.send_replace(State::Live);
            }
            if heartbeat {
                self.routes()
                    .queues
                    .iter()
                    .for_each(|queue| queue.heartbeat());
                if self.stop_when_idle() {
                    return None;
                }
            }
            match read {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => break "the server closed the event stream".to_owned(),
                Ok(Err(error)) => break error.to_string(),
                Err(_) => break format!("no byte for {} s", self.options.quiet_timeout.as_secs()),
            }
        };
        self.unreachable.store(false, Ordering::Relaxed);
        self.routes()
            .queues
            .iter()
            .for_each(|queue| queue.disconnected());
        Some(Error::Connection {
            server: self.client.server().to_owned(),
            detail,
        })
    }

    /// Waits for bytes. A server gives none for seconds and is there all the same: meanwhile it is asked.
    async fn attended<T>(&self, read: impl Future<Output = T>) -> T {
        let asking = async {
            loop {
                tokio::time::sleep(self.options.silence).await;
                if self.routes().queues.is_empty() {
                    continue;
                }
                let answer = self.client.health_within(LOOK).await;
                self.reached(!matches!(
                    answer,
                    Err(Error::Connection { .. } | Error::Timeout { .. })
                ));
            }
        };
        tokio::select! {
            biased;
            read = read => {
                self.reached(true);
                read
            }
            never = asking => never,
        }
    }

    /// Tells listeners whether the server can be reached, where that is news.
    fn reached(&self, reached: bool) {
        if self.unreachable.load(Ordering::Relaxed) == reached {
            self.unreachable.store(!reached, Ordering::Relaxed);
            self.routes()
                .queues
                .iter()
                .for_each(|queue| queue.reach(reached));
        }
    }

    /// Ends the reader when nobody has listened for a while.
    fn stop_when_idle(&self) -> bool {
        let mut routes = self.routes();
        let idle = routes.queues.is_empty()
            && routes
                .empty_since
                .is_some_and(|since| since.elapsed() >= self.options.linger);
        if idle {
            routes.reader = None;
        }
        idle
    }

    fn report(&self, problem: &HubProblem) {
        tracing::debug!(server = self.client.server(), path = self.path, %problem, "event stream");
        if let Some(listener) = &self.options.on_problem {
            listener(problem);
        }
    }
}

/// So many listeners are woken at once: they are no load.
const FEW_LISTENERS: usize = 512;

/// How long more listeners are left in peace behind being woken: what comes meanwhile they take together.
const PEACE: Duration = Duration::from_millis(20);
/// How much longer for each listener: so many are not done in that time.
const PEACE_EACH: Duration = Duration::from_micros(10);
/// How long at most.
const LONGEST_PEACE: Duration = Duration::from_millis(50);

/// Who has to be woken, and when. A wake-up costs a listener more than an event does.
#[derive(Debug, Default)]
struct Wakes {
    /// How many listen.
    listeners: usize,
    /// Who has something to take, each once.
    asleep: Vec<Arc<Queue>>,
    /// When they were woken last.
    last: Option<Instant>,
    /// When they will be, where it is not at once.
    due: Option<Instant>,
}

impl Wakes {
    /// Wakes who is asleep, or returns when to call [`Self::wake`], where that is news.
    fn heard(&mut self, now: Instant) -> Option<Instant> {
        if self.asleep.is_empty() || self.due.is_some() {
            return None;
        }
        let due = self.last.map_or(now, |last| last + peace(self.listeners));
        if due <= now {
            self.wake(now);
            return None;
        }
        self.due = Some(due);
        self.due
    }

    fn wake(&mut self, now: Instant) {
        self.due = None;
        self.last = Some(now);
        for queue in self.asleep.drain(..) {
            queue.wake();
        }
    }
}

/// How long so many listeners are left in peace.
fn peace(listeners: usize) -> Duration {
    match u32::try_from(listeners).unwrap_or(u32::MAX) {
        few if (few as usize) < FEW_LISTENERS => Duration::ZERO,
        many => PEACE_EACH
            .saturating_mul(many)
            .saturating_add(PEACE)
            .min(LONGEST_PEACE),
    }
}

/// Watchers of a turn are to know within three seconds.
const _: () = assert!(HubOptions::SILENCE.as_millis() + LOOK.as_millis() <= 2500);

impl Routes {
    fn route(&mut self, session: &[u8], queue: &Arc<Queue>) {
        self.empty_since = None;
        if !self.queues.iter().any(|other| Arc::ptr_eq(other, queue)) {
            self.queues.push(Arc::clone(queue));
        }
        let queues = self.sessions.entry(session.into()).or_default();
        if !queues.iter().any(|other| Arc::ptr_eq(other, queue)) {
            queues.push(Arc::clone(queue));
        }
    }

    /// Copies a frame to whoever listens to its session. Who has to be woken for it is added to `asleep`.
    fn deliver(&mut self, frame: &[u8], envelope: &Envelope<'_>, asleep: &mut Vec<Arc<Queue>>) {
        let Some(session) = envelope.session else {
            return;
        };
        if envelope.kind.is_birth() && !self.sessions.contains_key(session) {
            self.adopt(frame, envelope, session);
        }
        for queue in self.sessions.get(session).into_iter().flatten() {
            if queue.push_frame(frame, envelope) {
                asleep.push(Arc::clone(queue));
            }
        }
    }

    /// Who listens to a session listens to the children it makes, from their first event on.
    fn adopt(&mut self, frame: &[u8], envelope: &Envelope<'_>, session: &[u8]) {
        if self.sessions.len() >= MAX_SESSIONS
            || memchr::memmem::find(frame, b"\"parentID\"").is_none()
        {
            return;
        }
        let decoded = Event::decode_with(frame, envelope, &mut Skipped::default());
        let Ok(event) = decoded else {
            return;
        };
        let EventBody::Session(child) = event.body else {
            return;
        };
        let Some(parent) = child.parent_id else {
            return;
        };
        let Some(queues) = self.sessions.get(parent.as_str().as_bytes()).cloned() else {
            return;
        };
        self.sessions.insert(session.into(), queues);
    }

    /// A frame was thrown away: tells those it was for, or everybody where that is unknown.
    fn dropped(&self, prefix: &[u8]) {
        let session = scan(prefix).ok().and_then(|envelope| envelope.session);
        let queues = match session {
            Some(session) => self.sessions.get(session).map_or(&[][..], Vec::as_slice),
            None => &self.queues,
        };
        queues
            .iter()
            .for_each(|queue| queue.gap(GapReason::FrameDropped));
    }
}

/// Jitter need not repeat in tests: waits are tested in [`super::Backoff`].
fn random_fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asleep(listeners: usize) -> Wakes {
        let queue = Arc::new(Queue::new(1 << 10));
        Wakes {
            listeners,
            asleep: vec![queue],
            ..Wakes::default()
        }
    }

    #[test]
    fn few_listeners_are_woken_at_once_and_many_together() {
        let start = Instant::now();
        for (listeners, peace) in [
            (1, 0),
            (511, 0),
            (512, 25_120),
            (1_000, 30_000),
            (9_000, 50_000),
        ] {
            let mut wakes = asleep(listeners);
            assert_eq!(wakes.heard(start), None, "the first one waits for nobody");
            assert!(wakes.asleep.is_empty());

            wakes.asleep = asleep(listeners).asleep;
            let due = wakes.heard(start);
            if peace == 0 {
                assert!(due.is_none() && wakes.asleep.is_empty());
                continue;
            }
            assert_eq!(
                due,
                Some(start + Duration::from_micros(peace)),
                "{listeners}"
            );
            assert_eq!(wakes.asleep.len(), 1);
            assert_eq!(wakes.heard(start), None, "told once");
            wakes.wake(start + Duration::from_micros(peace));
            assert!(wakes.asleep.is_empty() && wakes.due.is_none());
        }
    }

    #[test]
    fn who_was_left_in_peace_for_long_enough_is_woken_at_once() {
        let start = Instant::now();
        let mut wakes = asleep(600);
        wakes.heard(start);
        wakes.asleep = asleep(600).asleep;
        assert_eq!(wakes.heard(start + Duration::from_millis(26)), None);
        assert!(wakes.asleep.is_empty());
    }
}
