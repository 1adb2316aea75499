//! What a turn may use: reserved before anything is asked of a server, and again where it is used up.

use super::*;
use crate::budget::{Allowance, Dollars};

const OVER: Option<(TurnStatus, Option<&str>)> = Some((TurnStatus::Error, Some("budget")));

fn nothing_left() -> Funds {
    Funds::Over("the budget is used up".to_owned())
}

fn spent(cents: u64, look: Inspection) -> Known {
    Known {
        cents,
        inspection: Some((look, Confirmed::Once)),
        looked: Some(secs(0)),
        ..running()
    }
}

#[test]
fn nothing_is_asked_of_a_server_before_it_is_paid_for() {
    for prompting in [
        Prompting::None,
        Prompting::Recorded,
        Prompting::Posted { ago: secs(4) },
    ] {
        let known = Known {
            prompting,
            funds: Funds::Unasked,
            connected: false,
            ..running()
        };
        assert_eq!(plan(&known, &LIMITS), Step::Reserve, "{prompting:?}");
    }
    let over = Known {
        prompting: Prompting::None,
        funds: nothing_left(),
        connected: false,
        ..running()
    };
    assert_eq!(ends(&plan(&over, &LIMITS)), OVER);
    let unknown = Known {
        funds: Funds::Failed("no ledger".to_owned()),
        ..over
    };
    let failed = Some((TurnStatus::Failed, Some("internal")));
    assert_eq!(ends(&plan(&unknown, &LIMITS)), failed);
}

#[test]
fn what_an_earlier_worker_prompted_is_looked_for_and_not_posted_without_money() {
    let taken_over = Known {
        prompting: Prompting::Recorded,
        funds: nothing_left(),
        connected: false,
        ..running()
    };
    assert_eq!(plan(&taken_over, &LIMITS), Step::Connect);
    let connected = Known {
        connected: true,
        ..taken_over
    };
    assert_eq!(plan(&connected, &LIMITS), Step::Look);
    // It is nowhere upstream.
    let absent = Known {
        absent: true,
        ..connected
    };
    assert!(is_stopped(&absent));
}

/// The session is told to stop, and the turn ends for lack of money then.
fn is_stopped(known: &Known) -> bool {
    match plan(known, &LIMITS) {
        Step::Abort { ending } => {
            assert_eq!(ends(&Step::End(ending.unwrap())), OVER);
            true
        }
        _ => false,
    }
}

#[test]
fn a_turn_that_has_used_what_it_was_granted_asks_for_more_and_is_stopped_without() {
    let more = look(true, last(true, true));
    assert!(matches!(
        plan(&spent(99, more.clone()), &LIMITS),
        Step::Follow { .. }
    ));
    let used_up = spent(100, more);
    assert_eq!(plan(&used_up, &LIMITS), Step::Reserve);
    let granted = Known {
        funds: Funds::Granted(DOLLAR.cost(Dollars::cents(200))),
        ..used_up.clone()
    };
    assert!(matches!(plan(&granted, &LIMITS), Step::Follow { .. }));
    assert!(is_stopped(&Known {
        funds: nothing_left(),
        ..used_up.clone()
    }));
    // It is looked at first.
    let unseen = Known {
        look_due: true,
        ..used_up
    };
    assert_eq!(plan(&unseen, &LIMITS), Step::Inspect);
}

#[test]
fn an_answer_that_is_whole_is_one_whatever_it_cost() {
    let over = |look| Known {
        funds: nothing_left(),
        ..spent(100, look)
    };
    assert!(is_stopped(&over(look(true, last(false, false)))));
    // It is whole, and only the server is not idle yet; or it has ended otherwise.
    assert!(!is_stopped(&over(look(true, last(true, false)))));
    assert!(!is_stopped(&over(look(false, last(false, false)))));
    let whole = plan(&over(look(false, last(true, false))), &LIMITS);
    assert_eq!(ends(&whole), Some((TurnStatus::Completed, None)));
}

#[test]
fn running_time_is_granted_too_and_waiting_for_a_person_costs_none() {
    let granted = Allowance::UNLIMITED.time(secs(60));
    let ran = |before, elapsed| Known {
        before: secs(before),
        elapsed: secs(elapsed),
        funds: Funds::Granted(granted),
        inspection: Some((look(true, last(false, false)), Confirmed::Once)),
        looked: Some(secs(0)),
        ..running()
    };
    assert_eq!(
        plan(&ran(50, 7), &LIMITS),
        Step::Follow { at_most: secs(3) }
    );
    assert_eq!(plan(&ran(50, 10), &LIMITS), Step::Reserve);
    let waits = Known {
        waiting: Some(secs(100)),
        ..ran(50, 7)
    };
    assert!(matches!(plan(&waits, &LIMITS), Step::Follow { at_most } if at_most > secs(3)));
}
