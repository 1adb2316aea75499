//! What goes wrong on the way, and costs nothing or is told.

use super::*;

#[tokio::test]
async fn a_killed_server_interrupts_the_turn_and_what_streamed_is_kept() {
    let test = hosting([
        Step::text("Half an answer"),
        Step::gate("hold"),
        Step::text(" more"),
    ])
    .await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "Half an answer").await;
    test.impostor.kill().await;
    test.impostor.restart().await.unwrap();
    let result = test.finished(turn, working).await;
    assert_ended(
        &result,
        TurnStatus::Error,
        Some("interrupted"),
        "Half an answer",
    );
    test.assert_prompted_once(&result);
}

#[tokio::test]
async fn a_server_that_stays_away_interrupts_the_turn_too() {
    let test = hosting([
        Step::text("Half an answer"),
        Step::gate("hold"),
        Step::text(" more"),
    ])
    .await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "Half an answer").await;
    test.impostor.kill().await;
    let result = test.finished(turn, working).await;
    assert_ended(
        &result,
        TurnStatus::Error,
        Some("interrupted"),
        "Half an answer",
    );
}

#[tokio::test]
async fn a_stream_that_drops_in_the_middle_costs_nothing() {
    let test = hosting([
        Step::text("One. "),
        Step::gate("two"),
        Step::text("Two. "),
        Step::gate("three"),
        Step::text("Three."),
    ])
    .await;
    let turn = test.submit("count").await;
    let working = test.work(turn);
    test.shown(turn, "One. ").await;
    assert_eq!(test.impostor.drop_streams(), 1);
    test.impostor.gate("two").open();
    test.impostor.gate("three").reached().await.unwrap();
    test.impostor.gate("three").open();
    let result = test.finished(turn, working).await;
    let text = result.answer.content.replace("\n\n", "");
    assert_eq!(
        (result.status, text.as_str()),
        (TurnStatus::Completed, "One. Two. Three.")
    );
    test.assert_prompted_once(&result);
}

#[tokio::test]
async fn without_a_global_stream_the_one_of_the_directory_is_used() {
    let impostor = Impostor::scripted(Script::always([Step::text("Streamed.")]))
        .await
        .unwrap();
    impostor.faults().no_global_event();
    let test = Hosting::new(impostor).await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Completed, None, "Streamed.");
    assert_eq!(test.impostor.ledger().streams_opened("/event"), 1);
    assert!(
        test.recorder.named("stream.completed")[0]["event_count"]
            .as_u64()
            .unwrap()
            > 5
    );
}

#[tokio::test]
async fn a_silent_stream_is_polled_instead() {
    let impostor = Impostor::scripted(Script::always([Step::text("Polled.")]))
        .await
        .unwrap();
    impostor.faults().silent_streams();
    let test = Hosting::new(impostor).await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Completed, None, "Polled.");
    assert_eq!(test.recorder.named("stream.completed")[0]["event_count"], 0);
    assert_eq!(test.recorder.count("response.recovered_from_exchange"), 1);
}

#[tokio::test]
async fn a_lost_answer_to_the_prompt_does_not_prompt_twice() {
    // 1.2.1 to 1.2.20 answer a look for a message that is absent with a 500.
    for (version, lost) in [
        ("1.18.33", "request"),
        ("1.18.33", "response"),
        ("1.2.1", "request"),
        ("1.2.20", "request"),
        ("1.2.20", "response"),
        ("1.1.16", "request"),
    ] {
        let script = Script::always([Step::text("Once.")]);
        let impostor = Impostor::builder().script(script).version(version);
        let impostor = impostor.start().await.unwrap();
        match lost {
            "request" => impostor
                .faults()
                .lose_request("POST /session/:id/prompt_async", Calls::Nth(1)),
            _ => impostor
                .faults()
                .lose_response("POST /session/:id/prompt_async", Calls::Nth(1)),
        };
        let test = Hosting::new(impostor).await;
        let result = test.turn("go").await;
        assert_ended(&result, TurnStatus::Completed, None, "Once.");
        let ledger = test.impostor.ledger();
        assert_eq!(
            ledger.model_runs(result.prompt.as_ref().unwrap().as_str()),
            1,
            "{version} {lost}"
        );
        let prompts = test
            .impostor
            .messages(result.session.as_ref().unwrap().as_str());
        assert_eq!(
            prompts
                .iter()
                .filter(|message| message["info"]["role"] == "user")
                .count(),
            1,
            "{lost}"
        );
        test.impostor.assert_clean();
    }
}

#[tokio::test]
async fn a_late_idle_of_an_aborted_turn_does_not_end_the_next() {
    let script = Script::new()
        .on("first", [Step::text("Aborted"), Step::Hang])
        .on(
            "second",
            [Step::gate("answer"), Step::text("The second answer.")],
        );
    let impostor = Impostor::scripted(script).await.unwrap();
    impostor.faults().late_idle("late");
    let test = Hosting::new(impostor).await;
    let first = test.submit("first").await;
    let working = test.work(first);
    test.shown(first, "Aborted").await;
    test.host.cancel(first, None).await.unwrap();
    test.finished(first, working).await;
    let second = test.submit("second").await;
    let working = test.work(second);
    test.impostor.gate("answer").reached().await.unwrap();
    test.impostor.gate("late").open();
    test.impostor.gate("answer").open();
    let result = test.finished(second, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "The second answer.");
}

/// Answers the prompt's post with a 204, and does nothing with it.
fn takes_and_never_runs() -> Action {
    Action::Answer {
        status: 204,
        content_type: String::new(),
        body: String::new(),
    }
}

#[tokio::test]
async fn a_prompt_that_is_never_run_is_told_without_a_stream() {
    let impostor = Impostor::scripted(Script::always([Step::text("no")]))
        .await
        .unwrap();
    impostor.faults().silent_streams();
    let post = "POST /session/:id/prompt_async";
    let faults = impostor.faults();
    faults.request(post, Calls::All, takes_and_never_runs());
    let test = Hosting::new(impostor).await;
    let result = test.turn("go").await;
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Error, "upstream")
    );
    let error = result.answer.error.unwrap().message;
    assert!(error.contains("never ran it"), "{error}");
    let ledger = test.impostor.ledger();
    let asked = ledger.count("GET /agent") + ledger.count("GET /config/providers");
    assert_eq!(asked, 0, "the prompt names nothing that could be unknown");
}

#[tokio::test]
async fn a_forgotten_session_is_replaced_and_prompted_once_more() {
    let test = hosting([Step::text("Fine.")]).await;
    let first = test.turn("one").await;
    test.impostor
        .forget(first.session.as_ref().unwrap().as_str());
    let second = test.turn("two").await;
    assert_ended(&second, TurnStatus::Completed, None, "Fine.");
    assert_ne!(first.session, second.session);
    test.assert_prompted_once(&second);
}

#[tokio::test]
async fn a_session_forgotten_after_the_prompt_is_traced_as_a_resend() {
    let script = Script::new()
        .once("go", [Step::text("Half"), Step::gate("hold")])
        .otherwise([Step::text("Whole.")]);
    let test = Hosting::new(Impostor::scripted(script).await.unwrap()).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "Half").await;
    let session = test
        .store
        .turn(turn)
        .await
        .unwrap()
        .unwrap()
        .prompted
        .unwrap()
        .session;
    test.impostor.forget(session.as_str());
    test.impostor.drop_streams();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "Whole.");
    assert_eq!(test.recorder.count("session.recreated_with_resend"), 1);
}

#[tokio::test]
async fn a_broken_server_is_a_failed_turn() {
    let impostor = Impostor::scripted(Script::always([Step::text("no")]))
        .await
        .unwrap();
    impostor
        .faults()
        .request("POST /session", Calls::All, Action::html(500));
    let test = Hosting::new(impostor).await;
    let result = test.turn("go").await;
    assert_eq!(result.status, TurnStatus::Failed);
    let error = result.answer.error.unwrap();
    assert!(error.message.contains("500"), "{error:?}");
    assert_eq!(
        result.answer.content,
        "Sorry, an error occurred while generating this response."
    );
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once() {
    let impostor = Impostor::scripted(Script::always([Step::text("no")]))
        .await
        .unwrap();
    impostor.faults().refuse_auth();
    let test = Hosting::new(impostor).await;
    let result = test.turn("go").await;
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Error, "unauthorized")
    );
}

#[tokio::test]
async fn a_passing_failure_of_any_call_costs_nothing() {
    let calls = [
        "POST /session",
        "GET /session/:id",
        "GET /session/:id/message",
        "POST /session/:id/prompt_async",
        "GET /session/status",
    ];
    for call in calls {
        for action in [Action::LoseRequest, Action::html(502), Action::garbage()] {
            let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]))
                .await
                .unwrap();
            impostor
                .faults()
                .request(call, Calls::Nth(1), action.clone());
            let test = Hosting::new(impostor).await;
            let result = test.turn("go").await;
            assert_ended(&result, TurnStatus::Completed, None, "Fine.");
            assert_eq!(
                test.impostor
                    .ledger()
                    .model_runs(result.prompt.unwrap().as_str()),
                1,
                "{call} {action:?}"
            );
        }
    }
}

#[tokio::test]
async fn garbage_on_the_stream_is_skipped() {
    let test = hosting([Step::text("One. "), Step::gate("two"), Step::text("Two.")]).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "One. ").await;
    test.impostor
        .send_garbage(opencode_impostor::Garbage::MalformedJson);
    test.impostor
        .send_raw("data: {\"type\":\n\n\u{0}\u{1}garbage\n\n: comment\n\n");
    test.impostor.gate("two").open();
    let result = test.finished(turn, working).await;
    assert_eq!(result.answer.content.replace("\n\n", ""), "One. Two.");
    assert!(
        test.recorder.count("reported") > 0,
        "what was skipped is reported"
    );
}

#[tokio::test]
async fn events_that_were_lost_are_made_up_by_the_exchange() {
    for event in [
        "message.part.delta",
        "message.part.updated",
        "message.updated",
        "session.status",
    ] {
        let impostor = Impostor::scripted(Script::always([Step::text("Whole answer.")]))
            .await
            .unwrap();
        impostor.faults().lose_events(Events::of(event));
        let test = Hosting::new(impostor).await;
        let result = test.turn("go").await;
        assert_ended(&result, TurnStatus::Completed, None, "Whole answer.");
    }
}

#[tokio::test]
async fn a_turn_in_a_long_conversation_fetches_no_more() {
    let fetched = |test: &Hosting| -> (usize, usize) {
        let ledger = test.impostor.ledger();
        let lists = ledger.requests_of("GET /session/:id/message");
        (ledger.requests().len(), lists.len())
    };
    let test = hosting([Step::text("Fine.")]).await;
    let mut counts = Vec::new();
    for _ in 0..60 {
        let before = fetched(&test);
        test.turn("go").await;
        let after = fetched(&test);
        counts.push((after.0 - before.0, after.1 - before.1));
    }
    // The first turn makes the session and connects the stream.
    assert!(
        counts[1..].iter().all(|count| *count <= counts[0]),
        "{counts:?}"
    );
    let limits = test
        .impostor
        .ledger()
        .requests_of("GET /session/:id/message")
        .iter()
        .map(|request| {
            let limit = request
                .query
                .split('&')
                .find_map(|pair| pair.strip_prefix("limit="));
            limit.unwrap().parse::<usize>().unwrap()
        })
        .max();
    assert!(
        limits <= Some(2),
        "no list is asked for more than the turn's own messages"
    );
}
