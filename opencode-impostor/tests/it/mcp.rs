//! Servers of tools that clients add: connected to, called, forgotten.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use opencode_impostor::{Delivery, Impostor, Script, Step};
use serde_json::{Value, json};

use crate::http::{call, get, prompt, session_in};

/// What a server of tools was told: the message, and by whom.
type Told = Arc<Mutex<Vec<(Value, Option<String>)>>>;

async fn answer(
    State(told): State<Told>,
    headers: HeaderMap,
    Json(message): Json<Value>,
) -> Response {
    if headers
        .get("authorization")
        .is_none_or(|token| token != "Bearer secret")
    {
        return (StatusCode::UNAUTHORIZED, "who is it?").into_response();
    }
    let session = headers.get("mcp-session-id");
    let session = session.map(|session| session.to_str().unwrap().to_owned());
    told.lock().unwrap().push((message.clone(), session));
    let result = match message["method"].as_str().unwrap() {
        "initialize" => json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}),
        "tools/list" => json!({"tools": [{"name": "lookup", "inputSchema": {"type": "object"}}]}),
        "tools/call" => {
            let said = message["params"]["arguments"]["say"].as_str().unwrap();
            json!({"content": [{"type": "text", "text": said}], "isError": said.contains("no")})
        }
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
    ([("mcp-session-id", "client 1")], Json(answer)).into_response()
}

/// A server of tools: its URL, and what it was told.
async fn tools() -> (String, Told) {
    let told = Told::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/tools", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/tools", post(answer))
        .with_state(told.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, told)
}

fn config(url: &str, token: &str) -> Value {
    json!({
        "name": "app",
        "config": {"type": "remote", "url": url, "headers": {"Authorization": format!("Bearer {token}")}},
    })
}

/// The tool parts of a session: name and state.
fn parts(impostor: &Impostor, session: &str) -> Vec<(String, Value)> {
    let messages = impostor.messages(session);
    let parts = messages
        .iter()
        .flat_map(|message| message["parts"].as_array().unwrap());
    let tools = parts.filter(|part| part["type"] == "tool");
    tools
        .map(|part| {
            (
                part["tool"].as_str().unwrap().to_owned(),
                part["state"].clone(),
            )
        })
        .collect()
}

async fn played(impostor: &Impostor, directory: &str) -> Vec<(String, Value)> {
    let session = session_in(impostor.port(), directory).await;
    prompt(impostor.port(), &session, "go").await;
    impostor
        .wait_for(|ledger| ledger.prompts(&session).len() == 1 && ledger.busy().is_empty())
        .await
        .unwrap();
    parts(impostor, &session)
}

#[tokio::test]
async fn an_added_tool_is_called_in_its_folder_alone() {
    let (url, told) = tools().await;
    let say = |text: &str| Step::mcp("app_lookup", json!({"say": text}));
    let impostor = Impostor::scripted(Script::always([say("{{prompt}}!"), say("no")]))
        .await
        .unwrap();
    let port = impostor.port();
    let added = call(
        port,
        "POST",
        "/mcp?directory=/one",
        Some(&config(&url, "secret")),
    )
    .await;
    assert_eq!(added.json(), json!({"app": {"status": "connected"}}));
    assert_eq!(
        get(port, "/mcp?directory=/one").await,
        json!({"app": {"status": "connected"}})
    );
    assert_eq!(get(port, "/mcp?directory=/two").await, json!({}));

    let parts = played(&impostor, "/one").await;
    assert_eq!(
        (parts[0].0.as_str(), &parts[0].1["output"]),
        ("app_lookup", &json!("go!"))
    );
    assert_eq!(
        (parts[1].0.as_str(), &parts[1].1["error"]),
        ("app_lookup", &json!("no"))
    );
    let elsewhere = played(&impostor, "/two").await;
    assert_eq!(elsewhere[0].0, "invalid");

    let told = told.lock().unwrap().clone();
    let methods: Vec<_> = told
        .iter()
        .map(|(message, _)| message["method"].as_str().unwrap())
        .collect();
    assert_eq!(
        methods,
        [
            "initialize",
            "notifications/initialized",
            "tools/list",
            "tools/call",
            "tools/call"
        ]
    );
    let clients: Vec<_> = told.iter().map(|(_, client)| client.as_deref()).collect();
    let named = Some("client 1");
    assert_eq!(clients, [None, named, named, named, named]);
    let ids: Vec<_> = told
        .iter()
        .map(|(message, _)| message["id"].as_u64())
        .collect();
    assert_eq!(ids, [Some(0), None, Some(1), Some(2), Some(3)]);
}

#[tokio::test]
async fn a_server_of_tools_that_does_not_answer_has_failed() {
    let (url, _) = tools().await;
    let impostor = Impostor::start().await.unwrap();
    for (url, token, why) in [
        (url.as_str(), "wrong", "(HTTP 401): who is it?"),
        ("http://127.0.0.1:9/tools", "secret", "Unable to connect"),
        ("/tools", "secret", "Invalid MCP URL"),
    ] {
        let added = call(impostor.port(), "POST", "/mcp", Some(&config(url, token)))
            .await
            .json();
        assert_eq!(added["app"]["status"], "failed");
        let said = added["app"]["error"].as_str().unwrap();
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn what_was_added_is_forgotten_with_the_process_and_by_order() {
    let (url, _) = tools().await;
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    call(port, "POST", "/mcp", Some(&config(&url, "secret"))).await;
    impostor.forget_tools();
    assert_eq!(get(port, "/mcp").await, json!({}));
    call(port, "POST", "/mcp", Some(&config(&url, "secret"))).await;
    impostor.restart().await.unwrap();
    assert_eq!(get(port, "/mcp").await, json!({}));
}

#[tokio::test]
async fn trouble_on_the_way_is_seen_by_the_server_of_tools() {
    for (delivery, methods) in [
        (Delivery::Once, &["tools/call"][..]),
        (Delivery::AnswerLost, &["tools/call", "tools/call"]),
        (Delivery::Twice, &["tools/call", "tools/call"]),
    ] {
        let (url, told) = tools().await;
        let say = Step::mcp_delivered("app_lookup", json!({"say": "yes"}), delivery.clone());
        let impostor = Impostor::scripted(Script::always([say])).await.unwrap();
        call(
            impostor.port(),
            "POST",
            "/mcp?directory=/one",
            Some(&config(&url, "secret")),
        )
        .await;
        let parts = played(&impostor, "/one").await;
        assert_eq!(parts[0].1["output"], "yes", "{delivery:?}");
        let told: Vec<_> = told.lock().unwrap().drain(3..).collect();
        let said: Vec<_> = told
            .iter()
            .map(|(message, _)| message["method"].as_str().unwrap())
            .collect();
        assert_eq!(said, methods, "{delivery:?}");
        let first = &told[0].0;
        assert!(
            told.iter().all(|(message, _)| message == first),
            "{delivery:?}"
        );
    }
}
