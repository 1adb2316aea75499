//! A worker of the model: it plans and learns as the driver does, and its steps act on the [`World`].

use std::time::Duration;

use tokio::time::Instant;

use super::acts::{Act, failed, is_here, unnoted};
use super::broken::Broken;
use super::dice::Dice;
use super::trouble::Trouble;
use super::world::{Fate, LEASE, World};
use crate::clock::Timestamp;
use crate::store::{TurnState, Work};
use crate::turn::control::Orders;
use crate::turn::facts::{Consulted, Facts, Failure, Heard, Learned, Said};
use crate::turn::limits::Limits;
use crate::turn::plan::{Step, plan};

/// The model goes by instants: the times of its row say nothing.
const WORK: Work = Work::new(Timestamp(0));

/// The request that an agent makes.
const ASKED: &str = "per_1";

/// How a step fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fares {
    Well,
    /// It does nothing, and fails.
    Lost,
    /// It is done, and fails.
    AnswerLost,
    /// It is refused, with an error of the server's.
    Broken,
    /// It is broken off at its end, done or not.
    BrokenOff {
        done: bool,
    },
}

/// A claim.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) facts: Facts,
    pub(super) generation: u64,
    pub(super) wakes: Instant,
    claimed: Instant,
    doing: Option<(Step, Fares, Instant)>,
    /// What came of a step after which it was suspended.
    held: Option<Learned>,
    said: Said,
    heard_until: Instant,
    /// How often the server took the prompt in the session.
    taken: u32,
    /// How many of its steps asked the server.
    asked: u32,
    /// When it was ordered to cancel.
    cancelled: Option<Instant>,
    /// It was suspended at some time: its bounds are not held against it.
    pub(super) suspended: bool,
}

/// What a worker has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    GoesOn,
    Gone,
}

impl Worker {
    pub(super) fn claim(world: &mut World, limits: Limits, cancel: bool, now: Instant) -> Self {
        let row = &mut world.row;
        row.turn.state = TurnState::Running(WORK);
        row.turn.generation += 1;
        row.turn.attempts += 1;
        row.leased_until = now + LEASE;
        let orders = Orders {
            cancel,
            ..Orders::default()
        };
        let heartbeat = Duration::from_secs(45);
        let session = row.session.clone();
        let mut facts = Facts::of(&row.turn, session, orders, limits, heartbeat, now);
        // The product is asked before anything that can race.
        facts.claim.verdict = Consulted::Go;
        Self {
            facts,
            generation: row.turn.generation,
            wakes: now,
            claimed: now,
            doing: None,
            held: None,
            said: Said::default(),
            heard_until: now,
            taken: 0,
            asked: 0,
            cancelled: cancel.then_some(now),
            suspended: false,
        }
    }

    fn owns(&self, world: &World) -> bool {
        world.row.turn.generation == self.generation && !world.is_finished()
    }

    /// Orders reach the worker, and break off what it does.
    pub(super) fn order(&mut self, world: &mut World, now: Instant, change: impl Fn(&mut Orders)) {
        let mut orders = self.facts.orders;
        change(&mut orders);
        if orders == self.facts.orders {
            return;
        }
        if orders.cancel {
            self.cancelled.get_or_insert(now);
        }
        if let Some((_, fares, _)) = &mut self.doing {
            let done = *fares == Fares::Well || *fares == Fares::AnswerLost;
            *fares = Fares::BrokenOff {
                done: done && now >= self.wakes,
            };
        }
        if self.held.is_none() {
            self.wakes = self.wakes.min(now);
            world.hurry(now);
        }
        self.facts.learn(Learned::Ordered(orders), now);
    }

    /// Ends a step, if one was under way, and begins the next.
    pub(super) fn wake(
        &mut self,
        world: &mut World,
        trouble: &Trouble,
        broken: Option<Broken>,
        dice: &mut Dice,
        now: Instant,
    ) -> After {
        let owns = self.owns(world);
        if let Some(learned) = self.held.take() {
            self.learn(&learned, broken, now);
        } else if let Some((step, fares, began)) = self.doing.take() {
            let mut act = Act {
                facts: &self.facts,
                said: &mut self.said,
                owns,
            };
            let learned = match fares {
                Fares::BrokenOff { done: false } => Learned::Nothing,
                Fares::BrokenOff { done: true } => {
                    act.act(world, trouble, dice, &step, began, now);
                    Learned::Nothing
                }
                Fares::Well => act.act(world, trouble, dice, &step, began, now),
                Fares::Lost if broken == Some(Broken::IdsAreNotDurable) && step == Step::Mint => {
                    unnoted(&self.facts, world, now)
                }
                Fares::Lost => failed(&self.facts, &step, Failure::Unanswered("lost".to_owned())),
                Fares::Broken => failed(&self.facts, &step, Failure::Broken("500".to_owned())),
                Fares::AnswerLost => {
                    act.act(world, trouble, dice, &step, began, now);
                    failed(&self.facts, &step, Failure::Unanswered("lost".to_owned()))
                }
            };
            if matches!(learned, Learned::Recreated { .. }) {
                self.taken = 0;
            }
            if matches!(learned, Learned::Posted { .. }) {
                self.taken += 1;
                if self.taken > 2 {
                    world.wrong("what the server took is posted more often than once again");
                }
            }
            let generation = self.generation;
            world.tell(now, || format!("{generation}: {fares:?} {learned:?}"));
            if dice.permille(trouble.suspending) {
                // Its lease is not renewed meanwhile.
                self.suspended = true;
                self.held = Some(learned);
                self.wakes = now + dice.ms(500, 40_000);
                return After::GoesOn;
            }
            self.learn(&learned, broken, now);
            if dice.permille(10) {
                self.learn(&learned, broken, now);
            }
        }
        let heard = self.hear(world, trouble, dice, now);
        self.learn(&Learned::Heard(heard), broken, now);
        self.begin(world, trouble, broken, dice, now)
    }

    fn learn(&mut self, learned: &Learned, broken: Option<Broken>, now: Instant) {
        self.facts.learn(learned.clone(), now);
        if let Some(broken) = broken {
            broken.after_learning(&mut self.facts, learned, now);
        }
    }

    fn begin(
        &mut self,
        world: &mut World,
        trouble: &Trouble,
        broken: Option<Broken>,
        dice: &mut Dice,
        now: Instant,
    ) -> After {
        for _ in 0..8 {
            if let Some(broken) = broken {
                broken.before_planning(&mut self.facts, now);
            }
            let step = plan(&self.facts, now);
            let generation = self.generation;
            world.tell(now, || format!("{generation}: {step:?}"));
            if trouble.poison.is_some_and(|poison| poison.is(&step)) {
                world.row.leased_until = now + LEASE;
                return After::Gone;
            }
            match &step {
                Step::Leave => {
                    if self.owns(world) && !self.facts.orders.lost {
                        world.row.turn.state = TurnState::GivenBack(WORK);
                        world.row.turn.attempts = world.row.turn.attempts.saturating_sub(1);
                        world.row.leased_until = now;
                    }
                    return After::Gone;
                }
                Step::End(ending) => {
                    self.check_end(world, ending.status, now);
                    if self.owns(world) {
                        world.row.turn.state = TurnState::Finished {
                            work: WORK,
                            at: Timestamp(0),
                            status: ending.status,
                            settled: false,
                        };
                        world.row.ends += 1;
                    }
                    return After::Gone;
                }
                _ => {}
            }
            let before = self.facts.prompt.fenced;
            self.facts.begin(&step, now);
            if let Some(broken) = broken {
                broken.after_beginning(&mut self.facts, &step, before);
            }
            self.check_bounds(world, &step, now);
            if step == Step::TakeUp {
                let learned = Learned::TakenUp;
                self.learn(&learned, broken, now);
                continue;
            }
            self.start(world, trouble, dice, step, now);
            return After::GoesOn;
        }
        world.wrong("steps without time in between");
        After::Gone
    }

    /// Nothing loops, and orders and deadlines end anything.
    fn check_bounds(&mut self, world: &mut World, step: &Step, now: Instant) {
        let ran = now.duration_since(self.claimed);
        if step.asks() {
            self.asked += 1;
        }
        let most = 17 + u32::try_from(ran.as_millis() / 250).unwrap_or(u32::MAX);
        if self.asked > most {
            world.wrong(format!("{} steps in {ran:?}", self.asked));
        }
        if let Step::Follow { at_most } | Step::Wait { pause: at_most } = step
            && at_most.is_zero()
        {
            world.wrong("a wait that does not wait");
        }
        let limits = self.facts.limits;
        if self.suspended {
            return;
        }
        let slack = limits.pace.abort * 2;
        if self
            .cancelled
            .is_some_and(|at| now.duration_since(at) > slack)
        {
            world.wrong(format!("{step:?} {slack:?} after a cancel"));
        }
        let waits = self.facts.waits_for_a_person(now) || world.waited > Duration::ZERO;
        if !waits && ran > limits.turn + slack {
            world.wrong(format!("{step:?} {slack:?} after the turn's time"));
        }
    }

    /// What is said of the end is so.
    fn check_end(&self, world: &mut World, status: crate::store::TurnStatus, now: Instant) {
        if status != crate::store::TurnStatus::Completed || !self.owns(world) {
            return;
        }
        let runs = world.sessions.iter().flat_map(|session| &session.runs);
        if !runs.clone().any(|run| run.finished(now)) {
            world.wrong("completed while nothing has finished");
        }
    }

    /// Decides how a step will fare and how long it takes.
    fn start(
        &mut self,
        world: &mut World,
        trouble: &Trouble,
        dice: &mut Dice,
        step: Step,
        now: Instant,
    ) {
        let patience = self.facts.patience(now);
        let mut fares = Fares::Well;
        let mut takes = dice.ms(5, 150);
        match &step {
            Step::Follow { at_most } | Step::Wait { pause: at_most } => {
                takes = (*at_most).min(self.next_signal(world, trouble, dice, now));
            }
            _ if world.is_down(now) => {
                fares = Fares::Lost;
                if trouble.deaf {
                    takes = patience;
                }
            }
            _ if dice.permille(trouble.failing) => {
                fares = match dice.below(4) {
                    0 => Fares::Lost,
                    1 => Fares::Broken,
                    _ => Fares::AnswerLost,
                };
                if fares != Fares::Broken {
                    takes = patience;
                }
            }
            Step::Look => {
                let until = self.facts.prompt.may_arrive_until(&self.facts.limits.pace);
                let here = is_here(&self.facts, world, now);
                if let Some(until) = until.filter(|_| !here) {
                    takes += until.saturating_duration_since(now);
                }
            }
            _ => {}
        }
        if let Step::Post { fenced } = &step {
            if now > *fenced + LEASE / 2 {
                fares = Fares::Lost;
                takes = Duration::from_millis(1);
            } else {
                self.send(world, trouble, dice, fares, now, takes);
            }
        }
        let left = self.facts.time_left(now);
        if takes >= left {
            takes = left;
            let done = dice.permille(500) && fares == Fares::Well;
            fares = Fares::BrokenOff { done };
            world.hurry(now + left);
        }
        let wakes = now + takes;
        if self.owns(world) {
            world.row.leased_until = world.row.leased_until.max(wakes + LEASE);
        }
        self.doing = Some((step, fares, now));
        self.wakes = wakes;
    }

    /// A prompt that goes out arrives while it is posted, or soon after.
    fn send(
        &mut self,
        world: &mut World,
        trouble: &Trouble,
        dice: &mut Dice,
        fares: Fares,
        now: Instant,
        takes: Duration,
    ) {
        let Some(record) = self.facts.prompt.record().cloned() else {
            return world.wrong("a post without ids");
        };
        if world.row.turn.prompted.as_ref() != Some(&record) {
            return world.wrong("a post whose ids are not in the row");
        }
        let arrives = match fares {
            _ if trouble.fate == Fate::Dropped => return,
            Fares::Well => now + takes / 2,
            Fares::AnswerLost => now + takes.min(Duration::from_secs(5)) + dice.ms(0, 400),
            _ => return,
        };
        world.post(arrives, record.session, record.ids.message);
    }

    /// How long until the stream says something.
    fn next_signal(
        &self,
        world: &mut World,
        trouble: &Trouble,
        dice: &mut Dice,
        now: Instant,
    ) -> Duration {
        let mut next = Duration::from_secs(10);
        if dice.permille(trouble.noisy) {
            next = dice.ms(1, 5_000);
        }
        let record = self.facts.prompt.record().cloned();
        let down = world.down;
        let run = record.and_then(|record| world.run(&record.session, &record.ids.message));
        let moments = run
            .map(|run| [run.begins, run.over()])
            .into_iter()
            .flatten();
        let moments = moments.chain(down.into_iter().flat_map(|(from, to)| [from, to]));
        for moment in moments.filter(|moment| *moment > now) {
            next = next.min(moment.duration_since(now) + Duration::from_millis(2));
        }
        next
    }

    /// What the stream has said since, and what the reply holds.
    fn hear(
        &mut self,
        world: &mut World,
        trouble: &Trouble,
        dice: &mut Dice,
        now: Instant,
    ) -> Heard {
        let since = std::mem::replace(&mut self.heard_until, now);
        let within = |moment: Instant| since < moment && moment <= now;
        let mut heard = Heard::default();
        let record = self.facts.prompt.record().cloned();
        let listens = self.facts.link.is_some() && !trouble.silent;
        if listens && !world.is_down(now) {
            heard.alive = Some(now);
        }
        if let Some((from, to)) = world.down
            && listens
            && (within(from) || within(to))
        {
            heard.gap = true;
            heard.reconnected = Some(!world.is_down(now));
        }
        let (mut begun, mut progress) = (false, false);
        if let Some(record) = record
            && let Some(run) = world.run(&record.session, &record.ids.message)
        {
            begun = run.begun(now) && since < run.over();
            if begun && listens {
                heard.event = Some(now);
                progress = run.has_text(now) && !self.said.text;
                self.said.text |= run.has_text(now);
                heard.idle = within(run.over());
                let asks = run.asks.is_some_and(|(from, to)| from <= now && now < to);
                self.said.asks = asks.then(|| ASKED.to_owned()).into_iter().collect();
            }
            let error = run.error(now).filter(|_| listens);
            heard.error = error.is_some() && self.said.error.is_none();
            self.said.error = error.or(self.said.error.take());
        }
        if !begun {
            self.said.asks.clear();
        }
        if !self.said.asks.is_empty() {
            world.waited += now.duration_since(since);
        }
        if progress && self.owns(world) && !world.row.progressed {
            world.row.progressed = true;
            world.row.turn.attempts = 0;
        }
        if dice.permille(trouble.noisy) {
            match dice.below(4) {
                0 => heard.idle = self.facts.prompt.record().is_some(),
                1 => heard.gap = true,
                2 => {
                    heard.gap = true;
                    heard.reconnected = Some(dice.permille(700));
                }
                _ => heard.error = true,
            }
        }
        heard.said = self.said.clone();
        heard
    }
}
