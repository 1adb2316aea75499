//! Listening to the session while its answer comes.

use std::sync::Arc;
use std::time::Duration;

use opencode_client::reply::Reply;
use opencode_client::{GapReason, Signal};
use tokio::time::Instant;

use super::driver::{Driven, Driver, Trouble};
use crate::reporter::Severity;
use crate::store::{Note, StoreError};

/// How often the activity hook runs at most.
const ACTIVITY_INTERVAL: Duration = Duration::from_secs(300);

/// What a signal asks for.
enum After {
    /// More of the same.
    Listen,
    /// Thinking again.
    Plan,
}

impl Driver {
    /// Listens until something asks for a new plan, `at_most` at the longest.
    pub(super) async fn follow(&mut self, at_most: Duration) -> Result<(), Trouble> {
        let until = Instant::now() + at_most;
        loop {
            let wake = self.next_write().map_or(until, |write| write.min(until));
            let Some(subscription) = &mut self.subscription else {
                tokio::time::sleep_until(wake).await;
                return self.write_if_due().await;
            };
            let after = tokio::select! {
                biased;
                () = tokio::time::sleep_until(wake) => {
                    if wake == until { After::Plan } else { After::Listen }
                }
                signal = subscription.next() => {
                    if !matches!(signal, Signal::Unreachable) {
                        self.alive = Instant::now();
                    }
                    let mut taken = Taken::default();
                    taken.take(signal, &mut self.reply);
                    // What is here already costs no further wake-up.
                    while !taken.plan {
                        let Some(signal) = subscription.try_next() else { break };
                        taken.take(signal, &mut self.reply);
                    }
                    if let Some(reached) = taken.reached {
                        self.tell_reached(reached).await;
                    }
                    self.took(&taken)
                }
            };
            self.write_if_due().await?;
            self.tick_activity();
            if matches!(after, After::Plan) {
                return Ok(());
            }
        }
    }

    fn took(&mut self, taken: &Taken) -> After {
        let now = Instant::now();
        self.events += taken.events;
        if taken.events > 0 {
            self.heard = Some(now);
        }
        if let Some(reply) = &mut self.reply {
            if !self.begun && reply.has_begun() {
                self.begun = true;
                self.first_token = Some(self.before + now.duration_since(self.started));
            }
            if taken.idle {
                self.orderly_idle |= self.stream_whole;
                self.look_due = true;
            }
            let children = reply.children().count();
            if children > self.followed {
                if let Some(subscription) = &self.subscription {
                    reply
                        .children()
                        .skip(self.followed)
                        .for_each(|child| subscription.follow(child));
                }
                self.followed = children;
            }
        }
        if taken.gap {
            // What was asked meanwhile was asked of nobody.
            (self.stream_whole, self.requests_due, self.look_due) =
                (false, true, self.posted.is_some());
        }
        if let Some(live) = taken.reconnected {
            (self.stream_live, self.unbroken) = (live, false);
            if live {
                // The patience that a dead server was given is not the next one's.
                self.unanswered = 0;
            }
        }
        self.look_due |= taken.error && self.posted.is_some();
        if let Some(problem) = &taken.interrupted {
            self.host.telemetry.event(
                "stream.interrupted",
                [
                    ("turn", self.turn.id.to_string().into()),
                    ("reason", (*problem).into()),
                ],
            );
        }
        if taken.plan {
            After::Plan
        } else {
            After::Listen
        }
    }

    /// When what has come must be written down; `None` while nothing has.
    fn next_write(&self) -> Option<Instant> {
        let changes = self.reply.as_ref().map_or(0, Reply::changes);
        match self.written {
            Some((_, written)) if written == changes => None,
            Some((at, _)) => Some(at + self.host.options.snapshot_interval),
            None if changes == 0 => None,
            None => Some(self.started),
        }
    }

    async fn write_if_due(&mut self) -> Result<(), Trouble> {
        if self.next_write().is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.write().await
    }

    /// Writes down what has come so far. A database that is away for a moment
    /// costs nothing but the snapshot.
    pub(super) async fn write(&mut self) -> Result<(), Trouble> {
        let Some(reply) = &self.reply else {
            return Ok(());
        };
        self.written = Some((Instant::now(), reply.changes()));
        match self
            .host
            .store
            .note(&self.lease, Note::Checkpoint(&reply.checkpoint()))
            .await
        {
            Ok(()) => Ok(()),
            Err(error @ StoreError::LeaseLost { .. }) => Err(error.into()),
            Err(error) => {
                self.report(&error);
                Ok(())
            }
        }
    }

    fn tick_activity(&mut self) {
        if self.activity.elapsed() < ACTIVITY_INTERVAL {
            return;
        }
        self.activity = Instant::now();
        let (product, conversation) = (Arc::clone(&self.product), self.conversation.clone());
        let telemetry = self.host.telemetry.clone();
        // The turn does not wait for it.
        tokio::spawn(async move {
            if let Err(error) = product.on_activity(&conversation).await {
                let context = [("hook", "on_activity".into())];
                telemetry.report(error.as_ref(), Severity::Warning, context);
            }
        });
    }

    /// The turn is not to be worked on here any more.
    pub(super) async fn leave(&mut self) -> Driven {
        if self.control.orders().lost {
            return Driven::Lost;
        }
        self.release().await
    }

    /// Writes down what there is and gives the turn back: the process ends.
    pub(super) async fn release(&mut self) -> Driven {
        let _ = self.write().await;
        match self.host.store.release(&self.lease).await {
            Ok(()) => Driven::Released,
            Err(error) => {
                self.report(&error);
                Driven::Lost
            }
        }
    }
}

/// What a few signals amounted to.
#[derive(Default)]
struct Taken {
    events: u64,
    idle: bool,
    gap: bool,
    error: bool,
    interrupted: Option<&'static str>,
    /// The stream was lost; whether it is back.
    reconnected: Option<bool>,
    /// The server does not answer, or does again.
    reached: Option<bool>,
    plan: bool,
}

impl Taken {
    fn take(&mut self, signal: Signal<'_>, reply: &mut Option<Reply>) {
        match signal {
            Signal::Event(event) => {
                self.events += 1;
                let Some(reply) = reply else { return };
                let (errors, waiting, retries) = (
                    reply.error().is_some(),
                    reply.requests().len(),
                    reply.retries(),
                );
                reply.apply(&event);
                self.idle |= reply.take_idle();
                self.error |= (!errors && reply.error().is_some()) || reply.take_restart();
                self.plan |= self.idle
                    || self.error
                    || waiting != reply.requests().len()
                    || retries != reply.retries();
            }
            Signal::Gap(reason) => {
                self.gap(reply);
                if reason == GapReason::Reconnected {
                    self.reconnected = Some(true);
                }
                self.interrupted = Some(match reason {
                    GapReason::Reconnected => "reconnected",
                    GapReason::FellBehind => "fell behind",
                    GapReason::FrameDropped => "frame dropped",
                });
            }
            Signal::Disconnected => {
                self.gap(reply);
                self.reconnected = Some(false);
                self.interrupted = Some("disconnected");
            }
            Signal::Malformed(_) => {
                self.gap(reply);
                self.interrupted = Some("malformed event");
            }
            Signal::Heartbeat => self.plan = true,
            Signal::Unreachable => self.reached = Some(false),
            Signal::Reachable => self.reached = Some(true),
        }
    }

    /// Something was missed.
    fn gap(&mut self, reply: &mut Option<Reply>) {
        self.gap = true;
        self.plan = true;
        if let Some(reply) = reply {
            reply.gap();
        }
    }
}
