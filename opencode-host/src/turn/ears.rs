//! The line to a turn's session, and the reply that is composed from it.
//!
//! What decides the next step is told the facts after each; what does not, such as the reply itself, stays here.

use std::time::Duration;

use opencode_client::Reply;
use opencode_client::event::EventBody;
use opencode_client::reply::{Checkpoint, ProblemSink, SaveMark};
use opencode_client::wire::PartBody;
use opencode_client::{Exchange, GapReason, Signal, Subscription};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::facts::{Heard, Said};
use super::observing::Feed;
use super::tools::Tools;
use crate::budget::Spent;
use crate::outcome::Usage;
use crate::reporter::Severity;
use crate::saving::{Saved, Unsaved};
use crate::store::PromptRecord;

/// The line to a turn's session, and the reply that is composed from it.
pub(super) struct Ears {
    pub(super) subscription: Option<Subscription>,
    pub(super) reply: Option<Reply>,
    /// The reply as an earlier claim saved it, until it is taken up.
    pub(super) checkpoint: Checkpoint,
    /// What a session had said that the server has lost since.
    pub(super) salvage: Checkpoint,
    /// What the server had of the turn when it was looked at last.
    pub(super) exchange: Option<Exchange>,
    /// When the reply was saved last, and at which change.
    pub(super) written: Option<(Instant, u64)>,
    /// What of the reply the store has; `None` where that is not known, so that the whole is saved next.
    pub(super) stored: Option<Stored>,
    /// What is being saved.
    pub(super) saving: Option<BeingSaved>,
    /// When the activity hook ran last.
    pub(super) activity: Instant,
    /// From the first claim of the turn to the first word of the answer, where this claim heard it.
    pub(super) first_token: Option<Duration>,
    /// Events of the session.
    pub(super) events: u64,
    /// How long the turn has run, earlier claims of it included.
    pub(super) time: Duration,
    /// What the ledger was told of the turn last.
    pub(super) noted: Spent,
    /// What was used, as far as it is known, but for the time.
    counted: Spent,
    /// What of it is not in the reply: it was used in a session that was lost, or by sub-agents that were heard by another
    /// worker.
    beside: Spent,
    /// The answer has begun.
    begun: bool,
    /// How many sub-agents are listened to.
    followed: usize,
    /// What was heard since the facts were told.
    heard: Heard,
}

/// What of a reply the store has.
#[derive(Debug)]
pub(super) struct Stored {
    mark: SaveMark,
    /// How often it was saved since the whole.
    number: u64,
}

/// What is being saved.
#[derive(Debug)]
pub(super) struct BeingSaved {
    /// What will become of it.
    pub(super) told: oneshot::Receiver<Saved>,
    /// What the store has then; `None` where it is of a reply that another has taken the place of.
    pub(super) then: Option<Stored>,
    /// What the turn had used when it was taken.
    pub(super) spent: Spent,
}

impl Ears {
    pub(super) fn new(checkpoint: Checkpoint, now: Instant) -> Self {
        Self {
            subscription: None,
            reply: None,
            checkpoint,
            salvage: Checkpoint::default(),
            exchange: None,
            written: None,
            stored: None,
            saving: None,
            activity: now,
            first_token: None,
            events: 0,
            time: Duration::ZERO,
            noted: Spent::default(),
            counted: Spent::default(),
            beside: Spent::default(),
            begun: false,
            followed: 0,
            heard: Heard::default(),
        }
    }

    /// What of the reply is to be saved, and what the store has then; `None` where it has all.
    pub(super) fn unsaved(&self) -> Option<(Unsaved, Stored)> {
        let reply = self.reply.as_ref()?;
        let Some(stored) = &self.stored else {
            let (_, mark) = reply.growth_since(&SaveMark::default());
            return Some((
                Unsaved::Whole(reply.checkpoint()),
                Stored { mark, number: 0 },
            ));
        };
        let (growth, mark) = reply.growth_since(&stored.mark);
        let number = stored.number + 1;
        Some((Unsaved::More(number, growth?), Stored { mark, number }))
    }

    /// What was heard since this was asked last.
    pub(super) fn heard(&mut self) -> Heard {
        self.counted = self.spent().timed(Duration::ZERO);
        let said = self
            .reply
            .as_ref()
            .map_or_else(Said::default, |reply| Said {
                used: Spent::default(),
                text: reply.has_words(),
                tools: reply.has_ended_tool(),
                error: reply.error().cloned(),
                retries: reply.retries(),
                asks: reply
                    .requests()
                    .iter()
                    .map(|request| request.id().to_owned())
                    .collect(),
            });
        let used = self.counted;
        Heard {
            said: Said { used, ..said },
            ..std::mem::take(&mut self.heard)
        }
    }

    /// What the turn has used.
    pub(super) fn spent(&self) -> Spent {
        let streamed = self.reply.as_ref().map(used).unwrap_or_default();
        let spent = self.beside.plus(streamed).max(self.counted);
        spent.timed(self.time)
    }

    /// What the turn has used where its answer has this usage: of sub-agents' steps the answer does not know.
    pub(super) fn spent_with(&self, usage: &Usage) -> Spent {
        let told = Spent::of(usage, self.time);
        self.beside.plus(told).max(self.spent()).timed(self.time)
    }

    /// The ledger says what the turn has used, earlier claims of it included.
    pub(super) fn spent_before(&mut self, spent: Spent) {
        self.noted = spent;
        self.counted = self.counted.max(spent).timed(Duration::ZERO);
    }

    /// Goes on from the checkpoint of the prompt, or from nothing.
    pub(super) fn take_up(&mut self, tools: &Tools, prompted: &PromptRecord) {
        let (session, message) = (&prompted.session, &prompted.ids.message);
        let mut checkpoint = std::mem::take(&mut self.checkpoint);
        if !checkpoint.is_of(message) {
            // What the lost session said is no part of the fresh one's answer.
            self.salvage = std::mem::take(&mut checkpoint);
        }
        let mut reply = Reply::restore(session.clone(), message.clone(), checkpoint);
        self.beside = self.counted.minus(used(&reply));
        self.begun |= reply.has_begun();
        tools.live.reset(&reply);
        reply.observe(tools.live.observer());
        let telemetry = tools.front.telemetry.clone();
        reply.report_problems_to(ProblemSink::new(move |error| {
            let context = [("action", "observer".into())];
            telemetry.report(error.as_ref(), Severity::Warning, context);
        }));
        for make in &tools.workshop.observers {
            reply.observe(Feed::start(make, &tools.turn, &tools.front.telemetry));
        }
        self.reply = Some(reply);
        self.stored = None;
        if let Some(saving) = &mut self.saving {
            saving.then = None;
        }
    }

    /// The same for a prompt that was recorded before: it may have been answered unheard.
    pub(super) fn take_up_unheard(&mut self, tools: &Tools, prompted: &PromptRecord) {
        self.take_up(tools, prompted);
        if let Some(reply) = &mut self.reply {
            reply.gap();
        }
    }

    /// Another session takes the place of the one that was heard. What that one said is kept.
    pub(super) fn lose_session(&mut self) {
        self.exchange = None;
        self.counted = self.spent().timed(Duration::ZERO);
        if let Some(reply) = self.reply.take() {
            self.salvage = reply.checkpoint();
        }
    }

    pub(super) fn listen_to(&mut self, subscription: Option<Subscription>) {
        self.subscription = subscription;
        self.followed = 0;
    }

    /// Takes in a signal and those that are here already: they cost no further wake-up.
    pub(super) fn take(&mut self, signals: &Signals, tools: &Tools) {
        let now = Instant::now();
        if signals.alive {
            self.heard.alive = Some(now);
        }
        self.events += signals.events;
        if signals.events > 0 {
            self.heard.event = Some(now);
        }
        self.heard.idle |= signals.idle;
        self.heard.gap |= signals.gap;
        self.heard.error |= signals.error;
        self.heard.reconnected = signals.reconnected.or(self.heard.reconnected);
        if let Some(reply) = &mut self.reply {
            if !self.begun && reply.has_begun() {
                self.begun = true;
                self.first_token = Some(tools.before + now.duration_since(tools.started));
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
        if let Some(problem) = signals.interrupted {
            tools.front.telemetry.event(
                "stream.interrupted",
                [
                    ("turn", tools.turn.id.to_string().into()),
                    ("reason", problem.into()),
                ],
            );
        }
    }
}

/// What the steps of a reply have used, and those of its sub-agents as far as they were heard.
fn used(reply: &Reply) -> Spent {
    let of = |(cost, tokens)| Spent::of(&Usage::new(cost, tokens), Duration::ZERO);
    of(reply.usage()).plus(of(reply.usage_of_subtasks()))
}

/// A step of the model has ended: what it has cost is known.
fn has_cost(event: &EventBody<'_>) -> bool {
    let EventBody::PartUpdated(part) = event else {
        return false;
    };
    matches!(part.body, PartBody::StepFinish { .. })
}

/// What a few signals amounted to.
#[derive(Default)]
pub(super) struct Signals {
    alive: bool,
    events: u64,
    idle: bool,
    gap: bool,
    error: bool,
    interrupted: Option<&'static str>,
    /// The stream was lost; whether it is back.
    reconnected: Option<bool>,
    /// The server does not answer, or does again.
    pub(super) reached: Option<bool>,
    /// There is a new plan to make.
    pub(super) plan: bool,
}

impl Signals {
    pub(super) fn take(&mut self, signal: Signal<'_>, reply: &mut Option<Reply>) {
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
                self.plan |= has_cost(&event.body);
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

    /// Marks the first signal of a few, which woke the turn up.
    pub(super) fn woken_by(signal: &Signal<'_>) -> Self {
        Self {
            alive: !matches!(signal, Signal::Unreachable),
            ..Self::default()
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
