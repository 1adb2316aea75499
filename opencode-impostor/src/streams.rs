//! Event streams: subscribers of the bus, as bodies of HTTP answers.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Interval, MissedTickBehavior};

use crate::bus::{Item, Scope, Subscriber, framed_for};
use crate::state::World;

/// Opens a stream: its first frame is `server.connected`.
pub(crate) fn subscribe(world: &Arc<World>, scope: Scope) -> EventStream {
    let every = world.config.heartbeat;
    let (queue, frames) = unbounded_channel();
    let backlog = Arc::new(AtomicUsize::new(0));
    let mut heartbeat = tokio::time::interval(every.max(Duration::from_millis(1)));
    heartbeat.reset();
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    world.update(|state| {
        let silence = state.faults.silence(scope.path());
        state.bus.next += 1;
        let id = state.bus.next;
        let subscriber = Subscriber {
            id,
            scope: scope.clone(),
            queue,
            backlog: backlog.clone(),
            sent: 0,
            cut_at: state.faults.cut_after(scope.path()),
            silent: silence.is_some(),
        };
        let connected = state.server_event("server.connected");
        subscriber.push(framed_for(&scope, &connected));
        state.bus.subscribers.push(subscriber);
        state.ledger.stream_opened(scope.path());
        EventStream {
            id,
            scope,
            frames,
            backlog,
            heartbeat: (silence != Some(false)).then_some(heartbeat),
            world: Arc::downgrade(world),
        }
    })
}

/// The body of an event stream's answer.
pub(crate) struct EventStream {
    id: u64,
    scope: Scope,
    frames: UnboundedReceiver<Item>,
    backlog: Arc<AtomicUsize>,
    heartbeat: Option<Interval>,
    world: Weak<World>,
}

impl Stream for EventStream {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.frames.poll_recv(cx) {
            Poll::Ready(Some(Item::Frame(bytes))) => {
                self.backlog.fetch_sub(1, Ordering::Relaxed);
                return Poll::Ready(Some(Ok(bytes)));
            }
            // An error makes the HTTP layer close the connection without the last chunk.
            Poll::Ready(Some(Item::Cut)) => {
                return Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if let Some(heartbeat) = &mut self.heartbeat
            && heartbeat.poll_tick(cx).is_ready()
            && let Some(world) = self.world.upgrade()
        {
            let event = world.quietly(|state| state.server_event("server.heartbeat"));
            return Poll::Ready(Some(Ok(framed_for(&self.scope, &event))));
        }
        Poll::Pending
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if let Some(world) = self.world.upgrade() {
            world.update(|state| {
                state.bus.remove(self.id);
                state.ledger.stream_closed(self.scope.path());
            });
        }
    }
}
