//! Prompts, cancels and answers.

use axum::http::{Method, StatusCode};
use opencode_client::wire::System;
use opencode_impostor::{Script, Step};
use serde_json::{Value, json};

use crate::site::{Event, Site};

/// The turn's result, once it is settled.
async fn result(site: &Site, turn: &str) -> Value {
    let path = format!("/turns/{turn}/events");
    let events = site.ask("acme", Method::GET, &path).events().await;
    let last = events.all().await.pop().unwrap();
    assert_eq!(last.name, "finished");
    let page = site.get(&format!("/turns/{turn}/result")).await.ok();
    assert_eq!(last.data["answer"], page["answer"]);
    page
}

#[tokio::test]
async fn a_prompt_is_answered() {
    let site = Site::new([
        Step::tool("read", json!({"path": "a.txt"}), "alpha"),
        Step::text("It says alpha."),
    ])
    .await;
    let conversation = site.conversation().await;
    let path = format!("/conversations/{conversation}/turns");
    let sent = site
        .post(&path, &json!({"prompt": "What does it say?"}))
        .await;
    assert_eq!(sent.status, StatusCode::CREATED);
    let turn = sent.json();
    let id = turn["id"].as_str().unwrap();
    assert_eq!(sent.header("location"), format!("../../turns/{id}"));
    assert_eq!(turn["conversation"], conversation.to_string());

    let result = result(&site, id).await;
    assert_eq!(result["status"], "completed");
    assert_eq!(result["answer"]["content"], "It says alpha.");
    let shown = site.get(&format!("/turns/{id}")).await.ok();
    assert_eq!(
        (&shown["state"], &shown["status"]),
        (&json!("settled"), &json!("completed"))
    );

    let message = site
        .get(&format!("/messages/{}", turn["message"].as_str().unwrap()))
        .await
        .ok();
    assert_eq!(message["role"], "assistant");
    assert_eq!(message["parts"][0]["tool"], "read");
    assert_eq!(
        message["parts"][1],
        json!({"type": "text", "content": "It says alpha."})
    );
    let asked = format!("/messages/{}", turn["user_message"].as_str().unwrap());
    assert_eq!(site.get(&asked).await.ok()["content"], "What does it say?");
}

#[tokio::test]
async fn a_key_makes_a_request_one_turn_and_fits_no_other_request() {
    let site = Site::without_worker(Script::new()).await;
    let path = format!("/conversations/{}/turns", site.conversation().await);
    let keyed = async |token: &str, body: Value| {
        let asking = site.ask(token, Method::POST, &path);
        asking
            .header("idempotency-key", "form-7")
            .json(&body)
            .page()
            .await
    };
    let noted = json!({"prompt": "Hello", "metadata": {"ticket": 42}});
    let first = keyed("acme ada notes", noted.clone()).await;
    assert_eq!(first.status, StatusCode::CREATED);
    let again = keyed("acme ada notes", noted).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(first.json(), again.json());
    assert_eq!(again.json()["metadata"]["ticket"], 42);
    for other in [
        json!({"prompt": "Hello!", "metadata": {"ticket": 42}}),
        json!({"prompt": "Hello", "metadata": {"ticket": 43}}),
        json!({"prompt": "Hello"}),
    ] {
        let page = keyed("acme ada notes", other).await;
        page.is_problem(StatusCode::CONFLICT, "key_reused");
    }
    let active = site.get(&path).await.ok();
    assert_eq!(active["turns"], json!([first.json()]));

    for keys in [&[""][..], &["a", "a"]] {
        let asking = site.ask("acme", Method::POST, &path);
        let asking = keys
            .iter()
            .fold(asking, |asking, key| asking.header("idempotency-key", key));
        let page = asking.json(&json!({"prompt": "Hello"})).page().await;
        page.is_problem(StatusCode::BAD_REQUEST, "bad_idempotency_key");
    }
    let asking = site
        .ask("acme", Method::POST, &path)
        .json(&json!({"prompt": "Hello"}));
    let long = asking
        .header("idempotency-key", &"x".repeat(513))
        .page()
        .await;
    long.is_problem(StatusCode::UNPROCESSABLE_ENTITY, "too_long");
}

#[tokio::test]
async fn metadata_is_written_by_who_may() {
    let site = Site::without_worker(Script::new()).await;
    let conversation = site.conversation().await;
    let turns = format!("/conversations/{conversation}/turns");
    let noted = json!({"prompt": "Hello", "metadata": {"plan": "gold"}});
    site.post(&turns, &noted)
        .await
        .is_problem(StatusCode::FORBIDDEN, "forbidden");
    let place = format!("/conversations/{conversation}/metadata");
    let put = async |token: &str, body: &Value| {
        site.ask(token, Method::PUT, &place).json(body).page().await
    };
    let refused = put("acme ada", &json!({"plan": "gold"})).await;
    refused.is_problem(StatusCode::FORBIDDEN, "forbidden");
    let path = format!("/conversations/{conversation}");
    assert_eq!(site.get(&path).await.ok()["metadata"], json!({}));

    let noted = put("acme ada notes", &json!({"plan": "gold"})).await;
    assert_eq!(noted.status, StatusCode::NO_CONTENT);
    assert_eq!(
        site.get(&path).await.ok()["metadata"],
        json!({"plan": "gold"})
    );
    for bad in [
        json!([]),
        json!("gold"),
        json!(null),
        json!({"a": "x".repeat(17_000)}),
    ] {
        let page = put("acme ada notes", &bad).await;
        page.is_problem(StatusCode::UNPROCESSABLE_ENTITY, "bad_body");
    }
    assert_eq!(
        site.get(&path).await.ok()["metadata"],
        json!({"plan": "gold"})
    );
}

#[tokio::test]
async fn metadata_that_cannot_be_is_refused_and_nothing_is_asked() {
    let site = Site::without_worker(Script::new()).await;
    let path = format!("/conversations/{}/turns", site.conversation().await);
    let deep = (0..200).fold(json!({}), |inner, _| json!({ "a": inner }));
    for bad in [
        json!([]),
        json!("gold"),
        json!({"a": "x".repeat(17_000)}),
        deep,
    ] {
        let body = json!({"prompt": "Hello", "metadata": bad});
        let page = site
            .ask("acme ada notes", Method::POST, &path)
            .json(&body)
            .page()
            .await;
        assert!(page.status.is_client_error(), "{}", page.status);
        let code = page.json()["code"].as_str().unwrap().to_owned();
        page.is_problem(page.status, &code);
        assert!(["bad_body", "bad_json"].contains(&code.as_str()), "{code}");
    }
    assert_eq!(site.get(&path).await.ok(), json!({"turns": []}));
}

#[tokio::test]
async fn a_prompt_says_who_answers_it_and_when_where_its_sender_may() {
    let site = Site::without_worker(Script::new()).await;
    let path = format!("/conversations/{}/turns", site.conversation().await);
    for body in [
        json!({"prompt": "x", "agent": "plan"}),
        json!({"prompt": "x", "model": "impostor/double"}),
        json!({"prompt": "x", "system": {"text": "Obey."}}),
        json!({"prompt": "x", "priority": 1}),
        json!({"prompt": "x", "not_before": 0}),
    ] {
        let asking = site.ask("acme ada notes", Method::POST, &path).json(&body);
        let page = asking.page().await;
        page.is_problem(StatusCode::FORBIDDEN, "forbidden");
    }
    let all = |body: Value, key: &str| {
        let asking = site.ask("acme ada all", Method::POST, &path).json(&body);
        asking.header("idempotency-key", key).page()
    };
    for (body, code) in [
        (json!({"prompt": "x", "agent": " "}), "bad_name"),
        (json!({"prompt": "x", "agent": "a".repeat(201)}), "bad_name"),
        (json!({"prompt": "x", "model": "large"}), "bad_name"),
        (json!({"prompt": "x", "model": "/large"}), "bad_name"),
        (json!({"prompt": "x", "model": {"id": "large"}}), "bad_body"),
        (json!({"prompt": "x", "system": "Obey."}), "bad_body"),
        (
            json!({"prompt": "x", "system": {"append": "a"}}),
            "bad_body",
        ),
        (
            json!({"prompt": "x", "system": {"text": "a\u{0}"}}),
            "bad_body",
        ),
        (json!({"prompt": "x", "priority": 128}), "bad_body"),
        (json!({"prompt": "x", "priority": 0.5}), "bad_body"),
        (json!({"prompt": "x", "not_before": -1}), "bad_time"),
        (json!({"prompt": "x", "not_before": i64::MAX}), "bad_time"),
        (json!({"prompt": "x", "not_before": "soon"}), "bad_body"),
    ] {
        let page = all(body, "bad").await;
        page.is_problem(StatusCode::UNPROCESSABLE_ENTITY, code);
    }
    assert_eq!(site.get(&path).await.ok(), json!({"turns": []}));

    let soon = 253_402_300_799_999_i64;
    let whole = json!({
        "prompt": "x", "agent": "plan", "model": "impostor/double", "system": {"text": "Be brief."},
        "priority": -3, "not_before": soon,
    });
    let made = all(whole.clone(), "k").await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let made = made.json();
    assert_eq!(
        (&made["priority"], &made["not_before"]),
        (&json!(-3), &json!(soon))
    );
    let turn = made["id"].as_str().unwrap().parse().unwrap();
    let row = site.host.store().turn(turn).await.unwrap().unwrap();
    assert_eq!(row.prompt.agent.as_deref(), Some("plan"));
    assert_eq!(row.prompt.model.unwrap().to_string(), "impostor/double");
    assert_eq!(
        row.prompt.system,
        Some(System::Append("Be brief.".to_owned()))
    );
    // The same is the same turn; what differs in any of it is another request.
    assert_eq!(all(whole.clone(), "k").await.ok(), made);
    let mut written = whole.clone();
    written["priority"] = json!(-3.0);
    assert_eq!(all(written, "k").await.ok(), made);
    for (field, value) in [
        ("agent", json!("build")),
        ("model", Value::Null),
        ("system", json!({"text": "Be brief.", "replace": true})),
        ("priority", json!(0.0)),
        ("not_before", json!(0)),
    ] {
        let mut other = whole.clone();
        other[field] = value;
        let page = all(other, "k").await;
        page.is_problem(StatusCode::CONFLICT, "key_reused");
    }
}

#[tokio::test]
async fn a_prompt_is_answered_by_whom_it_says_also_when_it_is_edited() {
    let site = Site::new([Step::Echo]).await;
    let path = format!("/conversations/{}/turns", site.conversation().await);
    let body =
        json!({"prompt": "One", "agent": "plan", "system": {"text": "Be brief.", "replace": true}});
    let asking = site.ask("acme ada all", Method::POST, &path).json(&body);
    let turn = asking.page().await.ok()["id"].as_str().unwrap().to_owned();
    site.host.settled(turn.parse().unwrap()).await.unwrap();
    let edited = site
        .post(&format!("/turns/{turn}/edit"), &json!({"prompt": "Two"}))
        .await;
    let turn = edited.ok()["id"].as_str().unwrap().to_owned();
    let result = site.host.settled(turn.parse().unwrap()).await.unwrap();
    assert_eq!(result.answer.content, "Two");
    let ledger = site.impostor.ledger();
    let posts = ledger.prompt_posts();
    assert_eq!(posts.len(), 2);
    for post in posts {
        let body = &ledger.requests()[post.request].body;
        assert_eq!(
            (&body["agent"], &body["system"]),
            (&json!("plan"), &json!("Be brief."))
        );
    }
}

#[tokio::test]
async fn a_prompt_says_what_becomes_of_the_turns_before_it() {
    let site = Site::without_worker(Script::new()).await;
    let first = site.turn("One").await;
    let path = format!("/conversations/{}/turns", site.conversation().await);
    let busy = site
        .post(&path, &json!({"prompt": "Two", "on_busy": "reject"}))
        .await;
    busy.is_problem(StatusCode::CONFLICT, "busy");
    let second = site
        .post(&path, &json!({"prompt": "Two", "on_busy": "interrupt"}))
        .await;
    assert_eq!(second.status, StatusCode::CREATED);
    assert_eq!(site.get(&path).await.ok()["turns"], json!([second.json()]));
    let first = site.get(&format!("/turns/{first}")).await.ok();
    assert_eq!(first["status"], "cancelled");
}

#[tokio::test]
async fn a_cancel_says_what_became_of_it() {
    let site = Site::new([Step::text("Half"), Step::gate("never"), Step::text("whole")]).await;
    let turn = site.turn("Go").await;
    let path = format!("/turns/{turn}/events");
    let mut events = site.ask("acme", Method::GET, &path).events().await;
    let mut shown = Vec::<Event>::new();
    while !crate::site::text_of(&shown).contains("Half") {
        shown.push(events.next().await.unwrap());
    }
    let early = site.get(&format!("/turns/{turn}/result")).await;
    early.is_problem(StatusCode::CONFLICT, "not_ended");
    let path = format!("/turns/{turn}/cancel");
    let cancelled = site.post(&path, &json!({"reason": "enough"})).await.ok();
    assert_eq!(cancelled, json!({"outcome": "requested", "status": null}));
    let rest = events.all().await;
    let last = rest.last().unwrap();
    assert_eq!(
        (last.name.as_str(), &last.data["status"]),
        ("finished", &json!("cancelled"))
    );
    assert_eq!(last.data["cancel_reason"], "enough");
    assert_eq!(last.data["answer"]["content"], "Half");
    // Without a body too.
    let again = site.ask("acme", Method::POST, &path).page().await.ok();
    assert_eq!(again, json!({"outcome": "already", "status": "cancelled"}));
    let untyped = site
        .ask("acme", Method::POST, &path)
        .body("{}")
        .page()
        .await;
    untyped.is_problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type");
    let long = site.post(&path, &json!({"reason": "x".repeat(1001)})).await;
    long.is_problem(StatusCode::UNPROCESSABLE_ENTITY, "too_long");
}

#[tokio::test]
async fn a_question_is_answered_once_and_by_name() {
    let site = Site::new([Step::question("Go on?", ["Yes"]), Step::text("Done.")]).await;
    let turn = site.turn("Go").await;
    let request = site.request(turn).await;
    let path = format!("/turns/{turn}/requests/{request}");
    let answer = json!({"type": "answers", "answers": [["Yes"]]});
    let asking = site.ask("acme ada", Method::POST, &path).json(&answer);
    assert_eq!(asking.page().await.ok(), json!({"state": "arrived"}));
    let second = site.post(&path, &answer).await;
    assert_eq!(second.status, StatusCode::CONFLICT);
    let given = site.host.store().answers(turn).await.unwrap();
    assert_eq!(given.len(), 1);
    assert_eq!(given[0].answer.by.as_deref(), Some("ada"));
    assert_eq!(
        result(&site, &turn.to_string()).await["status"],
        "completed"
    );
    let late = site.post(&path, &answer).await;
    late.is_problem(StatusCode::CONFLICT, "not_waiting");
}

#[tokio::test]
async fn a_permission_is_granted_or_refused_with_a_word() {
    let site = Site::new([Step::ask_bash("echo hi", "hi\n"), Step::text("Done.")]).await;
    let turn = site.turn("Go").await;
    let request = site.request(turn).await;
    let path = format!("/turns/{turn}/requests/{request}");
    for (bad, code) in [
        (json!({"type": "permission", "reply": "maybe"}), "bad_body"),
        (json!({"type": "permission"}), "bad_body"),
        (json!({"type": "answers", "answers": ["Yes"]}), "bad_body"),
        (
            json!({"type": "permission", "reply": "reject", "message": "a\u{0}b"}),
            "bad_body",
        ),
    ] {
        let page = site.post(&path, &bad).await;
        page.is_problem(StatusCode::UNPROCESSABLE_ENTITY, code);
    }
    let odd = site
        .post(
            &format!("/turns/{turn}/requests/per%2F..%2F1"),
            &json!({"type": "rejection"}),
        )
        .await;
    odd.is_problem(StatusCode::NOT_FOUND, "not_found");
    let granted = json!({"type": "permission", "reply": "once"});
    assert_eq!(
        site.post(&path, &granted).await.ok(),
        json!({"state": "arrived"})
    );
    assert_eq!(
        result(&site, &turn.to_string()).await["answer"]["content"],
        "Done."
    );
}

#[tokio::test]
async fn prompts_that_cannot_be_are_refused_and_leave_nothing() {
    let site = Site::without_worker(Script::new()).await;
    let path = format!("/conversations/{}/turns", site.conversation().await);
    for (bad, status, code) in [
        (
            json!({"prompt": " \n"}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "empty_prompt",
        ),
        (
            json!({"prompt": "x".repeat(5001)}),
            StatusCode::PAYLOAD_TOO_LARGE,
            "prompt_too_long",
        ),
        (
            json!({"prompt": "a\u{0}b"}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_body",
        ),
        (
            json!({"prompt": 1}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_body",
        ),
        (json!({}), StatusCode::UNPROCESSABLE_ENTITY, "bad_body"),
        (
            json!({"prompt": "x", "tools": {"bash": true}}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_body",
        ),
        (
            json!({"prompt": "x", "on_busy": "wait"}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_body",
        ),
        (
            json!({"prompt": "x".repeat(60_000)}),
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
        ),
    ] {
        site.post(&path, &bad).await.is_problem(status, code);
    }
    assert_eq!(site.get(&path).await.ok(), json!({"turns": []}));
}
