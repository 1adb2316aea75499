//! Turns: the events of the double are those of the recordings.

use opencode_impostor::{Impostor, Script, Step, UNICODE_TEXT};
use serde_json::{Value, json};

use crate::http::{Events, call, get, new_session, next_id, prompt, prompt_body, types};

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
    assert_eq!(
        get(port, "/session/status?directory=/workspace/demo").await,
        json!({})
    );
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
            call(
                port,
                "POST",
                &format!("/question/{id}/reply?directory=/workspace/demo"),
                Some(&body),
            )
            .await;
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
