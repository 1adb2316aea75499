//! What versions do differently: one table selects it, and each habit has its own name.

use opencode_impostor::{Dialect, Impostor, Permission, Script, Step, Streamed, Tool};
use serde_json::json;

use crate::http::{Events, call, get, new_session, prompt, prompt_body};

async fn of(version: &str, script: Script) -> Impostor {
    Impostor::builder()
        .version(version)
        .agents(["build"])
        .script(script)
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn an_abort_must_name_the_directory_up_to_1_15_4() {
    for (version, minds) in [("1.14.48", true), ("1.15.4", true), ("1.15.13", false)] {
        let slow = Step::Text(Streamed::new("said").gate("go"));
        let impostor = of(version, Script::always([slow])).await;
        let port = impostor.port();
        let session = new_session(port).await;
        let mut events = Events::open(port, "/global/event").await;
        prompt(port, &session, "go").await;
        impostor.gate("go").reached().await.unwrap();
        let abort = |query: &str| format!("/session/{session}/abort{query}");
        assert_eq!(
            call(port, "POST", &abort(""), None).await.json(),
            json!(true)
        );
        let mut idle = events.next_whole().await;
        while idle["payload"]["type"] != "session.idle" {
            idle = events.next_whole().await;
        }
        assert_eq!(
            impostor.ledger().busy().len(),
            usize::from(minds),
            "{version}"
        );
        assert_eq!(idle["directory"] != "/workspace/demo", minds, "{version}");
        call(port, "POST", &abort("?directory=/workspace/demo"), None).await;
        impostor
            .wait_for(|ledger| ledger.busy().is_empty())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn children_are_found_in_their_directory_alone_up_to_1_15_4() {
    for (version, without) in [("1.15.4", 0), ("1.15.13", 1)] {
        let impostor = of(
            version,
            Script::always([Step::subtask("sub", [Step::text("x")])]),
        )
        .await;
        let port = impostor.port();
        let session = new_session(port).await;
        prompt(port, &session, "go").await;
        impostor
            .wait_for(|ledger| ledger.all_model_runs() == 2 && ledger.busy().is_empty())
            .await
            .unwrap();
        let path = format!("/session/{session}/children");
        let found = |list: serde_json::Value| list.as_array().unwrap().len();
        assert_eq!(found(get(port, &path).await), without, "{version}");
        let named = format!("{path}?directory=/workspace/demo");
        assert_eq!(found(get(port, &named).await), 1, "{version}");
    }
}

#[tokio::test]
async fn an_absent_message_is_a_500_on_1_2_1_to_1_2_20() {
    for (version, status, name) in [
        ("1.2.1", 500, "UnknownError"),
        ("1.2.20", 500, "UnknownError"),
        ("1.2.27", 404, "NotFoundError"),
        ("1.18.33", 404, "NotFoundError"),
    ] {
        let impostor = of(version, Script::new()).await;
        let session = new_session(impostor.port()).await;
        let path = format!("/session/{session}/message/msg_fffffffff001aaaaaaaaaaaaaa");
        let answer = call(impostor.port(), "GET", &path, None).await;
        assert_eq!(
            (answer.status, answer.json()["name"].as_str()),
            (status, Some(name)),
            "{version}"
        );
        let message = answer.json()["data"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains("Message not found"), "{message}");
    }
}

#[tokio::test]
async fn an_unknown_agent_is_met_with_silence_up_to_1_2_27() {
    for (version, silent) in [("1.1.65", true), ("1.2.27", true), ("1.14.48", false)] {
        let impostor = of(version, Script::new()).await;
        let port = impostor.port();
        let session = new_session(port).await;
        let mut events = Events::open(port, "/global/event").await;
        let mut body = prompt_body("fffffffff001aaaaaaaaaaaaaa", "go");
        body["agent"] = "nope".into();
        let path = format!("/session/{session}/prompt_async");
        assert_eq!(call(port, "POST", &path, Some(&body)).await.status, 204);
        impostor.emit(&session, "mark", &json!({}));
        let kind = events.next().await["type"].clone();
        assert_eq!(
            kind,
            if silent { "mark" } else { "session.error" },
            "{version}"
        );
        let agents = get(port, "/agent").await;
        assert_eq!(
            (agents.as_array().unwrap().len(), &agents[0]["name"]),
            (1, &json!("build"))
        );
    }
}

#[tokio::test]
async fn metadata_is_kept_after_1_14_48_and_rules_from_1_1_on() {
    for (version, metadata, rules) in [
        ("1.0.185", false, false),
        ("1.1.11", false, true),
        ("1.14.48", false, true),
        ("1.15.13", true, true),
    ] {
        let impostor = of(version, Script::new()).await;
        let rule = json!([{"permission": "bash", "pattern": "*", "action": "ask"}]);
        let body = json!({"metadata": {"mark": 1}, "permission": rule});
        let session = call(impostor.port(), "POST", "/session", Some(&body))
            .await
            .json();
        assert_eq!(session.get("metadata").is_some(), metadata, "{version}");
        assert_eq!(session.get("permission").is_some(), rules, "{version}");
    }
    // By its own name.
    let dialect = Dialect {
        keeps_metadata: false,
        ..Dialect::default()
    };
    let impostor = Impostor::builder().dialect(dialect).start().await.unwrap();
    let body = json!({"metadata": {"mark": 1}});
    let session = call(impostor.port(), "POST", "/session", Some(&body))
        .await
        .json();
    assert_eq!(
        (session.get("metadata"), &session["version"]),
        (None, &json!("1.18.33"))
    );
}

#[tokio::test]
async fn a_rejection_has_other_words_on_1_2() {
    for (version, words) in [
        (
            "1.2.27",
            r#"PermissionRejectedError({"_tag":"PermissionRejectedError"})"#,
        ),
        (
            "1.18.33",
            "The user rejected permission to use this specific tool call.",
        ),
    ] {
        let impostor = of(version, Script::always([Step::ask_bash("ls", "")])).await;
        let port = impostor.port();
        let session = new_session(port).await;
        prompt(port, &session, "go").await;
        let id = impostor
            .wait_until(|ledger| Some((*ledger.permissions().first()?).to_owned()))
            .await
            .unwrap();
        let body = json!({"reply": "reject"});
        call(
            port,
            "POST",
            &format!("/permission/{id}/reply?directory=/workspace/demo"),
            Some(&body),
        )
        .await;
        impostor
            .wait_for(|ledger| ledger.busy().is_empty())
            .await
            .unwrap();
        assert_eq!(
            impostor.messages(&session)[1]["parts"][1]["state"]["error"],
            words
        );
    }
}

#[tokio::test]
async fn servers_that_ignore_rules_run_unasked() {
    let asks = |permission: &str| {
        Step::Permission(Permission {
            permission: permission.into(),
            patterns: vec!["*".into()],
            tool: Tool {
                tool: permission.into(),
                ..Tool::default()
            },
            ..Permission::default()
        })
    };
    for (version, permission, asked) in [
        ("1.0.185", "bash", 0),
        ("1.0.185", "external_directory", 1),
        ("1.1.11", "bash", 1),
        ("1.1.11", "external_directory", 0),
        ("1.1.16", "external_directory", 1),
    ] {
        let impostor = of(version, Script::always([asks(permission)])).await;
        let session = new_session(impostor.port()).await;
        prompt(impostor.port(), &session, "go").await;
        impostor
            .wait_for(|ledger| {
                ledger.permissions().len() == asked
                    && (asked == 1 || (ledger.all_model_runs() == 1 && ledger.busy().is_empty()))
            })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn on_1_0_requests_are_answered_at_their_session() {
    let impostor = of("1.0.185", Script::always([Step::gate("never")])).await;
    let port = impostor.port();
    for path in [
        "/global/health",
        "/permission?directory=/workspace/demo",
        "/question?directory=/workspace/demo",
    ] {
        let answer = call(port, "GET", path, None).await;
        assert_eq!(
            (answer.status, answer.json()["name"].as_str()),
            (500, Some("UnknownError")),
            "{path}"
        );
    }
    let impostor = of("1.0.0", Script::new()).await;
    let port = impostor.port();
    for (path, status) in [
        ("/global/health", 404),
        ("/global/event", 404),
        ("/permission", 404),
        ("/session/status?directory=/workspace/demo", 400),
    ] {
        let answer = call(port, "GET", path, None).await;
        assert_eq!(answer.status, status, "{path}");
    }
    let impostor = of("1.18.33", Script::always([Step::ask_bash("ls", "")])).await;
    let port = impostor.port();
    let session = new_session(port).await;
    prompt(port, &session, "go").await;
    let id = impostor
        .wait_until(|ledger| Some((*ledger.permissions().first()?).to_owned()))
        .await
        .unwrap();
    let path = format!("/session/{session}/permissions/{id}?directory=/workspace/demo");
    let answer = call(port, "POST", &path, Some(&json!({"response": "once"}))).await;
    assert_eq!(answer.json(), json!(true));
    impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_script_file_names_its_version() {
    let script: Script = r#"{"dialect": {"version": "1.2.1", "absent_message_is_500": false}}"#
        .parse()
        .unwrap();
    let impostor = Impostor::scripted(script).await.unwrap();
    let port = impostor.port();
    assert_eq!(get(port, "/global/health").await["version"], "1.2.1");
    let session = new_session(port).await;
    let path = format!("/session/{session}/message/msg_fffffffff001aaaaaaaaaaaaaa");
    assert_eq!(call(port, "GET", &path, None).await.status, 404);
}

#[tokio::test]
async fn the_user_of_the_password_has_a_name() {
    use base64::Engine as _;
    let impostor = Impostor::builder()
        .username("ada")
        .password("secret")
        .start()
        .await
        .unwrap();
    for (pair, status) in [("ada:secret", 200), ("opencode:secret", 401)] {
        let header = base64::engine::general_purpose::STANDARD.encode(pair);
        let header = format!("authorization: Basic {header}\r\n");
        let answer = crate::http::try_call(impostor.port(), "GET", "/session", &header, None).await;
        assert_eq!(answer.unwrap().status, status, "{pair}");
    }
}

#[tokio::test]
async fn up_to_1_2_27_the_record_alone_says_whose_it_is() {
    for (version, beside) in [("1.2.27", false), ("1.14.48", true), ("1.18.33", true)] {
        let impostor = of(version, Script::always([Step::text("x")])).await;
        let port = impostor.port();
        let session = new_session(port).await;
        let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
        if version == "1.14.48" {
            events = Events::open(port, "/global/event").await;
        }
        prompt(port, &session, "go").await;
        let mut seen = 0;
        loop {
            let event = events.next().await;
            let properties = &event["properties"];
            let kind = event["type"].as_str().unwrap();
            let record = match kind {
                "message.updated" => &properties["info"]["sessionID"],
                "message.part.updated" => &properties["part"]["sessionID"],
                "session.updated" => &properties["info"]["id"],
                "session.idle" => break,
                _ => continue,
            };
            assert_eq!(*record, session.as_str(), "{event}");
            assert_eq!(properties["sessionID"].is_string(), beside, "{event}");
            seen += 1;
        }
        assert!(seen >= 6, "{version}");
    }
}
