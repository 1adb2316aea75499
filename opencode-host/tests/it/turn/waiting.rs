//! Turns that wait for a person: what they hold up, and for how long they do.

use futures_util::StreamExt as _;
use opencode_client::QuestionId;
use opencode_client::wire::Prompt;
use opencode_host::Host;
use opencode_host::clock::{ManualClock, Timestamp};
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::live::Cursor;
use opencode_host::outcome::Reason;
use opencode_host::store::{MemoryStore, Phase, Store, Tenant};
use opencode_host::turn::{Deadlines, Unanswered, Waiting};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::hosting::killed;

/// A worker with one place, at work, and a script by the prompt's first word.
async fn one_at_a_time(script: Script, adjust: impl FnOnce(&mut WorkerOptions)) -> Hosting {
    let impostor = Impostor::scripted(script).await.unwrap();
    let mut options = quick();
    options.concurrency = 1;
    adjust(&mut options);
    let test = Hosting::with(impostor, options, |builder| builder).await;
    let worker = test.worker.clone();
    tokio::spawn(async move { worker.run(CancellationToken::new()).await });
    test
}

/// Submits to a conversation of this name.
async fn submit(test: &Hosting, name: &str, text: &str) -> TurnId {
    let tenant = Tenant::default();
    let opened = test.store.open_conversation(&tenant, name).await;
    let conversation: ConversationId = opened.unwrap().id;
    let (prompt, options) = (Prompt::text(text), SubmitOptions::default());
    let submitted = test.host.submit(conversation, prompt, options).await;
    submitted.unwrap().turn.id
}

async fn settled(test: &Hosting, turn: TurnId) -> TurnResult {
    let settled = tokio::time::timeout(PATIENCE, test.host.settled(turn));
    settled.await.expect("the turn did not end").unwrap()
}

/// The question that the server has, once it has one.
async fn question(test: &Hosting) -> QuestionId {
    let asked = |ledger: &opencode_impostor::Ledger| !ledger.questions().is_empty();
    test.impostor.wait_for(asked).await.unwrap();
    QuestionId::from(test.impostor.ledger().questions()[0])
}

#[tokio::test]
async fn a_turn_that_waits_for_a_person_holds_no_other_up_and_goes_on_though_there_is_no_place() {
    let script = Script::new()
        .on(
            "ask",
            [Step::question("Go on?", ["Yes"]), Step::text("Gone on.")],
        )
        .on("hold", [Step::text("Held"), Step::gate("hold")])
        .otherwise([Step::text("Fine.")]);
    let test = one_at_a_time(script, |_| ()).await;
    let asks = submit(&test, "asks", "ask").await;
    let asked = question(&test).await;
    let generation = async |turn| test.store.turn(turn).await.unwrap().unwrap().generation;
    // Its place is another's meanwhile, and yet another's behind that one.
    let first = submit(&test, "first", "hello").await;
    assert_ended(
        &settled(&test, first).await,
        TurnStatus::Completed,
        None,
        "Fine.",
    );
    let holds = submit(&test, "holds", "hold").await;
    test.impostor.gate("hold").reached().await.unwrap();
    let row = test.store.turn(asks).await.unwrap().unwrap();
    assert_eq!((row.phase(), row.generation), (Phase::Running, 1));
    // The one place is taken, and the answer is heard all the same.
    let yes = [vec!["Yes".to_owned()]];
    test.host.answer_question(asks, &asked, &yes).await.unwrap();
    assert_ended(
        &settled(&test, asks).await,
        TurnStatus::Completed,
        None,
        "Gone on.",
    );
    assert_eq!(generation(asks).await, 1, "its lease was kept");
    assert_eq!(
        test.store.turn(holds).await.unwrap().unwrap().phase(),
        Phase::Running
    );
    test.impostor.gate("hold").open();
    assert_ended(
        &settled(&test, holds).await,
        TurnStatus::Completed,
        None,
        "Held",
    );
}

/// What asks, by the prompt's first word.
fn asking() -> Script {
    let asks = |step| [step, Step::text("Gone on.")];
    Script::new()
        .on("which", asks(Step::question("Which?", ["Left", "Right"])))
        .on("may", asks(Step::ask_bash("rm -r build", "")))
}

#[tokio::test]
async fn a_request_that_nobody_answers_in_time_is_answered_as_the_worker_says() {
    let nobody = "Nobody answered within 100ms. Go on without.";
    for (then, prompt, ended, endpoint, body) in [
        (
            Unanswered::Reject,
            "which",
            Some("declined"),
            "POST /question/*/reject",
            json!({}),
        ),
        (
            Unanswered::Deny,
            "which",
            None,
            "POST /question/*/reply",
            json!({"answers": [[nobody]]}),
        ),
        (
            Unanswered::Reject,
            "may",
            Some("declined"),
            "POST /permission/*/reply",
            json!({"reply": "reject"}),
        ),
        (
            Unanswered::Deny,
            "may",
            None,
            "POST /permission/*/reply",
            json!({"reply": "reject", "message": nobody}),
        ),
    ] {
        let case = format!("{prompt} {then:?}");
        let waiting = Waiting::new(Duration::from_millis(100), then);
        let adjust = |options: &mut WorkerOptions| options.limits.waiting = Some(waiting);
        let test = one_at_a_time(asking(), adjust).await;
        let turn = submit(&test, "asks", prompt).await;
        let result = settled(&test, turn).await;
        let reason = result.answer.reason.map(Reason::as_str);
        let status = match ended {
            Some(_) => TurnStatus::Cancelled,
            None => TurnStatus::Completed,
        };
        assert_eq!((result.status, reason), (status, ended), "{case}");
        assert!(result.duration >= waiting.at_most, "{case}");
        let sent = test.impostor.with_ledger(|ledger| {
            let sent = ledger.requests_of(endpoint);
            sent.iter()
                .map(|sent| sent.body.clone())
                .collect::<Vec<_>>()
        });
        assert_eq!(sent, [body], "{case}");
        let answers = test.store.answers(turn).await.unwrap();
        assert_eq!(answers[0].answer.by.as_deref(), Some(Waiting::BY), "{case}");
        let traced = test.recorder.named("request.unanswered");
        assert_eq!(
            (traced.len(), &traced[0]["taken"]),
            (1, &json!(true)),
            "{case}"
        );
    }
}

#[tokio::test]
async fn a_submit_may_say_how_long_its_requests_wait() {
    let test = one_at_a_time(asking(), |_| ()).await;
    let options = SubmitOptions {
        deadlines: Deadlines {
            waiting: Some(Duration::from_millis(50)),
            ..Deadlines::default()
        },
        ..SubmitOptions::default()
    };
    let prompt = Prompt::text("which");
    let submitted = test.host.submit(test.conversation, prompt, options).await;
    let result = settled(&test, submitted.unwrap().turn.id).await;
    assert_eq!(result.answer.reason, Some(Reason::Declined));
}

#[tokio::test]
async fn a_person_who_answers_in_time_is_heard() {
    let waiting = Waiting::new(Duration::from_secs(3600), Unanswered::Reject);
    let adjust = |options: &mut WorkerOptions| options.limits.waiting = Some(waiting);
    let test = one_at_a_time(asking(), adjust).await;
    let turn = submit(&test, "asks", "which").await;
    let asked = question(&test).await;
    let left = [vec!["Left".to_owned()]];
    test.host
        .answer_question(turn, &asked, &left)
        .await
        .unwrap();
    let result = settled(&test, turn).await;
    assert_ended(&result, TurnStatus::Completed, None, "Gone on.");
    assert!(test.recorder.named("request.unanswered").is_empty());
}

/// However often its worker dies meanwhile.
#[tokio::test]
async fn the_time_of_a_request_is_counted_from_when_it_was_asked() {
    let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let mut options = quick();
    let hour = Duration::from_secs(3600);
    options.limits.waiting = Some(Waiting::new(hour, Unanswered::Reject));
    let impostor = Impostor::scripted(asking()).await.unwrap();
    let mut test = Hosting::new(impostor).await;
    test.store = Arc::clone(&store);
    let rebuilt =
        |test: Hosting| test.rebuilt(Arc::clone(&store), options.clone(), |builder| builder);
    test = rebuilt(test);
    let turn = submit(&test, "asks", "which").await;
    for died in 0..2 {
        let process = tokio::runtime::Runtime::new().unwrap();
        let worker = test.worker.clone();
        process.spawn(async move { worker.run_turn(turn, CancellationToken::new()).await });
        question(&test).await;
        // Who has nothing of the worker but what it saved.
        let elsewhere = Host::builder(Arc::clone(&store)).build();
        let mut views = elsewhere.views(turn, Cursor::START).await.unwrap();
        let is_asked = async {
            while views.next().await.unwrap().unwrap().1.requests().len() == 0 {}
            let looked = |ledger: &opencode_impostor::Ledger| {
                ledger.requests_of("GET /question").len() >= died
            };
            test.impostor.wait_for(looked).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, is_asked).await.unwrap();
        let row = store.turn(turn).await.unwrap().unwrap();
        assert_eq!(
            (row.phase(), row.generation),
            (Phase::Running, died as u64 + 1)
        );
        killed(process).await;
        test = rebuilt(test);
        clock.advance(hour * 2 / 3);
        assert!(store.answers(turn).await.unwrap().is_empty());
    }
    let working = test.work(turn);
    let result = settled(&test, turn).await;
    assert_eq!(result.answer.reason, Some(Reason::Declined));
    working.await.unwrap();
}
