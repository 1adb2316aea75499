//! What goes wrong: workers die or hang, the server dies, streams are cut,
//! requests and answers are lost, sessions are forgotten, records are odd,
//! Postgres restarts.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use opencode_host::clock::{Clock as _, SystemClock, Timestamp};
use opencode_impostor::{Action, Calls, FaultId, Impostor};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::crowd::Book;
use crate::dice::Dice;
use crate::odd::oddity;
use crate::worker::Programs;

/// When something was so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans(Arc<Mutex<Vec<(Timestamp, Timestamp)>>>);

impl Spans {
    /// Whether it was so at some moment between the two.
    pub(crate) fn between(&self, from: Timestamp, to: Timestamp) -> bool {
        self.lock()
            .iter()
            .any(|(began, ended)| *began <= to && *ended >= from)
    }

    fn add(&self, began: Timestamp, ended: Timestamp) {
        self.lock().push((began, ended));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Timestamp, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the server was in a bad way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// It was away.
    pub(crate) deaths: Spans,
    /// It forgot each session that it made.
    pub(crate) forgetful: Spans,
}

/// What happened how often.
pub(crate) type Tally = BTreeMap<&'static str, usize>;

/// Endpoints whose calls get lost.
const LOSABLE: [&str; 8] = [
    "POST /session",
    "POST /session",
    "POST /session/:id/prompt_async",
    "POST /session/:id/prompt_async",
    "GET /session/:id/message/:messageID",
    "GET /session/:id/message",
    "GET /session/status",
    "POST /session/:id/abort",
];

/// The workers and everything that befalls them.
pub(crate) struct Trouble {
    pub(crate) impostor: Arc<Impostor>,
    pub(crate) programs: Programs,
    pub(crate) dice: Dice,
    pub(crate) past: Past,
    pub(crate) logs: PathBuf,
    pub(crate) stop_workers: bool,
    pub(crate) tally: Arc<Mutex<Tally>>,
    workers: Vec<Worker>,
    /// What the server says oddly, until it says something else so.
    odd: Option<FaultId>,
    /// Since when it forgets each session that it makes.
    forgets: Option<(FaultId, Timestamp)>,
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

/// A worker that was started less than that ago may not have heard of SIGTERM yet.
const START: Duration = Duration::from_secs(5);

/// A worker that is told to stop has so long to give its turns back.
const STOP: Duration = Duration::from_secs(20);

fn signal(worker: &Child, signal: Signal) {
    let id = worker.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = id.and_then(Pid::from_raw) {
        // A child that was not waited for still owns its id.
        let _ = kill_process(pid, signal);
    }
}

impl Trouble {
    pub(crate) fn start(
        impostor: Arc<Impostor>,
        programs: Programs,
        dice: Dice,
        logs: PathBuf,
        stop_workers: bool,
        workers: usize,
    ) -> anyhow::Result<Self> {
        let mut trouble = Self {
            impostor,
            programs,
            dice,
            past: Past::default(),
            logs,
            stop_workers,
            tally: Arc::default(),
            workers: Vec::new(),
            odd: None,
            forgets: None,
        };
        for number in 0..workers {
            let worker = trouble.spawn(number)?;
            trouble.workers.push(worker);
        }
        Ok(trouble)
    }

    fn spawn(&self, number: usize) -> anyhow::Result<Worker> {
        let log = self.logs.join(format!("worker-{number}.log"));
        Ok(Worker {
            child: self.programs.worker(&log)?,
            since: Instant::now(),
            told: false,
        })
    }

    fn count(&self, what: &'static str) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        *tally.entry(what).or_default() += 1;
    }

    /// Makes trouble until `over`, then lets the workers that are left stop in order.
    pub(crate) async fn make(mut self, over: Arc<AtomicBool>, book: Book) -> anyhow::Result<()> {
        while !over.load(Ordering::Relaxed) {
            tokio::time::sleep(self.dice.millis(150, 650)).await;
            self.bury()?;
            self.remember();
            match self.dice.below(100) {
                0..45 => self.kill_worker().await?,
                45..55 if self.stop_workers => self.stop_worker(),
                45..57 => {
                    self.count("streams cut");
                    self.impostor.drop_streams();
                }
                57..77 => self.lose(),
                77..85 => self.speak_oddly(),
                85..92 => self.restart_server().await?,
                92..94 => self.forget(&book),
                94..96 => self.forget_each(),
                _ => {
                    self.count("workers asked to stop");
                    let at = self.dice.below(self.workers.len());
                    self.workers[at].tell_to_stop();
                }
            }
        }
        self.remember();
        self.impostor.faults().clear();
        self.dismiss().await
    }

    /// A worker that ended in order is replaced. One that ended otherwise is a finding.
    fn bury(&mut self) -> anyhow::Result<()> {
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

    async fn kill_worker(&mut self) -> anyhow::Result<()> {
        self.count("workers killed");
        let at = self.dice.below(self.workers.len());
        self.workers[at].child.kill().await?;
        self.workers[at] = self.spawn(at)?;
        Ok(())
    }

    /// Hangs a worker for longer than its lease, then lets it go on.
    fn stop_worker(&mut self) {
        self.count("workers hung");
        let at = self.dice.below(self.workers.len());
        signal(&self.workers[at].child, Signal::STOP);
        let pause = Duration::from_secs_f64(self.programs.lease * 1.5) + self.dice.millis(0, 1000);
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

    fn lose(&mut self) {
        let on = *self.dice.of(&LOSABLE);
        let faults = self.impostor.faults();
        match self.dice.below(6) {
            3 => {
                self.count("calls never answered");
                let action = self.dice.of(&[Action::Swallow, Action::SwallowResponse]);
                faults.request(on, Calls::Nth(1), action.clone());
            }
            4 => {
                self.count("histories refused");
                faults.history_fails(Calls::Nth(1));
            }
            0 => {
                self.count("requests lost");
                faults.lose_request(on, Calls::Nth(1));
            }
            1 | 2 => {
                self.count("answers lost");
                faults.lose_response(on, Calls::Nth(1));
            }
            _ => {
                self.count("error pages");
                faults.request(on, Calls::Nth(1), Action::html(502));
            }
        }
    }

    async fn restart_server(&mut self) -> anyhow::Result<()> {
        self.count("server restarts");
        let died = SystemClock.now();
        self.impostor.kill().await;
        tokio::time::sleep(self.dice.millis(20, 400)).await;
        self.impostor
            .restart()
            .await
            .context("the server's port is taken")?;
        self.past.deaths.add(died, SystemClock.now());
        Ok(())
    }

    /// From now on something of what the server says is odd, and what was odd before is not.
    fn speak_oddly(&mut self) {
        self.count("oddities");
        let faults = self.impostor.faults();
        if let Some(before) = self.odd.take() {
            faults.remove(before);
        }
        self.odd = Some(faults.add(oddity(&mut self.dice)));
    }

    /// For a moment the server loses each session that it makes.
    fn forget_each(&mut self) {
        self.count("moments of no memory");
        let fault = self.impostor.faults().forget_sessions();
        self.forgets = Some((fault, SystemClock.now()));
    }

    fn remember(&mut self) {
        if let Some((fault, since)) = self.forgets.take() {
            self.impostor.faults().remove(fault);
            self.past.forgetful.add(since, SystemClock.now());
        }
    }

    /// The server loses one session.
    fn forget(&mut self, book: &Book) {
        let alive: Vec<String> = self.impostor.with_ledger(|ledger| {
            let alive = ledger.sessions_alive();
            alive.into_iter().map(str::to_owned).collect()
        });
        if alive.is_empty() || book.done() == 0 {
            return;
        }
        self.count("sessions forgotten");
        let session = self.dice.of(&alive).clone();
        self.impostor.forget(&session);
    }

    /// SIGTERM: every worker stops by itself, and says that all is well.
    async fn dismiss(&mut self) -> anyhow::Result<()> {
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
