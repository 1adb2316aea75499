//! Deadlines, cancels, failures.

use super::*;

#[test]
fn deadlines_stop_the_server_before_they_end_the_turn() {
    let cases: [(&str, Known); 4] = [
        (
            "timeout",
            Known {
                elapsed: secs(600),
                ..running()
            },
        ),
        (
            "idle",
            Known {
                heard: Some(secs(60)),
                ..running()
            },
        ),
        (
            "upstream",
            Known {
                retries: 11,
                ..running()
            },
        ),
        (
            "stale",
            Known {
                heard: None,
                prompting: Prompting::Posted { ago: secs(120) },
                replaced: true,
                ..running()
            },
        ),
    ];
    for (reason, now) in cases {
        let Step::Abort { ending } = plan(&now, &LIMITS) else {
            panic!("{reason}: {:?}", plan(&now, &LIMITS));
        };
        // What the abort itself makes the server say is no reason to think again.
        let looked = |busy| Known {
            stopping: ending.clone(),
            aborted: Some(Duration::ZERO),
            aborted_again: Some(Duration::ZERO),
            heard: Some(Duration::ZERO),
            inspection: Some((look(busy, failed(UpstreamError::ABORTED)), Confirmed::Once)),
            looked: Some(Duration::ZERO),
            ..now.clone()
        };
        let ended = Some((TurnStatus::Error, Some(reason)));
        assert_eq!(ends(&plan(&looked(false), &LIMITS)), ended);
        assert_eq!(ends(&plan(&looked(true), &LIMITS)), None, "{reason}");
        let deaf = Known {
            aborted: Some(secs(3)),
            ..looked(true)
        };
        assert_eq!(ends(&plan(&deaf, &LIMITS)), ended);
    }
}

fn is_abort(step: &Step) -> bool {
    matches!(step, Step::Abort { .. })
}

#[test]
fn a_person_is_waited_for() {
    let waiting = Known {
        waiting: Some(secs(5000)),
        elapsed: secs(6000),
        heard: Some(secs(5000)),
        looked: Some(secs(1)),
        ..running()
    };
    assert_eq!(ends(&plan(&waiting, &LIMITS)), None);
    assert!(!is_abort(&plan(&waiting, &LIMITS)));
}

#[test]
fn a_request_that_waits_too_long_is_declined_and_not_before() {
    let limits = Limits {
        waiting: Some(Waiting::new(secs(60), Unanswered::Deny)),
        ..LIMITS
    };
    let waited = |waiting| Known {
        waiting: Some(waiting),
        elapsed: secs(6000),
        heard: Some(secs(1)),
        looked: Some(secs(1)),
        ..running()
    };
    let request = "per_1".to_owned();
    assert_eq!(plan(&waited(secs(60)), &limits), Step::Decline { request });
    // The rest of its time, or until the server is asked.
    let at_most = |waiting| match plan(&waited(waiting), &limits) {
        Step::Follow { at_most } => at_most,
        other => panic!("{other:?}"),
    };
    assert_eq!(at_most(secs(58)), secs(2));
    assert_eq!(
        at_most(secs(1)),
        LIMITS.pace.silence.saturating_sub(secs(1))
    );
    // A cancel goes before.
    let cancelled = Known {
        cancel: true,
        ..waited(secs(60))
    };
    assert!(is_abort(&plan(&cancelled, &limits)));
}

#[test]
fn a_stale_session_is_replaced_once() {
    let stale = Known {
        heard: None,
        prompting: Prompting::Posted { ago: secs(120) },
        ..running()
    };
    assert_eq!(plan(&stale, &LIMITS), Step::Abort { ending: None });
    assert_eq!(
        plan(
            &Known {
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
    let looping = |busy| Inspection {
        restarts: 1,
        ..look(busy, last(false, false))
    };
    let now = after(looping(true), Confirmed::Once, false);
    assert!(is_abort(&plan(&now, &LIMITS)));
    let aborted = Known {
        aborted: Some(Duration::ZERO),
        aborted_again: Some(Duration::ZERO),
        ..after(looping(false), Confirmed::Once, false)
    };
    assert_eq!(
        ends(&plan(&aborted, &LIMITS)),
        Some((TurnStatus::Error, Some("loop")))
    );
}

#[test]
fn a_cancel_stops_the_server_and_waits_until_it_has() {
    let cancelled = Some((TurnStatus::Cancelled, Some("cancelled")));
    let cancel = Known {
        cancel: true,
        ..running()
    };
    assert!(is_abort(&plan(&cancel, &LIMITS)));
    let told = Known {
        aborted: Some(Duration::ZERO),
        look_due: true,
        ..cancel.clone()
    };
    assert_eq!(plan(&told, &LIMITS), Step::Inspect);
    let busy = Known {
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
    // The word may have been lost.
    let again = Known {
        aborted_again: Some(Duration::from_millis(600)),
        ..busy.clone()
    };
    assert!(is_abort(&plan(&again, &LIMITS)));
    let stopped = Known {
        inspection: Some((look(false, last(false, false)), Confirmed::Once)),
        ..busy.clone()
    };
    assert_eq!(ends(&plan(&stopped, &LIMITS)), cancelled);
    let down = |since| Known {
        failure: Some((Failure::Unreachable("no".to_owned()), since)),
        ..told.clone()
    };
    assert_eq!(
        plan(&down(secs(1)), &LIMITS),
        Step::Wait {
            pause: Duration::from_millis(300)
        }
    );
    assert_eq!(ends(&plan(&down(secs(3)), &LIMITS)), cancelled);
    let deaf = Known {
        aborted: Some(secs(3)),
        ..busy
    };
    assert_eq!(ends(&plan(&deaf, &LIMITS)), cancelled);
    let unasked = Known {
        prompting: Prompting::None,
        ..cancel.clone()
    };
    assert_eq!(ends(&plan(&unasked, &LIMITS)), cancelled);
    // Taken over by a worker that knows the row only.
    let taken = Known {
        connected: false,
        prompting: Prompting::Recorded,
        ..cancel
    };
    assert_eq!(plan(&taken, &LIMITS), Step::TakeUp);
    // A post that was broken off may arrive yet, and is waited for.
    let unseen = Inspection {
        prompt_seen: false,
        ..look(false, None)
    };
    let on_its_way = Known {
        in_flight: true,
        inspection: Some((unseen, Confirmed::Once)),
        ..stopped
    };
    assert_ne!(ends(&plan(&on_its_way, &LIMITS)), cancelled);
    // However long the server has been out of reach: it is told once.
    let down = Known {
        aborted: None,
        aborted_again: None,
        ..down(secs(9))
    };
    assert!(is_abort(&plan(&down, &LIMITS)));
    // Nothing outlasts the turn's time, before the prompt and while calls fail too.
    let late = |prompting| Known {
        elapsed: LIMITS.turn,
        prompting,
        failure: Some((Failure::SessionLost, secs(0))),
        ..running()
    };
    let timeout = Some((TurnStatus::Error, Some("timeout")));
    assert_eq!(ends(&plan(&late(Prompting::None), &LIMITS)), timeout);
    assert!(is_abort(&plan(&late(Prompting::Recorded), &LIMITS)));
}

/// While it is tried again too: then nothing counts as failed.
#[test]
fn the_end_of_the_turns_time_tells_what_kept_failing() {
    let late = |failing| {
        let now = Known {
            elapsed: LIMITS.turn,
            prompting: Prompting::None,
            failing,
            ..running()
        };
        match plan(&now, &LIMITS) {
            Step::End(ending) => (ending.reason, ending.error.unwrap().message),
            step => panic!("{step:?}"),
        }
    };
    let said = |text: &str| text.to_owned();
    let plain = (
        Some(Reason::Timeout),
        said("The answer took longer than 600 s."),
    );
    assert_eq!(late(None), plain);
    assert_eq!(late(Some(Failure::SessionLost)), plain);
    for failure in [
        Failure::Broken(said("status 500")),
        Failure::Unread(said("status 500")),
    ] {
        assert_eq!(
            late(Some(failure)),
            (Some(Reason::Internal), said("status 500"))
        );
    }
    for failure in [
        Failure::Unreachable(said("no way")),
        Failure::Unanswered(said("no way")),
    ] {
        let told = said("The answer took longer than 600 s. no way.");
        assert_eq!(late(Some(failure)), (Some(Reason::Timeout), told));
    }
}

#[test]
fn failures_are_mended_or_told() {
    let failing = |failure, since, prompting| Known {
        failure: Some((failure, since)),
        prompting,
        ..running()
    };
    let posted = Prompting::Posted { ago: secs(1) };
    assert_eq!(
        plan(&failing(Failure::SessionLost, secs(0), posted), &LIMITS),
        Step::Recreate
    );
    let lost_again = Known {
        replaced: true,
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
        Step::Wait { pause: secs(1) }
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
    let worn = Known {
        attempts: 6,
        prompting: Prompting::None,
        ..running()
    };
    assert_eq!(ends(&plan(&worn, &LIMITS)), given_up);

    // What the server has of it is taken first.
    let recorded = |connected| Known {
        connected,
        prompting: Prompting::Recorded,
        ..worn.clone()
    };
    assert_eq!(plan(&recorded(false), &LIMITS), Step::Connect);
    assert_eq!(plan(&recorded(true), &LIMITS), Step::Look);
    let posted = Known {
        attempts: 6,
        ..running()
    };
    assert_eq!(plan(&posted, &LIMITS), Step::Inspect);
    let seen = |inspection| Known {
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
    assert!(is_abort(&plan(&busy, &LIMITS)));
    let stopped = Known {
        aborted: Some(secs(0)),
        aborted_again: Some(secs(0)),
        inspection: Some((look(false, last(false, false)), Confirmed::Once)),
        ..busy.clone()
    };
    assert_eq!(ends(&plan(&stopped, &LIMITS)), given_up);

    // A person who is asked takes their time.
    let asked = Known {
        waiting: Some(secs(5)),
        ..busy
    };
    assert!(matches!(plan(&asked, &LIMITS), Step::Follow { .. }));

    // The look itself may be what they die of.
    let worse = Known {
        attempts: 11,
        ..recorded(false)
    };
    assert_eq!(ends(&plan(&worse, &LIMITS)), given_up);
}

/// Found by the simulator: each worker told the server to stop, looked whether it had, and died.
#[test]
fn a_cancelled_turn_that_workers_die_of_ends() {
    let worn = |attempts| Known {
        cancel: true,
        connected: false,
        prompting: Prompting::Recorded,
        attempts,
        ..running()
    };
    assert_eq!(plan(&worn(10), &LIMITS), Step::TakeUp);
    assert_eq!(
        ends(&plan(&worn(11), &LIMITS)),
        Some((TurnStatus::Cancelled, Some("cancelled")))
    );
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
                                let now = Known {
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
                                        !matches!(step, Step::Mint | Step::Look | Step::Recreate),
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
