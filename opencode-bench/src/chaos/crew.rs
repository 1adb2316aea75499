//! The workers: processes that are killed, hung, told to stop, and replaced.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::dice::Dice;
use crate::notes::Watch;
use crate::worker::Programs;

/// A worker that was started less than that ago may not have heard of SIGTERM yet.
const START: Duration = Duration::from_secs(5);

/// A worker that is told to stop has so long to give its turns back.
const STOP: Duration = Duration::from_secs(20);

/// How often it is looked what the workers have begun.
const LOOK: Duration = Duration::from_millis(20);

/// What happened how often.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<BTreeMap<&'static str, usize>>>);

impl Tally {
    pub(crate) fn count(&self, what: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what).or_default() += 1;
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.fmt(f)
    }
}

/// The workers that run at once.
pub(crate) struct Crew {
    /// Those of each server; the workers take turns.
    programs: Vec<Programs>,
    dice: Dice,
    lease: f64,
    logs: PathBuf,
    begun: Watch,
    /// Of what is seen to begin, the first is cut off, and then one in so many.
    cut_off: usize,
    any_cut_off: bool,
    pub(crate) tally: Tally,
    workers: Vec<Worker>,
}

/// A worker that runs, or has ended by itself.
struct Worker {
    child: Child,
    since: Instant,
    /// It was told to stop. Told twice, it would leave its turns where they are.
    told: bool,
}

impl Worker {
    fn tell_to_stop(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            signal(&self.child, Signal::TERM);
        }
    }

    /// Whether it may end like that: in order, or told to stop before it was up.
    fn ended_well(&self, status: ExitStatus) -> bool {
        let early = self.since.elapsed() < START;
        status.success() || (early && status.signal() == Some(Signal::TERM.as_raw()))
    }
}

fn signal(worker: &Child, signal: Signal) {
    let id = worker.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = id.and_then(Pid::from_raw) {
        // A child that was not waited for still owns its id.
        let _ = kill_process(pid, signal);
    }
}

impl Crew {
    /// Starts so many workers, at the servers of these programs in turn. Of what they are seen to begin of the application's, the first is cut off, and then one in
    /// `cut_off`: often enough to prove something, and seldom enough that turns end.
    pub(crate) fn start(
        programs: Vec<Programs>,
        dice: Dice,
        workers: usize,
        cut_off: usize,
    ) -> anyhow::Result<Self> {
        let first = programs.first().context("no server")?;
        anyhow::ensure!(
            workers >= programs.len(),
            "each of {} servers needs a worker: --workers {workers} are too few",
            programs.len()
        );
        let mut crew = Self {
            logs: first.folder.clone(),
            begun: first.notes().watch(),
            lease: first.lease,
            programs,
            dice,
            cut_off,
            any_cut_off: false,
            tally: Tally::default(),
            workers: Vec::new(),
        };
        for number in 0..workers {
            let worker = crew.spawn(number)?;
            crew.workers.push(worker);
        }
        Ok(crew)
    }

    fn spawn(&self, number: usize) -> anyhow::Result<Worker> {
        let log = self.logs.join(format!("worker-{number}.log"));
        Ok(Worker {
            child: self.programs[number % self.programs.len()].worker(&log)?,
            since: Instant::now(),
            told: false,
        })
    }

    /// Rests. A worker that meanwhile begins something of the application's, a tool or a hook, may be killed in its middle.
    pub(crate) async fn rest(&mut self, pause: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            let Some(process) = self.begun.begun()? else {
                continue;
            };
            let at = self
                .workers
                .iter()
                .position(|worker| worker.child.id() == Some(process));
            if let Some(at) = at
                && (self.dice.once_in(self.cut_off) || !self.any_cut_off)
            {
                self.any_cut_off = true;
                self.tally.count("workers killed in a tool or hook");
                self.replace(at).await?;
            }
        }
        Ok(())
    }

    /// A worker that ended in order is replaced. One that ended otherwise is a finding.
    pub(crate) fn bury(&mut self) -> anyhow::Result<()> {
        for at in 0..self.workers.len() {
            if let Some(status) = self.workers[at].child.try_wait()? {
                anyhow::ensure!(
                    self.workers[at].ended_well(status),
                    "worker {at} ended by itself, {status}; its log is in {}",
                    self.logs.display()
                );
                self.workers[at] = self.spawn(at)?;
            }
        }
        Ok(())
    }

    /// Kills a worker, as by `kill -9`.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.tally.count("workers killed");
        let at = self.dice.below(self.workers.len());
        self.replace(at).await
    }

    async fn replace(&mut self, at: usize) -> anyhow::Result<()> {
        self.workers[at].child.kill().await?;
        self.workers[at] = self.spawn(at)?;
        Ok(())
    }

    /// Hangs a worker for longer than its lease, then lets it go on.
    pub(crate) fn hang(&mut self) {
        self.tally.count("workers hung");
        let at = self.dice.below(self.workers.len());
        signal(&self.workers[at].child, Signal::STOP);
        let pause = Duration::from_secs_f64(self.lease * 1.5) + self.dice.millis(0, 1000);
        let id = self.workers[at]
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // Had it been killed meanwhile, its id may be free; continuing what runs changes nothing.
            if let Some(pid) = id.and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::CONT);
            }
        });
    }

    /// Asks a worker to stop. It is replaced once it has.
    pub(crate) fn ask_to_stop(&mut self) {
        self.tally.count("workers asked to stop");
        let at = self.dice.below(self.workers.len());
        self.workers[at].tell_to_stop();
    }

    /// SIGTERM: every worker stops by itself, and says that all is well.
    pub(crate) async fn dismiss(mut self) -> anyhow::Result<()> {
        for worker in &mut self.workers {
            signal(&worker.child, Signal::CONT);
            worker.tell_to_stop();
        }
        for worker in &mut self.workers {
            let status = tokio::time::timeout(STOP, worker.child.wait()).await;
            let status = status.context("a worker did not stop within 20 s of SIGTERM")??;
            anyhow::ensure!(
                worker.ended_well(status),
                "a worker that was to stop: {status}"
            );
        }
        Ok(())
    }
}
