//! What goes wrong: workers die or hang, servers die, some for good, or take no new conversations, streams are cut,
//! requests and answers are lost, sessions are forgotten, records are odd,
//! Postgres restarts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use opencode_host::Host;
use opencode_host::clock::{Clock as _, SystemClock, Timestamp};
use opencode_impostor::{Action, Calls, FaultId};
use tokio::task::JoinHandle;

use crate::crew::{Crew, Tally};
use crate::crowd::Book;
use crate::dice::Dice;
use crate::fleet::{Fleet, Site};
use crate::odd::oddity;
use crate::worker::GONE_AFTER;

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

    pub(crate) fn add(&self, began: Timestamp, ended: Timestamp) {
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

/// Everything that befalls the workers and the servers.
pub(crate) struct Trouble {
    fleet: Fleet,
    host: Host,
    crew: Crew,
    dice: Dice,
    tally: Tally,
    hang_workers: bool,
    /// How many turns there will be.
    turns: usize,
    /// What a server says oddly, until another one, or it, says something else so.
    odd: Option<(Site, FaultId)>,
    /// Since when a server forgets each session that it makes.
    forgets: Option<(Site, FaultId, Timestamp)>,
    /// The server that takes no new conversations.
    drained: Option<Site>,
    /// The server that is away for so long that its conversations are lost to it, until it is back.
    away: Option<(Site, JoinHandle<anyhow::Result<()>>)>,
    /// A server was away for so long.
    was_away: bool,
}

impl Trouble {
    pub(crate) fn new(
        fleet: Fleet,
        host: Host,
        crew: Crew,
        dice: Dice,
        turns: usize,
        hang_workers: bool,
    ) -> Self {
        Self {
            fleet,
            host,
            tally: crew.tally.clone(),
            crew,
            dice,
            hang_workers,
            turns,
            odd: None,
            forgets: None,
            drained: None,
            away: None,
            was_away: false,
        }
    }

    /// Makes trouble until `over`. Answers the workers that are left.
    pub(crate) async fn make(mut self, over: Arc<AtomicBool>, book: Book) -> anyhow::Result<Crew> {
        while !over.load(Ordering::Relaxed) {
            let pause = self.dice.millis(150, 650);
            self.crew.rest(pause).await?;
            self.crew.bury()?;
            self.remember();
            if self.fleet.sites().len() > 1 {
                self.befall_servers(book.done()).await?;
            }
            let Some(site) = self.any_site() else {
                continue;
            };
            match self.dice.below(100) {
                0..45 => self.crew.kill().await?,
                45..55 if self.hang_workers => self.crew.hang(),
                45..57 => {
                    self.tally.count("streams cut");
                    site.impostor.drop_streams();
                }
                57..77 => self.lose(&site),
                77..85 => self.speak_oddly(&site),
                85..92 => {
                    self.tally.count("server restarts");
                    site.restart(self.dice.millis(20, 400)).await?;
                }
                92..94 => self.forget(&site, &book),
                94..96 => self.forget_each(&site),
                _ => self.crew.ask_to_stop(),
            }
        }
        self.remember();
        for site in self.fleet.sites() {
            site.impostor.faults().clear();
        }
        self.undrain().await?;
        if let Some((_, back)) = self.away.take() {
            back.await??;
        }
        Ok(self.crew)
    }

    /// One of the servers that are there.
    fn any_site(&mut self) -> Option<Site> {
        let away = self.away.as_ref().map(|(site, _)| &site.name);
        let there = self.fleet.alive().filter(|site| away != Some(&site.name));
        let there: Vec<_> = there.cloned().collect();
        (!there.is_empty()).then(|| self.dice.of(&there).clone())
    }

    /// What befalls one of several servers: one takes no new conversations for a while; in the middle of the run one dies
    /// for good, and later another is away for so long that its conversations go on elsewhere.
    async fn befall_servers(&mut self, done: usize) -> anyhow::Result<()> {
        if let Some((_, back)) = self.away.take_if(|(_, back)| back.is_finished()) {
            back.await??;
        }
        let one_is_dead = self.fleet.sites().iter().any(Site::is_dead);
        if self.away.is_some() {
            return Ok(());
        }
        if !one_is_dead && done >= self.turns / 3 {
            if let Some(site) = self.any_site() {
                self.tally.count("servers dead for good");
                site.die().await;
            }
        } else if one_is_dead && !self.was_away && done >= self.turns * 3 / 5 {
            if let Some(site) = self.any_site() {
                self.tally.count("servers away for long");
                self.was_away = true;
                let absence = GONE_AFTER * 2 + self.dice.millis(0, 2000);
                let back = tokio::spawn({
                    let site = site.clone();
                    async move { site.restart(absence).await }
                });
                self.away = Some((site, back));
            }
        } else if self.dice.once_in(12) {
            if self.drained.is_some() {
                self.undrain().await?;
            } else if let Some(site) = self.any_site() {
                self.tally.count("servers drained");
                self.host.drain_server(&site.name).await?;
                self.drained = Some(site);
            }
        }
        Ok(())
    }

    async fn undrain(&mut self) -> anyhow::Result<()> {
        if let Some(site) = self.drained.take() {
            self.host.undrain_server(&site.name).await?;
        }
        Ok(())
    }

    fn lose(&mut self, site: &Site) {
        let on = *self.dice.of(&LOSABLE);
        let faults = site.impostor.faults();
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

    /// From now on something of what the server says is odd, and what was odd before is not.
    fn speak_oddly(&mut self, site: &Site) {
        self.tally.count("oddities");
        if let Some((before, odd)) = self.odd.take() {
            before.impostor.faults().remove(odd);
        }
        let odd = site.impostor.faults().add(oddity(&mut self.dice));
        self.odd = Some((site.clone(), odd));
    }

    /// For a moment the server loses each session that it makes.
    fn forget_each(&mut self, site: &Site) {
        self.tally.count("moments of no memory");
        let fault = site.impostor.faults().forget_sessions();
        self.forgets = Some((site.clone(), fault, SystemClock.now()));
    }

    fn remember(&mut self) {
        if let Some((site, fault, since)) = self.forgets.take() {
            site.impostor.faults().remove(fault);
            site.past.forgetful.add(since, SystemClock.now());
        }
    }

    /// The server loses one session.
    fn forget(&mut self, site: &Site, book: &Book) {
        let alive: Vec<String> = site.impostor.with_ledger(|ledger| {
            let alive = ledger.sessions_alive();
            alive.into_iter().map(str::to_owned).collect()
        });
        if alive.is_empty() || book.done() == 0 {
            return;
        }
        self.tally.count("sessions forgotten");
        let session = self.dice.of(&alive).clone();
        site.impostor.forget(&session);
        let now = SystemClock.now();
        site.past.forgot.add(now, now);
    }
}
