//! When a turn's tools are offered under it.

use super::known::{Known, Prompting, plan};
use super::*;

fn owed(known: Known) -> Step {
    let known = Known {
        tools_owed: true,
        ..known
    };
    plan(&known, &LIMITS)
}

#[test]
fn a_turn_that_runs_is_offered_its_tools_once_it_is_known_to_run() {
    assert_eq!(owed(running()), Step::Offer);
    let busy = || look(true, last(false, true));
    let looked = |confirmed| owed(after(busy(), confirmed, false));
    assert_eq!(looked(Confirmed::Once), Step::Offer);
    assert_eq!(looked(Confirmed::Again), Step::Offer);
    // What it has come to is looked at first.
    let due = Known {
        look_due: true,
        ..running()
    };
    assert_eq!(owed(due), Step::Inspect);
    let over = owed(after(
        look(false, last(true, false)),
        Confirmed::Again,
        true,
    ));
    assert!(matches!(over, Step::End(_)), "{over:?}");
}

#[test]
fn a_turn_that_stops_or_is_not_prompted_is_offered_none() {
    let unprompted = Known {
        prompting: Prompting::None,
        ..running()
    };
    assert_eq!(owed(unprompted), Step::Mint, "which offers them");
    let recorded = Known {
        prompting: Prompting::Recorded,
        ..running()
    };
    assert_eq!(
        owed(recorded),
        Step::Look,
        "which offers them before a post"
    );
    let cancelled = Known {
        cancel: true,
        ..running()
    };
    assert!(matches!(owed(cancelled), Step::Abort { .. }));
    let unconnected = Known {
        connected: false,
        ..running()
    };
    assert_eq!(owed(unconnected), Step::Connect);
}
