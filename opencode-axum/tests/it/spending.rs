//! What a tenant has used, shown to its people; and what they are told when it is too much.

use axum::http::{Method, StatusCode};
use opencode_impostor::{Script, Step};
use serde_json::json;

use crate::site::Site;

#[tokio::test]
async fn what_was_used_and_what_may_be_is_shown_to_the_tenant_alone() {
    let site = Site::new([Step::text("Sown.")]).await;
    let shown = async |token: &str| site.ask(token, Method::GET, "/spending").page().await.ok();
    let none = json!({"cost": 0.0, "tokens": 0, "seconds": 0.0});
    let before = shown("trial").await;
    assert_eq!(before["period"], "day");
    assert_eq!(before["used"], none);
    assert_eq!(before["reserved"], none);
    assert_eq!(before["allowed"], json!({"cost": 1.5, "seconds": 3600.0}));
    let (since, until) = (&before["since"], &before["until"]);
    assert_eq!(
        until.as_i64().unwrap() - since.as_i64().unwrap(),
        86_400_000
    );

    let asking = site.ask("trial", Method::POST, "/conversations");
    let conversation = asking.json(&json!({"name": "garden"})).page().await.ok();
    let path = format!(
        "/conversations/{}/turns",
        conversation["id"].as_str().unwrap()
    );
    let asking = site.ask("trial", Method::POST, &path);
    let turn = asking.json(&json!({"prompt": "sow"})).page().await;
    assert_eq!(turn.status, StatusCode::CREATED);
    let turn = turn.json()["id"].as_str().unwrap().parse().unwrap();
    let result = site.host.settled(turn).await.unwrap();
    let usage = result.answer.usage;
    let used = &shown("trial").await["used"];
    assert_eq!(used["cost"], usage.cost);
    assert_eq!(used["tokens"], usage.input_tokens + usage.output_tokens);
    assert!(used["seconds"].as_f64().unwrap() > 0.0);

    let other = shown("acme").await;
    assert_eq!((&other["period"], &other["used"]), (&json!("month"), &none));
    assert_eq!(other["allowed"], json!({}));
}

#[tokio::test]
async fn a_prompt_for_which_nothing_is_left_is_a_problem_that_says_until_when() {
    let site = Site::without_worker(Script::new()).await;
    let asking = site.ask("broke", Method::POST, "/conversations");
    let conversation = asking.json(&json!({"name": "garden"})).page().await.ok();
    let path = format!(
        "/conversations/{}/turns",
        conversation["id"].as_str().unwrap()
    );
    let asking = site.ask("broke", Method::POST, &path);
    let refused = asking.json(&json!({"prompt": "sow"})).page().await;
    let problem = refused.is_problem(StatusCode::PAYMENT_REQUIRED, "over_budget");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("This month has no budget: 0 tokens are allowed"),
        "{detail}"
    );
    assert!(detail.contains("the next month begins on "), "{detail}");
    let listed = site.ask("broke", Method::GET, &path).page().await.ok();
    assert_eq!(listed["turns"], json!([]));

    // As the other front ends ask.
    let message = json!({"id": "m", "role": "user", "parts": [{"type": "text", "text": "sow"}]});
    let body = json!({"id": "garden", "messages": [message], "trigger": "submit-message"});
    let asking = site.ask("broke", Method::POST, "/ui/chat").json(&body);
    asking
        .page()
        .await
        .is_problem(StatusCode::PAYMENT_REQUIRED, "over_budget");
}
