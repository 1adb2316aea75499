//! The wire: what a client sees must be what the recordings show.

use std::time::Duration;

use opencode_impostor::{Dialect, Impostor, Script, Step};
use serde_json::json;

use crate::http::{Events, call, get, new_session, next_id, prompt, prompt_body, try_call};

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
        .dialect(Dialect::of("1.15.13"))
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
        .dialect(Dialect::of("1.2.27"))
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
    call(
        port,
        "POST",
        &format!("/session/{session}/abort?directory=/workspace/demo"),
        None,
    )
    .await;
    impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
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

/// Measured on 1.18.33.
#[tokio::test]
async fn requests_and_statuses_belong_to_the_folder_of_their_session() {
    let script = Script::new()
        .on("ask", [Step::question("Which?", ["A"])])
        .on("run", [Step::ask_bash("ls", "")]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let port = impostor.port();
    let one = new_session(port).await;
    let two = new_session(port).await;
    prompt(port, &one, "ask").await;
    prompt(port, &two, "run").await;
    impostor
        .wait_for(|ledger| ledger.questions().len() + ledger.permissions().len() == 2)
        .await
        .unwrap();
    let ledger = impostor.ledger();
    let (question, permission) = (ledger.questions()[0], ledger.permissions()[0]);
    let replies = [
        (
            format!("/question/{question}/reply"),
            json!({"answers": [["A"]]}),
        ),
        (format!("/question/{question}/reject"), json!({})),
        (
            format!("/permission/{permission}/reply"),
            json!({"reply": "once"}),
        ),
        (
            format!("/session/{one}/permissions/{permission}"),
            json!({"response": "once"}),
        ),
    ];
    for query in ["", "?directory=/workspace/other"] {
        for list in ["/question", "/permission"] {
            assert_eq!(
                get(port, &format!("{list}{query}")).await,
                json!([]),
                "{list}{query}"
            );
        }
        assert_eq!(
            get(port, &format!("/session/status{query}")).await,
            json!({}),
            "{query}"
        );
        for (path, body) in &replies {
            let answer = call(port, "POST", &format!("{path}{query}"), Some(body)).await;
            assert_eq!(answer.status, 404, "{path}{query}");
        }
    }
    // In the right folder, but at another session.
    let (path, body) = &replies[3];
    let path = format!("{path}?directory=/workspace/demo");
    assert_eq!(call(port, "POST", &path, Some(body)).await.status, 404);
    let here = "?directory=/workspace/demo";
    for list in ["/question", "/permission"] {
        let listed = get(port, &format!("{list}{here}")).await;
        assert_eq!(listed.as_array().unwrap().len(), 1, "{list}");
    }
    let busy = get(port, &format!("/session/status{here}")).await;
    assert_eq!(busy.as_object().unwrap().len(), 2);
}
