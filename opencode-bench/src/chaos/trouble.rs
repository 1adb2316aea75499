//! What goes wrong: workers die or hang, the server dies, streams are cut,
//! requests and answers are lost, sessions are forgotten, records are odd,
//! Postgres restarts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use opencode_host::clock::{Clock as _, SystemClock, Timestamp};
use opencode_impostor::{Action, Calls, FaultId, Impostor};

use crate::crew::{Crew, Tally};
use crate::crowd::Book;
use crate::dice::Dice;
use crate::odd::oddity;

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
    /// It forgot one session.
    pub(crate) forgot: Spans,
}

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

/// Everything that befalls the workers and the server.
pub(crate) struct Trouble {
    impostor: Arc<Impostor>,
    crew: Crew,
    dice: Dice,
    past: Past,
    tally: Tally,
    hang_workers: bool,
    /// What the server says oddly, until it says something else so.
    odd: Option<FaultId>,
    /// Since when it forgets each session that it makes.
    forgets: Option<(FaultId, Timestamp)>,
}

impl Trouble {
    pub(crate) fn new(
        impostor: Arc<Impostor>,
        crew: Crew,
        dice: Dice,
        past: Past,
        hang_workers: bool,
    ) -> Self {
        Self {
            impostor,
            tally: crew.tally.clone(),
            crew,
            dice,
            past,
            hang_workers,
            odd: None,
            forgets: None,
        }
    }

    /// Makes trouble until `over`. Answers the workers that are left.
    pub(crate) async fn make(mut self, over: Arc<AtomicBool>, book: Book) -> anyhow::Result<Crew> {
        while !over.load(Ordering::Relaxed) {
            let pause = self.dice.millis(150, 650);
            self.crew.rest(pause).await?;
            self.crew.bury()?;
            self.remember();
            match self.dice.below(100) {
                0..45 => self.crew.kill().await?,
                45..55 if self.hang_workers => self.crew.hang(),
                45..57 => {
                    self.tally.count("streams cut");
                    self.impostor.drop_streams();
                }
                57..77 => self.lose(),
                77..85 => self.speak_oddly(),
                85..92 => self.restart_server().await?,
                92..94 => self.forget(&book),
                94..96 => self.forget_each(),
                _ => self.crew.ask_to_stop(),
            }
        }
        self.remember();
        self.impostor.faults().clear();
        Ok(self.crew)
    }

    fn lose(&mut self) {
        let on = *self.dice.of(&LOSABLE);
        let faults = self.impostor.faults();
        match self.dice.below(6) {
            3 => {
                self.tally.count("calls never answered");
                let action = self.dice.of(&[Action::Swallow, Action::SwallowResponse]);
                faults.request(on, Calls::Nth(1), action.clone());
            }
            4 => {
                self.tally.count("histories refused");
                faults.history_fails(Calls::Nth(1));
            }
            0 => {
                self.tally.count("requests lost");
                faults.lose_request(on, Calls::Nth(1));
            }
            1 | 2 => {
                self.tally.count("answers lost");
                faults.lose_response(on, Calls::Nth(1));
            }
            _ => {
                self.tally.count("error pages");
                faults.request(on, Calls::Nth(1), Action::html(502));
            }
        }
    }

    async fn restart_server(&mut self) -> anyhow::Result<()> {
        self.tally.count("server restarts");
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
        self.tally.count("oddities");
        let faults = self.impostor.faults();
        if let Some(before) = self.odd.take() {
            faults.remove(before);
        }
        self.odd = Some(faults.add(oddity(&mut self.dice)));
    }

    /// For a moment the server loses each session that it makes.
    fn forget_each(&mut self) {
        self.tally.count("moments of no memory");
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
        self.tally.count("sessions forgotten");
        let session = self.dice.of(&alive).clone();
        self.impostor.forget(&session);
        let now = SystemClock.now();
        self.past.forgot.add(now, now);
    }
}
