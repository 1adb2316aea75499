//! A prompt in one session, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use opencode_client::UpstreamError;
use tokio::time::Instant;

use super::failed_call::Unread;
use super::look::{Inspection, Look, Requests};
use crate::budget::Spent;
use crate::store::PromptRecord;
use crate::turn::limits::Pace;

/// A prompt in one session, and what came of it. A fresh session starts with a fresh one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PromptRun {
    /// How far the prompt is.
    pub(crate) stage: Stage,
    /// It is nowhere upstream, and this is when the store last said that the turn is ours: it may be posted.
    pub(crate) fenced: Option<Instant>,
    /// When it was last on its way with no word of its arrival since, by this worker or the one before.
    pub(crate) in_flight: Option<Instant>,
    /// It was looked for once more after the server seemed to have lost it.
    pub(crate) reposted: bool,
    /// The stream was live from before the post until now: the server that took the prompt is there still.
    pub(crate) unbroken: bool,
    /// What is known of the names in it.
    pub(crate) names: Names,
    /// When an event of the session came last, since the prompt.
    pub(crate) heard: Option<Instant>,
    /// An idle came on a stream that was live since the prompt: an orderly end.
    pub(crate) orderly_idle: bool,
    /// What the agent waits for is to be asked of the server.
    pub(crate) requests_due: bool,
    /// What the reply holds.
    pub(crate) said: Said,
    /// The requests that wait for a person, each with when it was first heard of, by whichever worker, or declined last.
    pub(crate) asked: BTreeMap<String, Instant>,
    /// What looks at the server showed.
    pub(crate) looks: Looks,
    /// The session was told to stop.
    pub(crate) aborts: Option<Aborts>,
}

/// How far a prompt is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stage {
    /// It has no ids yet.
    None,
    /// The row has ids; whether they were posted is not known.
    Recorded(PromptRecord),
    /// The server has it, or says so.
    Posted {
        /// The session and the ids.
        record: PromptRecord,
        /// Since when.
        at: Instant,
    },
}

/// Whether the server knows the names in the prompt: the agent's, the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// The prompt has some, and the server was not asked for those that there are.
    Unasked,
    /// Nothing is wrong with them, as far as the server says; or the prompt has none.
    Known,
    /// One is unknown. What to tell the person.
    Unknown(String),
}

/// What the reply holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// Some text.
    pub(crate) text: bool,
    /// Some ended tool call.
    pub(crate) tools: bool,
    /// What the session reported.
    pub(crate) error: Option<UpstreamError>,
    /// How often the provider was waited for.
    pub(crate) retries: u32,
    /// The questions and permissions that a person is asked for, by their ids.
    pub(crate) asks: Vec<String>,
    /// What the turn has used by the steps of the model that have ended, but for its time.
    pub(crate) used: Spent,
}

/// What looks at the server showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Looks {
    /// The last one, and since when looks have shown the same.
    pub(crate) last: Option<(Inspection, Instant)>,
    /// When that was.
    pub(crate) at: Option<Instant>,
    /// Something has happened since that asks for a look.
    pub(crate) due: bool,
    /// The prompt's message was found upstream.
    pub(crate) found: bool,
    /// The session's history cannot be read.
    pub(crate) unread: Option<Unread>,
}

/// Whether a look was repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmed {
    /// Seen once.
    Once,
    /// Seen again, at least [`Pace::confirm`] after.
    Again,
}

/// When the session was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aborts {
    /// The first time.
    pub(crate) first: Instant,
    /// The last time.
    pub(crate) last: Instant,
    /// The server said that it heard the last.
    pub(crate) heard: bool,
}

impl PromptRun {
    /// Nothing was prompted.
    pub(crate) fn fresh() -> Self {
        Self {
            stage: Stage::None,
            fenced: None,
            in_flight: None,
            reposted: false,
            unbroken: false,
            names: Names::Known,
            heard: None,
            orderly_idle: false,
            requests_due: false,
            said: Said::default(),
            asked: BTreeMap::new(),
            looks: Looks::default(),
            aborts: None,
        }
    }

    /// What another worker recorded, and may have posted just now.
    pub(crate) fn taken_over(record: PromptRecord, now: Instant) -> Self {
        Self {
            stage: Stage::Recorded(record),
            in_flight: Some(now),
            requests_due: true,
            ..Self::fresh()
        }
    }

    /// The session and the ids, once they are recorded.
    pub(crate) fn record(&self) -> Option<&PromptRecord> {
        match &self.stage {
            Stage::None => None,
            Stage::Recorded(record) | Stage::Posted { record, .. } => Some(record),
        }
    }

    pub(crate) fn is_posted(&self) -> bool {
        matches!(self.stage, Stage::Posted { .. })
    }

    /// Until when a post that was not answered may arrive yet.
    pub(crate) fn may_arrive_until(&self, pace: &Pace) -> Option<Instant> {
        self.in_flight.map(|sent| sent + pace.confirm)
    }

    /// The last look, and whether another before it said the same at least `confirm` ago.
    pub(crate) fn inspection(&self, confirm: Duration) -> Option<(&Inspection, Confirmed)> {
        let (inspection, first) = self.looks.last.as_ref()?;
        let again = |looked: Instant| looked.duration_since(*first) >= confirm;
        let confirmed = if self.looks.at.is_some_and(again) {
            Confirmed::Again
        } else {
            Confirmed::Once
        };
        Some((inspection, confirmed))
    }

    pub(super) fn recorded(&mut self, record: PromptRecord, fenced: Instant) {
        self.stage = Stage::Recorded(record);
        self.fenced = Some(fenced);
        self.looks.unread = None;
    }

    /// The prompt is not upstream, by a look for it.
    pub(super) fn is_absent(&mut self, fenced: Instant) {
        self.reposted = self.is_posted();
        self.fenced = Some(fenced);
    }

    /// Somebody posted it, or nobody can see any more whether: what came of it is upstream.
    pub(super) fn is_found(&mut self, seen: bool, names: Names, now: Instant) {
        self.reposted = self.is_posted();
        self.looks.found |= seen;
        self.posted(names, now);
        self.looks.due = true;
    }

    pub(super) fn posted(&mut self, names: Names, now: Instant) {
        if let Some(record) = self.record().cloned() {
            self.stage = Stage::Posted { record, at: now };
        }
        self.names = names;
        self.in_flight = None;
        self.heard = None;
        self.looks.last = None;
    }

    pub(super) fn looked(&mut self, look: Look, now: Instant) {
        let Look {
            inspection,
            unread,
            requests,
        } = look;
        self.requests_due &= requests == Requests::Unasked;
        if inspection.prompt_seen {
            self.in_flight = None;
        }
        self.looks.unread = unread;
        let first = match self.looks.last.take() {
            Some((same, first)) if same == inspection => first,
            _ => now,
        };
        self.looks.last = Some((inspection, first));
        (self.looks.at, self.looks.due) = (Some(now), false);
    }

    pub(super) fn said(&mut self, said: Said, before: &BTreeMap<String, Instant>, now: Instant) {
        self.asked.retain(|request, _| said.asks.contains(request));
        for request in &said.asks {
            let since = before.get(request).copied().unwrap_or(now);
            self.asked.entry(request.clone()).or_insert(since);
        }
        self.said = said;
    }

    /// A request was answered in a person's place, or has another answer. If that does not arrive, it is answered again
    /// after the same time.
    pub(super) fn declined(&mut self, request: &str, now: Instant) {
        if let Some(since) = self.asked.get_mut(request) {
            *since = now;
        }
    }

    /// The request that has waited longest, and since when.
    pub(crate) fn oldest_request(&self) -> Option<(&str, Instant)> {
        let oldest = self.asked.iter().min_by_key(|(_, since)| **since);
        oldest.map(|(request, since)| (request.as_str(), *since))
    }

    pub(super) fn abort_begins(&mut self, now: Instant) {
        let first = self.aborts.map_or(now, |aborts| aborts.first);
        self.aborts = Some(Aborts {
            first,
            last: now,
            heard: false,
        });
        self.looks.due = true;
    }

    pub(super) fn abort_heard(&mut self) {
        if let Some(aborts) = &mut self.aborts {
            aborts.heard = true;
        }
    }
}
