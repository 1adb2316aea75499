//! What the AI SDK's transport asks and is answered, chunk by chunk.

use axum::http::{Method, StatusCode};
use opencode_impostor::{Script, Step};
use serde_json::{Value, json};

use crate::site::{Asking, Page, Site};

fn message(id: &str, text: &str) -> Value {
    json!({"id": id, "role": "user", "parts": [{"type": "text", "text": text}]})
}

fn submit(messages: &Value) -> Value {
    json!({"id": "garden", "messages": messages, "trigger": "submit-message"})
}

fn asking<'a>(site: &'a Site, body: &Value) -> Asking<'a> {
    site.ask("acme", Method::POST, "/ui/chat").json(body)
}

/// The chunks of a stream, which ended as streams do.
#[track_caller]
fn chunks(page: &Page) -> Vec<Value> {
    assert_eq!(
        page.status,
        StatusCode::OK,
        "{}",
        String::from_utf8_lossy(&page.body)
    );
    assert_eq!(page.header("x-vercel-ai-ui-message-stream"), "v1");
    assert_eq!(page.header("content-type"), "text/event-stream");
    assert_eq!(page.header("cache-control"), "no-cache, no-transform");
    let text = std::str::from_utf8(&page.body).unwrap();
    let text = text.strip_suffix("data: [DONE]\n\n").expect(text);
    let lines = text.split_terminator("\n\n").filter(|line| *line != ":");
    let data = lines.map(|line| line.strip_prefix("data: ").expect(line));
    data.map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn text_of(chunks: &[Value]) -> String {
    let deltas = chunks.iter().filter(|chunk| chunk["type"] == "text-delta");
    deltas
        .map(|chunk| chunk["delta"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_message_is_answered_in_the_conversation_of_that_name() {
    let site = Site::new([Step::text("It grows.")]).await;
    let page = asking(&site, &submit(&json!([message("m1", "What grows?")])))
        .page()
        .await;
    let chunks = chunks(&page);
    assert_eq!(text_of(&chunks), "It grows.");
    let start = &chunks[0];
    assert_eq!(start["type"], "start");
    let turn = start["messageMetadata"]["turn"].as_str().unwrap();
    let conversation = site.conversation().await.to_string();
    assert_eq!(start["messageMetadata"]["conversation"], conversation);
    let row = site.get(&format!("/turns/{turn}")).await.ok();
    assert_eq!(start["messageId"], row["message"]);
    assert_eq!(
        chunks.last().unwrap(),
        &json!({"type": "finish", "finishReason": "stop"})
    );
    let messages = site
        .get(&format!("/conversations/{conversation}/messages"))
        .await
        .ok();
    assert_eq!(messages["messages"][1]["content"], "What grows?");
}

/// The turn that a request made.
async fn turn_of(site: &Site, body: &Value) -> Value {
    let page = asking(site, body).page().await;
    chunks(&page)[0]["messageMetadata"]["turn"].take()
}

#[tokio::test]
async fn a_message_is_one_turn_and_one_that_is_meant_again_another() {
    let site = Site::new([Step::text("Hi.")]).await;
    let first = submit(&json!([message("m1", "Hello")]));
    let turn = turn_of(&site, &first).await;
    assert_eq!(turn_of(&site, &first).await, turn);
    let mut all = vec![turn];

    let mut again = first.clone();
    again["trigger"] = "regenerate-message".into();
    again["messageId"] = "a1".into();
    let regenerated = turn_of(&site, &again).await;
    assert_eq!(turn_of(&site, &again).await, regenerated);
    all.push(regenerated);
    again["messageId"] = "a2".into();
    all.push(turn_of(&site, &again).await);
    // Without saying what is to be answered again.
    again.as_object_mut().unwrap().remove("messageId");
    all.push(turn_of(&site, &again).await);
    all.push(turn_of(&site, &again).await);
    // In the place of an earlier message.
    let mut edited = submit(&json!([message("m1", "Hello!")]));
    edited["messageId"] = "m1".into();
    all.push(turn_of(&site, &edited).await);
    let turns: std::collections::BTreeSet<_> = all.iter().map(Value::to_string).collect();
    assert_eq!(turns.len(), all.len());

    let other = submit(&json!([message("m1", "Bye")]));
    let page = asking(&site, &other).page().await;
    page.is_problem(StatusCode::CONFLICT, "key_reused");

    // The run of another front end is the key there.
    let run = |prompt: &str| {
        let message = json!({"role": "user", "content": prompt});
        json!({"threadId": "garden", "runId": "r1", "messages": [message]})
    };
    let ran = site.post("/ag-ui", &run("Hello")).await;
    assert_eq!(ran.status, StatusCode::OK);
    let other = site.post("/ag-ui", &run("Bye")).await;
    other.is_problem(StatusCode::CONFLICT, "key_reused");
}

#[tokio::test]
async fn who_comes_back_gets_the_answer_from_its_beginning_while_it_comes() {
    let steps = [Step::text("One. "), Step::gate("two"), Step::text("Two.")];
    let site = Site::new(steps).await;
    let resumed = || site.ask("acme", Method::GET, "/ui/chat/garden/stream");
    assert_eq!(resumed().page().await.status, StatusCode::NO_CONTENT);
    let body = submit(&json!([message("m1", "Count")]));
    let mut events = asking(&site, &body).events().await;
    while events.next().await.unwrap().data["delta"] != "One." {}
    drop(events);
    let resumed = resumed().begun().await;
    site.impostor.gate("two").open();
    let (parts, body) = resumed.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let page = Page {
        status: parts.status,
        headers: parts.headers,
        body: body.into(),
    };
    let chunks = chunks(&page);
    assert!(
        text_of(&chunks).starts_with("One. ") && text_of(&chunks).ends_with("Two."),
        "{chunks:?}"
    );
    let turn = chunks[0]["messageMetadata"]["turn"].as_str().unwrap();
    site.host.settled(turn.parse().unwrap()).await.unwrap();
    let after = site.get("/ui/chat/garden/stream").await;
    assert_eq!(
        (after.status, after.body.len()),
        (StatusCode::NO_CONTENT, 0)
    );

    // The same turn by its own address, by `Accept` and by the query.
    let path = format!("/turns/{turn}/events");
    let by_accept = site.ask("acme", Method::GET, &path);
    let by_accept = by_accept.header("accept", "text/event-stream; encoding=ui-messages");
    let by_accept = self::chunks(&by_accept.page().await);
    assert_eq!(text_of(&by_accept), text_of(&chunks));
    let by_query = self::chunks(&site.get(&format!("{path}?encoding=ui-messages")).await);
    assert_eq!(by_query, by_accept);
    let unknown = site.get(&format!("{path}?encoding=morse")).await;
    unknown.is_problem(StatusCode::BAD_REQUEST, "bad_query");
    let unknown = site.ask("acme", Method::GET, &path);
    let unknown = unknown.header("accept", "text/event-stream; encoding=morse");
    unknown
        .page()
        .await
        .is_problem(StatusCode::NOT_ACCEPTABLE, "not_acceptable");
}

#[tokio::test]
async fn a_chat_is_stopped_with_all_that_waits_in_it() {
    let site = Site::new([Step::text("Half"), Step::gate("never"), Step::text("whole")]).await;
    let body = submit(&json!([message("m1", "Go")]));
    let mut events = asking(&site, &body).events().await;
    while events.next().await.unwrap().data["delta"] != "Half" {}
    let behind = asking(&site, &submit(&json!([message("m2", "And then?")])))
        .events()
        .await;
    let stopped = site
        .ask("acme", Method::POST, "/ui/chat/garden/stop")
        .page()
        .await;
    assert_eq!(stopped.status, StatusCode::NO_CONTENT);
    let mut last = Value::Null;
    let mut text = String::new();
    loop {
        // Behind the end there is `[DONE]`, which is no JSON.
        let event = events.next().await.unwrap();
        text.push_str(event.data["delta"].as_str().unwrap_or_default());
        if event.data["type"] == "abort" {
            break;
        }
        last = event.data;
    }
    assert_eq!(
        (last["type"].as_str(), text.as_str()),
        (Some("finish-step"), "")
    );
    drop(behind);
    let conversation = site.conversation().await;
    let messages = site
        .get(&format!("/conversations/{conversation}/messages"))
        .await
        .ok();
    let statuses = messages["messages"].as_array().unwrap().iter();
    let statuses: Vec<_> = statuses
        .map(|message| message["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        ["cancelled", "completed", "cancelled", "completed"]
    );
}

#[tokio::test]
async fn files_come_as_data_urls_and_nothing_is_fetched() {
    let site = Site::new([Step::write_file("out.txt", "done"), Step::text("Done.")]).await;
    let with_file = |url: &str| {
        let file =
            json!({"type": "file", "url": url, "mediaType": "text/plain", "filename": "a.txt"});
        let parts =
            json!([{"type": "text", "text": "Read"}, file, {"type": "data-mine", "data": 1}]);
        submit(&json!([{"id": "m1", "role": "user", "parts": parts}]))
    };
    for bad in [
        "https://example.org/a.txt",
        "data:text/plain,alpha",
        "data:;base64,=",
        "a",
    ] {
        let page = asking(&site, &with_file(bad)).page().await;
        page.is_problem(StatusCode::UNPROCESSABLE_ENTITY, "bad_file");
    }
    let page = asking(&site, &with_file("data:text/plain;base64,YWxwaGE="))
        .page()
        .await;
    let chunks = chunks(&page);
    let turn = chunks[0]["messageMetadata"]["turn"].as_str().unwrap();
    let row = site.get(&format!("/turns/{turn}")).await.ok();
    let asked = site
        .get(&format!(
            "/messages/{}",
            row["user_message"].as_str().unwrap()
        ))
        .await
        .ok();
    assert_eq!(asked["content"], "Read");
    assert_eq!(asked["files"][0]["name"], "a.txt");
    let given = chunks.iter().find(|chunk| chunk["type"] == "file").unwrap();
    let url = given["url"].as_str().unwrap().strip_prefix("/api").unwrap();
    assert_eq!(site.get(url).await.body, b"done");
}

#[tokio::test]
async fn a_question_comes_with_what_it_is_answered_by() {
    let site = Site::new([Step::question("Go on?", ["Yes"]), Step::text("Done.")]).await;
    let body = submit(&json!([message("m1", "Go")]));
    let mut events = asking(&site, &body).events().await;
    let start = events.next().await.unwrap().data;
    let turn = start["messageMetadata"]["turn"].as_str().unwrap();
    let request = loop {
        let data = events.next().await.unwrap().data;
        if data["type"] == "data-request" {
            break data;
        }
    };
    assert_eq!(request["data"]["state"], "pending");
    let path = format!("/turns/{turn}/requests/{}", request["id"].as_str().unwrap());
    let answer = json!({"type": "answers", "answers": [["Yes"]]});
    site.post(&path, &answer).await.ok();
    loop {
        let data = events.next().await.unwrap().data;
        if data["type"] == "data-request" {
            assert_eq!(
                (&data["id"], &data["data"]["state"]),
                (&request["id"], &json!("closed"))
            );
        }
        if data["type"] == "finish" {
            break;
        }
    }
}

/// The approval that a stream ends with, and the answer's message.
#[track_caller]
fn approval_of(chunks: &[Value]) -> (Value, Value) {
    let asked = chunks
        .iter()
        .find(|chunk| chunk["type"] == "tool-approval-request")
        .unwrap_or_else(|| panic!("{chunks:?}"));
    let last = json!({"type": "finish", "finishReason": "tool-calls"});
    assert_eq!(chunks.last(), Some(&last));
    (asked["approvalId"].clone(), chunks[0]["messageId"].clone())
}

fn decided(message: &Value, approval: &Value) -> Value {
    let call = json!({
        "type": "dynamic-tool",
        "toolCallId": "0-0",
        "state": "approval-responded",
        "approval": approval,
    });
    submit(&json!([message_of(message, &call)]))
}

fn message_of(id: &Value, part: &Value) -> Value {
    json!({"id": id, "role": "assistant", "parts": [{"type": "step-start"}, part]})
}

#[tokio::test]
async fn a_stream_ends_where_it_waits_for_an_approval_and_goes_on_behind_it() {
    let site = Site::new([Step::ask_bash("ls", "a.txt"), Step::text("Done.")]).await;
    let first = submit(&json!([message("m1", "Go")]));
    let begun = chunks(&asking(&site, &first).page().await);
    let (id, answer) = approval_of(&begun);
    // Whoever comes back, and whoever sends the message again, is asked the same.
    let resumed = chunks(&site.get("/ui/chat/garden/stream").await);
    assert_eq!(approval_of(&resumed).0, id);
    let again = chunks(&asking(&site, &first).page().await);
    assert_eq!(approval_of(&again), (id.clone(), answer.clone()));

    // What decides nothing changes nothing.
    let conversation = site.conversation().await;
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    for (approval, code) in [
        (json!({"id": id}), "bad_approval"),
        (json!({"id": "../x", "approved": true}), "bad_approval"),
        (json!({"id": "", "approved": true}), "bad_approval"),
        (json!({"approved": true}), "bad_body"),
        (json!({"id": id, "approved": "yes"}), "bad_body"),
        (Value::Null, "no_prompt"),
    ] {
        let page = asking(&site, &decided(&answer, &approval)).page().await;
        page.is_problem(unprocessable, code);
    }
    let yes = json!({"id": id, "approved": true});
    let unknown = json!("01890a5d-ac96-774b-bcce-b302099a8057");
    for body in [decided(&unknown, &yes), {
        let mut elsewhere = decided(&answer, &yes);
        elsewhere["id"] = "meadow".into();
        elsewhere
    }] {
        let page = asking(&site, &body).page().await;
        page.is_problem(StatusCode::NOT_FOUND, "not_found");
    }
    let other = site.ask("other", Method::POST, "/ui/chat");
    let other = other.json(&decided(&answer, &yes)).page().await;
    other.is_problem(StatusCode::NOT_FOUND, "not_found");
    let active = format!("/conversations/{conversation}/turns");
    let active = site.get(&active).await.ok();
    assert_eq!(active["turns"].as_array().unwrap().len(), 1);

    let rest = chunks(&asking(&site, &decided(&answer, &yes)).page().await);
    assert_eq!(rest[0]["messageId"], answer);
    assert_eq!(rest[1], json!({"type": "reset-step"}));
    assert_eq!(text_of(&rest), "Done.");
    assert_eq!(
        rest.last(),
        Some(&json!({"type": "finish", "finishReason": "stop"}))
    );
    // Sent once more, it is shown what came.
    let rest = chunks(&asking(&site, &decided(&answer, &yes)).page().await);
    assert_eq!(text_of(&rest), "Done.");
}

#[tokio::test]
async fn a_refusal_without_a_reason_ends_the_turn() {
    let site = Site::new([Step::ask_bash("ls", "a.txt"), Step::text("Done.")]).await;
    let first = submit(&json!([message("m1", "Go")]));
    let begun = chunks(&asking(&site, &first).page().await);
    let (id, answer) = approval_of(&begun);
    let no = json!({"id": id, "approved": false, "reason": " "});
    let rest = chunks(&asking(&site, &decided(&answer, &no)).page().await);
    assert_eq!(text_of(&rest), "");
    let failed = rest
        .iter()
        .any(|chunk| chunk["type"] == "tool-output-error");
    assert!(failed, "{rest:?}");
    let ends = ["finish", "abort", "error"];
    assert!(ends.contains(&rest.last().unwrap()["type"].as_str().unwrap()));
}

#[tokio::test]
async fn a_deleted_conversation_ends_the_stream() {
    let site = Site::new([Step::text("Half"), Step::gate("never")]).await;
    let body = submit(&json!([message("m1", "Go")]));
    let mut events = asking(&site, &body).events().await;
    events.next().await.unwrap();
    site.host
        .delete_conversation(site.conversation().await)
        .await
        .unwrap();
    loop {
        let data = events.next().await.unwrap().data;
        if data["type"] == "error" {
            assert_eq!(data["errorText"], "The conversation was deleted.");
            break;
        }
    }
}

#[tokio::test]
async fn messages_that_ask_nothing_are_refused_and_open_nothing() {
    let site = Site::without_worker(Script::new()).await;
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    let answer = json!({"id": "a1", "role": "assistant", "parts": []});
    let mut untriggered = submit(&json!([message("m1", "x")]));
    untriggered["trigger"] = "resume-stream".into();
    for (body, code) in [
        (submit(&json!([])), "no_prompt"),
        (submit(&json!([message("m1", "x"), answer])), "no_prompt"),
        (submit(&json!([{"id": "m1", "role": "user"}])), "bad_body"),
        (submit(&json!([message("m1", "a\u{0}b")])), "bad_body"),
        (submit(&json!([1])), "bad_body"),
        (untriggered, "bad_body"),
        (
            json!({"id": "garden", "trigger": "submit-message"}),
            "bad_body",
        ),
    ] {
        asking(&site, &body)
            .page()
            .await
            .is_problem(unprocessable, code);
    }
    let empty = asking(&site, &submit(&json!([message("m1", " ")])));
    let empty = empty.page().await;
    empty.is_problem(unprocessable, "empty_prompt");
    let run = json!({"threadId": "garden", "runId": "r1", "messages": [{"role": "user", "content": " "}]});
    let run = site.post("/ag-ui", &run).await;
    run.is_problem(unprocessable, "empty_prompt");
    // In the place of a message that is not there.
    let run = json!({
        "threadId": "garden",
        "runId": "r1",
        "messages": [{"role": "user", "content": "x"}],
        "forwardedProps": {"insteadOf": "01890a5d-ac96-774b-bcce-b302099a8057-0-1"},
    });
    let run = site.post("/ag-ui", &run).await;
    run.is_problem(StatusCode::NOT_FOUND, "not_found");
    let listed = site.get("/conversations").await.ok();
    assert_eq!(listed, json!({"conversations": []}));

    let untyped = site
        .ask("acme", Method::POST, "/ui/chat")
        .body("{}")
        .page()
        .await;
    untyped.is_problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type");
    // A long history is passed over; one without an end is not.
    let old = message("m0", &"x".repeat(crate::site::MAX_BODY));
    let history = |length: usize| {
        let mut messages = vec![old.clone(); length];
        messages.push(message("m1", "Hello"));
        submit(&messages.into())
    };
    let long = asking(&site, &history(6)).begun().await;
    assert_eq!(long.status(), StatusCode::OK);
    let endless = asking(&site, &history(9)).page().await;
    endless.is_problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
}
