//! Every ending of a turn, against the impostor.

mod answering;
mod budgets;
mod calls;
mod carry_over;
mod faults;
mod leaving;
mod lost_sessions;
mod names;
mod odd;
mod plug_ins;
mod policy;
mod shares;
mod unreadable;
mod waiting;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use opencode_client::Exchange;
use opencode_client::wire::PermissionReply;
use opencode_host::live::Cursor;
use opencode_host::product::{Delivery, HookError, Product, TurnContext};
use opencode_host::store::{CancelOutcome, Message, MessageStatus, TurnStatus};
use opencode_host::turn::TurnResult;
use opencode_host::{SubmitError, SubmitOptions, WorkerOptions};
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
    // The hub may be about to ask for the server's health.
    let health = "/global/health";
    let traced = requests.iter().filter(|request| request["path"] != health);
    let ledger = test.impostor.ledger();
    let made = ledger.requests().iter();
    assert_eq!(
        traced.count(),
        made.filter(|request| request.path != health).count() - 1,
        "every call but the event stream"
    );
    assert!(
        requests
            .iter()
            .all(|request| !request["path"].as_str().unwrap().contains('?'))
    );
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
        (
            result.answer.usage.input_tokens,
            result.answer.usage.output_tokens
        ),
        (sum("input"), sum("output"))
    );
    let cost: f64 = messages
        .iter()
        .filter_map(|message| message["info"]["cost"].as_f64())
        .sum();
    assert!((result.answer.usage.cost - cost).abs() < 1e-12 && cost > 0.0);
    assert_eq!(result.answer.tool_calls().len(), 2);
    assert_eq!(result.answer.reasoning, "Let me see.");
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
    assert!(result.answer.truncated);
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
    let error = result.answer.error.unwrap();
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
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Error, "upstream")
    );
    assert_eq!(result.answer.error.unwrap().status_code, Some(401));
}

#[tokio::test]
async fn nothing_said_is_an_empty_reply() {
    let test = hosting([Step::Empty]).await;
    let result = test.turn("say nothing").await;
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
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
        test.host.cancel(turn, None).await.unwrap(),
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
        test.host.cancel(turn, None).await.unwrap(),
        CancelOutcome::Already(TurnStatus::Cancelled)
    ));
}

#[tokio::test]
async fn a_cancel_before_the_first_word_says_so() {
    let test = hosting([Step::gate("hold"), Step::text("never said")]).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.impostor.gate("hold").reached().await.unwrap();
    test.host.cancel(turn, None).await.unwrap();
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
        test.host.cancel(turn, None).await.unwrap(),
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
    let waiting = async {
        let mut views = test.host.views(turn, Cursor::START).await.unwrap();
        loop {
            let view = views.try_next().await.unwrap();
            let (_, view) = view.expect("the turn ended before it asked");
            if let Some(request) = view.requests().last() {
                return request.clone();
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
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Cancelled, "declined")
    );
    assert_eq!(result.answer.tool_calls()[0].tool, "question");
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
    assert_eq!(
        result.answer.tool_calls()[0].output.as_deref(),
        Some("hi\n")
    );
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
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Error, "loop")
    );
    assert!(test.impostor.ledger().busy().is_empty());
}
