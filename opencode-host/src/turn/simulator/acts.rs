//! What the steps of a turn do to the world, at their end.

use opencode_client::SessionId;
use tokio::time::Instant;

use super::dice::Dice;
use super::trouble::Trouble;
use super::world::{Fate, World};
use crate::store::{Owed, PromptRecord};
use crate::turn::facts::{
    Facts, Failure, Inspection, Learned, Look, Names, OfHistory, Requests, Said,
};
use crate::turn::plan::Step;

/// A step of a worker that knows these facts.
pub(super) struct Act<'a> {
    pub(super) facts: &'a Facts,
    /// What its reply holds.
    pub(super) said: &'a mut Said,
    /// The store still takes its writes.
    pub(super) owns: bool,
}

impl Act<'_> {
    /// Does a step, at its end.
    pub(super) fn act(
        &mut self,
        world: &mut World,
        trouble: &Trouble,
        dice: &mut Dice,
        step: &Step,
        began: Instant,
        now: Instant,
    ) -> Learned {
        let names = if trouble.named {
            Names::Unasked
        } else {
            Names::Known
        };
        let lost = || Learned::Failed(Failure::SessionLost);
        match step {
            Step::Connect => {
                let session = match &world.row.session {
                    Some(session) => session.clone(),
                    None => {
                        let session = world.mint_session();
                        world.row.session = Some(session.clone());
                        session
                    }
                };
                let live = !trouble.silent;
                Learned::Connected { session, live }
            }
            Step::CarryOver => match &mut world.row.session {
                Some(session) => {
                    session.owed = None;
                    Learned::Row(session.clone())
                }
                None => Learned::Done,
            },
            Step::Mint => {
                let Some(id) = linked(self.facts) else {
                    return Learned::Done;
                };
                let Some(session) = world.session(&id) else {
                    return lost();
                };
                if session.unreadable {
                    return self.history(now, true);
                }
                if !self.owns {
                    return Learned::LeaseLost;
                }
                let record = PromptRecord::new(id, world.mint_ids());
                world.row.turn.prompted = Some(record.clone());
                Learned::Recorded {
                    record,
                    fenced: began,
                }
            }
            Step::Look => {
                let Some(id) = linked(self.facts) else {
                    return Learned::Done;
                };
                let Some(session) = world.session(&id) else {
                    return lost();
                };
                if session.unreadable {
                    let unread = self.facts.history_failed(OfHistory::NotGiven, now);
                    if !unread.believed {
                        return self.history(now, false);
                    }
                    let (seen, unread) = (false, Some(unread));
                    return Learned::Found {
                        seen,
                        names,
                        unread,
                    };
                }
                let seen = is_here(self.facts, world, now);
                if seen || self.facts.claim.attempts > self.facts.limits.attempts {
                    return Learned::Found {
                        seen,
                        names,
                        unread: None,
                    };
                }
                if !self.owns {
                    return Learned::LeaseLost;
                }
                Learned::Absent { fenced: now }
            }
            Step::Post { .. } => match linked(self.facts).and_then(|id| world.session(&id)) {
                Some(_) => Learned::Posted { names },
                None => failed(self.facts, step, Failure::SessionLost),
            },
            Step::Inspect => self.inspect(world, now),
            Step::AskNames => Learned::Named(if trouble.fate == Fate::UnknownName {
                Names::Unknown("x".to_owned())
            } else {
                Names::Known
            }),
            Step::Recreate => self.recreate(world, trouble, dice, now),
            Step::Decline { request } => {
                if let Some(id) = linked(self.facts) {
                    world.answer(&id, now);
                }
                Learned::Declined(request.clone())
            }
            Step::Abort { .. } => {
                if let Some(id) = linked(self.facts) {
                    world.abort(&id, now);
                }
                Learned::Aborted
            }
            _ => Learned::Nothing,
        }
    }

    fn history(&self, now: Instant, minting: bool) -> Learned {
        let unread = self.facts.history_failed(OfHistory::NotGiven, now);
        let failure = if minting && unread.believed {
            Failure::Unreadable("500".to_owned())
        } else {
            Failure::Unread("500".to_owned())
        };
        Learned::HistoryFailed {
            failure,
            unread,
            unanswered: false,
        }
    }

    fn inspect(&mut self, world: &mut World, now: Instant) -> Learned {
        let (Some(id), Some(record)) = (linked(self.facts), self.facts.prompt.record().cloned())
        else {
            return Learned::Done;
        };
        let Some(session) = world.session(&id) else {
            return Learned::Failed(Failure::SessionLost);
        };
        let unreadable = session.unreadable;
        let run = session
            .runs
            .iter()
            .find(|run| run.message == record.ids.message);
        let mut inspection = run.map_or(
            Inspection {
                busy: false,
                prompt_seen: false,
                last: None,
                declined: false,
                restarts: 0,
                unread: false,
            },
            |run| run.inspection(now),
        );
        let mut unread = None;
        if unreadable {
            let failed = self.facts.history_failed(OfHistory::NotGiven, now);
            if !failed.believed {
                return self.history(now, false);
            }
            unread = Some(failed);
            inspection.unread = true;
            inspection.prompt_seen = self.said.text || self.facts.prompt.looks.found;
            inspection.last = inspection.last.filter(|_| self.said.text);
        } else if let Some(run) = run {
            self.said.text |= run.has_text(now);
        }
        Learned::Looked(Look {
            inspection,
            unread,
            requests: Requests::Synced,
        })
    }

    fn recreate(
        &mut self,
        world: &mut World,
        trouble: &Trouble,
        dice: &mut Dice,
        now: Instant,
    ) -> Learned {
        let Some(session) = self.facts.session.clone() else {
            return Learned::Done;
        };
        if !self.owns {
            return Learned::LeaseLost;
        }
        let lost = session.id;
        if *world.row.turn.replaced.get_or_insert_with(|| lost.clone()) != lost {
            world.wrong("a second session is to be replaced");
            return Learned::Failed(Failure::SessionLost);
        }
        let current = world
            .row
            .session
            .clone()
            .filter(|current| current.id != lost);
        let session = current.unwrap_or_else(|| {
            let at_work = world.sessions.iter().any(|session| {
                session.id == lost && !session.lost && session.runs.iter().any(|run| run.busy(now))
            });
            if at_work {
                world.wrong("a session at work was replaced");
            }
            for session in &mut world.sessions {
                session.lost |= session.id == lost;
            }
            let mut fresh = world.mint_session();
            fresh.owed = dice.permille(500).then_some(Owed::Transcript {
                ids: None,
                files: false,
            });
            world.row.session = Some(fresh.clone());
            fresh
        });
        *self.said = Said::default();
        let live = !trouble.silent;
        Learned::Recreated {
            lost,
            session,
            live,
        }
    }
}

/// What a step that fails teaches.
pub(super) fn failed(facts: &Facts, step: &Step, failure: Failure) -> Learned {
    match step {
        Step::Post { .. } => {
            let unsent = facts.prompt.in_flight.is_none();
            Learned::NotPosted { failure, unsent }
        }
        Step::CarryOver => Learned::NotCarriedOver(failure),
        Step::Inspect => Learned::NoStatus(failure),
        Step::Follow { .. } | Step::Wait { .. } => Learned::Nothing,
        _ => Learned::Failed(failure),
    }
}

/// The prompt can be seen upstream.
pub(super) fn is_here(facts: &Facts, world: &mut World, now: Instant) -> bool {
    let Some(record) = facts.prompt.record().cloned() else {
        return false;
    };
    let run = world.run(&record.session, &record.ids.message);
    run.is_some_and(|run| run.visible <= now)
}

pub(super) fn linked(facts: &Facts) -> Option<SessionId> {
    facts.linked_session().map(|session| session.id.clone())
}

/// Ids that did not get into the row.
pub(super) fn unnoted(facts: &Facts, world: &mut World, now: Instant) -> Learned {
    let Some(session) = linked(facts) else {
        return Learned::Done;
    };
    let record = PromptRecord::new(session, world.mint_ids());
    Learned::Recorded {
        record,
        fenced: now,
    }
}
