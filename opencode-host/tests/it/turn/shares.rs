//! Turns that wait for their tenant's share, or for their moment.

use std::num::NonZeroU32;

use opencode_client::QuestionId;
use opencode_client::wire::Prompt;
use opencode_host::clock::{Clock as _, SystemClock};
use opencode_host::id::TurnId;
use opencode_host::store::{Phase, Rate, Tenant, TenantShare};
use tokio_util::sync::CancellationToken;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A worker at work that looks for turns once an hour, and when it hears of one.
async fn patient(script: Script) -> Hosting {
    let impostor = Impostor::scripted(script).await.unwrap();
    let mut options = quick();
    options.poll_interval = HOUR;
    let test = Hosting::with(impostor, options, |builder| builder).await;
    let worker = test.worker.clone();
    tokio::spawn(async move { worker.run(CancellationToken::new()).await });
    test
}

async fn submit(test: &Hosting, name: &str, text: &str, options: SubmitOptions) -> TurnId {
    let acme = Tenant::from("acme");
    let opened = test.host.open_conversation(&acme, name).await.unwrap();
    let submitted = test.host.submit(opened.id, Prompt::text(text), options);
    submitted.await.unwrap().turn.id
}

async fn settled(test: &Hosting, turn: TurnId) -> TurnResult {
    let settled = tokio::time::timeout(PATIENCE, test.host.settled(turn));
    settled.await.expect("the turn did not end").unwrap()
}

#[tokio::test]
async fn an_idle_worker_wakes_for_a_turns_moment() {
    let test = patient(Script::new().otherwise([Step::text("Fine.")])).await;
    let moment = SystemClock.now().after(Duration::from_millis(300));
    let options = SubmitOptions {
        not_before: Some(moment),
        ..SubmitOptions::default()
    };
    let late = submit(&test, "late", "later", options).await;
    let now = submit(&test, "now", "at once", SubmitOptions::default()).await;
    settled(&test, now).await;
    let result = settled(&test, late).await;
    assert_ended(&result, TurnStatus::Completed, None, "Fine.");
    let row = test.store.turn(late).await.unwrap().unwrap();
    assert!(row.started_at().unwrap() >= moment, "{row:?}");
}

#[tokio::test]
async fn an_idle_worker_wakes_for_a_tenants_next_period() {
    let test = patient(Script::new().otherwise([Step::text("Fine.")])).await;
    let period = Duration::from_millis(300);
    let share = TenantShare::default().rate(Rate::new(NonZeroU32::MIN, period));
    let acme = Tenant::from("acme");
    test.host
        .set_tenant_share(&acme, Some(&share))
        .await
        .unwrap();
    let first = submit(&test, "first", "one", SubmitOptions::default()).await;
    let second = submit(&test, "second", "two", SubmitOptions::default()).await;
    settled(&test, second).await;
    let started = async |turn| {
        let row = test.store.turn(turn).await.unwrap().unwrap();
        row.started_at().unwrap()
    };
    assert!(started(second).await >= started(first).await.after(period));
}

#[tokio::test]
async fn a_turn_that_waits_for_a_person_does_not_use_up_its_tenants_share() {
    let script = Script::new()
        .on(
            "ask",
            [
                Step::question("Go on?", ["Yes"]),
                Step::gate("on"),
                Step::text("Gone on."),
            ],
        )
        .on("hold", [Step::text("Held"), Step::gate("hold")])
        .otherwise([Step::text("Fine.")]);
    let test = patient(script).await;
    let share = TenantShare::default().concurrency(NonZeroU32::MIN);
    let acme = Tenant::from("acme");
    test.host
        .set_tenant_share(&acme, Some(&share))
        .await
        .unwrap();
    let asks = submit(&test, "asks", "ask", SubmitOptions::default()).await;
    let asked = |ledger: &opencode_impostor::Ledger| !ledger.questions().is_empty();
    test.impostor.wait_for(asked).await.unwrap();
    let asked = QuestionId::from(test.impostor.ledger().questions()[0]);
    // The worker hears that it waits, and takes another one.
    let other = submit(&test, "other", "hello", SubmitOptions::default()).await;
    settled(&test, other).await;
    let yes = [vec!["Yes".to_owned()]];
    test.host.answer_question(asks, &asked, &yes).await.unwrap();
    test.impostor.gate("on").reached().await.unwrap();
    // It is counted again once its worker has heard that it goes on.
    let waiting = submit(&test, "waiting", "hold", SubmitOptions::default()).await;
    let phase = async |turn| test.store.turn(turn).await.unwrap().unwrap().phase();
    assert_eq!(phase(asks).await, Phase::Running);
    test.impostor.gate("on").open();
    assert_ended(
        &settled(&test, asks).await,
        TurnStatus::Completed,
        None,
        "Gone on.",
    );
    test.impostor.gate("hold").open();
    assert_ended(
        &settled(&test, waiting).await,
        TurnStatus::Completed,
        None,
        "Held",
    );
}
