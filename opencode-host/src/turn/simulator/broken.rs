//! Rules of the facts and the plan, broken on purpose: the simulator has to notice.

use std::time::Duration;

use tokio::time::Instant;

use super::world::stale_ids;
use crate::store::PromptRecord;
use crate::turn::facts::{Facts, Learned, Stage};
use crate::turn::pacing::Pacing;
use crate::turn::plan::Step;

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A prompt is posted though its ids did not get into the row.
    IdsAreNotDurable,
    /// That a post begins is no fact.
    PostIsForgotten,
    /// A post without an answer is held for one that never arrives.
    UnansweredPostIsNowhere,
    /// A post that may arrive yet is forgotten over a step that teaches nothing.
    PostIsForgottenSoon,
    /// What was absent once may be posted again without another look.
    FenceIsKept,
    /// What another worker has recorded is posted without a look.
    RecordedIsPosted,
    /// A fresh session is taken to have a prompt, with ids that are not in the row.
    PromptOutlivesItsSession,
    /// A session is replaced as often as it is lost.
    ReplacedIsForgotten,
    /// A prompt that is lost is posted as often as it is lost.
    RepostIsForgotten,
    /// The server is told to stop until it does.
    AbortsAreEndless,
    /// The turn's time does not pass.
    TimeStandsStill,
    /// A look teaches nothing, and asks for another.
    LooksAreAlwaysDue,
    /// The same, and steps follow each other as fast as they can.
    StepsAreNotSpaced,
    /// Workers may die over the turn for ever.
    AttemptsAreNotCounted,
    /// A cancel changes nothing.
    CancelIsForgotten,
}

impl Broken {
    /// What the broken rule makes of the facts before a plan is made.
    pub(super) fn before_planning(self, facts: &mut Facts, now: Instant) {
        match self {
            Self::RecordedIsPosted
                if matches!(facts.prompt.stage, Stage::Recorded(_)) && facts.link.is_some() =>
            {
                facts.prompt.fenced.get_or_insert(now);
            }
            Self::AbortsAreEndless => {
                if let Some(aborts) = &mut facts.prompt.aborts {
                    aborts.first = now;
                }
            }
            Self::TimeStandsStill => {
                facts.spent.elapsed = Duration::ZERO;
                facts.spent.counted = now;
            }
            Self::StepsAreNotSpaced => {
                facts.pacing = Pacing::new(now);
                facts.prompt.looks.due = true;
            }
            Self::LooksAreAlwaysDue => facts.prompt.looks.due = true,
            Self::AttemptsAreNotCounted => facts.claim.attempts = 1,
            Self::CancelIsForgotten => facts.orders.cancel = false,
            _ => {}
        }
    }

    /// The same when a step begins; `fenced` is what the prompt's fence was before.
    pub(super) fn after_beginning(self, facts: &mut Facts, step: &Step, fenced: Option<Instant>) {
        match self {
            Self::PostIsForgotten if matches!(step, Step::Post { .. }) => {
                facts.prompt.in_flight = None;
            }
            Self::FenceIsKept => facts.prompt.fenced = fenced,
            _ => {}
        }
    }

    /// The same when something was learned.
    pub(super) fn after_learning(self, facts: &mut Facts, learned: &Learned, now: Instant) {
        match self {
            Self::UnansweredPostIsNowhere if matches!(learned, Learned::NotPosted { .. }) => {
                facts.prompt.in_flight = None;
            }
            Self::PostIsForgottenSoon if *learned == Learned::Nothing => {
                facts.prompt.in_flight = None;
            }
            Self::ReplacedIsForgotten => facts.claim.replaced = None,
            Self::PromptOutlivesItsSession => {
                if let Learned::Recreated { .. } = learned
                    && let Some(record) = &facts.session
                {
                    let ids = stale_ids();
                    let record = PromptRecord::new(record.id.clone(), ids);
                    facts.prompt.stage = Stage::Recorded(record);
                    facts.prompt.fenced = Some(now);
                }
            }
            Self::RepostIsForgotten => facts.prompt.reposted = false,
            _ => {}
        }
    }
}
