//! A server, or the way to it, that goes wrong in the middle of a turn.

use opencode_impostor::{
    Action, Calls, Fault, Garbage, Impostor, Script, Step, Streamed, UNICODE_TEXT,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Chat, Ran};

const HALF: &str = "The first half. ";
const ALL: &str = "The first half. The second half.";

/// An answer with something in the middle.
async fn with_in_the_middle(middle: impl IntoIterator<Item = Step>) -> Impostor {
    let first = Step::Text(Streamed::new(ALL).gate("middle").gate_after(2));
    Impostor::scripted(Script::always([first].into_iter().chain(middle)))
        .await
        .unwrap()
}

/// That everything arrived, and was asked for once.
#[track_caller]
fn whole(impostor: &Impostor, ran: &Ran, text: &str) -> Value {
    let result = ran.ended(0, "completed");
    assert_eq!(result["content"], text);
    let ledger = impostor.ledger();
    let id = result["opencode_message_id"].as_str().unwrap();
    assert_eq!(ledger.model_runs(id), 1, "{ran:?}");
    assert_eq!(ledger.all_model_runs(), 1, "{ran:?}");
    impostor.assert_clean();
    result
}

#[tokio::test]
async fn a_provider_error_keeps_the_half_that_came() {
    let steps = [Step::text(HALF), Step::provider_error(401, "no such key")];
    let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
    let chat = Chat::with(&impostor);
    let ran = chat.turn("hello", &[]).await;
    let result = ran.ended(1, "error");
    assert_eq!(result["reason"], "upstream");
    assert_eq!(result["content"], HALF);
    let error = &result["error"];
    assert_eq!(error["name"], "APIError");
    assert_eq!(error["message"], "no such key");
    assert_eq!(error["status_code"], 401);

    let ran = chat.run(&["turn", "hello again"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.stdout, format!("{HALF}\n"));
    assert!(ran.stderr.contains("no such key (status 401)"), "{ran:?}");
    assert!(ran.stderr.contains("opencode auth login"), "{ran:?}");
}

#[tokio::test]
async fn an_error_page_instead_of_json() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    let page = Action::Answer {
        status: 500,
        content_type: "text/html".into(),
        body: format!("<html><body>{}</body></html>", "oops ".repeat(10_000)),
    };
    // The call before the prompt, and the prompt itself: each is tried again, until the turn's time is up.
    for endpoint in ["POST /session", "POST /session/:id/prompt_async"] {
        let fault = impostor
            .faults()
            .request(endpoint, Calls::All, page.clone());
        let ran = chat.turn("[[text]]", &["--timeout", "1"]).await;
        let result = ran.ended(1, "failed");
        let message = result["error"]["message"].as_str().unwrap();
        assert!(message.contains("status 500"), "{result}");
        assert!(message.len() < 400, "the page is repeated: {result}");
        impostor.faults().remove(fault);
    }
    // Once, it is got over.
    impostor.faults().request(
        "POST /session/:id/prompt_async",
        Calls::Nth(1),
        page.clone(),
    );
    impostor
        .faults()
        .request("GET /session/:id/message", Calls::Nth(1), page);
    let ran = chat.turn("[[text]]", &[]).await;
    whole(&impostor, &ran, UNICODE_TEXT);
}

#[tokio::test]
async fn garbage_on_the_event_stream() {
    let garbage = [
        Garbage::MalformedJson,
        Garbage::InvalidUtf8,
        Garbage::NotAnObject,
        Garbage::Huge(1 << 20),
    ];
    let steps = garbage.map(Step::Garbage).into_iter();
    let steps = steps.chain([
        Step::RawFrame("data: {\"type\":\n\nnonsense\n\n".into()),
        Step::text(UNICODE_TEXT),
    ]);
    let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
    let ran = Chat::with(&impostor).turn("hello", &[]).await;
    whole(&impostor, &ran, UNICODE_TEXT);
}

#[tokio::test]
async fn the_event_stream_drops_in_the_middle() {
    let impostor = with_in_the_middle([]).await;
    let mut running = Chat::with(&impostor).start(&["turn", "--json", "hello"]);
    running.hears("part_delta").await;
    impostor.gate("middle").reached().await.unwrap();
    assert_eq!(impostor.drop_streams(), 1);
    impostor.gate("middle").open();
    let ran = running.end().await;
    whole(&impostor, &ran, ALL);
}

#[tokio::test]
async fn the_event_stream_drops_again_and_again() {
    let steps = [Step::Text(Streamed::new(ALL).chunk_chars(1).delay_ms(5))];
    let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
    impostor.faults().drop_streams_after(5);
    let ran = Chat::with(&impostor).turn("hello", &[]).await;
    whole(&impostor, &ran, ALL);
}

#[tokio::test]
async fn a_server_without_a_global_event_stream() {
    let impostor = Impostor::start().await.unwrap();
    impostor.faults().no_global_event();
    let ran = Chat::with(&impostor).turn("[[text]]", &[]).await;
    whole(&impostor, &ran, UNICODE_TEXT);
    assert!(
        !ran.of_type("part_delta").is_empty(),
        "nothing was streamed: {ran:?}"
    );
    assert!(impostor.ledger().streams_opened("/event") > 0);
}

#[tokio::test]
async fn a_silent_event_stream() {
    let impostor = Impostor::start().await.unwrap();
    impostor.faults().silent_streams();
    let ran = Chat::with(&impostor).turn("[[text]]", &[]).await;
    let result = whole(&impostor, &ran, UNICODE_TEXT);
    assert!(result["duration_ms"].as_u64().unwrap() < 30_000, "{result}");
}

#[tokio::test]
async fn the_answer_to_the_prompt_is_lost_after_the_server_acted() {
    let impostor = Impostor::start().await.unwrap();
    impostor
        .faults()
        .lose_response("POST /session/:id/prompt_async", Calls::Nth(1));
    let ran = Chat::with(&impostor).turn("[[text]]", &[]).await;
    whole(&impostor, &ran, UNICODE_TEXT);
    assert_eq!(impostor.ledger().prompt_posts().len(), 1);
}

#[tokio::test]
async fn the_prompt_is_lost_on_the_way() {
    let impostor = Impostor::start().await.unwrap();
    impostor
        .faults()
        .lose_request("POST /session/:id/prompt_async", Calls::Nth(1));
    let ran = Chat::with(&impostor).turn("[[text]]", &[]).await;
    whole(&impostor, &ran, UNICODE_TEXT);
}

#[tokio::test]
async fn ctrl_c_cancels_and_keeps_what_came() {
    let impostor = with_in_the_middle([]).await;
    let chat = Chat::with(&impostor);
    let mut running = chat.start(&["turn", "--json", "hello"]);
    running.hears("part_delta").await;
    impostor.gate("middle").reached().await.unwrap();
    running.signal(Signal::INT);
    let ran = running.end().await;
    let result = ran.ended(3, "cancelled");
    assert_eq!(result["reason"], "cancelled");
    let content = result["content"].as_str().unwrap();
    assert!(!content.is_empty() && ALL.starts_with(content), "{result}");
    assert_eq!(result["error"], Value::Null);
    assert_eq!(impostor.ledger().count("POST /session/:id/abort"), 1);
    let stored = chat.show().await;
    assert_eq!(
        (&stored[1]["status"], &stored[1]["content"]),
        (&result["status"], &result["content"])
    );
}

#[tokio::test]
async fn a_late_idle_of_a_cancelled_turn_does_not_end_the_next_one() {
    let script = Script::new()
        .on(
            "first",
            [Step::Text(Streamed::new("Cancelled. ").gate("never"))],
        )
        .on(
            "second",
            [Step::Text(Streamed::new(ALL).gate("middle").gate_after(2))],
        );
    let impostor = Impostor::scripted(script).await.unwrap();
    impostor.faults().late_idle("late");
    let chat = Chat::with(&impostor);
    let mut first = chat.start(&["turn", "--json", "first"]);
    first.hears("part_delta").await;
    first.signal(Signal::INT);
    first.end().await.ended(3, "cancelled");

    let mut second = chat.start(&["turn", "--json", "second"]);
    second.hears("part_delta").await;
    impostor.gate("middle").reached().await.unwrap();
    // An idle of the session, in the middle of the answer.
    impostor.gate("late").open();
    impostor.heartbeat();
    impostor.gate("middle").open();
    let result = second.end().await.ended(0, "completed");
    assert_eq!(result["content"], ALL);
    assert_eq!(impostor.ledger().prompt_posts().len(), 2);
    impostor.assert_clean();
}

#[tokio::test]
async fn a_server_that_dies_leaves_what_had_streamed() {
    let impostor = with_in_the_middle([]).await;
    let chat = Chat::with(&impostor);
    let mut running = chat.start(&["turn", "--json", "hello"]);
    let heard = running.hears("part_delta").await["delta"]
        .as_str()
        .unwrap()
        .to_owned();
    impostor.gate("middle").reached().await.unwrap();
    impostor.restart().await.unwrap();
    let ran = running.end().await;
    let result = ran.ended(1, "error");
    assert_eq!(result["reason"], "interrupted");
    let content = result["content"].as_str().unwrap();
    assert!(
        content.starts_with(&heard) && ALL.starts_with(content),
        "{result}"
    );
}

#[tokio::test]
async fn a_session_that_the_server_has_forgotten_is_made_anew() {
    let impostor = Impostor::scripted(Script::always([Step::Echo]))
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let first = chat.turn("one", &[]).await.ended(0, "completed");
    impostor.forget(first["session_id"].as_str().unwrap());
    let second = chat.turn("two", &[]).await.ended(0, "completed");
    assert_eq!(second["content"], "two");
    assert_ne!(second["session_id"], first["session_id"]);
}

#[tokio::test]
async fn a_provider_that_is_busy_is_told_of() {
    let impostor = Impostor::start().await.unwrap();
    let ran = Chat::with(&impostor).turn("[[err429]]", &[]).await;
    let result = ran.ended(0, "completed");
    assert_eq!(result["content"], UNICODE_TEXT);
    let retries = ran.of_type("retry");
    assert_eq!(retries[0]["attempt"], 1);
    assert!(retries[0]["next_ms"].is_u64());
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_stopped() {
    let impostor = Impostor::scripted(Script::always([Step::text(HALF), Step::Hang]))
        .await
        .unwrap();
    let ran = Chat::with(&impostor)
        .turn("hello", &["--timeout", "1"])
        .await;
    let result = ran.ended(1, "error");
    assert_eq!(
        (&result["reason"], &result["content"]),
        (&"timeout".into(), &HALF.into())
    );
    assert_eq!(impostor.ledger().count("POST /session/:id/abort"), 1);
}

#[tokio::test]
async fn a_server_that_refuses_in_the_middle_is_an_error() {
    let impostor = with_in_the_middle([]).await;
    let mut running = Chat::with(&impostor).start(&["turn", "--json", "hello"]);
    running.hears("part_delta").await;
    impostor.faults().add(Fault::RefuseAuth);
    impostor.gate("middle").open();
    let ran = running.end().await;
    let result = ran.ended(1, "error");
    assert_eq!(result["reason"], "unauthorized");
    assert_eq!(result["content"], ALL);
}
