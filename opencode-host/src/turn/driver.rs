//! Does what [`plan`] says, for one claimed turn.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::control::Control;
use super::ears::Ears;
use super::ending::end;
use super::facts::{Facts, Failure, Learned};
use super::hosted::Asked;
use super::leaving::{Driven, leave};
use super::plan::{Ending, Step, plan};
use super::settle::settle;
use super::tools::{Outcome, Tools};
use super::workshop::Workshop;
use super::{
    asking, carry_over, connecting, follow, inspect, names, offering, prompting, reserving,
    unanswered,
};
use crate::front::Front;
use crate::live::LiveTurn;
use crate::session::REMOVING;
use crate::store::{ClaimedTurn, Phase};

/// How long failing calls are nobody's business: most things pass.
const PASSING: Duration = Duration::from_secs(1);

/// There is nothing left to write the turn to.
#[derive(Debug, thiserror::Error)]
#[error("conversation {conversation} was deleted while a turn of it ran: the turn was stopped")]
struct Deleted {
    conversation: String,
}

/// One claimed turn, being driven.
pub(crate) struct Driver {
    tools: Tools,
    facts: Facts,
    ears: Ears,
    /// The requests that are noted to be told.
    noted: HashSet<String>,
}

impl Driver {
    pub(crate) fn new(
        front: Arc<Front>,
        workshop: Arc<Workshop>,
        product: Arc<Asked>,
        mut claimed: ClaimedTurn,
        control: Control,
        live: Arc<LiveTurn>,
    ) -> Self {
        let now = Instant::now();
        let asked = asked_before(&claimed, now);
        let ears = Ears::new(std::mem::take(&mut claimed.turn.checkpoint), now);
        let mut facts = Facts::of(
            &claimed.turn,
            claimed.conversation.session.clone(),
            control.orders(),
            workshop.options.limits,
            workshop.options.heartbeat_limit,
            now,
        );
        facts.claim.asked = asked;
        facts.claim.elsewhere = claimed.was_prompted_elsewhere(&workshop.server);
        facts.budget = product.policy.budget;
        facts.has_tools = offering::has_tools(&product.policy);
        let tools = Tools::new(front, workshop, product, claimed, control, live, now);
        Self {
            tools,
            facts,
            ears,
            noted: HashSet::new(),
        }
    }

    /// Drives the turn to its end, as far as this claim goes.
    pub(crate) async fn run(mut self) -> Driven {
        let driven = self.drive().await;
        if matches!(driven, Driven::Lost) {
            self.leave_deleted().await;
        }
        driven
    }

    /// Ends the turn where it cannot be driven any further, with what was saved of it.
    pub(crate) async fn fail(mut self, why: &str) -> Driven {
        match self.tools.turn.phase() {
            Phase::Finished { .. } => Driven::Lost,
            _ => {
                end(
                    &self.tools,
                    &self.facts,
                    &mut self.ears,
                    Ending::failed(why),
                )
                .await
            }
        }
    }

    async fn drive(&mut self) -> Driven {
        if matches!(self.tools.turn.phase(), Phase::Finished { .. }) {
            // A worker died between the end and the word that the turn is settled.
            return settle(&self.tools, &mut self.ears).await;
        }
        self.trace_start();
        loop {
            self.learn(Learned::Ordered(self.tools.control.orders()));
            let now = Instant::now();
            self.ears.time = self.facts.running_time(now);
            let waits = self.facts.waits_for_a_person(now) && !self.facts.is_stopping(now);
            self.tools.set_waits(waits).await;
            if self.facts.is_stopping(now) {
                offering::stop_calls(&self.tools);
            }
            let step = match plan(&self.facts, now) {
                Step::End(ending) => {
                    offering::stop_calls(&self.tools);
                    self.tools.control.waits(false);
                    return end(&self.tools, &self.facts, &mut self.ears, ending).await;
                }
                // What is called then is cut off with the offer.
                Step::Leave => return leave(&self.tools, &mut self.ears).await,
                step => step,
            };
            self.tools.ready(&self.facts, now);
            self.facts.begin(&step, now);
            let learned = self.attempt(&step).await;
            let (mended, failed) = (learned.mends(), learned.is_failure());
            self.learn(learned);
            let heard = self.ears.heard();
            self.learn(Learned::Heard(heard));
            asking::note_requests(&self.tools, &self.ears, &mut self.noted).await;
            if mended || (failed && self.is_out_of_reach()) {
                self.tools.tell_unreachable(failed).await;
            }
        }
    }

    /// Calls fail in a way that watchers are told of, unless it may yet pass.
    fn is_out_of_reach(&self) -> bool {
        match self.facts.failure(Instant::now()) {
            Some((Failure::Unanswered(_), _)) => true,
            Some((Failure::Unreachable(_), since)) => since >= PASSING,
            _ => false,
        }
    }

    fn learn(&mut self, learned: Learned) {
        self.facts.learn(learned, Instant::now());
    }

    fn trace_start(&self) {
        let (turn, lease) = (&self.tools.turn, &self.tools.lease);
        self.tools.front.telemetry.event(
            "response.started",
            [
                ("turn", turn.id.to_string().into()),
                ("conversation", turn.conversation.to_string().into()),
                ("message", turn.message.to_string().into()),
                ("generation", lease.generation.into()),
            ],
        );
    }

    /// Stops what nobody else will: a turn whose conversation was deleted runs on upstream.
    async fn leave_deleted(&self) {
        let tools = &self.tools;
        let (Ok(None), Some(session)) = (
            tools.front.store.turn(tools.turn.id).await,
            &self.facts.session,
        ) else {
            return;
        };
        tools.report(&Deleted {
            conversation: tools.context.conversation.id.to_string(),
        });
        let sessions = tools.sessions();
        let removing = sessions.remove(tools.context.conversation.id, session);
        // What is not done then is what the deletion owes.
        if let Ok(Err(error)) = timeout(REMOVING, removing).await {
            tools.report(&error);
        }
    }

    /// Does a step, unless other orders or the end of the turn's time come first: no step outlasts them. A step that
    /// is broken off has taught nothing, and whoever goes on looks at what came of it.
    async fn attempt(&mut self, step: &Step) -> Learned {
        let (tools, facts, ears) = (&self.tools, &self.facts, &mut self.ears);
        let left = facts.time_left(Instant::now());
        tokio::select! {
            biased;
            () = tools.control.other_than(facts.orders) => Learned::Nothing,
            done = timeout(left, perform(tools, facts, ears, step)) => {
                done.map_or(Learned::Nothing, |outcome| tools.learned(outcome))
            }
        }
    }
}

/// The requests that a turn waited for when it was claimed, each since when: since its row was saved last. With a request
/// it is saved, and while it waits for that alone it is not.
fn asked_before(claimed: &ClaimedTurn, now: Instant) -> BTreeMap<String, Instant> {
    let saved = claimed.turn.progress_at();
    let since = saved.and_then(|saved| now.checked_sub(claimed.now.since(saved)));
    let since = since.unwrap_or(now);
    let requests = claimed.turn.checkpoint.requests.iter();
    requests
        .map(|request| (request.id().to_owned(), since))
        .collect()
}

async fn perform(tools: &Tools, facts: &Facts, ears: &mut Ears, step: &Step) -> Outcome {
    match step {
        Step::Consult => Ok(prompting::consult(tools).await),
        Step::Reserve => reserving::reserve(tools, facts, ears).await,
        Step::Connect => connecting::connect(tools, facts, ears).await,
        Step::CarryOver => carry_over::carry_over(tools, facts).await,
        Step::TakeUp => Ok(connecting::take_up(tools, facts, ears)),
        Step::Mint => prompting::mint(tools, facts, ears).await,
        Step::Look => prompting::look(tools, facts).await,
        Step::Post { fenced } => prompting::post(tools, facts, *fenced).await,
        Step::Offer => offering::offer_again(tools, facts).await,
        Step::Follow { at_most } | Step::Wait { pause: at_most } => {
            follow::follow(tools, facts, ears, *at_most).await
        }
        Step::Inspect => inspect::inspect(tools, facts, ears).await,
        Step::AskNames => names::ask_names(tools, facts, ears).await,
        Step::Recreate => connecting::recreate(tools, facts, ears).await,
        Step::Decline { request } => {
            // Rare, and no reason for all turns to be larger.
            Box::pin(unanswered::decline(tools, facts, ears, request)).await
        }
        Step::Abort { .. } => connecting::abort(tools, facts).await,
        Step::End(_) | Step::Leave => Ok(Learned::Nothing),
    }
}
