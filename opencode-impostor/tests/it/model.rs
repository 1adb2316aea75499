//! The scripted model provider, without an OpenCode in front of it.

use opencode_impostor::{ModelScript, ModelServer, Round, UNICODE_TEXT, opencode_config};
use serde_json::{Value, json};

use crate::http::{Answer, call, get};

fn request(messages: &Value) -> Value {
    json!({"model": "scripted", "stream": true, "messages": messages, "tools": [{"type": "function"}]})
}

async fn ask(port: u16, messages: &Value) -> Answer {
    call(
        port,
        "POST",
        "/v1/chat/completions",
        Some(&request(messages)),
    )
    .await
}

fn chunks(answer: &Answer) -> Vec<Value> {
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let mut frames: Vec<&str> = text
        .split("\n\n")
        .filter(|frame| !frame.is_empty())
        .collect();
    assert_eq!(frames.pop(), Some("data: [DONE]"));
    frames
        .iter()
        .map(|frame| serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

fn joined(chunks: &[Value], field: &str) -> String {
    chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"][field].as_str())
        .collect()
}

#[tokio::test]
async fn text_is_streamed_with_usage_and_finish() {
    let model = ModelServer::start().await.unwrap();
    let answer = ask(
        model.port(),
        &json!([{"role": "user", "content": "hi [[reason]]"}]),
    )
    .await;
    let chunks = chunks(&answer);
    assert_eq!(
        joined(&chunks, "reasoning_content"),
        "Let me think about it."
    );
    assert_eq!(joined(&chunks, "content"), "Final answer.");
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["usage"]["total_tokens"], 70);
    assert_eq!(model.runs("[[reason]]"), 1);
}

#[tokio::test]
async fn tools_are_called_and_then_answered() {
    let model = ModelServer::start().await.unwrap();
    let mut messages = json!([
        {"role": "system", "content": "<env>\n  Working directory: /tmp/ws\n</env>"},
        {"role": "user", "content": "[[write]]"},
    ]);
    let first = chunks(&ask(model.port(), &messages).await);
    let called = first
        .iter()
        .find_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array())
        .unwrap();
    let arguments: Value =
        serde_json::from_str(called[0]["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments["filePath"], "/tmp/ws/report.md");
    assert_eq!(
        first.last().unwrap()["choices"][0]["finish_reason"],
        "tool_calls"
    );
    let more = messages.as_array_mut().unwrap();
    more.push(json!({"role": "assistant", "tool_calls": called}));
    more.push(json!({"role": "tool", "content": "done"}));
    assert_eq!(
        joined(&chunks(&ask(model.port(), &messages).await), "content"),
        "Done. See report.md"
    );
}

#[tokio::test]
async fn a_busy_provider_answers_the_second_time() {
    let model = ModelServer::start().await.unwrap();
    let messages = json!([{"role": "user", "content": "[[err429]]"}]);
    assert_eq!(ask(model.port(), &messages).await.status, 429);
    assert_eq!(
        joined(&chunks(&ask(model.port(), &messages).await), "content"),
        UNICODE_TEXT
    );
    let answer = ask(
        model.port(),
        &json!([{"role": "user", "content": "[[err401]]"}]),
    )
    .await;
    assert_eq!(
        (answer.status, answer.json()["error"]["message"].as_str()),
        (401, Some("upstream says no"))
    );
}

#[tokio::test]
async fn own_rules_come_first_and_titles_are_short() {
    let script = ModelScript::new()
        .on("[[text]]", [Round::text("mine")])
        .then(ModelScript::standard());
    let model = ModelServer::scripted(script).await.unwrap();
    let messages = json!([{"role": "user", "content": "[[text]]"}]);
    assert_eq!(
        joined(&chunks(&ask(model.port(), &messages).await), "content"),
        "mine"
    );
    let title = json!({"model": "scripted", "messages": messages});
    let answer = call(model.port(), "POST", "/v1/chat/completions", Some(&title))
        .await
        .json();
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        "A scripted title"
    );
    assert_eq!(
        get(model.port(), "/v1/models").await["data"][0]["id"],
        "scripted"
    );
    assert_eq!(
        opencode_config(&model.url())["provider"]["local"]["options"]["baseURL"],
        model.url()
    );
}
