//! The event streams: every subscriber gets every event of its directory, or of the whole server.
//!
//! A frame is serialised once and shared by all subscribers. As on the real server each subscriber has an unbounded
//! queue, and a frame is one HTTP chunk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use crate::json_text::quoted;
use crate::odd;

/// What a subscriber listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    Global,
    Directory(String),
}

impl Scope {
    pub(crate) fn path(&self) -> &'static str {
        match self {
            Self::Global => "/global/event",
            Self::Directory(_) => "/event",
        }
    }
}

/// One event, not yet framed.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// `None` for events of the server itself, which everybody gets.
    pub(crate) directory: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) kind: String,
    /// A JSON object.
    pub(crate) properties: String,
    /// Of durable events: their number in the session, and the session.
    pub(crate) sync: Option<(u64, String)>,
}

impl Event {
    fn payload(&self) -> String {
        let kind = &self.kind;
        let properties = &self.properties;
        match &self.id {
            Some(id) => format!(r#"{{"id":"{id}","type":"{kind}","properties":{properties}}}"#),
            None => format!(r#"{{"type":"{kind}","properties":{properties}}}"#),
        }
    }

    fn wrapped(&self, payload: &str) -> String {
        match &self.directory {
            None => format!(r#"{{"payload":{payload}}}"#),
            Some(directory) => format!(
                r#"{{"directory":{},"project":"global","payload":{payload}}}"#,
                quoted(directory)
            ),
        }
    }

    fn sync_payload(&self) -> Option<String> {
        let (seq, aggregate) = self.sync.as_ref()?;
        let id = self.id.as_deref().unwrap_or_default();
        let kind = &self.kind;
        let data = &self.properties;
        Some(format!(
            r#"{{"type":"sync","syncEvent":{{"id":"{id}","type":"{kind}.1","seq":{seq},"aggregateID":"{aggregate}","data":{data}}},"id":"{id}"}}"#
        ))
    }
}

fn frame(json: &str) -> Bytes {
    Bytes::from(format!("data: {}\n\n", odd::on_wire(json)))
}

pub(crate) enum Item {
    Frame(Bytes),
    Cut,
}

pub(crate) struct Subscriber {
    pub(crate) id: u64,
    pub(crate) scope: Scope,
    pub(crate) queue: UnboundedSender<Item>,
    pub(crate) backlog: Arc<AtomicUsize>,
    /// Events it was sent, `server.connected` and sync copies not counted.
    pub(crate) sent: u64,
    pub(crate) cut_at: Option<u64>,
    pub(crate) silent: bool,
}

impl Subscriber {
    /// False when the stream is gone.
    pub(crate) fn push(&self, bytes: Bytes) -> bool {
        self.backlog.fetch_add(1, Ordering::Relaxed);
        self.queue.send(Item::Frame(bytes)).is_ok()
    }
}

/// All open event streams.
pub(crate) struct Bus {
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) next: u64,
    sync: bool,
}

impl Bus {
    pub(crate) fn new(sync: bool) -> Self {
        Self {
            subscribers: Vec::new(),
            next: 0,
            sync,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Sends an event to everybody whom it concerns.
    pub(crate) fn publish(&mut self, event: &Event) {
        if self.subscribers.is_empty() {
            return;
        }
        let payload = event.payload();
        let mut plain: Option<Bytes> = None;
        let mut global: Option<(Bytes, Option<Bytes>)> = None;
        let sync = self.sync;
        self.subscribers.retain_mut(|subscriber| {
            let frames = match &subscriber.scope {
                Scope::Directory(directory) => {
                    if event.directory.as_ref().is_some_and(|of| of != directory) {
                        return true;
                    }
                    (plain.get_or_insert_with(|| frame(&payload)).clone(), None)
                }
                Scope::Global => global
                    .get_or_insert_with(|| {
                        let copy = if sync { event.sync_payload() } else { None };
                        (
                            frame(&event.wrapped(&payload)),
                            copy.map(|copy| frame(&event.wrapped(&copy))),
                        )
                    })
                    .clone(),
            };
            if subscriber.silent {
                return !subscriber.queue.is_closed();
            }
            subscriber.sent += 1;
            if subscriber.cut_at.is_some_and(|at| subscriber.sent > at) {
                // Whoever reads this loses what comes until it is back.
                subscriber.queue.send(Item::Cut).ok();
                return false;
            }
            subscriber.push(frames.0) && frames.1.is_none_or(|copy| subscriber.push(copy))
        });
    }

    /// Sends bytes as they are to everybody.
    pub(crate) fn publish_raw(&mut self, bytes: &Bytes) {
        self.subscribers
            .retain(|subscriber| subscriber.push(bytes.clone()));
    }

    /// Cuts the connections of all streams, or those of one path. Returns how many.
    pub(crate) fn cut(&mut self, path: Option<&str>) -> usize {
        let before = self.subscribers.len();
        self.subscribers.retain(|subscriber| {
            let spared = path.is_some_and(|path| path != subscriber.scope.path());
            if !spared {
                subscriber.queue.send(Item::Cut).ok();
            }
            spared
        });
        before - self.subscribers.len()
    }

    /// From now on, streams of `path` are cut after `after` more events.
    pub(crate) fn cut_open_streams_after(&mut self, after: u64, path: Option<&str>) -> u64 {
        let mut streams = 0;
        for subscriber in &mut self.subscribers {
            if path.is_none_or(|path| path == subscriber.scope.path()) {
                subscriber.cut_at = Some(subscriber.sent + after);
                streams += 1;
            }
        }
        streams
    }

    /// Looks up anew which streams are silent.
    pub(crate) fn set_silence(&mut self, is_silent: impl Fn(&str) -> bool) {
        for subscriber in &mut self.subscribers {
            subscriber.silent = is_silent(subscriber.scope.path());
        }
    }

    /// Frames that the slowest reader has not taken yet.
    pub(crate) fn backlog(&self) -> usize {
        self.subscribers
            .iter()
            .map(|subscriber| subscriber.backlog.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn clear(&mut self) {
        self.subscribers.clear();
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.subscribers.retain(|subscriber| subscriber.id != id);
    }
}

pub(crate) fn framed_for(scope: &Scope, event: &Event) -> Bytes {
    let payload = event.payload();
    match scope {
        Scope::Directory(_) => frame(&payload),
        Scope::Global => frame(&event.wrapped(&payload)),
    }
}
