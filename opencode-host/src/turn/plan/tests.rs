//! The planner, enumerated.

mod budget;
mod known;
mod limits;
mod offering;

use opencode_client::UpstreamError;

use self::known::{Content, DOLLAR, Known, Prompting, plan};
use super::super::limits::{Limits, Pace, Unanswered, Waiting};
use super::{Confirmed, Consulted, Duration, Failure, Funds, Inspection, LastMessage, Names, Step};
use crate::outcome::Reason;
use crate::store::TurnStatus;

const LIMITS: Limits = Limits {
    first_event: Duration::from_secs(120),
    idle: Some(Duration::from_secs(60)),
    turn: Duration::from_secs(600),
    waiting: None,
    unreachable: Duration::from_secs(20),
    retries: 10,
    attempts: 5,
    pace: Pace {
        confirm: Duration::from_secs(2),
        unseen: Duration::from_secs(30),
        lost: Duration::from_secs(5),
        abort: Duration::from_secs(3),
        silence: Duration::from_secs(10),
        answer: Duration::from_millis(1500),
    },
};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A turn in the middle of a healthy answer.
fn running() -> Known {
    Known {
        cancel: false,
        connected: true,
        prompting: Prompting::Posted { ago: secs(4) },
        replaced: false,
        verdict: Consulted::Go,
        attempts: 1,
        inspection: None,
        look_due: false,
        looked: None,
        heard: Some(secs(1)),
        orderly_idle: false,
        unbroken: true,
        reposted: false,
        waiting: None,
        names: Names::Known,
        elapsed: secs(5),
        transcript_owed: false,
        session_error: None,
        retries: 0,
        cents: 0,
        funds: Funds::Granted(DOLLAR),
        before: secs(0),
        content: Content {
            text: true,
            tools: false,
        },
        failure: None,
        failing: None,
        stopping: None,
        aborted: None,
        aborted_again: None,
        abort_heard: false,
        in_flight: false,
        absent: false,
        tools_owed: false,
    }
}

fn look(busy: bool, last: impl Into<Option<LastMessage>>) -> Inspection {
    Inspection {
        busy,
        prompt_seen: true,
        last: last.into(),
        declined: false,
        restarts: 0,
        unread: false,
    }
}

fn last(finished: bool, wants_more: bool) -> LastMessage {
    LastMessage {
        error: None,
        finished,
        wants_more,
        truncated: false,
    }
}

fn failed(name: &str) -> LastMessage {
    let error = UpstreamError {
        name: name.to_owned(),
        message: "no".to_owned(),
        status_code: Some(503),
        url: None,
        retryable: None,
    };
    LastMessage {
        error: Some(error),
        finished: true,
        wants_more: false,
        truncated: false,
    }
}

fn after(look: Inspection, confirmed: Confirmed, orderly_idle: bool) -> Known {
    Known {
        inspection: Some((look, confirmed)),
        looked: Some(if confirmed == Confirmed::Again {
            Duration::ZERO
        } else {
            secs(2)
        }),
        orderly_idle,
        ..running()
    }
}

fn ends(step: &Step) -> Option<(TurnStatus, Option<&'static str>)> {
    match step {
        Step::End(ending) => Some((ending.status, ending.reason.map(Reason::as_str))),
        _ => None,
    }
}

#[test]
fn a_fresh_turn_goes_from_session_to_prompt_to_answer() {
    let fresh = Known {
        connected: false,
        prompting: Prompting::None,
        heard: None,
        content: Content::default(),
        ..running()
    };
    assert_eq!(plan(&fresh, &LIMITS), Step::Connect);
    let connected = Known {
        connected: true,
        ..fresh
    };
    assert_eq!(plan(&connected, &LIMITS), Step::Mint);
    let replaced = Known {
        transcript_owed: true,
        ..connected.clone()
    };
    assert_eq!(plan(&replaced, &LIMITS), Step::CarryOver);
    let posted = Known {
        prompting: Prompting::Posted {
            ago: Duration::ZERO,
        },
        ..connected
    };
    assert_eq!(plan(&posted, &LIMITS), Step::Follow { at_most: secs(10) });
}

#[test]
fn the_product_is_asked_before_a_server_is_and_a_cancel_goes_before_both() {
    let asking = |verdict| Known {
        connected: false,
        prompting: Prompting::None,
        heard: None,
        content: Content::default(),
        verdict,
        ..running()
    };
    assert_eq!(plan(&asking(Consulted::Unasked), &LIMITS), Step::Consult);
    let cancelled = Known {
        cancel: true,
        ..asking(Consulted::Unasked)
    };
    assert_eq!(
        ends(&plan(&cancelled, &LIMITS)),
        Some((TurnStatus::Cancelled, Some("cancelled")))
    );
    let refused = asking(Consulted::Refused("No.".to_owned()));
    assert_eq!(
        ends(&plan(&refused, &LIMITS)),
        Some((TurnStatus::Error, Some("refused")))
    );
    let failed = asking(Consulted::Failed("It panicked.".to_owned()));
    assert_eq!(
        ends(&plan(&failed, &LIMITS)),
        Some((TurnStatus::Failed, Some("internal")))
    );
}

#[test]
fn a_turn_taken_over_looks_before_it_posts() {
    let taken = Known {
        prompting: Prompting::Recorded,
        ..running()
    };
    assert_eq!(plan(&taken, &LIMITS), Step::Look);
}

#[test]
fn a_silent_session_is_asked_about() {
    let silent = |ago, looked| Known {
        prompting: Prompting::Posted { ago: secs(ago) },
        heard: None,
        looked,
        inspection: looked.map(|_| (look(true, last(false, false)), Confirmed::Once)),
        ..running()
    };
    assert_eq!(
        plan(&silent(4, None), &LIMITS),
        Step::Follow { at_most: secs(6) }
    );
    assert_eq!(plan(&silent(10, None), &LIMITS), Step::Inspect);
    assert_eq!(
        plan(&silent(11, Some(secs(1))), &LIMITS),
        Step::Follow { at_most: secs(1) }
    );
    assert_eq!(plan(&silent(12, Some(secs(2))), &LIMITS), Step::Inspect);
}

#[test]
fn every_look_has_its_verdict() {
    use Confirmed::{Again, Once};
    type Verdict = Option<(TurnStatus, Option<&'static str>)>;
    let completed: Verdict = Some((TurnStatus::Completed, None));
    let interrupted: Verdict = Some((TurnStatus::Error, Some("interrupted")));
    let upstream: Verdict = Some((TurnStatus::Error, Some("upstream")));
    let table: [(&str, Inspection, Confirmed, bool, Verdict); 14] = [
        (
            "done and idle",
            look(false, last(true, false)),
            Once,
            true,
            completed,
        ),
        (
            "done, idle not heard",
            look(false, last(true, false)),
            Once,
            false,
            completed,
        ),
        (
            "done, still busy: it may loop",
            look(true, last(true, false)),
            Once,
            false,
            None,
        ),
        (
            "done, idle heard, status lags",
            look(true, last(true, false)),
            Once,
            true,
            completed,
        ),
        (
            "at work",
            look(true, last(false, false)),
            Again,
            false,
            None,
        ),
        (
            "between steps",
            look(true, last(true, true)),
            Again,
            false,
            None,
        ),
        (
            "unfinished and idle, seen once",
            look(false, last(false, false)),
            Once,
            true,
            None,
        ),
        (
            "unfinished and idle, seen again",
            look(false, last(false, false)),
            Again,
            true,
            interrupted,
        ),
        (
            "stopped for tools, nobody at work",
            look(false, last(true, true)),
            Once,
            false,
            None,
        ),
        (
            "the same again: it died",
            look(false, last(true, true)),
            Again,
            false,
            interrupted,
        ),
        (
            "the same, but it said idle",
            look(false, last(true, true)),
            Again,
            true,
            completed,
        ),
        (
            "a provider's error",
            look(false, failed("APIError")),
            Once,
            false,
            upstream,
        ),
        (
            "a provider's error, not idle yet",
            look(true, failed("APIError")),
            Once,
            false,
            None,
        ),
        // The turn is 4 s old: a busy machine may need longer.
        ("no answer yet", look(false, None), Again, false, None),
    ];
    for (name, look, confirmed, idle, verdict) in table {
        assert_eq!(
            ends(&plan(&after(look, confirmed, idle), &LIMITS)),
            verdict,
            "{name}"
        );
    }
}

#[test]
fn a_doubtful_look_is_repeated_after_a_pause() {
    let doubtful = look(false, last(false, false));
    let early = Known {
        looked: Some(Duration::from_millis(500)),
        ..after(doubtful.clone(), Confirmed::Once, true)
    };
    assert_eq!(
        plan(&early, &LIMITS),
        Step::Follow {
            at_most: Duration::from_millis(1500)
        }
    );
    assert_eq!(
        plan(&after(doubtful, Confirmed::Once, true), &LIMITS),
        Step::Inspect
    );
}

#[test]
fn an_abort_from_elsewhere_is_a_cancelled_turn() {
    let aborted = after(
        look(false, failed(UpstreamError::ABORTED)),
        Confirmed::Once,
        true,
    );
    assert_eq!(
        ends(&plan(&aborted, &LIMITS)),
        Some((TurnStatus::Cancelled, Some("cancelled")))
    );
}

#[test]
fn a_declined_question_ends_the_turn_at_once() {
    let declined = Inspection {
        declined: true,
        ..look(false, last(true, true))
    };
    let mut now = after(declined, Confirmed::Once, true);
    now.content = Content {
        text: false,
        tools: true,
    };
    assert_eq!(
        ends(&plan(&now, &LIMITS)),
        Some((TurnStatus::Cancelled, Some("declined")))
    );
    now.content.text = true;
    assert_eq!(
        ends(&plan(&now, &LIMITS)),
        Some((TurnStatus::Completed, None))
    );
}

#[test]
fn an_empty_answer_is_looked_at_twice() {
    let empty = |confirmed| Known {
        content: Content::default(),
        ..after(look(false, last(true, false)), confirmed, true)
    };
    assert_eq!(ends(&plan(&empty(Confirmed::Once), &LIMITS)), None);
    assert_eq!(
        ends(&plan(&empty(Confirmed::Again), &LIMITS)),
        Some((TurnStatus::Error, Some("empty_reply")))
    );
}

#[test]
fn a_prompt_that_is_nowhere_is_given_time_to_show() {
    let nowhere = |ago, confirmed, session_error| Known {
        prompting: Prompting::Posted { ago: secs(ago) },
        content: Content::default(),
        session_error,
        ..after(
            Inspection {
                prompt_seen: false,
                ..look(false, None)
            },
            confirmed,
            false,
        )
    };
    assert_eq!(
        ends(&plan(&nowhere(29, Confirmed::Again, None), &LIMITS)),
        None
    );
    assert_eq!(
        ends(&plan(&nowhere(30, Confirmed::Once, None), &LIMITS)),
        None
    );
    let told = Some((TurnStatus::Error, Some("upstream")));
    assert_eq!(
        ends(&plan(&nowhere(30, Confirmed::Again, None), &LIMITS)),
        told
    );
    // The session said why: no need to wait.
    let error = failed("UnknownError").error;
    assert_eq!(
        ends(&plan(&nowhere(0, Confirmed::Once, error), &LIMITS)),
        told
    );

    // The server that took it may be gone, and the prompt with it: once more, then no more.
    let broken = |ago| Known {
        unbroken: false,
        ..nowhere(ago, Confirmed::Again, None)
    };
    assert_eq!(ends(&plan(&broken(4), &LIMITS)), None);
    assert_eq!(plan(&broken(5), &LIMITS), Step::Look);
    let again = |ago| Known {
        reposted: true,
        ..broken(ago)
    };
    assert_eq!(ends(&plan(&again(4), &LIMITS)), None);
    assert_eq!(ends(&plan(&again(5), &LIMITS)), told);
}

#[test]
fn a_prompt_that_is_seen_and_not_run_is_given_time_to_run() {
    let resting = |ago, unbroken, orderly_idle| Known {
        prompting: Prompting::Posted { ago: secs(ago) },
        content: Content::default(),
        unbroken,
        ..after(look(false, None), Confirmed::Again, orderly_idle)
    };
    let verdict = |now: &Known| ends(&plan(now, &LIMITS));
    let interrupted = Some((TurnStatus::Error, Some("interrupted")));
    let empty = Some((TurnStatus::Error, Some("empty_reply")));
    assert_eq!(verdict(&resting(29, true, false)), None);
    assert_eq!(verdict(&resting(30, true, false)), interrupted);
    assert_eq!(verdict(&resting(4, false, false)), None);
    assert_eq!(verdict(&resting(5, false, false)), interrupted);
    // An idle of the turn before may come this late, so it is not believed at once.
    assert_eq!(verdict(&resting(4, true, true)), None);
    assert_eq!(verdict(&resting(5, true, true)), empty);
}

#[test]
fn names_are_asked_for_once_a_look_finds_nothing() {
    let nothing = |names, prompt_seen, session_error| Known {
        prompting: Prompting::Posted { ago: secs(2) },
        content: Content::default(),
        names,
        session_error,
        ..after(
            Inspection {
                prompt_seen,
                ..look(false, None)
            },
            Confirmed::Once,
            false,
        )
    };
    let unknown = Some((TurnStatus::Error, Some("unknown_name")));
    let missing = UpstreamError {
        name: "UnknownError".to_owned(),
        message: "Agent not found: \"x\"".to_owned(),
        status_code: None,
        url: None,
        retryable: None,
    };
    for seen in [false, true] {
        for error in [None, Some(missing.clone()), failed("UnknownError").error] {
            let next = plan(&nothing(Names::Unasked, seen, error.clone()), &LIMITS);
            assert_eq!(next, Step::AskNames, "{seen} {error:?}");
            let told = Names::Unknown("x".to_owned());
            let next = plan(&nothing(told, seen, error.clone()), &LIMITS);
            assert_eq!(ends(&next), unknown, "{seen} {error:?}");
        }
        // Known ones are waited for, unless the server itself says that one is not.
        let next = plan(&nothing(Names::Known, seen, None), &LIMITS);
        assert_eq!(ends(&next), None, "{seen}");
        let next = plan(&nothing(Names::Known, seen, Some(missing.clone())), &LIMITS);
        assert_eq!(next, Step::AskNames, "{seen}");
    }
}

#[test]
fn a_prompt_that_names_something_is_asked_about_early() {
    let silent = |names, ago| Known {
        prompting: Prompting::Posted { ago: secs(ago) },
        heard: None,
        names,
        ..running()
    };
    assert_eq!(plan(&silent(Names::Unasked, 2), &LIMITS), Step::Inspect);
    assert_eq!(
        plan(&silent(Names::Unasked, 1), &LIMITS),
        Step::Follow { at_most: secs(1) }
    );
    assert_eq!(
        plan(&silent(Names::Known, 2), &LIMITS),
        Step::Follow { at_most: secs(8) }
    );
}

#[test]
fn a_post_that_was_refused_for_a_name_is_not_made_again() {
    let refused = Known {
        prompting: Prompting::Recorded,
        names: Names::Unknown("x".to_owned()),
        ..running()
    };
    assert_eq!(
        ends(&plan(&refused, &LIMITS)),
        Some((TurnStatus::Error, Some("unknown_name")))
    );
}

/// Without the history, an answer is empty only where all of it was heard: a worker that takes the turn over has not.
#[test]
fn words_that_may_have_been_missed_are_not_called_none() {
    let unread = |last: Option<LastMessage>, unbroken| {
        let look = Inspection {
            unread: true,
            ..look(false, last)
        };
        let now = Known {
            content: Content::default(),
            unbroken,
            prompting: Prompting::Posted { ago: secs(60) },
            ..after(look, Confirmed::Again, true)
        };
        ends(&plan(&now, &LIMITS))
    };
    for last in [None, Some(last(true, false))] {
        let status = TurnStatus::Error;
        assert_eq!(
            unread(last.clone(), true),
            Some((status, Some("empty_reply")))
        );
        assert_eq!(unread(last, false), Some((status, Some("upstream"))));
    }
}
