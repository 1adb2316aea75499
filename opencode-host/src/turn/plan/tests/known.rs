//! Facts in a flat form, with ages in place of moments: what tables are written in.

use std::collections::BTreeMap;

use opencode_client::{MintBasis, PromptIds, UpstreamError};
use tokio::time::Instant;

use super::super::super::facts::{
    Aborts, Calls, Claimed, Confirmed, Consulted, Facts, Failing, Failure, Funds, Inspection, Link,
    Looks, Names, PromptRun, Said, Spent, Stage,
};
use super::super::super::pacing::Pacing;
use super::super::{Ending, Step};
use super::{Duration, Limits, secs};
use crate::budget::{Allowance, Budget, Dollars, Spent as Used};
use crate::store::{Owed, PromptRecord, SessionRecord};
use crate::turn::control::Orders;

/// How far the prompt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompting {
    None,
    Recorded,
    Posted { ago: Duration },
}

/// What the reply holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Content {
    pub(super) text: bool,
    pub(super) tools: bool,
}

/// What the turns of these tests are granted.
pub(super) const DOLLAR: Allowance = Allowance::UNLIMITED.cost(Dollars::cents(100));

/// What is known of a turn.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) cancel: bool,
    pub(super) connected: bool,
    pub(super) transcript_owed: bool,
    pub(super) prompting: Prompting,
    pub(super) replaced: bool,
    pub(super) verdict: Consulted,
    pub(super) attempts: u32,
    pub(super) inspection: Option<(Inspection, Confirmed)>,
    pub(super) look_due: bool,
    pub(super) looked: Option<Duration>,
    pub(super) heard: Option<Duration>,
    pub(super) orderly_idle: bool,
    pub(super) unbroken: bool,
    pub(super) reposted: bool,
    pub(super) names: Names,
    /// How long a request has waited.
    pub(super) waiting: Option<Duration>,
    pub(super) elapsed: Duration,
    pub(super) session_error: Option<UpstreamError>,
    pub(super) retries: u32,
    /// Of a budget of one dollar.
    pub(super) cents: u64,
    pub(super) funds: Funds,
    /// How long the turn had run when it was claimed.
    pub(super) before: Duration,
    pub(super) content: Content,
    pub(super) failure: Option<(Failure, Duration)>,
    pub(super) failing: Option<Failure>,
    pub(super) stopping: Option<Ending>,
    pub(super) aborted: Option<Duration>,
    pub(super) aborted_again: Option<Duration>,
    pub(super) abort_heard: bool,
    pub(super) in_flight: bool,
    /// The recorded prompt is nowhere upstream.
    pub(super) absent: bool,
    pub(super) tools_owed: bool,
}

/// What the turn does next.
pub(super) fn plan(known: &Known, limits: &Limits) -> Step {
    let now = Instant::now() + secs(100_000);
    super::super::plan(&known.facts(limits, now), now)
}

impl Known {
    fn facts(&self, limits: &Limits, now: Instant) -> Facts {
        let ago = |age: Duration| now.checked_sub(age).unwrap();
        let mut session = SessionRecord::new("ses_1", 1);
        session.owed = self.transcript_owed.then_some(Owed::Transcript {
            ids: None,
            files: false,
        });
        let record = PromptRecord::new(
            session.id.clone(),
            PromptIds::mint(&MintBasis::EmptySession { created_ms: 1 }, 1, 1),
        );
        let failing = |(failure, since): &(Failure, Duration), retrying| Failing {
            failure: failure.clone(),
            since: ago(*since),
            retrying,
        };
        let failed = self.failure.as_ref().map(|failure| failing(failure, false));
        let retried = self
            .failing
            .as_ref()
            .map(|failure| failing(&(failure.clone(), secs(0)), true));
        let looked = self.looked.map(ago);
        let last = self.inspection.clone().map(|(inspection, confirmed)| {
            let looked = looked.unwrap_or(now);
            let first = match confirmed {
                Confirmed::Once => looked,
                Confirmed::Again => looked.checked_sub(limits.pace.confirm).unwrap(),
            };
            (inspection, first)
        });
        Facts {
            limits: *limits,
            budget: Budget::default().turn(DOLLAR),
            funds: self.funds.clone(),
            heartbeat_limit: secs(45),
            has_tools: self.tools_owed,
            orders: Orders {
                cancel: self.cancel,
                ..Orders::default()
            },
            claim: Claimed {
                attempts: self.attempts,
                replaced: self.replaced.then(|| "ses_0".into()),
                resent: self.replaced,
                elsewhere: false,
                verdict: self.verdict.clone(),
                asked: BTreeMap::new(),
            },
            session: Some(session),
            link: self.connected.then(|| Link::new(true)),
            prompt: PromptRun {
                stage: match self.prompting {
                    Prompting::None => Stage::None,
                    Prompting::Recorded => Stage::Recorded(record),
                    Prompting::Posted { ago: age } => Stage::Posted {
                        record,
                        at: ago(age),
                    },
                },
                in_flight: self.in_flight.then_some(now),
                fenced: self.absent.then_some(now),
                reposted: self.reposted,
                unbroken: self.unbroken,
                names: self.names.clone(),
                heard: self.heard.map(ago),
                orderly_idle: self.orderly_idle,
                said: Said {
                    text: self.content.text,
                    tools: self.content.tools,
                    error: self.session_error.clone(),
                    retries: self.retries,
                    used: Used::new(Dollars::cents(self.cents), 0, Duration::ZERO),
                    asks: self
                        .waiting
                        .map(|_| "per_1".to_owned())
                        .into_iter()
                        .collect(),
                },
                asked: self
                    .waiting
                    .map(|age| ("per_1".to_owned(), ago(age)))
                    .into_iter()
                    .collect(),
                looks: Looks {
                    // Looks that were made again were made at some time.
                    at: looked.or(last.as_ref().map(|_| now)),
                    last,
                    due: self.look_due,
                    found: false,
                    unread: None,
                },
                aborts: self.aborted.map(|first| Aborts {
                    first: ago(first),
                    last: self.aborted_again.map_or(now, ago),
                    heard: self.abort_heard,
                }),
                ..PromptRun::fresh()
            },
            calls: Calls {
                failing: failed.or(retried),
                unanswered: 0,
            },
            stopping: self.stopping.clone(),
            spent: Spent {
                elapsed: self.elapsed,
                counted: now,
                alive: now,
                before: self.before,
            },
            pacing: Pacing::new(now),
        }
    }
}
