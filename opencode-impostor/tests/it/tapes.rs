//! Tapes: the library, and their replay.

use opencode_impostor::{Impostor, tape, tapes, tapes_of_versions};
use serde_json::{Value, json};

use crate::http::{Events, call, get, new_session, prompt, types};

#[test]
fn every_tape_of_the_library_can_be_read() {
    let all = tapes().unwrap();
    assert_eq!(all.len(), 23);
    for file in all {
        let tape = tape(&file.name).unwrap();
        assert!(!tape.prompts().is_empty(), "{}", file.name);
        if tape.header.session.is_some() {
            assert!(
                tape.final_exchange().unwrap().as_array().unwrap().len() > 1,
                "{}",
                file.name
            );
        }
    }
    assert!(
        tape("nosuch")
            .unwrap_err()
            .to_string()
            .contains("write-file")
    );
}

#[test]
fn every_tape_of_a_version_can_be_read() {
    let all = tapes_of_versions().unwrap();
    assert_eq!(all.len(), 18);
    let mut unanswered = 0;
    for file in all {
        let tape = tape(&file.name).unwrap();
        let version = format!("v{}-", tape.header.opencode);
        assert!(file.name.starts_with(&version), "{}", file.name);
        for http in tape.https() {
            assert_eq!(http.unanswered, http.status == 0, "{}", file.name);
            unanswered += usize::from(http.unanswered);
        }
        // What was posted again is one prompt.
        let prompts = tape.prompts();
        let texts: Vec<&str> = prompts.iter().map(|prompt| prompt.text.as_str()).collect();
        let mut distinct = texts.clone();
        distinct.dedup();
        assert_eq!(texts, distinct, "{}", file.name);
    }
    assert_eq!(unanswered, 5);
}

#[tokio::test]
async fn a_tape_is_played_by_a_server_of_its_version() {
    let impostor = Impostor::tape("v1.2.27-permission-rejected-other-words")
        .await
        .unwrap();
    let health = get(impostor.port(), "/global/health").await;
    assert_eq!(health["version"], "1.2.27");
}

/// Does what the client on the tape did: answers what is asked, aborts when it aborted.
async fn act(port: u16, name: &str, session: &str, event: &Value) {
    let id = event["properties"]["id"].as_str().unwrap_or_default();
    match (event["type"].as_str().unwrap(), name) {
        ("question.asked", "question-rejected") => {
            call(
                port,
                "POST",
                &format!("/question/{id}/reject?directory=/workspace/demo"),
                None,
            )
            .await;
        }
        ("question.asked", _) => {
            let body = json!({"answers": [["Yes"]]});
            call(
                port,
                "POST",
                &format!("/question/{id}/reply?directory=/workspace/demo"),
                Some(&body),
            )
            .await;
        }
        ("permission.asked", _) => {
            let reply = if name == "permission-once" {
                "once"
            } else {
                "reject"
            };
            let body = json!({"reply": reply, "message": "not today"});
            call(
                port,
                "POST",
                &format!("/permission/{id}/reply?directory=/workspace/demo"),
                Some(&body),
            )
            .await;
        }
        ("message.part.delta", "aborted") => {
            call(port, "POST", &format!("/session/{session}/abort"), None).await;
        }
        _ => {}
    }
}

#[tokio::test]
async fn every_tape_plays_with_the_ids_of_the_client() {
    for file in tapes().unwrap() {
        let tape = tape(&file.name).unwrap();
        let Some(taped_session) = tape.header.session.clone() else {
            continue;
        };
        let impostor = Impostor::tape(&file.name).await.unwrap();
        let port = impostor.port();
        let session = new_session(port).await;
        let mut events = Events::open(port, "/event?directory=/workspace/demo").await;
        let mut users = Vec::new();
        let mut seen = Vec::new();
        for taped in tape.prompts() {
            users.push(prompt(port, &session, &taped.text).await);
            loop {
                let event = events.next().await;
                act(port, &file.name, &session, &event).await;
                let idle = event["type"] == "session.idle"
                    && event["properties"]["sessionID"] == session.as_str();
                seen.push(event);
                if idle {
                    break;
                }
            }
            impostor
                .wait_for(|ledger| {
                    ledger.prompts(&session).len() == users.len() && ledger.busy().is_empty()
                })
                .await
                .unwrap();
        }

        // The same events in the same order …
        let mut taped_types: Vec<String> = types(
            &tape
                .events()
                .filter(|event| event.session().is_some())
                .filter(|event| {
                    event.kind() != "session.created" || event.session() != Some(&taped_session)
                })
                .map(|event| event.payload().clone())
                .collect::<Vec<_>>(),
        );
        taped_types.retain(|kind| !kind.ends_with(".replied") && !kind.ends_with(".rejected"));
        let mut seen_types = types(&seen);
        seen_types.retain(|kind| !kind.ends_with(".replied") && !kind.ends_with(".rejected"));
        let last_idle = |types: &[String]| {
            types
                .iter()
                .position(|kind| kind == "session.idle")
                .unwrap()
        };
        let until = last_idle(&seen_types);
        assert_eq!(seen_types[..until], taped_types[..until], "{}", file.name);

        // … and the same exchange, with other ids.
        let exchange = get(port, &format!("/session/{session}/message")).await;
        let taped = tape.final_exchange().unwrap();
        let texts = |exchange: &Value| -> Vec<(String, usize, Vec<String>)> {
            exchange
                .as_array()
                .unwrap()
                .iter()
                .map(|message| {
                    let parts = message["parts"].as_array().unwrap();
                    (
                        message["info"]["finish"]
                            .as_str()
                            .unwrap_or_default()
                            .to_owned(),
                        parts.len(),
                        parts
                            .iter()
                            .filter_map(|part| part["text"].as_str())
                            .map(str::to_owned)
                            .collect(),
                    )
                })
                .collect()
        };
        assert_eq!(texts(&exchange), texts(taped), "{}", file.name);
        let text = exchange.to_string();
        assert!(!text.contains(&taped_session), "{}", file.name);
        // The server writes user messages of its own in one of them.
        let asked = exchange.as_array().unwrap().iter().filter_map(|message| {
            let info = &message["info"];
            (info["role"] == "user").then(|| info["id"].as_str().unwrap())
        });
        let asked: Vec<&str> = asked.collect();
        let alone = file.name != "compaction";
        assert_eq!(asked.len() == users.len(), alone, "{}", file.name);
        assert!(users.iter().all(|user| asked.contains(&user.as_str())));
        for message in taped.as_array().unwrap() {
            let id = message["info"]["id"].as_str().unwrap();
            assert!(!text.contains(id), "{}: {id}", file.name);
        }
        for message in exchange.as_array().unwrap() {
            let info = &message["info"];
            let of = info.get("parentID").unwrap_or(&info["id"]);
            assert!(asked.iter().any(|id| of == id), "{}: {info}", file.name);
        }
        impostor.assert_clean();
    }
}

#[tokio::test]
async fn two_sessions_can_play_one_tape() {
    let impostor = Impostor::tape("write-file").await.unwrap();
    let port = impostor.port();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let session = new_session(port).await;
        prompt(port, &session, "another text").await;
        impostor
            .wait_for(|ledger| ledger.busy().is_empty() && !ledger.prompts(&session).is_empty())
            .await
            .unwrap();
        let messages = impostor.messages(&session);
        assert_eq!(messages[0]["parts"][0]["text"], "another text");
        ids.extend(
            messages
                .iter()
                .map(|message| message["info"]["id"].as_str().unwrap().to_owned()),
        );
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[tokio::test]
async fn the_tape_of_two_directories_answers_each_in_its_own() {
    let impostor = Impostor::tape("global-two-directories").await.unwrap();
    let port = impostor.port();
    let one = crate::http::session_in(port, "/here/one").await;
    let two = crate::http::session_in(port, "/here/two").await;
    prompt(port, &two, "[[reason]]").await;
    prompt(port, &one, "[[todo]]").await;
    impostor
        .wait_for(|ledger| ledger.prompt_posts().len() == 2 && ledger.busy().is_empty())
        .await
        .unwrap();
    let count = |session: &str| impostor.messages(session).len();
    assert!(count(&one) > count(&two));
    let reasoning = impostor.messages(&two)[1]["parts"][1]["type"].clone();
    assert_eq!(reasoning, "reasoning");
}
