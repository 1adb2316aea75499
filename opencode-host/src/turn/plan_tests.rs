//! The planner, enumerated.

use super::*;

const LIMITS: Limits = Limits {
    first_event: Duration::from_secs(120),
    idle: Some(Duration::from_secs(60)),
    turn: Duration::from_secs(600),
    unreachable: Duration::from_secs(20),
    retries: 10,
    attempts: 5,
    pace: Pace {
        confirm: Duration::from_secs(2),
        unseen: Duration::from_secs(5),
        abort: Duration::from_secs(3),
        silence: Duration::from_secs(10),
    },
};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A turn in the middle of a healthy answer.
fn running() -> Situation {
    Situation {
        cancel: false,
        connected: true,
        prompting: Prompting::Posted { ago: secs(4) },
        resent: false,
        attempts: 1,
        inspection: None,
        look_due: false,
        looked: None,
        heard: Some(secs(1)),
        orderly_idle: false,
        waiting: false,
        elapsed: secs(5),
        session_error: None,
        retries: 0,
        content: Content {
            text: true,
            tools: false,
        },
        failure: None,
        aborted: None,
    }
}

fn look(busy: bool, last: impl Into<Option<LastMessage>>) -> Inspection {
    Inspection {
        busy,
        prompt_seen: true,
        last: last.into(),
        declined: false,
        restarts: 0,
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

fn after(look: Inspection, confirmed: Confirmed, orderly_idle: bool) -> Situation {
    Situation {
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
    let fresh = Situation {
        connected: false,
        prompting: Prompting::None,
        heard: None,
        content: Content::default(),
        ..running()
    };
    assert_eq!(plan(&fresh, &LIMITS), Step::Connect);
    let connected = Situation {
        connected: true,
        ..fresh
    };
    assert_eq!(plan(&connected, &LIMITS), Step::Mint);
    let posted = Situation {
        prompting: Prompting::Posted {
            ago: Duration::ZERO,
        },
        ..connected
    };
    assert_eq!(plan(&posted, &LIMITS), Step::Follow { at_most: secs(10) });
}

#[test]
fn a_turn_taken_over_looks_before_it_posts() {
    let taken = Situation {
        prompting: Prompting::Recorded,
        ..running()
    };
    assert_eq!(plan(&taken, &LIMITS), Step::Look);
}

#[test]
fn a_silent_session_is_asked_about() {
    let silent = |ago, looked| Situation {
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
        (
            "no answer at all",
            look(false, None),
            Again,
            false,
            interrupted,
        ),
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
    let early = Situation {
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
    let empty = |confirmed| Situation {
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
    let nowhere = |ago, confirmed, session_error| Situation {
        prompting: Prompting::Posted { ago },
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
        ends(&plan(&nowhere(secs(4), Confirmed::Again, None), &LIMITS)),
        None
    );
    assert_eq!(
        ends(&plan(&nowhere(secs(6), Confirmed::Once, None), &LIMITS)),
        None
    );
    let told = Some((TurnStatus::Error, Some("upstream")));
    assert_eq!(
        ends(&plan(&nowhere(secs(6), Confirmed::Again, None), &LIMITS)),
        told
    );
    // The session said why: no need to wait.
    let error = failed("UnknownError").error;
    assert_eq!(
        ends(&plan(&nowhere(secs(0), Confirmed::Once, error), &LIMITS)),
        told
    );
}

#[test]
fn deadlines_stop_the_server_before_they_end_the_turn() {
    let cases: [(&str, Situation); 4] = [
        (
            "timeout",
            Situation {
                elapsed: secs(600),
                ..running()
            },
        ),
        (
            "idle",
            Situation {
                heard: Some(secs(60)),
                ..running()
            },
        ),
        (
            "upstream",
            Situation {
                retries: 11,
                ..running()
            },
        ),
        (
            "stale",
            Situation {
                heard: None,
                prompting: Prompting::Posted { ago: secs(120) },
                resent: true,
                ..running()
            },
        ),
    ];
    for (reason, now) in cases {
        assert_eq!(plan(&now, &LIMITS), Step::Abort, "{reason}");
        let aborted = Situation {
            aborted: Some(Duration::ZERO),
            ..now
        };
        assert_eq!(
            ends(&plan(&aborted, &LIMITS)),
            Some((TurnStatus::Error, Some(reason)))
        );
    }
}

#[test]
fn a_person_is_waited_for() {
    let waiting = Situation {
        waiting: true,
        elapsed: secs(6000),
        heard: Some(secs(5000)),
        looked: Some(secs(1)),
        ..running()
    };
    assert_eq!(ends(&plan(&waiting, &LIMITS)), None);
    assert_ne!(plan(&waiting, &LIMITS), Step::Abort);
}

#[test]
fn a_stale_session_is_replaced_once() {
    let stale = Situation {
        heard: None,
        prompting: Prompting::Posted { ago: secs(120) },
        ..running()
    };
    assert_eq!(plan(&stale, &LIMITS), Step::Abort);
    assert_eq!(
        plan(
            &Situation {
                aborted: Some(Duration::ZERO),
                ..stale
            },
            &LIMITS
        ),
        Step::Recreate
    );
}

#[test]
fn a_looping_server_is_stopped() {
    let looping = Inspection {
        restarts: 1,
        ..look(true, last(false, false))
    };
    let now = after(looping, Confirmed::Once, false);
    assert_eq!(plan(&now, &LIMITS), Step::Abort);
    let aborted = Situation {
        aborted: Some(Duration::ZERO),
        ..now
    };
    assert_eq!(
        ends(&plan(&aborted, &LIMITS)),
        Some((TurnStatus::Error, Some("loop")))
    );
}

#[test]
fn a_cancel_stops_the_server_and_waits_until_it_has() {
    let cancelled = Some((TurnStatus::Cancelled, Some("cancelled")));
    let cancel = Situation {
        cancel: true,
        ..running()
    };
    assert_eq!(plan(&cancel, &LIMITS), Step::Abort);
    let told = Situation {
        aborted: Some(Duration::ZERO),
        look_due: true,
        ..cancel.clone()
    };
    assert_eq!(plan(&told, &LIMITS), Step::Inspect);
    let busy = Situation {
        aborted: Some(secs(1)),
        inspection: Some((look(true, last(false, false)), Confirmed::Once)),
        looked: Some(Duration::ZERO),
        ..cancel.clone()
    };
    assert_eq!(
        plan(&busy, &LIMITS),
        Step::Follow {
            at_most: Duration::from_millis(300)
        }
    );
    let stopped = Situation {
        inspection: Some((look(false, last(false, false)), Confirmed::Once)),
        ..busy.clone()
    };
    assert_eq!(ends(&plan(&stopped, &LIMITS)), cancelled);
    let deaf = Situation {
        aborted: Some(secs(3)),
        ..busy
    };
    assert_eq!(ends(&plan(&deaf, &LIMITS)), cancelled);
    let unasked = Situation {
        prompting: Prompting::None,
        ..cancel.clone()
    };
    assert_eq!(ends(&plan(&unasked, &LIMITS)), cancelled);
    // Taken over by a worker that knows the row only.
    let taken = Situation {
        connected: false,
        prompting: Prompting::Recorded,
        ..cancel
    };
    assert_eq!(plan(&taken, &LIMITS), Step::Connect);
}

#[test]
fn failures_are_mended_or_told() {
    let failing = |failure, since, prompting| Situation {
        failure: Some((failure, since)),
        prompting,
        ..running()
    };
    let posted = Prompting::Posted { ago: secs(1) };
    assert_eq!(
        plan(&failing(Failure::SessionLost, secs(0), posted), &LIMITS),
        Step::Recreate
    );
    let lost_again = Situation {
        resent: true,
        ..failing(Failure::SessionLost, secs(0), posted)
    };
    assert_eq!(
        ends(&plan(&lost_again, &LIMITS)),
        Some((TurnStatus::Error, Some("upstream")))
    );
    let down = Failure::Unreachable("cannot reach".to_owned());
    assert_eq!(
        plan(&failing(down.clone(), secs(0), posted), &LIMITS),
        Step::Wait {
            pause: Duration::from_millis(250)
        }
    );
    assert_eq!(
        plan(&failing(down.clone(), secs(9), posted), &LIMITS),
        Step::Wait { pause: secs(2) }
    );
    let told = |prompting| ends(&plan(&failing(down.clone(), secs(20), prompting), &LIMITS));
    assert_eq!(told(posted), Some((TurnStatus::Error, Some("interrupted"))));
    assert_eq!(
        told(Prompting::None),
        Some((TurnStatus::Error, Some("unreachable")))
    );
    let broken = Failure::Broken("500".to_owned());
    assert_eq!(
        ends(&plan(&failing(broken, secs(20), posted), &LIMITS)),
        Some((TurnStatus::Failed, Some("internal")))
    );
    let refused = Failure::Refused("400".to_owned());
    assert_eq!(
        ends(&plan(&failing(refused, secs(0), posted), &LIMITS)),
        Some((TurnStatus::Error, Some("upstream")))
    );
}

#[test]
fn a_turn_that_workers_die_of_is_given_up() {
    let given_up = Some((TurnStatus::Error, Some("interrupted")));
    let worn = Situation {
        attempts: 6,
        prompting: Prompting::None,
        ..running()
    };
    assert_eq!(ends(&plan(&worn, &LIMITS)), given_up);

    // What the server has of it is taken first.
    let recorded = |connected| Situation {
        connected,
        prompting: Prompting::Recorded,
        ..worn.clone()
    };
    assert_eq!(plan(&recorded(false), &LIMITS), Step::Connect);
    assert_eq!(plan(&recorded(true), &LIMITS), Step::Look);
    let posted = Situation {
        attempts: 6,
        ..running()
    };
    assert_eq!(plan(&posted, &LIMITS), Step::Inspect);
    let seen = |inspection| Situation {
        inspection: Some((inspection, Confirmed::Again)),
        looked: Some(secs(0)),
        ..posted.clone()
    };
    let whole = seen(look(false, last(true, false)));
    assert_eq!(
        ends(&plan(&whole, &LIMITS)),
        Some((TurnStatus::Completed, None))
    );
    let busy = seen(look(true, last(false, false)));
    assert_eq!(plan(&busy, &LIMITS), Step::Abort);
    let stopped = Situation {
        aborted: Some(secs(0)),
        look_due: true,
        ..busy.clone()
    };
    assert_eq!(ends(&plan(&stopped, &LIMITS)), given_up);

    // A person who is asked takes their time.
    let asked = Situation {
        waiting: true,
        ..busy
    };
    assert!(matches!(plan(&asked, &LIMITS), Step::Follow { .. }));

    // The look itself may be what they die of.
    let worse = Situation {
        attempts: 11,
        ..recorded(false)
    };
    assert_eq!(ends(&plan(&worse, &LIMITS)), given_up);
}

/// Whatever is known: a step that waits waits for some time, and no turn that
/// is cancelled goes on.
#[test]
fn no_situation_spins_or_hangs() {
    let looks = [
        None,
        Some(look(true, last(false, false))),
        Some(look(false, last(false, false))),
        Some(look(false, last(true, true))),
        Some(look(true, last(true, false))),
        Some(look(false, None)),
    ];
    let promptings = [
        Prompting::None,
        Prompting::Recorded,
        Prompting::Posted { ago: secs(1) },
        Prompting::Posted { ago: secs(30) },
    ];
    let moments = [None, Some(Duration::ZERO), Some(secs(1)), Some(secs(30))];
    let mut count = 0;
    for inspection in &looks {
        for confirmed in [Confirmed::Once, Confirmed::Again] {
            for prompting in promptings {
                for heard in moments {
                    for looked in moments {
                        for aborted in moments {
                            for bits in 0..16u8 {
                                let now = Situation {
                                    cancel: bits & 1 > 0,
                                    connected: bits & 2 > 0,
                                    prompting,
                                    inspection: inspection.clone().map(|look| (look, confirmed)),
                                    look_due: bits & 4 > 0,
                                    looked,
                                    heard,
                                    orderly_idle: bits & 8 > 0,
                                    aborted,
                                    ..running()
                                };
                                let step = plan(&now, &LIMITS);
                                count += 1;
                                if let Step::Follow { at_most: pause } | Step::Wait { pause } =
                                    &step
                                {
                                    assert!(*pause > Duration::ZERO, "{now:?}");
                                }
                                if now.cancel {
                                    assert!(
                                        !matches!(
                                            step,
                                            Step::Mint | Step::Look | Step::Post | Step::Recreate
                                        ),
                                        "{now:?}"
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(count, 6 * 2 * 4 * 4 * 4 * 4 * 16);
}
