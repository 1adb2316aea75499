//! What real servers send and no serialiser writes, records that are not as they should be, and calls that are never
//! answered: each by its name.

use opencode_impostor::{
    Action, Calls, Fault, Impostor, LONE_SURROGATE, List, OddRecord, Oddity, Permission, Record,
    Retry, Script, Step, Streamed, Subtask, Tool, attachment, nested, raw_json,
};
use serde_json::{Value, json};

use crate::http::{Events, call, get, new_session, prompt, prompt_body, try_call};

async fn playing(script: Script) -> Impostor {
    Impostor::scripted(script).await.unwrap()
}

/// Prompts, and waits until the answer is there.
async fn played(impostor: &Impostor, session: &str) {
    prompt(impostor.port(), session, "go").await;
    impostor
        .wait_for(|ledger| ledger.all_model_runs() > 0 && ledger.busy().is_empty())
        .await
        .unwrap();
}

/// The bytes of a session's history.
async fn history(port: u16, session: &str) -> String {
    let answer = call(port, "GET", &format!("/session/{session}/message"), None).await;
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test]
async fn a_lone_surrogate_stands_in_any_text_of_events_and_answers() {
    let cut = |text: &str| format!("{text}{LONE_SURROGATE}");
    let mut ask = Permission {
        permission: "bash".into(),
        patterns: vec![cut("pattern ")],
        ..Permission::default()
    };
    ask.tool = Tool {
        tool: "bash".into(),
        input: json!({"command": cut("input ")}),
        output: cut("output "),
        title: Some(cut("title ")),
        ..Tool::default()
    };
    ask.tool
        .metadata
        .insert("preview".into(), cut("metadata ").into());
    let impostor = playing(Script::always([
        Step::Text(Streamed::new(cut("part ")).chunk_chars(3)),
        Step::Permission(ask),
    ]))
    .await;
    let port = impostor.port();
    let session = new_session(port).await;
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    prompt(port, &session, "go").await;
    let mut streamed = String::new();
    while !streamed.contains("\"permission.asked\"") {
        streamed.push_str(&String::from_utf8(events.frame().await.unwrap().unwrap()).unwrap());
    }
    assert!(streamed.contains(r#""delta":"t \ud83d""#), "{streamed}");
    let asked = call(port, "GET", "/permission?directory=/workspace/demo", None).await;
    let listed = String::from_utf8(asked.body).unwrap();
    assert!(
        listed.contains(r#""patterns":["pattern \ud83d"]"#),
        "{listed}"
    );
    let ids = impostor.with_ledger(|ledger| ledger.permissions()[0].to_owned());
    let reply = json!({"reply": "once"});
    call(
        port,
        "POST",
        &format!("/permission/{ids}/reply?directory=/workspace/demo"),
        Some(&reply),
    )
    .await;
    impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
    let text = history(port, &session).await;
    for place in ["part ", "input ", "output ", "title ", "metadata "] {
        assert!(text.contains(&format!(r"{place}\ud83d")), "{place}: {text}");
    }
    assert!(
        serde_json::from_str::<Value>(&text).is_err(),
        "it is what strict readers refuse"
    );
}

#[tokio::test]
async fn deep_input_and_raw_numbers_go_out_as_they_are_written() {
    let script: Script = r#"{"rules": [{"steps": [
        {"tool": {"tool": "deep", "input": "{{nested:200}}", "metadata": {"ratio": "{{raw}}1e999"}}},
        {"text": "cut {{lone_surrogate}}"}
    ]}]}"#
        .parse()
        .unwrap();
    let impostor = playing(script).await;
    let session = new_session(impostor.port()).await;
    played(&impostor, &session).await;
    let text = history(impostor.port(), &session).await;
    assert!(text.contains(&r#"{"in":"#.repeat(200)), "{text}");
    assert!(
        text.contains(r#""ratio":1e999"#) && text.contains(r"cut \ud83d"),
        "{text}"
    );
    assert_eq!(nested(1), raw_json(r#"{"in":"bottom"}"#));
}

/// Plays a tool and a text with these odd records; what the events said, and the history.
async fn odd_turn(odd: impl IntoIterator<Item = OddRecord>) -> (Vec<Value>, Value) {
    let impostor = playing(Script::always([
        Step::tool("grep", json!({"pattern": "x"}), "found"),
        Step::text("said"),
    ]))
    .await;
    for odd in odd {
        impostor.faults().add(Fault::Odd(odd));
    }
    let port = impostor.port();
    let session = new_session(port).await;
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    prompt(port, &session, "go").await;
    let seen = events.until("session.idle").await;
    impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
    (
        seen,
        get(port, &format!("/session/{session}/message")).await,
    )
}

/// The records at a pointer in events of a type.
fn told<'a>(events: &'a [Value], kind: &str, pointer: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["type"] == kind)
        .filter_map(|event| event["properties"].pointer(pointer))
        .collect()
}

#[tokio::test]
async fn records_lack_what_they_are_told_to_lack() {
    let (events, history) = odd_turn([
        OddRecord::new(Oddity::MessageWithoutSession),
        OddRecord::new(Oddity::PartWithoutId).part("step-start"),
        OddRecord::new(Oddity::PartWithoutType)
            .part("text")
            .in_lists(),
        OddRecord::new(Oddity::PartWithoutSession)
            .part("tool")
            .in_events(),
    ])
    .await;
    let infos = told(&events, "message.updated", "/info");
    let (user, assistant): (Vec<&Value>, Vec<&Value>) =
        infos.into_iter().partition(|info| info["role"] == "user");
    assert!(user.iter().all(|info| info.get("sessionID").is_some()));
    assert!(assistant.iter().all(|info| info.get("sessionID").is_none()));
    assert!(history[1]["info"].get("sessionID").is_none());
    let parts = told(&events, "message.part.updated", "/part");
    let of =
        |kind: &str| -> Vec<&&Value> { parts.iter().filter(|part| part["type"] == kind).collect() };
    assert!(of("step-start").iter().all(|part| part.get("id").is_none()));
    assert!(
        of("tool")
            .iter()
            .all(|part| part.get("sessionID").is_none())
    );
    assert!(of("text").iter().all(|part| part.get("id").is_some()));
    assert!(
        history[1]["parts"][1].get("sessionID").is_some(),
        "only in events"
    );
    assert_eq!(history[2]["parts"][1].get("type"), None);
    assert_eq!(history[2]["parts"][1]["text"], "said");
}

#[tokio::test]
async fn one_record_of_several_is_odd() {
    let (events, history) = odd_turn([
        OddRecord::new(Oddity::NullInfo).which(Calls::Nth(2)),
        OddRecord::new(Oddity::With {
            of: Record::Part,
            at: "/state/input".into(),
            value: json!([1]),
        }),
    ])
    .await;
    let infos = told(&events, "message.updated", "/info");
    assert_eq!(
        infos.iter().filter(|info| info.is_null()).count(),
        3,
        "as often as the second was told"
    );
    assert_eq!(history[1]["info"]["role"], "assistant");
    assert_eq!(history[2]["info"], Value::Null);
    assert_eq!(history[2]["parts"][1]["text"], "said");
    assert_eq!(history[1]["parts"][1]["state"]["input"], json!([1]));
}

#[tokio::test]
async fn numbers_are_as_odd_as_wanted() {
    let (events, history) = odd_turn([
        OddRecord::new(Oddity::Tokens(json!(50.5))),
        OddRecord::new(Oddity::Cost(json!("NaN"))).which(Calls::First(1)),
    ])
    .await;
    for info in [&history[1]["info"], &history[2]["info"]] {
        assert_eq!(info["tokens"]["input"], 50.5);
        assert_eq!(info["tokens"]["cache"]["read"], 50.5);
    }
    assert_eq!(history[1]["info"]["cost"], "NaN");
    assert_eq!(history[2]["info"]["cost"], 0.000_09);
    let finishes = told(&events, "message.part.updated", "/part");
    let finish = finishes
        .iter()
        .find(|part| part["type"] == "step-finish")
        .unwrap();
    assert_eq!(finish["tokens"]["output"], 50.5);

    let (events, history) = odd_turn([
        OddRecord::new(Oddity::BareTokens),
        OddRecord::new(Oddity::BareMessage).in_events(),
    ])
    .await;
    assert_eq!(
        history[1]["info"]["tokens"],
        json!({"input": 50, "output": 20})
    );
    assert!(history[1]["info"].get("time").is_some());
    let infos = told(&events, "message.updated", "/info");
    let bare = infos
        .iter()
        .rfind(|info| info["role"] == "assistant")
        .unwrap();
    let mut names: Vec<&String> = bare.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        ["cost", "id", "parentID", "role", "sessionID", "tokens"]
    );
}

#[tokio::test]
async fn strays_and_repeats_stand_in_lists() {
    let impostor = playing(Script::always([Step::text("said")])).await;
    let port = impostor.port();
    let session = new_session(port).await;
    played(&impostor, &session).await;
    let faults = impostor.faults();
    faults.repeat_messages();
    faults.stray(List::Messages, json!({"info": {}}));
    faults.stray(List::Parts, Value::Null);
    faults.stray(List::Sessions, json!("what"));
    faults.stray(List::Requests, json!({"id": 7}));
    let messages = get(port, &format!("/session/{session}/message")).await;
    let messages = messages.as_array().unwrap();
    assert_eq!(messages.len(), 6);
    assert_eq!(
        (&messages[0], &messages[5]),
        (&json!({"info": {}}), &json!({"info": {}}))
    );
    assert_eq!(messages[1], messages[2]);
    assert_eq!(messages[3]["parts"][0], Value::Null);
    assert_eq!(get(port, "/session").await[0], "what");
    for list in [
        "/permission?directory=/workspace/demo",
        "/question?directory=/workspace/demo",
    ] {
        assert_eq!(get(port, list).await, json!([{"id": 7}, {"id": 7}]));
    }
}

#[tokio::test]
async fn requests_are_odd_when_they_are_asked_and_listed() {
    let impostor = playing(Script::always([Step::ask_bash("ls", "")])).await;
    let port = impostor.port();
    for at in ["/patterns", "/metadata"] {
        impostor.faults().odd(Oddity::Without {
            of: Record::Request,
            at: at.into(),
        });
    }
    let session = new_session(port).await;
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    prompt(port, &session, "go").await;
    let asked = events.until("permission.asked").await;
    let listed = get(port, "/permission?directory=/workspace/demo").await;
    for request in [&asked.last().unwrap()["properties"], &listed[0]] {
        assert_eq!(request["permission"], "bash");
        assert!(request.get("patterns").is_none() && request.get("metadata").is_none());
    }
}

#[tokio::test]
async fn a_history_fails_from_a_moment_on() {
    let impostor =
        playing(Script::new().on("break", [Step::text("said"), Step::BreakHistory])).await;
    let port = impostor.port();
    let session = new_session(port).await;
    let other = new_session(port).await;
    let path = |session: &str| format!("/session/{session}/message");
    prompt(port, &session, "break").await;
    impostor
        .wait_for(|ledger| ledger.all_model_runs() == 1 && ledger.busy().is_empty())
        .await
        .unwrap();
    let answer = call(port, "GET", &path(&session), None).await;
    assert_eq!(
        (answer.status, answer.json()["name"].as_str()),
        (500, Some("UnknownError"))
    );
    assert_eq!(call(port, "GET", &path(&other), None).await.status, 200);

    impostor.faults().history_fails(Calls::After(1));
    let statuses = [
        call(port, "GET", &path(&other), None).await.status,
        call(port, "GET", &path(&other), None).await.status,
        call(port, "GET", &path(&other), None).await.status,
    ];
    assert_eq!(statuses, [200, 500, 500]);
}

#[tokio::test]
async fn a_call_is_swallowed_and_again_after_each_start() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    impostor
        .faults()
        .swallow("GET /session/status", Calls::FirstOfLife(1));
    for life in 1..=2 {
        let swallowed = tokio::spawn(try_call(
            port,
            "GET",
            "/session/status?directory=/workspace/demo",
            "",
            None,
        ));
        impostor
            .wait_for(|ledger| ledger.count("GET /session/status") == 2 * life - 1)
            .await
            .unwrap();
        get(port, "/session/status?directory=/workspace/demo").await;
        assert!(!swallowed.is_finished());
        impostor.restart().await.unwrap();
        assert!(swallowed.await.unwrap().is_err());
    }
    // One that is done, and whose answer never comes.
    impostor.faults().request(
        "POST /session/:id/prompt_async",
        Calls::All,
        Action::SwallowResponse,
    );
    let body = prompt_body("fffffffff001aaaaaaaaaaaaaa", "[[text]]");
    let path = format!("/session/{session}/prompt_async");
    let swallowed =
        tokio::spawn(async move { try_call(port, "POST", &path, "", Some(&body)).await });
    impostor
        .wait_for(|ledger| ledger.all_model_runs() == 1 && ledger.busy().is_empty())
        .await
        .unwrap();
    assert!(!swallowed.is_finished());
    swallowed.abort();
}

#[tokio::test]
async fn sessions_are_forgotten_as_soon_as_they_are_made() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    impostor.faults().forget_sessions();
    let session = new_session(port).await;
    let path = format!("/session/{session}");
    assert_eq!(call(port, "GET", &path, None).await.status, 404);
    assert_eq!(impostor.ledger().sessions_created(), 1);
    impostor.assert_clean();
}

#[tokio::test]
async fn tools_finish_with_any_word_and_the_loop_goes_on() {
    for word in [Some("stop"), Some("length"), Some("eos"), None] {
        let impostor = playing(Script::always([
            Step::ToolsFinish(word.map(str::to_owned)),
            Step::tool("grep", json!({}), "found"),
            Step::text("said"),
        ]))
        .await;
        let session = new_session(impostor.port()).await;
        played(&impostor, &session).await;
        let messages = impostor.messages(&session);
        assert_eq!(messages.len(), 3, "{word:?}");
        assert_eq!(messages[1]["info"]["finish"].as_str(), word);
        assert!(messages[1]["info"]["time"]["completed"].is_u64());
        assert_eq!(messages[2]["info"]["finish"], "stop");
    }
    let script = r#"{"rules": [{"steps": [{"tools_finish": null}, {"tools_finish": "eos"}, {"endless": 0}, "break_history"]}]}"#;
    let script: Script = script.parse().unwrap();
    let steps = [
        Step::ToolsFinish(None),
        Step::ToolsFinish(Some("eos".into())),
        Step::Endless(0),
        Step::BreakHistory,
    ];
    assert_eq!(script, Script::always(steps));
}

#[tokio::test]
async fn an_informational_answer_comes_before_the_answer() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let impostor = Impostor::start().await.unwrap();
    impostor
        .faults()
        .request("GET /global/health", Calls::All, Action::Informational(103));
    impostor
        .faults()
        .request("GET /event", Calls::All, Action::Informational(102));
    for (path, informational) in [("/global/health", "103"), ("/event", "102")] {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", impostor.port()))
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains(" 200 OK") {
            socket.read_buf(&mut said).await.unwrap();
        }
        let said = String::from_utf8_lossy(&said);
        assert!(
            said.starts_with(&format!("HTTP/1.1 {informational} ")),
            "{said}"
        );
        assert!(said.contains("\r\n\r\nHTTP/1.1 200 OK"), "{said}");
    }
}

#[tokio::test]
async fn endless_deltas_stop_at_an_abort() {
    for size in [0, 3] {
        let impostor = playing(Script::always([Step::Endless(size)])).await;
        let port = impostor.port();
        let session = new_session(port).await;
        let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
        prompt(port, &session, "go").await;
        for _ in 0..100 {
            events.until("message.part.delta").await;
        }
        call(port, "POST", &format!("/session/{session}/abort"), None).await;
        impostor
            .wait_for(|ledger| ledger.busy().is_empty())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn tools_carry_attachments_and_retries_an_action() {
    let action = json!({"title": "Add credit", "link": "https://example.org/pay", "label": "Pay"});
    let impostor = playing(Script::always([
        Step::Retry(Retry {
            action: Some(action.clone()),
            ..Retry::default()
        }),
        Step::Tool(Tool {
            tool: "read".into(),
            attachments: vec![attachment("image/png", "a.png", "iVBORw0KGgo=")],
            ..Tool::default()
        }),
    ]))
    .await;
    let port = impostor.port();
    let session = new_session(port).await;
    let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
    prompt(port, &session, "go").await;
    let seen = events.until("session.idle").await;
    let retry = told(&seen, "session.status", "/status/action");
    assert_eq!(retry, [&action]);
    let messages = get(port, &format!("/session/{session}/message")).await;
    let file = &messages[1]["parts"][1]["state"]["attachments"][0];
    assert_eq!(file["url"], "data:image/png;base64,iVBORw0KGgo=");
    assert!(file["id"].as_str().unwrap().starts_with("prt_"));
}

/// A sub-agent that calls `bash`, under the session's rules and the server's own.
async fn sub_agent(session_rules: Value, server_rules: Vec<Value>) -> (Impostor, String) {
    let bash = Permission {
        permission: "bash".into(),
        patterns: vec!["id".into()],
        tool: Tool {
            tool: "bash".into(),
            output: "uid=0".into(),
            ..Tool::default()
        },
        by_rules: true,
        ..Permission::default()
    };
    let impostor = Impostor::builder()
        .permission(server_rules)
        .script(Script::always([Step::Subtask(Subtask {
            steps: vec![Step::Permission(bash)],
            ..Subtask::default()
        })]))
        .start()
        .await
        .unwrap();
    let port = impostor.port();
    let body = json!({"permission": session_rules});
    let made = call(
        port,
        "POST",
        "/session?directory=/workspace/demo",
        Some(&body),
    )
    .await;
    let session = made.json()["id"].as_str().unwrap().to_owned();
    prompt(port, &session, "go").await;
    (impostor, session)
}

#[tokio::test]
async fn a_sub_agent_inherits_what_is_denied_and_asks_nothing() {
    let rule = |permission: &str, action: &str| json!({"permission": permission, "pattern": "*", "action": action});
    let (impostor, session) = sub_agent(
        json!([
            rule("bash", "ask"),
            rule("edit", "deny"),
            rule("external_directory", "ask")
        ]),
        Vec::new(),
    )
    .await;
    impostor
        .wait_for(|ledger| ledger.all_model_runs() == 2 && ledger.busy().is_empty())
        .await
        .unwrap();
    let children = get(impostor.port(), &format!("/session/{session}/children")).await;
    let rules = json!([
        rule("edit", "deny"),
        rule("external_directory", "ask"),
        rule("task", "deny")
    ]);
    assert_eq!(children[0]["permission"], rules);
    let child = impostor.messages(children[0]["id"].as_str().unwrap());
    assert_eq!(
        child[1]["parts"][1]["state"]["output"], "uid=0",
        "it ran, and nobody was asked"
    );

    // What the server's configuration asks holds for children.
    let (impostor, _) = sub_agent(json!([]), vec![rule("bash", "ask")]).await;
    impostor
        .wait_for(|ledger| ledger.permissions().len() == 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_message_without_reply_is_kept_and_runs_nothing() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let mut body = prompt_body("fffffffff001aaaaaaaaaaaaaa", "a transcript");
    body["noReply"] = true.into();
    let path = format!("/session/{session}/prompt_async");
    assert_eq!(call(port, "POST", &path, Some(&body)).await.status, 204);
    assert_eq!(
        impostor.messages(&session)[0]["parts"][0]["text"],
        "a transcript"
    );
    assert_eq!(impostor.ledger().all_model_runs(), 0);
    assert_eq!(
        get(port, "/session/status?directory=/workspace/demo").await,
        json!({})
    );
}

#[tokio::test]
async fn a_title_can_be_patched() {
    let impostor = Impostor::start().await.unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let path = format!("/session/{session}");
    let answer = call(port, "PATCH", &path, Some(&json!({"title": "marked"}))).await;
    assert_eq!(
        (answer.status, answer.json()["title"].as_str()),
        (200, Some("marked"))
    );
    assert_eq!(get(port, &path).await["title"], "marked");
}
