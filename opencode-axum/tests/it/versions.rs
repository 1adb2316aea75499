//! More than one answer: asked again, edited, chosen, forked.

use axum::http::{Method, StatusCode};
use opencode_impostor::Step;
use serde_json::{Value, json};

use crate::site::{Page, Site};

/// Waits until a turn has ended.
async fn ended(site: &Site, turn: &Value) {
    let path = format!("/turns/{}/events", turn.as_str().unwrap());
    let events = site.ask("acme", Method::GET, &path).events().await;
    assert_eq!(events.all().await.pop().unwrap().name, "finished");
}

async fn keyed(site: &Site, path: &str, key: &str, body: Option<Value>) -> Page {
    let asking = site.ask("acme", Method::POST, path);
    let asking = asking.header("idempotency-key", key);
    match body {
        Some(body) => asking.json(&body).page().await,
        None => asking.page().await,
    }
}

/// The contents of the messages that are shown, and which version of how many each is.
async fn shown(site: &Site, conversation: &str) -> Vec<(String, u64, u64)> {
    let path = format!("/conversations/{conversation}/messages?order=oldest_first");
    let page = site.get(&path).await.ok();
    let messages = page["messages"].as_array().unwrap().iter();
    let told = messages.map(|message| {
        let number = |field: &str| message[field].as_u64().unwrap();
        let content = message["content"].as_str().unwrap().to_owned();
        (content, number("version"), number("versions"))
    });
    told.collect()
}

#[tokio::test]
async fn a_turn_is_asked_again_edited_and_chosen() {
    let site = Site::new([Step::Echo]).await;
    let conversation = site.conversation().await.to_string();
    let first = json!(site.turn("one").await.to_string());
    ended(&site, &first).await;
    let second = json!(site.turn("two").await.to_string());
    ended(&site, &second).await;
    let of = |turn: &Value, what: &str| format!("/turns/{}/{what}", turn.as_str().unwrap());

    let path = of(&second, "regenerate");
    let again = keyed(&site, &path, "k1", None).await.ok();
    assert_eq!(again["parent"], first);
    let repeated = keyed(&site, &path, "k1", None).await.ok();
    assert_eq!(repeated["id"], again["id"]);
    ended(&site, &again["id"]).await;
    // The key of one request is no key of another.
    let edit = of(&second, "edit");
    let other = Some(json!({"prompt": "else"}));
    let reused = keyed(&site, &edit, "k1", other).await;
    reused.is_problem(StatusCode::CONFLICT, "key_reused");
    let reused = keyed(&site, &of(&first, "retry"), "k1", None).await;
    reused.is_problem(StatusCode::CONFLICT, "key_reused");

    let edited = site.post(&edit, &json!({"prompt": "two!"})).await.ok();
    ended(&site, &edited["id"]).await;
    let of_two = |text: &str, version| (text.to_owned(), version, 3);
    let one = ("one".to_owned(), 1, 1);
    assert_eq!(
        shown(&site, &conversation).await,
        [
            one.clone(),
            one.clone(),
            of_two("two!", 3),
            of_two("two!", 3)
        ]
    );
    let versions = site.get(&of(&second, "versions")).await.ok();
    let versions = versions["versions"].as_array().unwrap();
    let told: Vec<_> = versions
        .iter()
        .map(|one| (&one["turn"], &one["shown"]))
        .collect();
    let (no, yes) = (json!(false), json!(true));
    assert_eq!(
        told,
        [(&second, &no), (&again["id"], &no), (&edited["id"], &yes)]
    );

    let chosen = site.ask("acme", Method::POST, &of(&second, "choose"));
    assert_eq!(chosen.page().await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        shown(&site, &conversation).await,
        [one.clone(), one, of_two("two", 1), of_two("two", 1)]
    );
    let empty = site.post(&edit, &json!({"prompt": " "})).await;
    empty.is_problem(StatusCode::UNPROCESSABLE_ENTITY, "empty_prompt");
}

#[tokio::test]
async fn a_turn_that_runs_keeps_its_place() {
    let site = Site::new([Step::question("Go on?", ["Yes"])]).await;
    let turn = site.turn("one").await;
    site.request(turn).await;
    for what in ["retry", "regenerate"] {
        let asking = site.ask("acme", Method::POST, &format!("/turns/{turn}/{what}"));
        let page = asking.page().await;
        page.is_problem(StatusCode::CONFLICT, "busy");
    }
    let (path, two) = (format!("/turns/{turn}/edit"), json!({"prompt": "two"}));
    site.post(&path, &two)
        .await
        .is_problem(StatusCode::CONFLICT, "busy");
}

#[tokio::test]
async fn a_message_that_use_chat_regenerates_is_another_version() {
    let site = Site::new([Step::Echo]).await;
    let turn = site.turn("one").await;
    ended(&site, &json!(turn.to_string())).await;
    let row = site.host.store().turn(turn).await.unwrap().unwrap();
    let parts = json!([{"type": "text", "text": "one"}]);
    let body = json!({
        "id": "garden",
        "messages": [{"id": "m1", "role": "user", "parts": parts}],
        "trigger": "regenerate-message",
        "messageId": row.message.to_string(),
    });
    let page = site
        .ask("acme", Method::POST, "/ui/chat")
        .json(&body)
        .page()
        .await;
    assert_eq!(page.status, StatusCode::OK);
    let versions = site.host.store().versions(turn).await.unwrap();
    let shown: Vec<_> = versions.iter().map(|version| version.shown).collect();
    assert_eq!(shown, [false, true]);
}

#[tokio::test]
async fn a_conversation_goes_on_from_a_turn_of_another() {
    let site = Site::new([Step::Echo]).await;
    let conversation = site.conversation().await.to_string();
    let first = json!(site.turn("one").await.to_string());
    ended(&site, &first).await;
    let second = json!(site.turn("two").await.to_string());
    ended(&site, &second).await;
    let path = format!("/turns/{}/fork", first.as_str().unwrap());
    let fork = site.post(&path, &json!({"name": "fork"})).await.ok();
    assert_eq!(fork["forked_from"], first);
    assert_eq!(fork["name"], "fork");
    assert_ne!(fork["id"], json!(conversation));
    let said = |of: &Vec<(String, u64, u64)>| -> Vec<String> {
        of.iter().map(|(content, ..)| content.clone()).collect()
    };
    let id = fork["id"].as_str().unwrap();
    assert_eq!(said(&shown(&site, id).await), ["one", "one"]);
    let of_it = format!("/conversations/{id}");
    assert_eq!(site.get(&of_it).await.ok(), fork);

    let turns = format!("{of_it}/turns");
    let turn = site.post(&turns, &json!({"prompt": "three"})).await.json();
    ended(&site, &turn["id"]).await;
    assert_eq!(
        said(&shown(&site, id).await),
        ["one", "one", "three", "three"]
    );
    let theirs = shown(&site, &conversation).await;
    assert_eq!(said(&theirs), ["one", "one", "two", "two"]);

    // Asked twice, there is one of them.
    let again = site.post(&path, &json!({"name": "fork"})).await.ok();
    assert_eq!(again, fork);
    for (turn, name) in [(&second, "fork"), (&first, "garden")] {
        let path = format!("/turns/{}/fork", turn.as_str().unwrap());
        let taken = site.post(&path, &json!({"name": name})).await;
        taken.is_problem(StatusCode::CONFLICT, "name_taken");
    }
    let long = site.post(&path, &json!({"name": "x".repeat(600)})).await;
    long.is_problem(StatusCode::UNPROCESSABLE_ENTITY, "too_long");
    let deleted = site.ask(
        "acme",
        Method::DELETE,
        &format!("/conversations/{conversation}"),
    );
    assert!(deleted.page().await.status.is_success());
    let gone = site.post(&path, &json!({"name": "another"})).await;
    gone.is_problem(StatusCode::NOT_FOUND, "not_found");
    assert_eq!(said(&shown(&site, id).await).len(), 4);
}

#[tokio::test]
async fn a_turn_that_runs_is_not_forked() {
    let site = Site::new([Step::question("Go on?", ["Yes"])]).await;
    let turn = site.turn("one").await;
    site.request(turn).await;
    let path = format!("/turns/{turn}/fork");
    let busy = site.post(&path, &json!({"name": "fork"})).await;
    busy.is_problem(StatusCode::CONFLICT, "busy");
    let listed = site.get("/conversations").await.ok();
    assert_eq!(listed["conversations"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_deleted_is_not_forked_nor_asked_again() {
    let site = Site::new([Step::Echo]).await;
    let turn = json!(site.turn("one").await.to_string());
    ended(&site, &turn).await;
    let path = format!("/conversations/{}", site.conversation().await);
    let deleted = site.ask("acme", Method::DELETE, &path).page().await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    for (what, body) in [
        ("fork", json!({"name": "fork"})),
        ("edit", json!({"prompt": "two"})),
        ("retry", json!({})),
    ] {
        let path = format!("/turns/{}/{what}", turn.as_str().unwrap());
        let page = site.post(&path, &body).await;
        page.is_problem(StatusCode::NOT_FOUND, "not_found");
    }
    let listed = site.get("/conversations").await.ok();
    assert_eq!(listed, json!({"conversations": []}));
}
