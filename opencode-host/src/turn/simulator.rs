//! Whole runs of turns, simulated.
//!
//! Two workers with leases drive one turn against a small model of a server and of the turn's row, in virtual time and
//! without I/O. Steps fail, are lost, are broken off, are heard of twice; posts arrive late; servers restart, fall silent
//! and lose sessions; processes are suspended, die and give turns back; cancels come at any moment. Whatever happens, the
//! turn ends once, nothing is prompted twice, nothing loops, and a cancel and the turn's time end anything.
//!
//! The second half proves that the simulator would notice: each rule of the facts and the plan that is [`Broken`] on
//! purpose is found out within few runs.

mod acts;
mod broken;
mod dice;
mod trouble;
mod worker;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use self::broken::Broken;
use self::dice::Dice;
use self::trouble::Trouble;
use self::worker::{After, Worker};
use self::world::{World, beginning};
use super::limits::{Limits, Pace};
use crate::store::{Phase, TurnStatus};

/// So many runs are simulated in each test run.
const RUNS: u64 = 100_000;

/// So many runs find each broken rule.
const ENOUGH: u64 = 20_000;

/// No turn takes longer, whoever dies over it.
const LONGEST: Duration = Duration::from_secs(7200);

/// Seeds that found something once.
const FOUND: [(&str, u64); 1] = [("a cancelled turn whose looks kill its workers", 4501)];

/// In the proportions of the defaults: a look succeeds, or calls have failed for too long, before a prompt is stale.
const LIMITS: Limits = Limits {
    first_event: Duration::from_secs(40),
    idle: None,
    turn: Duration::from_secs(100),
    waiting: None,
    unreachable: Duration::from_secs(10),
    retries: 10,
    attempts: 3,
    pace: Pace {
        confirm: Duration::from_secs(2),
        unseen: Duration::from_secs(12),
        lost: Duration::from_secs(5),
        abort: Duration::from_secs(3),
        silence: Duration::from_secs(10),
        answer: Duration::from_millis(1500),
    },
};

/// Simulates one turn to its end.
///
/// # Errors
/// Which rule did not hold.
fn run(seed: u64, broken: Option<Broken>) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let trouble = Trouble::of(&mut dice);
    let pace = (dice.below(4_000), 200 + dice.below(20_000));
    let mut world = World::new(&mut dice, beginning(), trouble.fate, pace);
    live(&mut world, &mut dice, &trouble, broken)
}

/// How much of a story is told.
const TOLD: usize = 80;

/// What happens in a run, up to what goes wrong.
fn story(seed: u64, broken: Option<Broken>) -> String {
    let mut dice = Dice::new(seed);
    let trouble = Trouble::of(&mut dice);
    let pace = (dice.below(4_000), 200 + dice.below(20_000));
    let mut world = World::new(&mut dice, beginning(), trouble.fate, pace);
    world.story = Some(Vec::new());
    let lived = live(&mut world, &mut dice, &trouble, broken);
    let mut story = world.story.unwrap_or_default();
    story.push(format!("{trouble:?} {lived:?}"));
    let told = story.len().saturating_sub(TOLD);
    story.split_off(told).join("\n")
}

fn live(
    world: &mut World,
    dice: &mut Dice,
    trouble: &Trouble,
    broken: Option<Broken>,
) -> Result<(), String> {
    let start = beginning();
    if dice.permille(250) {
        let from = start + dice.ms(0, 20_000);
        world.down = Some((from, from + dice.ms(100, 30_000)));
    }
    let cancel = dice.permille(250).then(|| start + dice.ms(0, 40_000));
    let mut workers: [Option<Worker>; 2] = [None, None];
    let mut free = [start, start + dice.ms(0, 500)];
    let mut now = start;
    let (mut cancelled, mut releases) = (false, 5);
    for _ in 0..200_000 {
        // Whoever comes next: a worker's step, a free worker that looks for turns, the cancel.
        let wakes = |at: usize| workers[at].as_ref().map_or(free[at], |worker| worker.wakes);
        let at = usize::from(wakes(1) < wakes(0));
        let next = wakes(at);
        if let Some(moment) = cancel.filter(|moment| !cancelled && *moment <= next) {
            now = now.max(moment);
            cancelled = true;
            world.pass(dice, now);
            for worker in workers.iter_mut().flatten() {
                worker.order(world, now, |orders| orders.cancel = true);
            }
            continue;
        }
        now = now.max(next);
        world.pass(dice, now);
        if dice.permille(trouble.losing) {
            lose_something(world, dice, now);
        }
        let generation = world.row.turn.generation;
        match &mut workers[at] {
            None => {
                let claimable = match world.row.turn.phase() {
                    Phase::Queued => true,
                    Phase::Running => world.row.leased_until <= now,
                    Phase::Finished { .. } => false,
                };
                if claimable {
                    let limits = Limits {
                        waiting: world.waiting(),
                        ..LIMITS
                    };
                    workers[at] = Some(Worker::claim(world, limits, cancelled, now));
                } else {
                    let until = world.row.leased_until.max(now);
                    free[at] = until + dice.ms(100, 1_000);
                }
            }
            Some(worker) => {
                if worker.generation != generation && dice.permille(500) {
                    worker.order(world, now, |orders| orders.lost = true);
                } else if releases > 0 && dice.permille(trouble.releasing) {
                    releases -= 1;
                    worker.order(world, now, |orders| orders.release = true);
                }
                let dies = dice.permille(trouble.dying);
                let after = worker.wake(world, trouble, broken, dice, now);
                if dies || after == After::Gone {
                    workers[at] = None;
                    free[at] = now + dice.ms(10, 2_000);
                    free[1 - at] = free[1 - at].min(now + dice.ms(10, 2_000));
                }
            }
        }
        if let Some(fault) = world.fault.take() {
            return Err(fault);
        }
        if world.is_finished() && workers.iter().all(Option::is_none) {
            let completed = Phase::Finished {
                status: TurnStatus::Completed,
                settled: false,
            };
            return match world.row.ends {
                1 if broken.is_none()
                    && trouble.is_none()
                    && !cancelled
                    && world.down.is_none() =>
                {
                    if world.row.turn.phase() == completed {
                        return Ok(());
                    }
                    Err(format!("{:?} without trouble", world.row.turn.phase()))
                }
                1 => Ok(()),
                ends => Err(format!("{ends} ends")),
            };
        }
        if now.duration_since(start) > LONGEST + world.waited {
            return Err("a turn that never ends".to_owned());
        }
    }
    Err("a turn that takes too many steps".to_owned())
}

fn lose_something(world: &mut World, dice: &mut Dice, now: Instant) {
    let unreadable = dice.permille(300);
    let lost = dice.permille(500);
    let Some(session) = world.sessions.last_mut() else {
        return;
    };
    if unreadable {
        session.unreadable = true;
    } else if lost && !session.runs.iter().any(|run| run.busy(now)) {
        session.lost = true;
    }
}

/// Simulates runs on all processors. Returns the lowest seed found that went wrong, and how.
fn runs(seeds: std::ops::Range<u64>, broken: Option<Broken>) -> Option<(u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut found: Vec<(u64, String)> = std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return None;
                }
                if let Err(wrong) = run(seed, broken) {
                    next.store(seeds.end, Ordering::Relaxed);
                    return Some((seed, wrong));
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.flatten().collect()
    });
    found.sort();
    found.into_iter().next()
}

#[test]
fn whatever_happens_a_turn_ends_once_and_prompts_once() {
    for (name, seed) in FOUND {
        assert_eq!(run(seed, None), Ok(()), "seed {seed}: {name}");
    }
    if let Some((seed, wrong)) = runs(0..RUNS, None) {
        panic!("seed {seed}: {wrong}\n{}", story(seed, None));
    }
}

#[test]
fn a_run_is_the_same_each_time() {
    for seed in 0..200 {
        let broken = Some(Broken::PostIsForgotten);
        assert_eq!(run(seed, broken), run(seed, broken), "seed {seed}");
    }
}

#[test]
fn each_broken_rule_is_found_out() {
    for broken in [
        Broken::IdsAreNotDurable,
        Broken::PostIsForgotten,
        Broken::UnansweredPostIsNowhere,
        Broken::PostIsForgottenSoon,
        Broken::FenceIsKept,
        Broken::RecordedIsPosted,
        Broken::PromptOutlivesItsSession,
        Broken::ReplacedIsForgotten,
        Broken::RepostIsForgotten,
        Broken::AbortsAreEndless,
        Broken::TimeStandsStill,
        Broken::StepsAreNotSpaced,
        Broken::AttemptsAreNotCounted,
        Broken::CancelIsForgotten,
    ] {
        let found = runs(0..ENOUGH, Some(broken));
        println!("{broken:?}: {found:?}");
        assert!(found.is_some(), "{broken:?} is not noticed");
    }
}

/// A loop that nobody has foreseen costs a few calls a second, and ends with the turn's time.
#[test]
fn steps_that_teach_nothing_are_spaced() {
    let broken = Some(Broken::LooksAreAlwaysDue);
    if let Some((seed, wrong)) = runs(0..ENOUGH / 100, broken) {
        panic!("seed {seed}: {wrong}\n{}", story(seed, broken));
    }
}
