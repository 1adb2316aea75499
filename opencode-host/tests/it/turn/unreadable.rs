//! A server that does not give a session's history any more, and tells and streams everything else.

use std::sync::Mutex;

use opencode_host::store::Owed;

use super::*;

const HISTORY: &str = "GET /session/:id/message";

/// Each way in which a history is not given, for good.
fn ways() -> Vec<Action> {
    vec![
        Action::error(500, "UnknownError", "Expected number, got null"),
        Action::html(500),
        Action::html(502),
        Action::garbage(),
        Action::error(400, "BadRequest", "no such limit"),
        Action::CutResponse,
        Action::Swallow,
        // More values than are read.
        Action::Answer {
            status: 200,
            content_type: "application/json".into(),
            body: format!("[{}1]", "1,".repeat(5 << 20)),
        },
    ]
}

/// A host that waits as long for its server as a busy machine may need.
async fn waiting(impostor: Impostor, way: &Action) -> Hosting {
    waiting_with(impostor, way, |builder| builder).await
}

async fn waiting_with(
    impostor: Impostor,
    way: &Action,
    adjust: impl FnOnce(crate::hosting::Builder) -> crate::hosting::Builder,
) -> Hosting {
    let mut options = quick();
    options.limits.unreachable = Duration::from_secs(4);
    if *way != Action::Swallow {
        options.limits.pace.answer = Duration::from_secs(3);
    }
    Hosting::with(impostor, options, adjust).await
}

/// What is owed to the conversation's session.
async fn owed(test: &Hosting) -> Option<Owed> {
    let row = test.store.conversation(test.conversation).await.unwrap();
    row.unwrap().session.unwrap().owed
}

fn alive(test: &Hosting) -> Vec<String> {
    let ledger = test.impostor.ledger();
    ledger
        .sessions_alive()
        .iter()
        .map(|id| (*id).to_owned())
        .collect()
}

/// The texts that the session's user messages hold.
fn said_to(test: &Hosting, session: &str) -> Vec<String> {
    let messages = test.impostor.messages(session);
    let of_user = messages
        .iter()
        .filter(|message| message["info"]["role"] == "user");
    of_user
        .map(|message| message["parts"][0]["text"].as_str().unwrap().to_owned())
        .collect()
}

#[derive(Clone, Debug, Default)]
struct Finalized(Arc<Mutex<Vec<Exchange>>>);

#[async_trait]
impl Product for Finalized {
    async fn on_finalized(
        &self,
        _: &Message,
        exchange: &Exchange,
        _: &Delivery,
    ) -> Result<(), HookError> {
        self.0.lock().unwrap().push(exchange.clone());
        Ok(())
    }
}

#[tokio::test]
async fn what_streamed_and_finished_is_the_answer_and_the_next_prompt_goes_to_a_fresh_session() {
    for way in ways() {
        let what = format!("{way:?}").chars().take(80).collect::<String>();
        let steps = [
            Step::reasoning("Let me see."),
            Step::tool("read", json!({"filePath": "/a"}), "alpha"),
            Step::text("It says alpha."),
        ];
        let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
        // The first look is the one that the prompt's ids are made of.
        let faults = impostor.faults();
        let broken = faults.request(HISTORY, Calls::After(1), way.clone());
        let finalized = Finalized::default();
        let product = finalized.clone();
        let test = waiting_with(impostor, &way, |builder| builder.product(product)).await;
        let result = test.turn("read").await;
        assert_ended(&result, TurnStatus::Completed, None, "It says alpha.");
        assert_eq!(result.answer.reasoning, "Let me see.", "{what}");
        assert_eq!(result.answer.tool_calls().len(), 1, "{what}");
        test.assert_prompted_once(&result);
        let session = result.session.clone().unwrap();
        let messages = test.impostor.messages(session.as_str());
        let sum = |field: &str| -> u64 {
            let tokens = messages
                .iter()
                .filter_map(|message| message["info"]["tokens"][field].as_u64());
            tokens.sum()
        };
        assert_eq!(
            (
                result.answer.usage.input_tokens,
                result.answer.usage.output_tokens
            ),
            (sum("input"), sum("output")),
            "{what}"
        );
        assert!(result.answer.usage.cost > 0.0, "{what}");
        {
            let exchanges = finalized.0.lock().unwrap();
            assert_eq!(exchanges.len(), 1, "{what}");
            let answers = messages
                .iter()
                .filter(|message| message["info"]["role"] == "assistant");
            assert_eq!(exchanges[0].messages.len(), answers.count(), "{what}");
            assert!(exchanges[0].is_complete(), "{what}");
        }
        assert_eq!(test.recorder.count("session.unreadable"), 1, "{what}");
        assert_eq!(owed(&test).await, Some(Owed::Replacement), "{what}");

        test.impostor.faults().remove(broken);
        let next = test.turn("and now?").await;
        assert_ended(&next, TurnStatus::Completed, None, "It says alpha.");
        test.assert_prompted_once(&next);
        let fresh = next.session.unwrap();
        assert_ne!(fresh, session, "{what}");
        let said = said_to(&test, fresh.as_str());
        assert!(
            said.len() == 2 && said[0].contains("> It says alpha.") && said[1] == "and now?",
            "{what}: {said:?}"
        );
        assert_eq!(test.recorder.count("session.carried_over"), 1, "{what}");
        assert_eq!(alive(&test), [fresh.to_string()], "{what}");
        assert_eq!(owed(&test).await, None, "{what}");
        test.impostor.assert_clean();
    }
}

#[tokio::test]
async fn a_history_that_fails_in_passing_costs_nothing() {
    for way in ways() {
        let what = format!("{way:?}").chars().take(80).collect::<String>();
        if what.contains("1,1,1") {
            // One that is too large does not get smaller.
            continue;
        }
        let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]))
            .await
            .unwrap();
        let faults = impostor.faults();
        faults.request(HISTORY, Calls::Nth(2), way.clone());
        let test = waiting(impostor, &way).await;
        let result = test.turn("go").await;
        assert_ended(&result, TurnStatus::Completed, None, "Fine.");
        assert_eq!(owed(&test).await, None, "{what}");
        let next = test.turn("again").await;
        assert_eq!(next.session, result.session, "{what}");
    }
}

#[tokio::test]
async fn an_answer_that_did_not_finish_keeps_what_came_and_says_what_comes_next() {
    // The answer stops in the middle of a word, with nobody at work: the server died, or stopped.
    let steps = [
        Step::tool("read", json!({"filePath": "/a"}), "alpha"),
        Step::BreakHistory,
        Step::Text(Streamed::new("Half an answer").gate("hold").gate_after(1)),
    ];
    let test = Hosting::new(
        Impostor::scripted(Script::new().once("go", steps).otherwise([Step::Echo]))
            .await
            .unwrap(),
    )
    .await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.impostor.gate("hold").reached().await.unwrap();
    test.shown(turn, "Half").await;
    test.impostor.restart().await.unwrap();
    let result = test.finished(turn, working).await;
    assert_eq!(result.status, TurnStatus::Error);
    assert_eq!(result.answer.reason.unwrap().as_str(), "upstream");
    assert!(
        result.answer.content.starts_with("Half"),
        "{}",
        result.answer.content
    );
    assert_eq!(result.answer.tool_calls().len(), 1);
    let error = result.answer.error.clone().unwrap().message;
    assert!(
        error.contains("cannot read") && error.contains("kept") && error.contains("fresh session"),
        "{error}"
    );
    test.assert_prompted_once(&result);
    assert_eq!(owed(&test).await, Some(Owed::Replacement));
    let next = test.turn("next").await;
    assert_ended(&next, TurnStatus::Completed, None, "next");
    assert_ne!(next.session, result.session);
    assert!(said_to(&test, next.session.unwrap().as_str())[0].contains("> Half"));
}

#[tokio::test]
async fn a_provider_error_is_told_without_the_history_too() {
    let steps = [
        Step::text("Half"),
        Step::BreakHistory,
        Step::provider_error(503, "out of order"),
    ];
    let test = hosting(steps).await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Error, Some("upstream"), "Half");
    let error = result.answer.error.unwrap();
    assert_eq!(
        (error.status_code, error.message.as_str()),
        (Some(503), "out of order")
    );
}

#[tokio::test]
async fn a_cut_answer_and_an_empty_one_are_told_apart_from_a_whole_one() {
    let cut = hosting([
        Step::text("Half of"),
        Step::BreakHistory,
        Step::finish("length"),
    ])
    .await;
    let result = cut.turn("go").await;
    assert_ended(&result, TurnStatus::Completed, Some("length"), "Half of");
    let empty = hosting([Step::BreakHistory, Step::Empty]).await;
    let result = empty.turn("go").await;
    assert_eq!(result.answer.reason.unwrap().as_str(), "empty_reply");
}

#[tokio::test]
async fn a_declined_request_is_declined() {
    let test = hosting([
        Step::BreakHistory,
        Step::ask_bash("echo hi", "hi\n"),
        Step::text("no"),
    ])
    .await;
    let turn = test.submit("run it").await;
    let working = test.work(turn);
    let opencode_client::reply::PendingRequest::Permission(asked) = request(&test, turn).await
    else {
        panic!()
    };
    test.host
        .reply_permission(turn, &asked.id, PermissionReply::Reject, None)
        .await
        .unwrap();
    let result = test.finished(turn, working).await;
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Cancelled, "declined")
    );
}

#[tokio::test]
async fn a_cancel_keeps_what_came_and_replaces_the_session() {
    let script = Script::new()
        .once(
            "go",
            [Step::text("Half"), Step::BreakHistory, Step::gate("hold")],
        )
        .otherwise([Step::Echo]);
    let test = Hosting::new(Impostor::scripted(script).await.unwrap()).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.impostor.gate("hold").reached().await.unwrap();
    test.shown(turn, "Half").await;
    test.host.cancel(turn, None).await.unwrap();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Cancelled, Some("cancelled"), "Half");
    assert!(test.impostor.ledger().busy().is_empty());
    let next = test.turn("next").await;
    assert_ended(&next, TurnStatus::Completed, None, "next");
    assert_ne!(next.session, result.session);
}

#[tokio::test]
async fn a_session_that_turns_out_unreadable_before_the_prompt_is_replaced_once() {
    for way in ways() {
        let what = format!("{way:?}").chars().take(80).collect::<String>();
        if matches!(way, Action::CutResponse | Action::Swallow) || what.contains("502") {
            // These may be the way to the server: they are waited for.
            continue;
        }
        let impostor = Impostor::scripted(Script::always([Step::Echo])).await;
        let test = waiting(impostor.unwrap(), &way).await;
        let first = test.turn("one").await;
        let unreadable = first.session.unwrap();
        let history = format!("GET /session/{unreadable}/message");
        let broken = test
            .impostor
            .faults()
            .request(&history, Calls::All, way.clone());
        let second = test.turn("two").await;
        assert_ended(&second, TurnStatus::Completed, None, "two");
        let fresh = second.session.clone().unwrap();
        assert_ne!(fresh, unreadable, "{what}");
        test.assert_prompted_once(&second);
        assert_eq!(
            test.impostor.ledger().prompts(unreadable.as_str()).len(),
            1,
            "{what}"
        );
        assert!(
            said_to(&test, fresh.as_str())[0].contains("> one"),
            "{what}"
        );
        assert_eq!(alive(&test), [fresh.to_string()], "{what}");

        // Where a fresh one cannot be read either, that is the end: two mints, and no prompt.
        test.impostor.faults().remove(broken);
        test.impostor.faults().request(HISTORY, Calls::All, way);
        let prompts = test.impostor.ledger().prompt_posts().len();
        let third = test.turn("three").await;
        assert_eq!(third.answer.reason.unwrap().as_str(), "upstream", "{what}");
        let error = third.answer.error.unwrap().message;
        assert!(error.contains("fresh session"), "{what}: {error}");
        let ledger = test.impostor.ledger();
        assert_eq!(ledger.prompt_posts().len(), prompts, "{what}");
        assert!(ledger.count("POST /session") <= 3, "{what}");
        assert_eq!(ledger.sessions_alive().len(), 1, "{what}");
    }
}

/// The turn that prompted a session is not moved to another, whoever goes on with it.
#[tokio::test]
async fn a_prompted_turn_stays_with_its_session() {
    let test = hosting([Step::text("Half"), Step::gate("hold"), Step::text(" more")]).await;
    let turn = test.submit("go").await;
    let stop = tokio_util::sync::CancellationToken::new();
    let working = {
        let (worker, stop) = (test.worker.clone(), stop.clone());
        tokio::spawn(async move { worker.run_turn(turn, stop).await })
    };
    test.shown(turn, "Half").await;
    stop.cancel();
    let _ = working.await.unwrap();
    // Somebody late writes down that the session of the turn before was given up.
    let lock = test
        .store
        .lock_session(test.conversation, PATIENCE)
        .await
        .unwrap();
    let mut record = lock.current().cloned().unwrap();
    record.owed = Some(Owed::Replacement);
    let set = lock.set(&record).await.unwrap();
    assert_eq!(set, opencode_host::store::Swapped::Yes);
    let working = test.work(turn);
    test.impostor.gate("hold").open();
    let result = test.finished(turn, working).await;
    assert_eq!(
        result.status,
        TurnStatus::Completed,
        "{:?}",
        result.answer.error
    );
    assert_eq!(result.session.as_ref(), Some(&record.id));
    test.assert_prompted_once(&result);
    assert_eq!(test.impostor.ledger().all_model_runs(), 1);
    assert_ne!(test.turn("next").await.session, Some(record.id));
}

#[tokio::test]
async fn a_slow_delete_of_the_replaced_session_holds_nothing_for_long() {
    let test = hosting([Step::Echo]).await;
    let first = test.turn("one").await;
    let lock = test
        .store
        .lock_session(test.conversation, PATIENCE)
        .await
        .unwrap();
    let mut record = lock.current().cloned().unwrap();
    record.owed = Some(Owed::Replacement);
    let set = lock.set(&record).await.unwrap();
    assert_eq!(set, opencode_host::store::Swapped::Yes);
    test.impostor
        .faults()
        .swallow("DELETE /session/:id", Calls::All);
    let second = test.turn("two").await;
    assert_ended(&second, TurnStatus::Completed, None, "two");
    assert_ne!(second.session, first.session);
    let reported = test.recorder.named("reported");
    assert!(
        reported
            .iter()
            .any(|fields| fields.get("action") == Some(&"session.delete".into())),
        "{reported:?}"
    );
}
