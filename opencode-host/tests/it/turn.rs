//! Every ending of a turn, against the impostor.

use std::time::Duration;

use async_trait::async_trait;
use opencode_client::Exchange;
use opencode_client::wire::PermissionReply;
use opencode_host::live::{Cursor, LiveEvent};
use opencode_host::product::{HookError, Product};
use opencode_host::store::{CancelOutcome, Message, MessageStatus, TurnStatus};
use opencode_host::turn::TurnResult;
use opencode_host::{HostOptions, SubmitError, SubmitOptions};
use opencode_impostor::{Action, Calls, Events, Impostor, Script, Step, Streamed, UNICODE_TEXT};
use serde_json::json;

use crate::hosting::{Hosting, PATIENCE, assert_ended, quick};

async fn hosting(steps: impl IntoIterator<Item = Step>) -> Hosting {
    Hosting::new(Impostor::scripted(Script::always(steps)).await.unwrap()).await
}

#[tokio::test]
async fn text_is_completed_byte_for_byte() {
    let test = hosting([Step::text(UNICODE_TEXT)]).await;
    let result = test.turn("hello").await;
    assert_ended(&result, TurnStatus::Completed, None, UNICODE_TEXT);
    test.assert_prompted_once(&result);
    test.impostor.assert_clean();
    assert_eq!(test.recorder.count("response.started"), 1);
    assert_eq!(test.recorder.count("session.created"), 1);
    let requests = test.recorder.named("request");
    assert_eq!(requests.len(), test.impostor.ledger().requests().len() - 1, "every call but the event stream");
    assert!(requests.iter().all(|request| !request["path"].as_str().unwrap().contains('?')));
    assert_eq!(test.recorder.named("stream.completed")[0]["tool_count"], 0);
}

#[tokio::test]
async fn a_tool_loop_is_summed_over_all_its_messages() {
    let test = hosting([
        Step::reasoning("Let me see."),
        Step::tool("read", json!({"filePath": "/a"}), "alpha"),
        Step::tool("read", json!({"filePath": "/b"}), "beta"),
        Step::text("Both read."),
    ])
    .await;
    let result = test.turn("read").await;
    assert_ended(&result, TurnStatus::Completed, None, "Both read.");
    let messages = test
        .impostor
        .messages(result.session.as_ref().unwrap().as_str());
    let sum = |field: &str| -> u64 {
        messages
            .iter()
            .filter_map(|message| message["info"]["tokens"][field].as_u64())
            .sum()
    };
    assert!(messages.len() > 3, "a loop makes several messages");
    assert_eq!(
        (result.usage.input_tokens, result.usage.output_tokens),
        (sum("input"), sum("output"))
    );
    let cost: f64 = messages
        .iter()
        .filter_map(|message| message["info"]["cost"].as_f64())
        .sum();
    assert!((result.usage.cost - cost).abs() < 1e-12 && cost > 0.0);
    assert_eq!(result.tool_calls().len(), 2);
    assert_eq!(result.reasoning, "Let me see.");
    test.impostor.assert_clean();
}

#[tokio::test]
async fn tools_without_a_word_are_completed() {
    let test = hosting([
        Step::tool("read", json!({"filePath": "/a"}), "alpha"),
        Step::finish("stop"),
    ])
    .await;
    let result = test.turn("read").await;
    assert_ended(&result, TurnStatus::Completed, None, "");
}

#[tokio::test]
async fn a_cut_text_is_completed_and_flagged() {
    let test = hosting([Step::text("Half of"), Step::finish("length")]).await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Completed, Some("length"), "Half of");
    assert!(result.truncated);
}

#[tokio::test]
async fn a_provider_error_after_half_an_answer_keeps_the_half() {
    let test = hosting([
        Step::text("Half an answer"),
        Step::provider_error(503, "out of order"),
    ])
    .await;
    let result = test.turn("go").await;
    assert_ended(
        &result,
        TurnStatus::Error,
        Some("upstream"),
        "Half an answer",
    );
    let error = result.error.unwrap();
    assert_eq!(
        (error.name.as_str(), error.message.as_str()),
        ("APIError", "out of order")
    );
    assert_eq!(error.status_code, Some(503));
    assert!(error.url.is_some());
    assert_eq!(test.recorder.count("response.upstream_error"), 1);
}

#[tokio::test]
async fn a_provider_error_without_a_word_is_an_error() {
    let test = hosting([Step::provider_error(401, "upstream says no")]).await;
    let result = test.turn("go").await;
    assert_eq!(
        (result.status, result.reason.unwrap().as_str()),
        (TurnStatus::Error, "upstream")
    );
    assert_eq!(result.error.unwrap().status_code, Some(401));
}

#[tokio::test]
async fn nothing_said_is_an_empty_reply() {
    let test = hosting([Step::Empty]).await;
    let result = test.turn("say nothing").await;
    assert_eq!(
        (result.status, result.reason.unwrap().as_str()),
        (TurnStatus::Error, "empty_reply")
    );
}

#[tokio::test]
async fn a_cancel_keeps_what_had_streamed() {
    let test = hosting([
        Step::text("Some words"),
        Step::gate("hold"),
        Step::text(" never said"),
    ])
    .await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "Some words").await;
    assert_eq!(
        test.host.cancel(turn).await.unwrap(),
        CancelOutcome::Requested
    );
    let result = test.finished(turn, working).await;
    assert_ended(
        &result,
        TurnStatus::Cancelled,
        Some("cancelled"),
        "Some words",
    );
    let ledger = test.impostor.ledger();
    assert_eq!(ledger.count("POST /session/:id/abort"), 1);
    assert!(ledger.busy().is_empty(), "the server is told to stop");
    assert!(matches!(
        test.host.cancel(turn).await.unwrap(),
        CancelOutcome::Already(TurnStatus::Cancelled)
    ));
}

#[tokio::test]
async fn a_cancel_before_the_first_word_says_so() {
    let test = hosting([Step::gate("hold"), Step::text("never said")]).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.impostor.gate("hold").reached().await.unwrap();
    test.host.cancel(turn).await.unwrap();
    let result = test.finished(turn, working).await;
    assert_ended(
        &result,
        TurnStatus::Cancelled,
        Some("cancelled"),
        "Response was stopped.",
    );
}

#[tokio::test]
async fn a_queued_turn_is_cancelled_without_a_word_to_the_server() {
    let test = hosting([Step::text("never asked")]).await;
    let turn = test.submit("go").await;
    assert_eq!(
        test.host.cancel(turn).await.unwrap(),
        CancelOutcome::Cancelled
    );
    assert_eq!(
        test.host.result(turn).await.unwrap().unwrap().status,
        TurnStatus::Cancelled
    );
    assert!(test.impostor.ledger().requests().is_empty());
}

fn question() -> [Step; 2] {
    [
        Step::question("Continue?", ["Yes", "No"]),
        Step::text("You answered"),
    ]
}

/// The first request the agent makes of the person.
async fn request(
    test: &Hosting,
    turn: opencode_host::id::TurnId,
) -> opencode_client::reply::PendingRequest {
    use opencode_client::reply::{Change, PendingRequest};
    let waiting = async {
        let mut live = test.host.live(turn, Cursor::START).await.unwrap();
        loop {
            match live
                .next()
                .await
                .unwrap()
                .expect("the turn ended before it asked")
            {
                LiveEvent::Change { change, .. } => match &*change {
                    Change::Question { request } => {
                        return PendingRequest::Question(request.clone());
                    }
                    Change::Permission { request } => {
                        return PendingRequest::Permission(request.clone());
                    }
                    _ => {}
                },
                LiveEvent::Snapshot { mut requests, .. } => {
                    if let Some(request) = requests.pop() {
                        return request;
                    }
                }
                LiveEvent::Finished => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("nothing was asked")
}

#[tokio::test]
async fn a_question_is_answered() {
    let test = hosting(question()).await;
    let turn = test.submit("ask me").await;
    let working = test.work(turn);
    let opencode_client::reply::PendingRequest::Question(asked) = request(&test, turn).await else {
        panic!()
    };
    test.host
        .answer_question(turn, &asked.id, &[vec!["Yes".to_owned()]])
        .await
        .unwrap();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "You answered");
    let again = test
        .host
        .answer_question(turn, &asked.id, &[vec!["No".to_owned()]])
        .await;
    assert!(matches!(again, Err(opencode_host::AnswerError::NotWaiting)));
}

#[tokio::test]
async fn a_rejected_question_is_a_cancelled_turn_at_once() {
    let test = hosting(question()).await;
    let turn = test.submit("ask me").await;
    let working = test.work(turn);
    let opencode_client::reply::PendingRequest::Question(asked) = request(&test, turn).await else {
        panic!()
    };
    test.host.reject_question(turn, &asked.id).await.unwrap();
    let result = tokio::time::timeout(Duration::from_secs(2), test.finished(turn, working))
        .await
        .expect("over 2 s");
    assert_eq!(
        (result.status, result.reason.unwrap().as_str()),
        (TurnStatus::Cancelled, "declined")
    );
    assert_eq!(result.tool_calls()[0].tool, "question");
}

#[tokio::test]
async fn a_permission_is_granted() {
    let test = hosting([Step::ask_bash("echo hi", "hi\n"), Step::text("Ran it")]).await;
    let turn = test.submit("run it").await;
    let working = test.work(turn);
    let opencode_client::reply::PendingRequest::Permission(asked) = request(&test, turn).await
    else {
        panic!()
    };
    assert_eq!(asked.permission, "bash");
    test.host
        .reply_permission(turn, &asked.id, PermissionReply::Once, None)
        .await
        .unwrap();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "Ran it");
    assert_eq!(result.tool_calls()[0].output.as_deref(), Some("hi\n"));
}

#[tokio::test]
async fn the_persons_time_does_not_count() {
    let mut options = quick();
    options.limits.turn = Duration::from_millis(600);
    let impostor = Impostor::builder()
        .script(Script::always(question()))
        .heartbeat(Duration::from_millis(50))
        .start()
        .await
        .unwrap();
    let test = Hosting::with(impostor, options, |builder| builder).await;
    let turn = test.submit("ask me").await;
    let working = test.work(turn);
    let opencode_client::reply::PendingRequest::Question(asked) = request(&test, turn).await else {
        panic!()
    };
    // Longer than the whole turn may take.
    tokio::time::sleep(Duration::from_millis(900)).await;
    test.host
        .answer_question(turn, &asked.id, &[vec!["Yes".to_owned()]])
        .await
        .unwrap();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "You answered");
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_stopped() {
    let mut options = quick();
    options.limits.turn = Duration::from_millis(500);
    let script = Script::always([Step::text("Some words"), Step::Hang]);
    let test = Hosting::with(
        Impostor::scripted(script).await.unwrap(),
        options,
        |builder| builder,
    )
    .await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Error, Some("timeout"), "Some words");
    let ledger = test.impostor.ledger();
    assert!(ledger.count("POST /session/:id/abort") >= 1 && ledger.busy().is_empty());
}

#[tokio::test]
async fn a_session_that_goes_quiet_is_stopped_where_that_is_asked_for() {
    let mut options = quick();
    options.limits.idle = Some(Duration::from_millis(400));
    let script = Script::always([Step::text("Some words"), Step::Hang]);
    let test = Hosting::with(
        Impostor::scripted(script).await.unwrap(),
        options,
        |builder| builder,
    )
    .await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Error, Some("idle"), "Some words");
}

#[tokio::test]
async fn a_looping_server_is_stopped() {
    let test = hosting([Step::Loop(Streamed::new("again"))]).await;
    let result = test.turn("go").await;
    assert_eq!(
        (result.status, result.reason.unwrap().as_str()),
        (TurnStatus::Error, "loop")
    );
    assert!(test.impostor.ledger().busy().is_empty());
}

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
    let text = result.content.replace("\n\n", "");
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
    for lost in ["request", "response"] {
        let impostor = Impostor::scripted(Script::always([Step::text("Once.")]))
            .await
            .unwrap();
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
            "{lost}"
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
    test.host.cancel(first).await.unwrap();
    test.finished(first, working).await;
    let second = test.submit("second").await;
    let working = test.work(second);
    test.impostor.gate("answer").reached().await.unwrap();
    test.impostor.gate("late").open();
    test.impostor.gate("answer").open();
    let result = test.finished(second, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "The second answer.");
}

#[tokio::test]
async fn an_unknown_agent_is_told() {
    let impostor = Impostor::builder()
        .script(Script::always([Step::text("no")]))
        .agents(["build"])
        .start()
        .await
        .unwrap();
    let test = Hosting::new(impostor).await;
    let mut prompt = opencode_client::wire::Prompt::text("go");
    prompt.agent = Some("nope".to_owned());
    let turn = test
        .host
        .submit(test.conversation, prompt, SubmitOptions::default())
        .await
        .unwrap()
        .turn
        .id;
    let result = test.finished(turn, test.work(turn)).await;
    assert_eq!(
        (result.status, result.reason.unwrap().as_str()),
        (TurnStatus::Error, "upstream")
    );
    assert!(result.error.unwrap().message.contains("nope"));
}

#[tokio::test]
async fn an_unknown_model_is_told() {
    let impostor = Impostor::builder()
        .script(Script::always([Step::text("no")]))
        .models(["local/scripted"])
        .start()
        .await
        .unwrap();
    let test = Hosting::new(impostor).await;
    let mut prompt = opencode_client::wire::Prompt::text("go");
    prompt.model = Some("local/other".parse().unwrap());
    let turn = test
        .host
        .submit(test.conversation, prompt, SubmitOptions::default())
        .await
        .unwrap()
        .turn
        .id;
    let result = test.finished(turn, test.work(turn)).await;
    assert_eq!(
        (result.status, result.reason.unwrap().as_str()),
        (TurnStatus::Error, "upstream")
    );
    assert!(result.error.unwrap().message.contains("local/other"));
}

#[tokio::test]
async fn a_prompt_that_is_never_run_is_told_without_a_stream() {
    let impostor = Impostor::builder()
        .script(Script::always([Step::text("no")]))
        .agents(["build"])
        .start()
        .await
        .unwrap();
    impostor.faults().silent_streams();
    let test = Hosting::new(impostor).await;
    let mut prompt = opencode_client::wire::Prompt::text("go");
    prompt.agent = Some("nope".to_owned());
    let turn = test
        .host
        .submit(test.conversation, prompt, SubmitOptions::default())
        .await
        .unwrap()
        .turn
        .id;
    let result = test.finished(turn, test.work(turn)).await;
    assert_eq!(
        (result.status, result.reason.unwrap().as_str()),
        (TurnStatus::Error, "upstream")
    );
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
    let error = result.error.unwrap();
    assert!(error.message.contains("500"), "{error:?}");
    assert_eq!(
        result.content,
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
        (result.status, result.reason.unwrap().as_str()),
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
    assert_eq!(result.content.replace("\n\n", ""), "One. Two.");
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

#[derive(Debug)]
struct FailingHooks;

#[async_trait]
impl Product for FailingHooks {
    async fn on_finalized(&self, message: &Message, exchange: &Exchange) -> Result<(), HookError> {
        assert_eq!(
            message.status,
            MessageStatus::Completed,
            "the row is durable by now"
        );
        assert_eq!(exchange.messages.len(), 1);
        Err("no disk".into())
    }

    async fn on_turn_finished(&self, _: &TurnResult) -> Result<(), HookError> {
        panic!("a hook of the host's")
    }
}

#[tokio::test]
async fn hooks_that_fail_change_nothing() {
    let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]))
        .await
        .unwrap();
    let test = Hosting::with_product(impostor, FailingHooks).await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Completed, None, "Fine.");
    let errors = test.recorder.named("callback.error");
    let callbacks: Vec<_> = errors
        .iter()
        .map(|fields| fields["callback"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(callbacks, ["on_finalized", "on_turn_finished"]);
}

#[tokio::test]
async fn a_page_opened_in_the_middle_has_the_half() {
    let test = hosting([
        Step::text("Half an answer"),
        Step::gate("hold"),
        Step::text(" and more"),
    ])
    .await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "Half an answer").await;
    let written = async {
        loop {
            let message = test.store.turn(turn).await.unwrap().unwrap().message;
            let message = test.store.message(message).await.unwrap().unwrap();
            if serde_json::to_string(&message.parts)
                .unwrap()
                .contains("Half an answer")
            {
                assert_eq!(message.status, MessageStatus::Pending);
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written)
        .await
        .expect("the half was not written down");
    test.impostor.gate("hold").open();
    test.finished(turn, working).await;
}

#[tokio::test]
async fn a_conversations_turns_run_in_order_one_at_a_time() {
    let test = hosting([Step::Echo]).await;
    let turns = [
        test.submit("one").await,
        test.submit("two").await,
        test.submit("three").await,
    ];
    // Asked for the last, the worker runs those before it first.
    let working = test.work(turns[2]);
    test.finished(turns[2], working).await;
    let prompts: Vec<_> = test
        .impostor
        .ledger()
        .prompt_posts()
        .iter()
        .map(|post| post.text.clone())
        .collect();
    assert_eq!(prompts, ["one", "two", "three"]);
    test.impostor.assert_clean();
}

#[tokio::test]
async fn bad_prompts_are_refused_before_anything_is_written() {
    let test = hosting([Step::text("no")]).await;
    for (text, refused) in [
        ("", "empty"),
        (" \n\t", "empty"),
        (&"x".repeat((1 << 20) + 1), "long"),
    ] {
        let error = test
            .host
            .submit(
                test.conversation,
                opencode_client::wire::Prompt::text(text),
                SubmitOptions::default(),
            )
            .await
            .unwrap_err();
        assert!(matches!(
            (&error, refused),
            (SubmitError::Empty, "empty") | (SubmitError::TooLong { .. }, "long")
        ));
    }
    assert!(
        test.store
            .messages(None, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_worker_runs_what_is_submitted_and_stops_when_told() {
    let test = hosting([Step::Echo]).await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let worker = tokio::spawn({
        let (host, shutdown) = (test.host.clone(), shutdown.clone());
        async move { host.run_worker(shutdown).await }
    });
    let turn = test.submit("hello").await;
    let mut live = test.host.live(turn, Cursor::START).await.unwrap();
    let watching = async { while live.next().await.unwrap().is_some() {} };
    tokio::time::timeout(PATIENCE, watching)
        .await
        .expect("the turn did not end");
    assert_eq!(
        test.host.result(turn).await.unwrap().unwrap().content,
        "hello"
    );
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, worker)
        .await
        .expect("the worker did not stop")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_stopped_worker_gives_its_turn_to_the_next() {
    let test = hosting([Step::text("One. "), Step::gate("two"), Step::text("Two.")]).await;
    let turn = test.submit("go").await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let worker = tokio::spawn({
        let (host, shutdown) = (test.host.clone(), shutdown.clone());
        async move { host.run_worker(shutdown).await }
    });
    test.shown(turn, "One. ").await;
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, worker)
        .await
        .expect("the worker did not stop")
        .unwrap()
        .unwrap();
    let working = test.work(turn);
    test.shown(turn, "One. ").await;
    test.impostor.gate("two").open();
    let result = test.finished(turn, working).await;
    assert_eq!(result.content.replace("\n\n", ""), "One. Two.");
    test.assert_prompted_once(&result);
}

#[tokio::test]
async fn fifty_ensures_at_once_make_one_session() {
    let test = hosting([Step::Echo]).await;
    let conversation = test
        .store
        .conversation(test.conversation)
        .await
        .unwrap()
        .unwrap();
    let telemetry = opencode_host::telemetry::Telemetry::default();
    let session = opencode_host::session::Session {
        client: test.host.client(),
        store: &*test.store,
        product: &opencode_host::product::PlainProduct,
        telemetry: &telemetry,
    };
    let ensured =
        futures_util::future::join_all((0..50).map(|_| session.ensure(&conversation))).await;
    let created = ensured
        .iter()
        .filter(|ensured| ensured.as_ref().unwrap().just_created)
        .count();
    assert_eq!(created, 1);
    let ids: std::collections::HashSet<_> = ensured
        .into_iter()
        .map(|ensured| ensured.unwrap().record.id)
        .collect();
    assert_eq!(
        (ids.len(), test.impostor.ledger().sessions_alive().len()),
        (1, 1)
    );
    let lost = ids.into_iter().next().unwrap();
    let recreated =
        futures_util::future::join_all((0..10).map(|_| session.recreate(&conversation, &lost)))
            .await;
    let fresh: std::collections::HashSet<_> = recreated
        .into_iter()
        .map(|ensured| ensured.unwrap().record.id)
        .collect();
    assert_eq!((fresh.len(), fresh.contains(&lost)), (1, false));
    assert_eq!(test.impostor.ledger().sessions_created(), 2);
}

#[tokio::test]
async fn every_recording_replayed_ends_as_it_did() {
    let expected = [
        ("text", TurnStatus::Completed, None),
        ("reasoning", TurnStatus::Completed, None),
        ("write-file", TurnStatus::Completed, None),
        ("todos", TurnStatus::Completed, None),
        ("parallel-tools", TurnStatus::Completed, None),
        ("subtask", TurnStatus::Completed, None),
        ("tool-error", TurnStatus::Completed, None),
        ("unknown-tool", TurnStatus::Completed, None),
        ("apply-patch", TurnStatus::Completed, None),
        ("hostile-html", TurnStatus::Completed, None),
        ("long-text", TurnStatus::Completed, None),
        ("length-cutoff", TurnStatus::Completed, Some("length")),
        ("provider-401", TurnStatus::Error, Some("upstream")),
        ("provider-429-retry", TurnStatus::Completed, None),
        ("empty-reply", TurnStatus::Error, Some("empty_reply")),
    ];
    for (name, status, reason) in expected {
        let test = Hosting::with(
            Impostor::tape(name).await.unwrap(),
            HostOptions { ..quick() },
            |builder| builder,
        )
        .await;
        let result = test.turn("the prompt of the recording").await;
        let got = result.reason.map(|reason| reason.as_str());
        assert_eq!(
            (result.status, got),
            (status, reason),
            "{name}: {:?}",
            result.error
        );
    }
}
