//! How long a turn may take and wait for a person, and how patient it is on its way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How patient a turn is with what servers do in passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A look that says that the turn went wrong is repeated after so long
    /// before it is believed. Default 2 s.
    pub confirm: Duration,
    /// How long the server may sit on a prompt that it took, neither at work nor
    /// with a message (seen: 1.5 s on an idle machine with 1.18.33, far more on a busy one).
    /// Default 30 s.
    pub unseen: Duration,
    /// The same once the session was idle, or the stream was lost: the server
    /// that took the prompt may be gone. Default 5 s.
    pub lost: Duration,
    /// How long an abort may take to show. Default 3 s.
    pub abort: Duration,
    /// How long nothing may be heard of the session before the server is asked.
    /// Default 10 s.
    pub silence: Duration,
    /// How long a look at the server may be without an answer before it is made again; twice
    /// as long each time, until one is answered. A prompt's post gets twice the time of a look.
    /// Default 1.5 s (1.17.19, 1.18.33 and 1.18.34 never answer some calls in their first seconds).
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            confirm: Duration::from_secs(2),
            unseen: Duration::from_secs(30),
            lost: Duration::from_secs(5),
            abort: Duration::from_secs(3),
            silence: Duration::from_secs(10),
            answer: Duration::from_millis(1500),
        }
    }
}

/// How long a request waits for a person, and what the agent is told then.
///
/// The worker answers in the person's place, with an answer like any other ([`RequestAnswer`](crate::store::RequestAnswer),
/// by [`Waiting::BY`]): a person who answers afterwards is told that it was answered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How long each request waits, counted from when the worker heard of it; one that takes the turn over counts anew.
    pub at_most: Duration,
    /// What the agent is told then.
    pub then: Unanswered,
}

impl Waiting {
    /// Who gives the answer that nobody gave in time, as [`NewAnswer::by`](crate::store::NewAnswer::by) has it.
    pub const BY: &str = "the time limit";

    /// So long, and then this.
    pub fn new(at_most: Duration, then: Unanswered) -> Self {
        Self { at_most, then }
    }
}

/// What the agent is told where nobody answers its request in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unanswered {
    /// No, without a word. The agent stops, and the turn ends as
    /// [`Declined`](crate::outcome::Reason::Declined).
    #[default]
    Reject,
    /// That nobody answered, and that it is to go on without: a permission is refused with these words, a question is
    /// answered with them. The turn goes on.
    Deny,
}

/// The limits of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the prompt to the first sign of life of the session.
    pub first_event: Duration,
    /// Between two events of the session, while the server is alive. Off by default.
    pub idle: Option<Duration>,
    /// The whole turn, waiting for a person not counted; a worker that takes it
    /// over counts anew. Whatever the turn does then is broken off.
    pub turn: Duration,
    /// How long a request of the agent's may wait for a person. By default as long as it takes.
    pub waiting: Option<Waiting>,
    /// How long the server may be out of reach.
    pub unreachable: Duration,
    /// How often the server may say that it waits for its provider.
    pub retries: u32,
    /// How often in a row workers may take the turn up without any progress.
    pub attempts: u32,
    /// How patient the turn is.
    pub pace: Pace,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_event: Duration::from_secs(120),
            idle: None,
            turn: Duration::from_secs(600),
            waiting: None,
            unreachable: Duration::from_secs(20),
            retries: 10,
            attempts: 5,
            pace: Pace::default(),
        }
    }
}

/// Deadlines of one turn, given with its submit. They tighten the [`Limits`] of the worker that runs it: of the two the
/// shorter holds. In JSON: milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deadlines {
    /// As [`Limits::first_event`].
    #[serde(with = "millis", skip_serializing_if = "Option::is_none")]
    pub first_event: Option<Duration>,
    /// As [`Limits::idle`].
    #[serde(with = "millis", skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// As [`Limits::turn`].
    #[serde(with = "millis", skip_serializing_if = "Option::is_none")]
    pub turn: Option<Duration>,
    /// As [`Waiting::at_most`]. Where the worker has no such limit, the request is then rejected.
    #[serde(with = "millis", skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Duration>,
    /// As [`Limits::unreachable`].
    #[serde(with = "millis", skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<Duration>,
}

impl Deadlines {
    /// A deadline that leaves no time: less than the millisecond that is kept.
    pub(crate) fn none_left(&self) -> Option<&'static str> {
        let all = [
            ("first_event", self.first_event),
            ("idle", self.idle),
            ("turn", self.turn),
            ("waiting", self.waiting),
            ("unreachable", self.unreachable),
        ];
        let none = |time: Duration| time < Duration::from_millis(1);
        let mut left = all.into_iter().filter(|(_, time)| time.is_some_and(none));
        left.next().map(|(name, _)| name)
    }
}

impl Limits {
    /// These limits, where a turn's own deadlines are no shorter.
    pub(crate) fn tightened(self, by: &Deadlines) -> Self {
        let shorter =
            |limit: Duration, own: Option<Duration>| own.map_or(limit, |own| own.min(limit));
        let unlimited = Waiting::new(Duration::MAX, Unanswered::default());
        let waiting = by.waiting.map(|own| {
            let limit = self.waiting.unwrap_or(unlimited);
            Waiting::new(own.min(limit.at_most), limit.then)
        });
        Self {
            first_event: shorter(self.first_event, by.first_event),
            waiting: waiting.or(self.waiting),
            idle: self.idle.map(|idle| shorter(idle, by.idle)).or(by.idle),
            turn: shorter(self.turn, by.turn),
            unreachable: shorter(self.unreachable, by.unreachable),
            ..self
        }
    }
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let millis = time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        millis.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_limit_and_a_deadline_the_shorter_holds() {
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(1_000_000));
        for (own, expected) in [(short, short), (long, Limits::default().turn)] {
            let deadlines = Deadlines {
                turn: Some(own),
                idle: Some(own),
                ..Deadlines::default()
            };
            let limits = Limits::default().tightened(&deadlines);
            assert_eq!((limits.turn, limits.idle), (expected, Some(own)));
            let idle = Limits {
                idle: Some(Duration::from_secs(60)),
                ..Limits::default()
            };
            let expected = own.min(Duration::from_secs(60));
            assert_eq!(idle.tightened(&deadlines).idle, Some(expected));
            assert_eq!(limits.first_event, Limits::default().first_event);
            let json = serde_json::to_string(&deadlines).unwrap();
            assert_eq!(serde_json::from_str::<Deadlines>(&json).unwrap(), deadlines);
        }
        assert_eq!(Deadlines::default().none_left(), None);
        let waiting = |limit: Option<Waiting>, own| {
            let limits = Limits {
                waiting: limit,
                ..Limits::default()
            };
            let deadlines = Deadlines {
                waiting: own,
                ..Deadlines::default()
            };
            limits.tightened(&deadlines).waiting
        };
        let denied = |at_most| Some(Waiting::new(at_most, Unanswered::Deny));
        assert_eq!(waiting(None, None), None);
        let rejected = Some(Waiting::new(short, Unanswered::Reject));
        assert_eq!(waiting(None, Some(short)), rejected);
        assert_eq!(waiting(denied(long), None), denied(long));
        assert_eq!(waiting(denied(long), Some(short)), denied(short));
        assert_eq!(waiting(denied(short), Some(long)), denied(short));
        let none = Deadlines {
            idle: Some(Duration::from_micros(999)),
            ..Deadlines::default()
        };
        assert_eq!(none.none_left(), Some("idle"));
    }
}
