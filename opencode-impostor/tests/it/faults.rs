//! Faults: what goes wrong, goes wrong as said, and nothing else does.

use opencode_impostor::{
    Action, Calls, Events as Which, Fault, Garbage, Impostor, Script, Step, Streamed,
};
use serde_json::{Value, json};

use crate::http::{Events, call, get, new_session, next_id, prompt, prompt_body, try_call, types};

#[tokio::test]
async fn a_lost_request_did_nothing() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    impostor
        .faults()
        .lose_request("POST /session", Calls::First(2));
    for _ in 0..2 {
        assert!(
            try_call(port, "POST", "/session", "", Some(&json!({})))
                .await
                .is_err()
        );
    }
    assert_eq!(impostor.ledger().sessions_created(), 0);
    new_session(port).await;
    assert_eq!(impostor.ledger().sessions_created(), 1);
}

#[tokio::test]
async fn a_lost_response_did_its_work() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    impostor
        .faults()
        .lose_response("POST /session", Calls::Nth(1));
    assert!(
        try_call(port, "POST", "/session", "", Some(&json!({})))
            .await
            .is_err()
    );
    assert_eq!(get(port, "/session").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn answers_can_be_replaced_held_and_cut() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let faults = impostor.faults();
    let html = faults.request("GET /session/status", Calls::All, Action::html(500));
    let answer = call(
        port,
        "GET",
        "/session/status?directory=/workspace/demo",
        None,
    )
    .await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (500, Some("text/html"))
    );
    faults.remove(html);
    assert_eq!(
        get(port, "/session/status?directory=/workspace/demo").await,
        json!({})
    );

    faults.request("GET /global/health", Calls::Nth(1), Action::garbage());
    let answer = call(port, "GET", "/global/health", None).await;
    assert!(serde_json::from_slice::<Value>(&answer.body).is_err());

    faults.request("GET /session", Calls::Nth(1), Action::CutResponse);
    new_session(port).await;
    assert!(try_call(port, "GET", "/session", "", None).await.is_err());

    faults.request(
        "POST /session",
        Calls::Nth(1),
        Action::HoldResponse("late".into()),
    );
    let held = tokio::spawn(async move { new_session(port).await });
    impostor.gate("late").reached().await.unwrap();
    assert_eq!(impostor.ledger().sessions_created(), 2);
    assert!(!held.is_finished());
    impostor.gate("late").open();
    held.await.unwrap();
}

#[tokio::test]
async fn a_dropped_stream_loses_what_comes_meanwhile() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let fault = impostor.faults().drop_streams_after(1);
    let mut events = Events::open(port, "/global/event").await;
    new_session(port).await;
    assert_eq!(events.next().await["type"], "session.created");
    assert_eq!(events.next().await["type"], "sync");
    new_session(port).await;
    assert!(events.frame().await.is_err(), "cut, not ended");
    impostor.faults().remove(fault);
    let mut events = Events::open(port, "/global/event").await;
    let third = new_session(port).await;
    assert_eq!(
        events.next().await["properties"]["sessionID"],
        third.as_str()
    );
}

#[tokio::test]
async fn a_script_can_cut_the_streams_and_a_test_too() {
    let impostor = Impostor::scripted(Script::always([Step::DropStreams(None), Step::gate("on")]))
        .await
        .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    prompt(port, &session, "go").await;
    while events.frame().await.is_ok() {}
    impostor.gate("on").reached().await.unwrap();
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    assert_eq!(impostor.drop_streams(), 1);
    assert!(events.frame().await.is_err());
    impostor
        .wait_for(|ledger| ledger.streams_open() == 0)
        .await
        .unwrap();
}

#[tokio::test]
async fn streams_can_be_refused_missing_and_silent() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let faults = impostor.faults();
    faults.refuse_streams(1);
    assert!(Events::try_open(port, "/event").await.is_err());
    Events::open(port, "/event").await;
    faults.clear();
    faults.no_global_event();
    assert_eq!(call(port, "GET", "/global/event", None).await.status, 404);
    faults.clear();

    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    let silent = faults.silent_streams();
    new_session(port).await;
    faults.remove(silent);
    let heard = new_session(port).await;
    assert_eq!(
        events.next().await["properties"]["sessionID"],
        heard.as_str()
    );
}

#[tokio::test]
async fn events_are_lost_and_held() {
    let impostor = Impostor::scripted(Script::always([Step::text("yes")]))
        .await
        .unwrap();
    let port = impostor.port();
    impostor.faults().omit_user_part();
    impostor
        .faults()
        .hold_events(Which::of("session.idle"), "idle");
    let session = new_session(port).await;
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    prompt(port, &session, "go").await;
    let seen = events.until("session.diff").await;
    let seen = [seen, events.until("session.diff").await].concat();
    let kinds = types(&seen);
    assert!(!kinds.contains(&"session.idle".to_owned()), "{kinds:?}");
    assert_eq!(
        kinds
            .iter()
            .filter(|kind| *kind == "message.part.updated text")
            .count(),
        2,
        "{kinds:?}"
    );
    impostor.gate("idle").open();
    events.until("session.idle").await;
}

#[tokio::test]
async fn all_that_follows_a_held_event_can_be_held_too() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    impostor.faults().add(Fault::HoldEvents {
        events: Which::first("session.created"),
        gate: "all".into(),
        following: true,
    });
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    let first = new_session(port).await;
    let second = new_session(port).await;
    impostor.gate("all").open();
    let third = new_session(port).await;
    for expected in [first, second, third] {
        assert_eq!(
            events.next().await["properties"]["sessionID"],
            expected.as_str()
        );
    }
}

#[tokio::test]
async fn the_second_idle_of_an_abort_can_come_late() {
    let impostor = Impostor::scripted(Script::always([Step::gate("go"), Step::text("yes")]))
        .await
        .unwrap();
    let port = impostor.port();
    impostor.faults().late_idle("late");
    let session = new_session(port).await;
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    prompt(port, &session, "one").await;
    impostor.gate("go").reached().await.unwrap();
    call(port, "POST", &format!("/session/{session}/abort"), None).await;
    events.until("session.idle").await;
    impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
    prompt(port, &session, "two").await;
    events.until("message.part.updated").await;
    impostor.gate("go").reached().await.unwrap();
    impostor.gate("late").open();
    let seen = events.until("session.idle").await;
    assert!(
        !types(&seen).contains(&"message.part.delta".to_owned()),
        "the idle is the old turn's"
    );
    impostor.gate("go").open();
    assert!(types(&events.until("session.idle").await).contains(&"message.part.delta".to_owned()));
}

#[tokio::test]
async fn a_prompt_can_stay_out_of_sight() {
    let impostor = Impostor::scripted(Script::always([Step::text("yes")]))
        .await
        .unwrap();
    let port = impostor.port();
    impostor.faults().hold_prompts("window");
    let session = new_session(port).await;
    let id = prompt(port, &session, "one").await;
    let path = format!("/session/{session}/message/{id}");
    assert_eq!(call(port, "GET", &path, None).await.status, 404);
    assert_eq!(
        get(port, "/session/status?directory=/workspace/demo").await,
        json!({})
    );
    impostor.gate("window").open();
    impostor
        .wait_for(|ledger| ledger.model_runs(&id) == 1)
        .await
        .unwrap();
    assert_eq!(call(port, "GET", &path, None).await.status, 200);
}

#[tokio::test]
async fn garbage_floods_and_huge_frames_pass_through() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    impostor.send_garbage(Garbage::MalformedJson);
    impostor.send_garbage(Garbage::InvalidUtf8);
    impostor.send_garbage(Garbage::Huge(17 << 20));
    impostor.flood("/workspace/demo", 100, 1000);
    let frame = events.frame().await.unwrap().unwrap();
    assert!(serde_json::from_slice::<Value>(&frame[6..]).is_err());
    assert!(String::from_utf8(events.frame().await.unwrap().unwrap()).is_err());
    assert_eq!(events.frame().await.unwrap().unwrap().len(), 17 << 20);
    for _ in 0..100 {
        assert_eq!(events.next().await["type"], "message.part.delta");
    }
}

#[tokio::test]
async fn a_forgotten_session_answers_404_without_a_word() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    impostor.forget(&session);
    let body = prompt_body("ffffffffffffaaaaaaaaaaaaaa", "go");
    let answer = call(
        port,
        "POST",
        &format!("/session/{session}/prompt_async"),
        Some(&body),
    )
    .await;
    assert_eq!(answer.status, 404);
    impostor.assert_clean();
}

#[tokio::test]
async fn a_server_that_died_comes_back_without_what_it_only_thought() {
    let streaming = Step::Text(Streamed::new("One two three").gate("mid"));
    let impostor = Impostor::scripted(
        Script::new()
            .once("first", [streaming])
            .otherwise([Step::text("yes")]),
    )
    .await
    .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    prompt(port, &session, "first").await;
    impostor.gate("mid").reached().await.unwrap();
    events.until("message.part.delta").await;
    impostor.kill().await;
    while events.frame().await.is_ok() {}
    assert!(
        try_call(port, "GET", "/global/health", "", None)
            .await
            .is_err()
    );
    impostor.restart().await.unwrap();

    assert_eq!(
        get(port, "/session/status?directory=/workspace/demo").await,
        json!({})
    );
    let messages = get(port, &format!("/session/{session}/message")).await;
    assert_eq!(messages[1]["parts"][1]["text"], "");
    assert_eq!(messages[1]["info"].get("finish"), None);
    assert_eq!(messages[1]["info"]["time"].get("completed"), None);
    let second = prompt(port, &session, "second").await;
    impostor
        .wait_for(|ledger| ledger.model_runs(&second) == 1 && ledger.busy().is_empty())
        .await
        .unwrap();
    assert_eq!(impostor.messages(&session)[3]["parts"][1]["text"], "yes");
    assert_eq!(impostor.ledger().deaths(), 1);
    impostor.assert_clean();
}

#[tokio::test]
async fn a_script_can_kill_its_server() {
    let impostor = Impostor::scripted(Script::always([Step::text("then"), Step::Kill]))
        .await
        .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    prompt(port, &session, "go").await;
    impostor
        .wait_for(|ledger| ledger.deaths() == 1)
        .await
        .unwrap();
    assert!(
        try_call(port, "GET", "/global/health", "", None)
            .await
            .is_err()
    );
    impostor.restart().await.unwrap();
    get(port, "/global/health").await;
}

#[tokio::test]
async fn a_prompt_whose_answer_was_lost_runs_once() {
    let impostor = Impostor::scripted(Script::always([Step::text("yes")]))
        .await
        .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    impostor
        .faults()
        .lose_response("POST /session/:id/prompt_async", Calls::Nth(1));
    let id = next_id(port, &session).await;
    let path = format!("/session/{session}/prompt_async");
    assert!(
        try_call(port, "POST", &path, "", Some(&prompt_body(&id, "go")))
            .await
            .is_err()
    );
    let message = format!("msg_{id}");
    impostor
        .wait_for(|ledger| ledger.busy().is_empty() && ledger.model_runs(&message) == 1)
        .await
        .unwrap();
    assert_eq!(impostor.messages(&session).len(), 2);
}
