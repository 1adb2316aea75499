//! What is known of a claimed turn.
//!
//! [`Facts`] is all that [`plan`](super::plan::plan) decides by, in types that own their data. It changes in two places:
//! [`Facts::begin`] before a step, for what the step may do even if nothing is heard of it, and [`Facts::learn`] after
//! it, for what came of it. Neither does I/O or reads a clock, so that whole runs can be simulated
//! (`turn/simulator.rs`). What is not decided by, such as the reply itself, is no fact and is kept with the tools.

mod failed_call;
mod learned;
mod look;
mod prompt_run;

use std::collections::BTreeMap;
use std::time::Duration;

use opencode_client::SessionId;
use opencode_client::wire::Prompt;
use tokio::time::Instant;

pub(crate) use failed_call::{Failure, OfHistory, Unread};
pub(crate) use learned::{Heard, Learned};
pub(crate) use look::{Inspection, LastMessage, Look, Requests};
#[cfg(test)]
pub(crate) use prompt_run::{Aborts, Looks};
pub(crate) use prompt_run::{Confirmed, Names, PromptRun, Said, Stage};

use super::control::Orders;
use super::limits::Limits;
use super::pacing::Pacing;
use super::plan::{Ending, Step};
use crate::budget::{Allowance, Budget, Spent as Used};
use crate::store::{Owed, PromptRecord, SessionRecord, Turn};

/// How often the time of a call is doubled at most.
const DOUBLINGS: u32 = 6;

/// What is known of a claimed turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    /// What the turn is bounded by.
    pub(crate) limits: Limits,
    /// What the turn, its conversation and its tenant may use up.
    pub(crate) budget: Budget,
    /// What of it the turn has.
    pub(crate) funds: Funds,
    /// While a person is asked, the turn's time is paused as long as the server was heard from within this time.
    pub(crate) heartbeat_limit: Duration,
    /// What is to become of the turn, by those who may say so.
    pub(crate) orders: Orders,
    /// There are tools that the agent may call.
    pub(crate) has_tools: bool,
    /// What earlier claims have done, and this one with the turn's row.
    pub(crate) claim: Claimed,
    /// The session, as the conversation's row has it.
    pub(crate) session: Option<SessionRecord>,
    /// The line to that session, once there is one.
    pub(crate) link: Option<Link>,
    /// The prompt in that session, and what came of it.
    pub(crate) prompt: PromptRun,
    /// How calls of the server fare.
    pub(crate) calls: Calls,
    /// How the turn ends, once the session that was told to stop has stopped.
    pub(crate) stopping: Option<Ending>,
    /// The turn's time.
    pub(crate) spent: Spent,
    /// How fast steps may follow each other.
    pub(crate) pacing: Pacing,
}

/// The turn's row, as far as it decides something.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Claimed {
    /// How often in a row the turn was taken up without progress.
    pub(crate) attempts: u32,
    /// The session that was lost during this turn and replaced. There is no second.
    pub(crate) replaced: Option<SessionId>,
    /// A prompt of this turn was lost with its session.
    pub(crate) resent: bool,
    /// The turn was prompted on another server, which is gone: nothing of it can be asked any more.
    pub(crate) elsewhere: bool,
    /// What the product said of the turn, before it was prompted.
    pub(crate) verdict: Consulted,
    /// The requests that waited for a person before, each since when.
    pub(crate) asked: BTreeMap<String, Instant>,
}

/// Whether the product lets the turn begin.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Consulted {
    /// It was not asked.
    #[default]
    Unasked,
    /// It does, with the turn's own prompt.
    Go,
    /// It does, with this prompt.
    Changed(Box<Prompt>),
    /// It does not. What to tell the person.
    Refused(String),
    /// It did not say.
    Failed(String),
}

impl Consulted {
    /// What the row of a turn that was prompted says of it.
    fn of(prompted: &PromptRecord) -> Self {
        prompted.changed.clone().map_or(Self::Go, Self::Changed)
    }

    /// What is posted in the place of the turn's prompt.
    pub(crate) fn changed(&self) -> Option<&Prompt> {
        match self {
            Self::Changed(prompt) => Some(prompt),
            _ => None,
        }
    }
}

/// What a turn may use.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Funds {
    /// Nothing was reserved for it by this claim.
    #[default]
    Unasked,
    /// So much in all. Where that is used up, there may be more.
    Granted(Allowance),
    /// Nothing more. Why, in words.
    Over(String),
    /// It cannot be known. Why, in words.
    Failed(String),
}

/// A session that is there and listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// The stream is connected.
    pub(crate) live: bool,
    /// It has missed nothing since the session was taken up.
    pub(crate) whole: bool,
    /// The server was told where the turn's tools are, and has not been started anew since.
    pub(crate) offered: bool,
    /// How often the transcript could not be carried over.
    pub(crate) not_carried: u32,
}

impl Link {
    pub(crate) fn new(live: bool) -> Self {
        Self {
            live,
            whole: live,
            offered: false,
            not_carried: 0,
        }
    }
}

/// How calls of the server fare.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Calls {
    /// What keeps failing.
    pub(crate) failing: Option<Failing>,
    /// How many calls in a row were not answered.
    pub(crate) unanswered: u32,
}

/// A failure that has not been mended yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failing {
    /// What failed last.
    pub(crate) failure: Failure,
    /// Since when calls fail.
    pub(crate) since: Instant,
    /// It is tried again: the plan goes on as if nothing were wrong.
    pub(crate) retrying: bool,
}

/// The turn's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// How long the turn had run, waiting for a person not counted.
    pub(crate) elapsed: Duration,
    /// When that was.
    pub(crate) counted: Instant,
    /// When the server was heard from last.
    pub(crate) alive: Instant,
    /// How long it had run when it was claimed, as the ledger has it.
    pub(crate) before: Duration,
}

impl Facts {
    /// What the row of a turn says that was just claimed.
    pub(crate) fn of(
        turn: &Turn,
        session: Option<SessionRecord>,
        orders: Orders,
        limits: Limits,
        heartbeat_limit: Duration,
        now: Instant,
    ) -> Self {
        Self {
            limits: limits.tightened(&turn.deadlines),
            budget: Budget::default(),
            funds: Funds::default(),
            heartbeat_limit,
            has_tools: false,
            orders,
            claim: Claimed {
                attempts: turn.attempts,
                replaced: turn.replaced.clone(),
                resent: turn.resends > 0,
                elsewhere: false,
                verdict: turn
                    .prompted
                    .as_ref()
                    .map_or(Consulted::Unasked, Consulted::of),
                asked: BTreeMap::new(),
            },
            session,
            link: None,
            prompt: match &turn.prompted {
                Some(record) => PromptRun::taken_over(record.clone(), now),
                None => PromptRun::fresh(),
            },
            calls: Calls::default(),
            stopping: None,
            spent: Spent {
                elapsed: Duration::ZERO,
                counted: now,
                alive: now,
                before: Duration::ZERO,
            },
            pacing: Pacing::new(now),
        }
    }

    /// What a step may do even if nothing is heard of it.
    pub(crate) fn begin(&mut self, step: &Step, now: Instant) {
        if step.asks() {
            self.pacing.count(now);
        }
        match step {
            Step::Post { .. } => {
                // It may arrive whatever is heard of it.
                self.prompt.fenced = None;
                self.prompt.in_flight = Some(now);
                self.prompt.unbroken = self.link.is_some_and(|link| link.live);
            }
            Step::Abort { ending } => {
                self.stopping.clone_from(ending);
                self.prompt.abort_begins(now);
            }
            Step::Wait { .. } => {
                if let Some(failing) = &mut self.calls.failing {
                    failing.retrying = true;
                }
            }
            _ => {}
        }
    }

    /// Takes in what came of a step, or was heard or ordered meanwhile.
    pub(crate) fn learn(&mut self, learned: Learned, now: Instant) {
        if learned.mends() {
            self.calls = Calls::default();
        }
        match learned {
            Learned::Ordered(orders) => self.orders = orders,
            Learned::LeaseLost => self.orders.lost = true,
            Learned::Heard(heard) => self.heard(heard, now),
            Learned::Connected { session, live } => {
                let prompted = self.prompt.record();
                if prompted.is_some_and(|prompted| prompted.session != session.id) {
                    // A prompt of a session that was replaced meanwhile is not upstream any more.
                    self.prompt_lost();
                }
                self.linked(session, live);
            }
            Learned::TakenUp => {
                let session = self.session.as_ref().map(|session| &session.id);
                if session == self.prompt.record().map(|prompted| &prompted.session) {
                    self.link = Some(Link::new(false));
                } else {
                    // The session was replaced: its prompt runs nowhere any more.
                    self.prompt = PromptRun::fresh();
                }
            }
            Learned::Consulted(verdict) => self.claim.verdict = verdict,
            Learned::Reserved { funds, time } => {
                if self.funds == Funds::Unasked {
                    self.spent.before = time.saturating_sub(self.elapsed(now));
                }
                self.funds = funds;
            }
            Learned::Row(row) => self.row(row),
            Learned::NotCarriedOver(failure) => {
                if let Some(link) = &mut self.link {
                    link.not_carried += 1;
                }
                self.failed(failure, now);
            }
            Learned::Recorded { record, fenced } => {
                self.offered();
                self.prompt.recorded(record, fenced);
            }
            Learned::Absent { fenced } => {
                self.offered();
                self.prompt.is_absent(fenced);
            }
            Learned::Offered => self.offered(),
            Learned::Found {
                seen,
                names,
                unread,
            } => {
                self.prompt.is_found(seen, names, now);
                if unread.is_some() {
                    self.prompt.looks.unread = unread;
                }
            }
            Learned::Posted { names } => self.prompt.posted(names, now),
            Learned::PostRefused(names) => {
                self.prompt.in_flight = None;
                self.prompt.names = names;
            }
            Learned::NotPosted { failure, unsent } => {
                // Given up before it was sent, it is nowhere.
                self.prompt.in_flight = (!unsent).then_some(now);
                self.failed(failure, now);
            }
            Learned::Looked(look) => {
                if look.requests == Requests::Waiting {
                    // Whoever died while a person was asked did not fail.
                    self.claim.attempts = 0;
                }
                self.prompt.looked(look, now);
            }
            Learned::NoStatus(failure) => {
                self.prompt.looks.unread = None;
                self.failed(failure, now);
            }
            Learned::HistoryFailed {
                failure,
                unread,
                unanswered,
            } => {
                self.prompt.looks.unread = Some(unread);
                self.failed(failure, now);
                self.unanswered(unanswered);
            }
            Learned::Named(names) => self.prompt.names = names,
            Learned::Recreated {
                lost,
                session,
                live,
            } => {
                self.claim.replaced.get_or_insert(lost);
                self.prompt_lost();
                self.linked(session, live);
            }
            Learned::Declined(request) => self.prompt.declined(&request, now),
            Learned::Aborted => self.prompt.abort_heard(),
            Learned::Failed(failure) => self.failed(failure, now),
            Learned::Done | Learned::Nothing => {}
        }
        self.spent.elapsed = self.elapsed(now);
        self.spent.counted = now;
    }

    /// Whoever sees to it that a prompt can be posted offers the tools first.
    fn offered(&mut self) {
        if let Some(link) = &mut self.link {
            link.offered = true;
        }
    }

    /// The session that replaces the prompt's knows nothing of it.
    fn prompt_lost(&mut self) {
        self.claim.resent |= self.prompt.record().is_some();
        self.prompt = PromptRun::fresh();
    }

    fn linked(&mut self, session: SessionRecord, live: bool) {
        self.session = Some(session);
        self.link = Some(Link::new(live));
    }

    /// The conversation's row, as it was read again. Connects anew where it has another session.
    fn row(&mut self, row: SessionRecord) {
        let same = self
            .session
            .as_ref()
            .is_some_and(|session| session.id == row.id);
        self.session = Some(row);
        self.link = self.link.filter(|_| same);
    }

    fn failed(&mut self, failure: Failure, now: Instant) {
        self.unanswered(matches!(failure, Failure::Unanswered(_)));
        let since = self.calls.failing.as_ref().map(|failing| failing.since);
        self.calls.failing = Some(Failing {
            failure,
            since: since.unwrap_or(now),
            retrying: false,
        });
    }

    fn unanswered(&mut self, call: bool) {
        self.calls.unanswered = self.calls.unanswered.saturating_add(call.into());
    }

    fn heard(&mut self, heard: Heard, now: Instant) {
        let prompted = self.prompt.is_posted();
        if let Some(alive) = heard.alive {
            self.spent.alive = alive;
        }
        if let Some(at) = heard.event {
            self.prompt.heard = Some(at);
        }
        if heard.idle {
            self.prompt.orderly_idle |= self.link.is_some_and(|link| link.whole);
            self.prompt.looks.due = true;
        }
        if let Some(link) = self.link.as_mut().filter(|_| heard.gap) {
            // Requests raised during the gap were not delivered.
            link.whole = false;
            self.prompt.requests_due = true;
            self.prompt.looks.due = prompted;
        }
        if let Some(live) = heard.reconnected {
            if let Some(link) = &mut self.link {
                link.live = live;
                // It may have been started anew, and forgotten them.
                link.offered &= !live;
            }
            self.prompt.unbroken = false;
            if live {
                // The patience that a dead server was given is not the next one's.
                self.calls.unanswered = 0;
            }
        }
        self.prompt.looks.due |= heard.error && prompted;
        let before = self.is_used_up(now);
        self.prompt.said(heard.said, &self.claim.asked, now);
        // It may be the last step, which is not to be stopped.
        self.prompt.looks.due |= prompted && !before && self.is_used_up(now);
    }

    /// What a failed read of the history amounts to.
    pub(crate) fn history_failed(&self, says: OfHistory, now: Instant) -> Unread {
        let hopeless = says == OfHistory::NeverGiven;
        let pace = &self.limits.pace;
        let bound = match says {
            OfHistory::NeverGiven => Duration::ZERO,
            OfHistory::Nothing => self.limits.unreachable,
            OfHistory::NotGiven if self.is_stopping(now) => pace.abort / 3,
            OfHistory::NotGiven => pace.confirm * 2,
        };
        let before = self.prompt.looks.unread;
        let since = before.map_or(now, |unread| unread.since);
        let was = |of: fn(Unread) -> bool| before.is_some_and(of);
        Unread {
            since,
            believed: was(|unread| unread.believed) || now.duration_since(since) >= bound,
            hopeless: was(|unread| unread.hopeless) || hopeless,
        }
    }

    /// Whether the server's own lists must tell what the agent asks: events were missed, or none come. A server may never
    /// answer who wants to listen in its first moments (1.17.19, 1.18.33), or send nothing (1.14.48).
    pub(crate) fn requests_due(&self) -> bool {
        let listens = self.link.is_some_and(|link| link.live);
        self.prompt.requests_due || !listens || self.prompt.heard.is_none()
    }

    /// The session, where it is there and listened to.
    pub(crate) fn linked_session(&self) -> Option<&SessionRecord> {
        self.link.and(self.session.as_ref())
    }

    /// The server is to be told where the turn's tools are.
    pub(crate) fn owes_tools(&self) -> bool {
        self.has_tools && self.link.is_some_and(|link| !link.offered)
    }

    /// The session replaces another, and has not got the transcript yet.
    pub(crate) fn owes_transcript(&self) -> bool {
        self.linked_session()
            .is_some_and(|session| matches!(session.owed, Some(Owed::Transcript { .. })))
    }

    /// Whether the turn has replaced a lost session already, and the one it has now is another.
    pub(crate) fn has_replaced(&self) -> bool {
        let replaced = self.claim.replaced.as_ref();
        let current = self.session.as_ref();
        replaced.is_some_and(|lost| current.is_none_or(|session| session.id != *lost))
    }

    /// What keeps failing, and for how long. `None` while it is tried again.
    pub(crate) fn failure(&self, now: Instant) -> Option<(&Failure, Duration)> {
        let failing = self.calls.failing.as_ref();
        let failing = failing.filter(|failing| !failing.retrying)?;
        Some((&failing.failure, now.duration_since(failing.since)))
    }

    /// What kept failing last, while it is tried again too.
    pub(crate) fn failing(&self) -> Option<&Failure> {
        self.calls.failing.as_ref().map(|failing| &failing.failure)
    }

    /// A person is asked. Their time does not count, as long as the server shows that it is there.
    pub(crate) fn waits_for_a_person(&self, now: Instant) -> bool {
        let asked = !self.prompt.said.asks.is_empty();
        asked && now.duration_since(self.spent.alive) < self.heartbeat_limit
    }

    /// How long the turn has run, earlier claims of it included as far as the ledger has them.
    pub(crate) fn running_time(&self, now: Instant) -> Duration {
        self.spent.before + self.elapsed(now)
    }

    /// The turn has used what it was granted.
    pub(crate) fn is_used_up(&self, now: Instant) -> bool {
        let used: Used = self.prompt.said.used.timed(self.running_time(now));
        match &self.funds {
            Funds::Unasked | Funds::Failed(_) => false,
            Funds::Granted(grant) => grant.is_used_up(&used),
            Funds::Over(_) => true,
        }
    }

    /// How long the turn may run before it has used the time that it was granted.
    pub(crate) fn granted_time(&self, now: Instant) -> Duration {
        match &self.funds {
            Funds::Granted(Allowance {
                time: Some(time), ..
            }) if !self.waits_for_a_person(now) => time.saturating_sub(self.running_time(now)),
            _ => Duration::MAX,
        }
    }

    /// The request that nobody will answer in time first, and how long it still has.
    pub(crate) fn oldest_wait(&self, now: Instant) -> Option<(&str, Duration)> {
        let waiting = self.limits.waiting?;
        let (request, since) = self.prompt.oldest_request()?;
        let left = waiting.at_most.saturating_sub(now.duration_since(since));
        self.waits_for_a_person(now).then_some((request, left))
    }

    /// How long the turn has run, waiting for a person not counted.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        if self.waits_for_a_person(now) {
            return self.spent.elapsed;
        }
        self.spent.elapsed + now.duration_since(self.spent.counted)
    }

    /// No more is waited for. What the server has of the answer is still taken.
    pub(crate) fn is_given_up(&self, now: Instant) -> bool {
        self.claim.attempts > self.limits.attempts && !self.waits_for_a_person(now)
    }

    /// The turn's time is up.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        self.elapsed(now) >= self.limits.turn && !self.waits_for_a_person(now)
    }

    /// The turn is over but for the server, which is to stop.
    pub(crate) fn is_stopping(&self, now: Instant) -> bool {
        self.stopping.is_some() || self.orders.cancel || self.is_late(now)
    }

    /// How long the next step may take.
    pub(crate) fn time_left(&self, now: Instant) -> Duration {
        let abort = self.limits.pace.abort;
        match &self.prompt.aborts {
            _ if !self.is_stopping(now) && self.waits_for_a_person(now) => Duration::MAX,
            _ if !self.is_stopping(now) => self.limits.turn.saturating_sub(self.elapsed(now)),
            Some(aborts) => abort.saturating_sub(now.duration_since(aborts.first)),
            None => abort,
        }
    }

    /// How long a look may be without an answer.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        let pace = &self.limits.pace;
        if self.is_stopping(now) {
            // So that a word to stop can be lost, and said again.
            return pace.abort / 3;
        }
        let doublings = self.calls.unanswered.min(DOUBLINGS);
        pace.answer.saturating_mul(1 << doublings)
    }
}
