//! What waits for one listener.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::envelope::{Envelope, EventKind};
use crate::event::{DecodeError, Event};
use crate::tolerant::Skipped;

/// Why a listener may have missed events and must read the exchange again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The connection was lost and is back.
    Reconnected,
    /// The listener fell behind and its events were thrown away.
    FellBehind,
    /// A frame over the size cap was thrown away.
    FrameDropped,
}

/// What a listener is told.
#[derive(Debug)]
pub enum Signal<'a> {
    /// An event of the session, or of one of its children.
    Event(Event<'a>),
    /// A frame of the session that could not be read. The stream goes on.
    Malformed(DecodeError),
    /// The server is alive.
    Heartbeat,
    /// Events are missing here.
    Gap(GapReason),
    /// The connection is lost; a [`Signal::Gap`] tells when it is back.
    Disconnected,
    /// The server says nothing, and does not answer: the connection may be dead. A sign of it is told with
    /// [`Signal::Reachable`], the connection's end with [`Signal::Disconnected`].
    Unreachable,
    /// The server can be reached again, over the same connection.
    Reachable,
}

#[derive(Clone, Copy, Debug)]
enum Item {
    Frame {
        start: usize,
        end: usize,
        kind: EventKind,
        name: (usize, usize),
        session: (usize, usize),
        directory: Option<(usize, usize)>,
        properties: usize,
    },
    Heartbeat,
    Gap(GapReason),
    Disconnected,
    Unreachable,
    Reachable,
}

/// Events in the order they came. One buffer holds all frames, so that an event
/// costs a copy and no allocation.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    items: Vec<Item>,
    next: usize,
    /// What was skipped of the events that were taken.
    skipped: Skipped,
}

impl Batch {
    /// The next signal.
    pub(super) fn take_next(&mut self) -> Option<Signal<'_>> {
        let item = *self.items.get(self.next)?;
        self.next += 1;
        Some(match item {
            Item::Frame {
                start,
                end,
                kind,
                name,
                session,
                directory,
                properties,
            } => {
                let frame = &self.bytes[start..end];
                let envelope = Envelope {
                    kind,
                    name: &frame[name.0..name.1],
                    session: Some(&frame[session.0..session.1]),
                    directory: directory.map(|(from, to)| &frame[from..to]),
                    properties,
                };
                Event::decode_with(frame, &envelope, &mut self.skipped)
                    .map_or_else(Signal::Malformed, Signal::Event)
            }
            Item::Heartbeat => Signal::Heartbeat,
            Item::Gap(reason) => Signal::Gap(reason),
            Item::Disconnected => Signal::Disconnected,
            Item::Unreachable => Signal::Unreachable,
            Item::Reachable => Signal::Reachable,
        })
    }

    /// Whether everything was taken.
    pub(super) fn is_done(&self) -> bool {
        self.next >= self.items.len()
    }

    /// What was skipped of the events that were taken, once all were.
    pub(super) fn take_skipped(&mut self) -> Option<Skipped> {
        let report = self.is_done() && !self.skipped.is_empty();
        report.then(|| std::mem::take(&mut self.skipped))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
        self.next = 0;
    }
}

/// A bounded queue between the reader and one listener. The reader never waits:
/// what does not fit is thrown away and told as a gap.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Notify,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    /// The listener will be woken for what is here.
    dirty: bool,
}

/// An event needs some bytes of bookkeeping beside its frame.
const ITEM_COST: usize = size_of::<Item>();

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            limit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A queue is whole at every step: a panic elsewhere cannot have left it half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a frame. True when the listener has to be woken for it.
    pub(super) fn push_frame(&self, frame: &[u8], envelope: &Envelope<'_>) -> bool {
        let mut state = self.lock();
        let waiting = &mut state.waiting;
        let used = waiting.bytes.len() + waiting.items.len() * ITEM_COST;
        if used + frame.len() > self.limit && !waiting.items.is_empty() {
            waiting.clear();
            waiting.items.push(Item::Gap(GapReason::FellBehind));
        }
        let start = waiting.bytes.len();
        waiting.bytes.extend_from_slice(frame);
        let range = |slice: &[u8]| {
            let from = slice.as_ptr() as usize - frame.as_ptr() as usize;
            (from, from + slice.len())
        };
        waiting.items.push(Item::Frame {
            start,
            end: start + frame.len(),
            kind: envelope.kind,
            name: range(envelope.name),
            session: envelope.session.map_or((0, 0), range),
            directory: envelope.directory.map(range),
            properties: envelope.properties,
        });
        !std::mem::replace(&mut state.dirty, true)
    }

    fn push(&self, item: Item) {
        let mut state = self.lock();
        // A listener that is not reading needs each of these only once.
        if !matches!(
            (state.waiting.items.last(), item),
            (Some(Item::Heartbeat), Item::Heartbeat)
        ) {
            state.waiting.items.push(item);
        }
        state.dirty = true;
        drop(state);
        self.wake();
    }

    pub(super) fn heartbeat(&self) {
        self.push(Item::Heartbeat);
    }

    pub(super) fn gap(&self, reason: GapReason) {
        self.push(Item::Gap(reason));
    }

    pub(super) fn disconnected(&self) {
        self.push(Item::Disconnected);
    }

    pub(super) fn reach(&self, reached: bool) {
        self.push(if reached {
            Item::Reachable
        } else {
            Item::Unreachable
        });
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for signals and swaps them into `batch`, which must be done.
    /// Nothing is lost when the future is dropped.
    pub(super) async fn take(&self, batch: &mut Batch) {
        loop {
            {
                let mut state = self.lock();
                if !state.waiting.items.is_empty() {
                    batch.clear();
                    if batch.bytes.capacity() > self.limit / 4 {
                        batch.bytes = Vec::new();
                    }
                    std::mem::swap(&mut state.waiting, batch);
                    state.dirty = false;
                    return;
                }
            }
            self.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::scan;

    fn frame(text: &str) -> Vec<u8> {
        format!(r#"{{"type":"note","properties":{{"sessionID":"ses_1","text":"{text}"}}}}"#)
            .into_bytes()
    }

    #[tokio::test]
    async fn a_listener_that_falls_behind_is_told_and_memory_is_bounded() {
        let queue = Queue::new(4096);
        for number in 0..10_000 {
            let frame = frame(&number.to_string());
            queue.push_frame(&frame, &scan(&frame).unwrap());
        }
        assert!(queue.lock().waiting.bytes.capacity() <= 8192);
        let mut batch = Batch::default();
        queue.take(&mut batch).await;
        assert!(matches!(
            batch.take_next(),
            Some(Signal::Gap(GapReason::FellBehind))
        ));
        let mut last = None;
        while let Some(signal) = batch.take_next() {
            let Signal::Event(event) = signal else {
                panic!("{signal:?}")
            };
            assert_eq!(event.session, Some("ses_1"));
            last = Some(format!("{:?}", event.body));
        }
        assert!(last.unwrap().contains("9999"));
    }

    #[tokio::test]
    async fn one_frame_over_the_limit_still_passes() {
        let queue = Queue::new(64);
        let big = frame(&"x".repeat(500));
        assert!(queue.push_frame(&big, &scan(&big).unwrap()));
        let mut batch = Batch::default();
        queue.take(&mut batch).await;
        assert!(matches!(batch.take_next(), Some(Signal::Event(_))));
        assert!(batch.is_done());
    }
}
