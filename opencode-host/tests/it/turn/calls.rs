//! Calls that a server takes and never answers, as 1.17.19, 1.18.33 and 1.18.34 do in their first seconds.

use futures_util::TryStreamExt as _;
use opencode_client::reply::Change;
use opencode_host::LiveStream;
use opencode_host::live::LiveEvent;

use super::*;

/// A call is held at a gate that nobody opens.
fn never_answers(impostor: &Impostor, call: &str, calls: Calls) {
    let hold = Action::Hold("never answered".to_owned());
    impostor.faults().request(call, calls, hold);
}

async fn scripted(steps: impl IntoIterator<Item = Step>) -> Impostor {
    Impostor::scripted(Script::always(steps)).await.unwrap()
}

/// A host whose client would wait for minutes.
async fn patient(impostor: Impostor) -> Hosting {
    Hosting::with_timeout(impostor, Duration::from_secs(600)).await
}

#[tokio::test]
async fn a_call_that_is_never_answered_is_made_again() {
    let calls = [
        "GET /session",
        "POST /session",
        "GET /session/:id",
        "GET /session/:id/message",
        "GET /session/status",
        "POST /session/:id/prompt_async",
    ];
    for call in calls {
        let impostor = scripted([Step::text("Fine.")]).await;
        never_answers(&impostor, call, Calls::Nth(1));
        let test = patient(impostor).await;
        let result = test.turn("go").await;
        assert_ended(&result, TurnStatus::Completed, None, "Fine.");
        let ledger = test.impostor.ledger();
        let prompt = result.prompt.unwrap();
        assert_eq!(ledger.model_runs(prompt.as_str()), 1, "{call}");
        assert_eq!(ledger.sessions_alive().len(), 1, "{call}");
    }
}

#[tokio::test]
async fn a_cancel_waits_for_no_call() {
    for call in ["GET /session/status", "GET /session/:id/message"] {
        let impostor =
            scripted([Step::text("Half"), Step::gate("hold"), Step::text(" more")]).await;
        let test = patient(impostor).await;
        let turn = test.submit("go").await;
        let working = test.work(turn);
        test.shown(turn, "Half").await;
        never_answers(&test.impostor, call, Calls::All);
        // A look that hangs.
        test.impostor.drop_streams();
        let waiting = |ledger: &opencode_impostor::Ledger| ledger.waiting_at("never answered") > 0;
        test.impostor.wait_for(waiting).await.unwrap();
        test.host.cancel(turn, None).await.unwrap();
        let result = test.finished(turn, working).await;
        assert_ended(&result, TurnStatus::Cancelled, Some("cancelled"), "Half");
        assert!(test.impostor.ledger().busy().is_empty(), "{call}");
    }
}

#[tokio::test]
async fn the_turns_time_ends_what_is_never_answered() {
    for call in ["GET /session", "POST /session/:id/prompt_async"] {
        let impostor = scripted([Step::text("no")]).await;
        never_answers(&impostor, call, Calls::All);
        let mut options = quick();
        options.limits.turn = Duration::from_millis(700);
        options.limits.pace.answer = PATIENCE * 10;
        let test = Hosting::with(impostor, options, |builder| builder).await;
        let result = test.turn("go").await;
        let reason = result.answer.reason.map(|reason| reason.as_str());
        assert_eq!(
            (result.status, reason),
            (TurnStatus::Error, Some("timeout"))
        );
    }
}

/// Waits for what is told of the server.
async fn told(live: &mut LiveStream) -> bool {
    let telling = async {
        loop {
            match live.try_next().await.unwrap().expect("the turn ended") {
                LiveEvent::Change { change, .. } => match &*change {
                    Change::ServerUnreachable { message } => {
                        assert!(message.contains("trying again"), "{message}");
                        return true;
                    }
                    Change::ServerReachable => return false,
                    _ => {}
                },
                LiveEvent::Snapshot { .. } => {}
                _ => panic!("nothing was told"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, telling).await.unwrap()
}

#[tokio::test]
async fn watchers_are_told_of_a_server_out_of_reach_and_of_its_return() {
    let test = hosting([Step::text("Half"), Step::gate("hold"), Step::text(" more")]).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "Half").await;
    let mut live = test.host.live(turn, Cursor::START).await.unwrap();
    test.impostor.kill().await;
    assert!(told(&mut live).await);
    // Who comes late is told too, and another process reads it in the row.
    let mut late = test.host.live(turn, Cursor::START).await.unwrap();
    assert!(told(&mut late).await);
    assert!(test.store.turn(turn).await.unwrap().unwrap().unreachable);
    test.impostor.restart().await.unwrap();
    assert!(!told(&mut live).await);
    assert!(!told(&mut late).await);
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Error, Some("interrupted"), "Half");
}

/// Neither a reset nor a byte nor an answer: the driver itself would ask after ten seconds only.
#[tokio::test]
async fn watchers_are_told_of_a_server_that_goes_silent_and_of_its_return() {
    let steps = [Step::text("Half"), Step::gate("hold"), Step::text(" more")];
    let mut options = quick();
    options.limits.pace.silence = Duration::from_secs(10);
    let test = Hosting::with(scripted(steps).await, options, |builder| builder).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.impostor.gate("hold").reached().await.unwrap();
    test.shown(turn, "Half").await;
    let mut live = test.host.live(turn, Cursor::START).await.unwrap();
    let hole = test.impostor.faults().swallow("/**", Calls::All);
    let since = std::time::Instant::now();
    assert!(told(&mut live).await);
    // 2.5 s on an idle machine; it was 11.5.
    assert!(
        since.elapsed() < Duration::from_secs(6),
        "{:?}",
        since.elapsed()
    );
    assert!(test.store.turn(turn).await.unwrap().unwrap().unreachable);
    test.impostor.faults().remove(hole);
    assert!(!told(&mut live).await);
    test.impostor.gate("hold").open();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "Half\n\n more");
}

/// Once a restarted server answers, its turn ends within five seconds, whatever the death looked like.
#[tokio::test]
async fn a_restarted_server_interrupts_its_turn_within_five_seconds() {
    const LIMIT: Duration = Duration::from_secs(5);
    #[derive(Clone, Copy, Debug)]
    enum Death {
        AtOnceBack,
        /// Nothing answers there for a while.
        Away,
        /// It swallowed all calls before.
        Silent,
        /// The first look at the new life is never answered (1.17.19, 1.18.33, 1.18.34).
        Deaf,
    }
    let ends = async |death: Death| {
        let steps = [Step::text("Half"), Step::gate("hold"), Step::text(" more")];
        let mut options = quick();
        options.limits.unreachable = PATIENCE;
        // As it is by default, but for what a look is repeated after: that much is taken off the limit.
        options.limits.pace = opencode_host::turn::Pace {
            confirm: options.limits.pace.confirm,
            ..opencode_host::turn::Pace::default()
        };
        let confirm = opencode_host::turn::Pace::default().confirm;
        let saved = confirm.saturating_sub(options.limits.pace.confirm);
        let limit = LIMIT.saturating_sub(saved);
        let test = Hosting::with(scripted(steps).await, options, |builder| builder).await;
        let turn = test.submit("go").await;
        let working = test.work(turn);
        test.impostor.gate("hold").reached().await.unwrap();
        test.shown(turn, "Half").await;
        let mut live = test.host.live(turn, Cursor::START).await.unwrap();
        match death {
            Death::AtOnceBack => test.impostor.kill().await,
            Death::Away => {
                test.impostor.kill().await;
                assert!(told(&mut live).await);
            }
            Death::Silent => {
                let hole = test.impostor.faults().swallow("/**", Calls::All);
                assert!(told(&mut live).await);
                test.impostor.kill().await;
                test.impostor.faults().remove(hole);
            }
            Death::Deaf => {
                let deaf = Calls::FirstOfLife(1);
                test.impostor.faults().swallow("GET /session/status", deaf);
                test.impostor.kill().await;
            }
        }
        let looks = |ledger: &opencode_impostor::Ledger| {
            let answered = ledger.requests().iter().filter(|request| {
                request.path == "/session/status"
                    && matches!(request.outcome, opencode_impostor::Outcome::Answered(_))
            });
            answered.count()
        };
        let before = looks(&test.impostor.ledger());
        test.impostor.restart().await.unwrap();
        let since = std::time::Instant::now();
        let answers = |ledger: &opencode_impostor::Ledger| looks(ledger) > before;
        test.impostor.wait_for(answers).await.unwrap();
        let since = match death {
            Death::Deaf => std::time::Instant::now(),
            _ => since,
        };
        let result = test.finished(turn, working).await;
        assert_ended(&result, TurnStatus::Error, Some("interrupted"), "Half");
        let took = since.elapsed();
        assert!(took < limit, "{death:?}: {took:?}");
    };
    for death in [Death::AtOnceBack, Death::Away, Death::Silent, Death::Deaf] {
        ends(death).await;
    }
}
