//! The wire: what a client sees must be what the recordings show.

use std::time::Duration;

use opencode_impostor::{Dialect, Impostor, Script, Step, UNICODE_TEXT};
use serde_json::{Value, json};

use crate::http::{Events, call, get, new_session, next_id, prompt, prompt_body, try_call, types};

#[tokio::test]
async fn a_turn_has_the_events_of_the_tape() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    let session = new_session(port).await;
    let user = prompt(port, &session, "please answer [[text]]").await;
    let seen = events.turn().await;

    let tape = opencode_impostor::tape("text").unwrap();
    let taped: Vec<Value> = tape
        .events()
        .skip(1)
        .map(|event| event.payload().clone())
        .collect();
    // The tape was made on the first turn of a new directory, which the real server touched twice.
    assert_eq!(types(&seen), types(&taped));

    let user_part = &seen[3]["properties"]["part"];
    assert_eq!(user_part["messageID"], user.as_str());
    assert_eq!(user_part["text"], "please answer [[text]]");
    let assistant = &seen[6]["properties"]["info"];
    assert_eq!(assistant["parentID"], user.as_str());
    let said: String = seen
        .iter()
        .filter(|event| event["type"] == "message.part.delta")
        .map(|event| event["properties"]["delta"].as_str().unwrap())
        .collect();
    assert_eq!(said, UNICODE_TEXT);

    let exchange = get(port, &format!("/session/{session}/message")).await;
    assert_eq!(exchange[1]["parts"][1]["text"], UNICODE_TEXT);
    assert_eq!(exchange[1]["info"]["finish"], "stop");
    assert_eq!(get(port, "/session/status").await, json!({}));
    impostor.assert_clean();
}

/// Types, with runs of deltas as one: first what comes in order, then (sorted) what a real server's background work
/// sends at any time in between.
fn outline(events: &[Value]) -> (Vec<String>, Vec<String>) {
    let mut kinds = types(events);
    kinds.retain(|kind| !kind.starts_with("file."));
    kinds.dedup_by(|a, b| a == b && a == "message.part.delta");
    let background = [
        "session.updated",
        "session.diff",
        "message.updated user",
        "session.status busy",
    ];
    let (mut background, ordered): (Vec<_>, Vec<_>) = kinds
        .into_iter()
        .partition(|kind| background.contains(&kind.as_str()));
    background.sort();
    (ordered, background)
}

#[tokio::test]
async fn turns_have_the_events_of_their_tapes() {
    for name in [
        "text",
        "reasoning",
        "write-file",
        "parallel-tools",
        "todos",
        "apply-patch",
        "tool-error",
        "unknown-tool",
        "length-cutoff",
        "hostile-html",
        "empty-reply",
        "question-answered",
    ] {
        let tape = opencode_impostor::tape(name).unwrap();
        let impostor = Impostor::start().await.unwrap();
        let port = impostor.port();
        let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
        let session = new_session(port).await;
        prompt(port, &session, &tape.prompts()[0].text).await;
        let mut seen = Vec::new();
        if name == "question-answered" {
            seen = events.until("question.asked").await;
            let id = seen.last().unwrap()["properties"]["id"].as_str().unwrap();
            let body = json!({"answers": [["Yes"]]});
            call(port, "POST", &format!("/question/{id}/reply"), Some(&body)).await;
        }
        seen.extend(events.turn().await);
        let taped: Vec<Value> = tape
            .events()
            .filter(|event| event.session().is_some())
            .map(|event| event.payload().clone())
            .collect();
        assert_eq!(outline(&seen), outline(&taped), "{name}");
    }
}

#[tokio::test]
async fn the_properties_are_those_of_the_tape() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    let session = new_session(port).await;
    prompt(port, &session, "make a report [[write]]").await;
    let seen = events.turn().await;
    let tape = opencode_impostor::tape("write-file").unwrap();
    // Every type of event (and of part, and tool state) has the fields it has on the tape.
    let shape = |event: &Value| -> (String, Vec<String>) {
        let properties = &event["properties"];
        let mut paths = Vec::new();
        fields(properties, "", &mut paths);
        let state = &properties["part"]["state"]["status"];
        let finished = properties["info"].get("finish").is_some();
        (
            format!(
                "{} {state} {finished}",
                types(std::slice::from_ref(event))[0]
            ),
            paths,
        )
    };
    let taped: Vec<(String, Vec<String>)> =
        tape.events().map(|event| shape(event.payload())).collect();
    let mut compared = 0;
    for (kind, paths) in seen.iter().map(shape) {
        let same: Vec<_> = taped.iter().filter(|(taped, _)| *taped == kind).collect();
        if same.is_empty() {
            continue;
        }
        compared += 1;
        assert!(
            same.iter().any(|(_, taped)| *taped == paths),
            "{kind}: {paths:?}\nnot among {same:?}"
        );
    }
    assert!(compared > 20, "only {compared} events had a counterpart");
}

fn fields(value: &Value, at: &str, paths: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                fields(value, &format!("{at}.{name}"), paths);
            }
        }
        _ => paths.push(at.to_owned()),
    }
}

#[tokio::test]
async fn global_frames_are_wrapped_and_have_sync_copies() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let mut events = Events::open(port, "/global/event").await;
    new_session(port).await;
    let created = events.next_whole().await;
    assert_eq!(created["directory"], "/workspace/demo");
    assert_eq!(created["project"], "global");
    assert_eq!(created["payload"]["type"], "session.created");
    let copy = events.next_whole().await;
    assert_eq!(copy["payload"]["type"], "sync");
    assert_eq!(copy["payload"]["syncEvent"]["type"], "session.created.1");
    assert_eq!(copy["payload"]["id"], created["payload"]["id"]);
    assert_eq!(
        copy["payload"]["syncEvent"]["data"],
        created["payload"]["properties"]
    );
}

#[tokio::test]
async fn directories_are_kept_apart() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let mut one = Events::open(port, "/event?directory=/one").await;
    let mut two = Events::open(port, "/event?directory=%2Ftwo").await;
    let in_two = crate::http::session_in(port, "/two").await;
    let in_one = crate::http::session_in(port, "/one").await;
    assert_eq!(one.next().await["properties"]["sessionID"], in_one.as_str());
    assert_eq!(two.next().await["properties"]["sessionID"], in_two.as_str());
}

#[tokio::test]
async fn heartbeats_come() {
    let impostor = Impostor::builder()
        .heartbeat(Duration::from_millis(10))
        .start()
        .await
        .unwrap();
    let mut events = Events::open(impostor.port(), "/event").await;
    for _ in 0..3 {
        assert_eq!(events.next().await["type"], "server.heartbeat");
    }
}

#[tokio::test]
async fn errors_have_the_shapes_of_the_real_server() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let missing = "ses_dfd37d1d2ffeJ6N8n3UQfpXYB6";
    let answer = call(port, "GET", &format!("/session/{missing}"), None).await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.json(),
        json!({"name": "NotFoundError", "data": {"message": format!("Session not found: {missing}")}})
    );
    let path = format!("/session/{session}/message/msg_202c82e35001ZyhSvMYv7PBb4f");
    assert_eq!(call(port, "GET", &path, None).await.status, 404);
    let path = format!("/session/{session}/prompt_async");
    let answer = call(port, "POST", &path, Some(&json!({"parts": 3}))).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["data"]["kind"], "Payload");
    let answer = call(port, "POST", "/question/que_1/reject", None).await;
    assert_eq!(answer.status, 404);
    // Aborting what is not there is fine; a path nobody knows gives the web page.
    let answer = call(port, "POST", &format!("/session/{missing}/abort"), None).await;
    assert_eq!(answer.json(), json!(true));
    let answer = call(port, "GET", "/nosuch", None).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
}

#[tokio::test]
async fn a_password_is_asked_for_everywhere() {
    let impostor = Impostor::builder()
        .password("s3cret")
        .start()
        .await
        .unwrap();
    let port = impostor.port();
    for path in ["/global/health", "/event", "/session"] {
        let answer = call(port, "GET", path, None).await;
        assert_eq!((answer.status, answer.body.len()), (401, 0));
    }
    let right = "authorization: Basic b3BlbmNvZGU6czNjcmV0\r\n";
    let answer = try_call(port, "GET", "/global/health", right, None)
        .await
        .unwrap();
    assert_eq!(answer.json()["healthy"], true);
    impostor.faults().refuse_auth();
    let answer = try_call(port, "GET", "/global/health", right, None)
        .await
        .unwrap();
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn messages_are_paged_like_the_real_ones() {
    let impostor = Impostor::scripted(Script::always([Step::text("yes")]))
        .await
        .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    for turn in 0..3 {
        prompt(port, &session, &format!("prompt {turn}")).await;
        impostor
            .wait_for(|ledger| ledger.busy().is_empty())
            .await
            .unwrap();
    }
    let base = format!("/session/{session}/message");
    let all = get(port, &base).await;
    assert_eq!(all.as_array().unwrap().len(), 6);
    let page = call(port, "GET", &format!("{base}?limit=4"), None).await;
    let cursor = page.header("x-next-cursor").unwrap().to_owned();
    assert!(page.header("link").unwrap().ends_with("rel=\"next\""));
    assert_eq!(
        page.json().as_array().unwrap()[..],
        all.as_array().unwrap()[2..]
    );
    let rest = call(
        port,
        "GET",
        &format!("{base}?limit=4&before={cursor}"),
        None,
    )
    .await;
    assert_eq!(
        rest.json().as_array().unwrap()[..],
        all.as_array().unwrap()[..2]
    );
    assert_eq!(rest.header("x-next-cursor"), None);
    let bad = call(port, "GET", &format!("{base}?limit=4&before=zzz"), None).await;
    assert_eq!(
        (bad.status, bad.json()),
        (400, json!({"_tag": "BadRequest"}))
    );
    impostor.assert_clean();
}

#[tokio::test]
async fn permissions_are_appended_by_patch() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let rule = |action: &str| json!([{"permission": "bash", "pattern": "*", "action": action}]);
    let body = json!({"permission": rule("deny")});
    let session = call(port, "POST", "/session", Some(&body)).await.json();
    let path = format!("/session/{}", session["id"].as_str().unwrap());
    let patched = call(
        port,
        "PATCH",
        &path,
        Some(&json!({"permission": rule("ask")})),
    )
    .await
    .json();
    let rules = patched["permission"].as_array().unwrap();
    assert_eq!((rules.len(), &rules[1]["action"]), (2, &json!("ask")));
}

#[tokio::test]
async fn a_repeated_post_is_one_message_and_one_run() {
    let impostor = Impostor::scripted(Script::always([Step::gate("go"), Step::text("done")]))
        .await
        .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let id = next_id(port, &session).await;
    let path = format!("/session/{session}/prompt_async");
    let body = prompt_body(&id, "hello");
    call(port, "POST", &path, Some(&body)).await;
    impostor.gate("go").reached().await.unwrap();
    call(port, "POST", &path, Some(&body)).await;
    impostor.gate("go").open();
    impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
    call(port, "POST", &path, Some(&body)).await;
    let messages = get(port, &format!("/session/{session}/message")).await;
    assert_eq!(messages.as_array().unwrap().len(), 2);
    assert_eq!(messages[0]["parts"].as_array().unwrap().len(), 1);
    assert_eq!(impostor.ledger().model_runs(&format!("msg_{id}")), 1);
    // The server bears it; the client ought not to do it.
    assert_eq!(impostor.ledger().violations().len(), 2);
}

#[tokio::test]
async fn old_versions_run_a_repeated_post_again() {
    let impostor = Impostor::builder()
        .dialect(Dialect::v1_15_13())
        .script(Script::always([Step::gate("go"), Step::text("done")]))
        .start()
        .await
        .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let id = next_id(port, &session).await;
    let path = format!("/session/{session}/prompt_async");
    let body = prompt_body(&id, "hello");
    call(port, "POST", &path, Some(&body)).await;
    impostor.gate("go").reached().await.unwrap();
    call(port, "POST", &path, Some(&body)).await;
    impostor.gate("go").open();
    impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
    assert_eq!(impostor.ledger().model_runs(&format!("msg_{id}")), 2);
}

#[tokio::test]
async fn in_old_versions_ids_order_the_loop() {
    let impostor = Impostor::builder()
        .dialect(Dialect::v1_2_27())
        .script(Script::always([Step::text("done")]))
        .start()
        .await
        .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let first = prompt(port, &session, "one").await;
    impostor
        .wait_for(|ledger| ledger.model_runs(&first) == 1 && ledger.busy().is_empty())
        .await
        .unwrap();
    let path = format!("/session/{session}/prompt_async");
    // Older than the newest message: never runs.
    call(
        port,
        "POST",
        &path,
        Some(&prompt_body("000000000001aaaaaaaaaaaaaa", "old")),
    )
    .await;
    assert_eq!(
        impostor
            .ledger()
            .model_runs("msg_000000000001aaaaaaaaaaaaaa"),
        0
    );
    assert!(impostor.ledger().busy().is_empty());
    // From the future: runs until it is aborted.
    let future = prompt_body("fffffffff001aaaaaaaaaaaaaa", "new");
    call(port, "POST", &path, Some(&future)).await;
    impostor
        .wait_for(|ledger| ledger.model_runs("msg_fffffffff001aaaaaaaaaaaaaa") > 5)
        .await
        .unwrap();
    call(port, "POST", &format!("/session/{session}/abort"), None).await;
    impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
}

#[tokio::test]
async fn an_abort_looks_like_the_tape() {
    let impostor = Impostor::scripted(Script::always([Step::Text(
        opencode_impostor::Streamed::new("slow slow slow slow ")
            .chunk_chars(5)
            .gate("hold"),
    )]))
    .await
    .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    prompt(port, &session, "go on [[slow]]").await;
    impostor.gate("hold").reached().await.unwrap();
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    call(port, "POST", &format!("/session/{session}/abort"), None).await;
    let mut seen = events.until("session.idle").await;
    seen.extend(events.until("session.idle").await);
    let tape = opencode_impostor::tape("aborted").unwrap();
    let taped: Vec<Value> = tape.events().map(|event| event.payload().clone()).collect();
    let from = taped
        .iter()
        .position(|event| event["type"] == "session.error")
        .unwrap();
    assert_eq!(types(&seen), types(&taped[from..]));
    assert_eq!(
        seen[3]["properties"]["part"]["text"],
        "slow slow slow slow "
    );
    let exchange = get(port, &format!("/session/{session}/message")).await;
    assert_eq!(exchange[1]["info"]["error"]["name"], "MessageAbortedError");
}

#[tokio::test]
async fn unknown_agents_and_models_fail_as_on_the_real_server() {
    let impostor = Impostor::builder()
        .agents(["build", "plan"])
        .models(["local/scripted"])
        .start()
        .await
        .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    let path = format!("/session/{session}/prompt_async");
    let mut body = prompt_body(&next_id(port, &session).await, "hi");
    body["agent"] = "nosuch".into();
    assert_eq!(call(port, "POST", &path, Some(&body)).await.status, 204);
    let seen = events.until("session.error").await;
    assert_eq!(types(&seen), ["session.error"]);
    assert_eq!(
        seen[0]["properties"]["error"]["data"]["message"],
        "Agent not found: \"nosuch\". Available agents: build, plan"
    );
    assert_eq!(
        get(port, &format!("/session/{session}/message")).await,
        json!([])
    );
    events.until("session.error").await;

    body["agent"] = "build".into();
    body["model"] = json!({"providerID": "local", "modelID": "nosuch"});
    assert_eq!(call(port, "POST", &path, Some(&body)).await.status, 204);
    let seen = events.until("session.idle").await;
    assert_eq!(
        types(&seen),
        [
            "session.updated",
            "message.updated user",
            "message.part.updated text",
            "session.updated",
            "session.status busy",
            "session.error",
            "session.status idle",
            "session.idle",
        ]
    );
    assert_eq!(
        seen[5]["properties"]["error"]["data"]["message"],
        "Model not found: local/nosuch."
    );
}

#[tokio::test]
async fn the_synchronous_endpoint_answers_the_last_message() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let body = json!({"parts": [{"type": "text", "text": "[[reason]]"}]});
    let answer = call(
        port,
        "POST",
        &format!("/session/{session}/message"),
        Some(&body),
    )
    .await;
    assert_eq!(answer.json()["info"]["finish"], "stop");
    assert_eq!(answer.json()["parts"][2]["text"], "Final answer.");
}

#[tokio::test]
async fn deleted_sessions_are_gone_with_their_children() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    prompt(port, &session, "[[task]]").await;
    impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
    let children = get(port, &format!("/session/{session}/children")).await;
    let child = children[0]["id"].as_str().unwrap().to_owned();
    let answer = call(port, "DELETE", &format!("/session/{session}"), None).await;
    assert_eq!(answer.json(), json!(true));
    for id in [session, child] {
        assert_eq!(
            call(port, "GET", &format!("/session/{id}"), None)
                .await
                .status,
            404
        );
    }
}
