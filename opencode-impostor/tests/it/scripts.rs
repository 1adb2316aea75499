//! Scripts: what steps make of a turn.

use opencode_impostor::{Deltas, Impostor, Retry, Script, Step, Streamed};
use serde_json::{Value, json};

use crate::http::{Events, call, get, new_session, prompt, session_in, types};

async fn idle(impostor: &Impostor) {
    impostor
        .wait_for(|ledger| !ledger.prompt_posts().is_empty() && ledger.busy().is_empty())
        .await
        .unwrap();
}

async fn play(steps: Vec<Step>) -> (Impostor, String) {
    let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
    let session = new_session(impostor.port()).await;
    prompt(impostor.port(), &session, "go").await;
    (impostor, session)
}

/// `(finish, kinds of parts)` of each assistant message.
fn shape(messages: &[Value]) -> Vec<(String, Vec<String>)> {
    messages
        .iter()
        .filter(|message| message["info"]["role"] == "assistant")
        .map(|message| {
            let parts = message["parts"].as_array().unwrap();
            (
                message["info"]["finish"].as_str().unwrap_or("-").to_owned(),
                parts
                    .iter()
                    .map(|part| part["type"].as_str().unwrap())
                    .filter(|kind| !kind.starts_with("step"))
                    .map(str::to_owned)
                    .collect(),
            )
        })
        .collect()
}

#[tokio::test]
async fn each_model_step_is_a_message_of_its_own() {
    let (impostor, session) = play(vec![
        Step::text("I will. "),
        Step::tool("read", json!({"filePath": "/a"}), "alpha"),
        Step::tool("grep", json!({"pattern": "a"}), "alpha"),
    ])
    .await;
    idle(&impostor).await;
    let messages = impostor.messages(&session);
    let kinds = |kinds: &[&str]| kinds.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        shape(&messages),
        [
            ("tool-calls".into(), kinds(&["text", "tool"])),
            ("tool-calls".into(), kinds(&["tool"])),
            ("stop".into(), kinds(&[])),
        ]
    );
    let user = &messages[0]["info"]["id"];
    assert!(
        messages[1..]
            .iter()
            .all(|message| message["info"]["parentID"] == *user)
    );
}

#[tokio::test]
async fn a_tool_goes_from_pending_over_running_to_completed() {
    let impostor = Impostor::scripted(Script::always([
        Step::tool("read", json!({"filePath": "/a"}), "alpha"),
        Step::tool_error("read", json!({"filePath": "/b"}), "File not found: /b"),
    ]))
    .await
    .unwrap();
    let port = impostor.port();
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    let session = new_session(port).await;
    prompt(port, &session, "go").await;
    let states: Vec<String> = events
        .turn()
        .await
        .iter()
        .filter_map(|event| event["properties"]["part"]["state"]["status"].as_str())
        .map(str::to_owned)
        .collect();
    assert_eq!(
        states,
        [
            "pending",
            "running",
            "completed",
            "pending",
            "running",
            "error"
        ]
    );
}

#[tokio::test]
async fn files_are_really_written() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let impostor = Impostor::start().await.unwrap();
    let session = session_in(impostor.port(), directory).await;
    prompt(impostor.port(), &session, "[[edit]]").await;
    idle(&impostor).await;
    let text = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    assert_eq!(text, "# Report\n\ngoodbye <b>world</b>\n");
    let edit = &impostor.messages(&session)[2]["parts"][1];
    assert_eq!(edit["state"]["metadata"]["filediff"]["additions"], 1);
    assert_eq!(
        edit["state"]["input"]["filePath"],
        format!("{directory}/report.md")
    );
}

#[tokio::test]
async fn todos_are_events_and_can_be_read() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let mut events = Events::open(port, "/global/event").await;
    let session = new_session(port).await;
    prompt(port, &session, "plan it [[todo]]").await;
    events.until("todo.updated").await;
    let second = events.until("todo.updated").await;
    assert_eq!(
        second.last().unwrap()["properties"]["todos"][0]["status"],
        "completed"
    );
    let stored = get(port, &format!("/session/{session}/todo")).await;
    assert_eq!(stored, second.last().unwrap()["properties"]["todos"]);
}

#[tokio::test]
async fn a_question_waits_and_its_answer_is_used() {
    let (impostor, session) = play(vec![
        Step::question("Continue?", ["Yes", "No"]),
        Step::text("Good."),
    ])
    .await;
    let port = impostor.port();
    let question = impostor
        .wait_until(|ledger| ledger.questions().first().map(ToString::to_string))
        .await
        .unwrap();
    let listed = get(port, "/question?directory=/workspace/demo").await;
    assert_eq!(listed[0]["id"], question.as_str());
    assert_eq!(listed[0]["sessionID"], session.as_str());
    let reply = json!({"answers": [["Yes"]]});
    call(
        port,
        "POST",
        &format!("/question/{question}/reply?directory=/workspace/demo"),
        Some(&reply),
    )
    .await;
    idle(&impostor).await;
    let tool = &impostor.messages(&session)[1]["parts"][1];
    assert_eq!(tool["state"]["metadata"]["answers"], json!([["Yes"]]));
    assert_eq!(
        get(port, "/question?directory=/workspace/demo").await,
        json!([])
    );
}

#[tokio::test]
async fn a_rejected_question_ends_the_turn_like_the_tape() {
    let impostor = Impostor::scripted(Script::always([
        Step::question("Continue?", ["Yes", "No"]),
        Step::text("never said"),
    ]))
    .await
    .unwrap();
    let port = impostor.port();
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    let session = new_session(port).await;
    prompt(port, &session, "ask me [[question]]").await;
    let question = events.until("question.asked").await.pop().unwrap();
    let id = question["properties"]["id"].as_str().unwrap();
    call(
        port,
        "POST",
        &format!("/question/{id}/reject?directory=/workspace/demo"),
        None,
    )
    .await;
    events.until("question.rejected").await;
    let seen = events.turn().await;
    let tape = opencode_impostor::tape("question-rejected").unwrap();
    let taped: Vec<Value> = tape.events().map(|event| event.payload().clone()).collect();
    let from = taped
        .iter()
        .position(|event| event["type"] == "question.rejected")
        .unwrap();
    assert_eq!(types(&seen), types(&taped[from + 1..]));
    let tool = &impostor.messages(&session)[1]["parts"][1];
    assert_eq!(tool["state"]["error"], "The user dismissed this question");
}

#[tokio::test]
async fn permissions_are_granted_refused_and_refused_with_a_reason() {
    for (reply, goes_on, status) in [
        (json!({"reply": "once"}), true, "completed"),
        (
            json!({"reply": "reject", "message": "not today"}),
            true,
            "error",
        ),
        (json!({"reply": "reject"}), false, "error"),
    ] {
        let (impostor, session) = play(vec![
            Step::ask_bash("echo hi", "hi\n"),
            Step::text("Ran it"),
        ])
        .await;
        let port = impostor.port();
        let permission = impostor
            .wait_until(|ledger| ledger.permissions().first().map(ToString::to_string))
            .await
            .unwrap();
        assert_eq!(
            get(port, "/permission?directory=/workspace/demo").await[0]["permission"],
            "bash"
        );
        call(
            port,
            "POST",
            &format!("/permission/{permission}/reply?directory=/workspace/demo"),
            Some(&reply),
        )
        .await;
        idle(&impostor).await;
        let messages = impostor.messages(&session);
        assert_eq!(messages[1]["parts"][1]["state"]["status"], status);
        assert_eq!(messages.len() == 3, goes_on, "{reply}");
    }
}

#[tokio::test]
async fn the_rules_of_the_session_decide_when_the_script_says_so() {
    for (action, asked, status) in [
        ("allow", false, "completed"),
        ("deny", false, "error"),
        ("ask", true, "running"),
    ] {
        let impostor = Impostor::start().await.unwrap();
        let port = impostor.port();
        let body =
            json!({"permission": [{"permission": "bash", "pattern": "*", "action": action}]});
        let session = call(port, "POST", "/session", Some(&body)).await.json();
        let session = session["id"].as_str().unwrap();
        prompt(port, session, "say hi [[bash]]").await;
        impostor
            .wait_for(|ledger| !ledger.permissions().is_empty() || ledger.busy().is_empty())
            .await
            .unwrap();
        assert_eq!(!impostor.ledger().permissions().is_empty(), asked);
        assert_eq!(
            impostor.messages(session)[1]["parts"][1]["state"]["status"],
            status
        );
    }
}

#[tokio::test]
async fn a_sub_agent_works_in_a_child_session() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    let session = new_session(port).await;
    events.until("session.created").await;
    prompt(port, &session, "delegate [[task]]").await;
    let created = events.until("session.created").await.pop().unwrap();
    let child = created["properties"]["sessionID"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(created["properties"]["info"]["parentID"], session.as_str());
    let idle = events.until("session.idle").await.pop().unwrap();
    assert_eq!(idle["properties"]["sessionID"], child.as_str());
    let idle = events.until("session.idle").await.pop().unwrap();
    assert_eq!(idle["properties"]["sessionID"], session.as_str());
    let task = &impostor.messages(&session)[1]["parts"][1];
    assert_eq!(task["state"]["metadata"]["sessionId"], child.as_str());
    assert!(
        task["state"]["output"]
            .as_str()
            .unwrap()
            .contains("The answer is 42.")
    );
    // Only the client's own session counts.
    assert_eq!(impostor.ledger().sessions_created(), 1);
}

#[tokio::test]
async fn a_failing_provider_looks_like_the_tape() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    let session = new_session(port).await;
    prompt(port, &session, "fail [[err401]]").await;
    events.until("session.error").await;
    let mut seen = events.until("session.idle").await;
    seen.extend(events.until("session.idle").await);
    assert_eq!(
        types(&seen),
        [
            "session.status idle",
            "session.idle",
            "message.updated assistant",
            "session.status idle",
            "session.idle"
        ]
    );
    let error = &impostor.messages(&session)[1]["info"]["error"];
    assert_eq!(
        (&error["name"], &error["data"]["statusCode"]),
        (&json!("APIError"), &json!(401))
    );
}

#[tokio::test]
async fn a_busy_provider_is_retried() {
    let impostor = Impostor::scripted(Script::always([
        Step::Retry(Retry {
            attempts: 3,
            next_ms: 1,
            ..Retry::default()
        }),
        Step::text("at last"),
    ]))
    .await
    .unwrap();
    let port = impostor.port();
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    let session = new_session(port).await;
    prompt(port, &session, "go").await;
    let attempts: Vec<u64> = events
        .turn()
        .await
        .iter()
        .filter_map(|event| event["properties"]["status"]["attempt"].as_u64())
        .collect();
    assert_eq!(attempts, [1, 2, 3]);
}

#[tokio::test]
async fn the_loop_never_stops_until_it_is_aborted() {
    let (impostor, session) = play(vec![Step::Loop(Streamed::new("again"))]).await;
    let mut events = Events::open(impostor.port(), "/event?directory=/workspace/demo").await;
    for _ in 0..5 {
        events.until("message.part.delta").await;
    }
    call(
        impostor.port(),
        "POST",
        &format!("/session/{session}/abort"),
        None,
    )
    .await;
    idle(&impostor).await;
    assert!(
        shape(&impostor.messages(&session))
            .iter()
            .filter(|(finish, _)| finish == "stop")
            .count()
            >= 4
    );
}

#[tokio::test]
async fn the_friendly_answer_tells_what_it_is_and_repeats_the_prompt() {
    let impostor = Impostor::start().await.unwrap();
    let session = new_session(impostor.port()).await;
    prompt(impostor.port(), &session, "how are {{you}}?").await;
    idle(&impostor).await;
    let text = impostor.messages(&session)[1]["parts"][1]["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.contains("impostor") && text.contains("> how are {{you}}?"),
        "{text}"
    );
}

#[tokio::test]
async fn many_deltas_arrive_whole() {
    let (impostor, session) = play(vec![Step::gate("go"), Step::deltas(20_000, 4)]).await;
    let mut events = Events::open(impostor.port(), "/global/event").await;
    impostor.gate("go").open();
    let mut deltas = 0;
    loop {
        let event = events.next().await;
        match event["type"].as_str().unwrap() {
            "message.part.delta" => deltas += 1,
            "session.idle" => break,
            _ => {}
        }
    }
    assert_eq!(deltas, 20_000);
    let text = impostor.messages(&session)[1]["parts"][1]["text"]
        .as_str()
        .unwrap()
        .len();
    assert_eq!(text, 80_000);
}

#[tokio::test]
async fn deltas_can_be_paced_and_say_when_they_were_sent() {
    let paced = Deltas {
        count: 5,
        size: 20,
        every_ms: 20,
        stamped: true,
    };
    let (impostor, session) = play(vec![Step::Deltas(paced)]).await;
    impostor
        .wait_for(|ledger| ledger.busy().is_empty() && ledger.all_model_runs() == 1)
        .await
        .unwrap();
    let messages = impostor.messages(&session);
    let text = messages[1]["parts"][1]["text"].as_str().unwrap();
    assert_eq!(text.len(), 100);
    let stamps: Vec<u64> = (0..5)
        .map(|at| text[at * 20..at * 20 + 16].parse().unwrap())
        .collect();
    assert!(stamps[4] - stamps[0] >= 70_000, "{stamps:?}");
}

#[test]
fn scripts_can_be_written_as_json() {
    let script: Script = r#"{
        "rules": [
            {"match": "[[a]]", "times": 1, "steps": [
                {"text": {"text": "hi", "chunk_chars": 1, "delay_ms": 5}}, {"gate": "g"}, "empty",
                {"tool": {"tool": "read", "input": {"filePath": "/a"}, "output": "x"}},
                {"parallel": [{"write_file": {"path": "a", "content": "b"}}]},
                {"todos": [{"content": "Plan", "status": "pending"}]},
                {"question": {"question": "Sure?", "options": ["Yes"]}},
                {"subtask": {"prompt": "do", "steps": ["echo"]}},
                {"retry": {"attempts": 2}}, {"garbage": "malformed_json"}, {"garbage": {"huge": 20}},
                {"raw_event": {"type": "x.y", "properties": {"a": 1}}}, {"finish": "length"}
            ]}
        ],
        "faults": [
            {"request": {"on": "POST /session/:id/prompt_async", "calls": {"nth": 1}, "action": "lose_response"}},
            {"request": {"on": "GET /session/status", "action": {"answer": {"status": 500, "content_type": "text/html", "body": "<p>"}}}},
            {"drop_streams": {"after": 5}}, {"silent_streams": {}}, "refuse_auth",
            {"hold_events": {"event": "session.idle", "gate": "g"}}
        ]
    }"#
    .parse()
    .unwrap();
    assert_eq!((script.rules[0].steps.len(), script.faults.len()), (13, 6));
    let again: Script = serde_json::to_string(&script).unwrap().parse().unwrap();
    assert_eq!(again, script);
    assert!(r#"{"rulez": []}"#.parse::<Script>().is_err());
}
