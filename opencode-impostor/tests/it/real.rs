//! A real OpenCode server with the scripted model: the wire that the double imitates.
//!
//! These tests fail when there is no OpenCode binary, and say how to get one.

use opencode_impostor::real::RealServer;
use opencode_impostor::{ModelServer, UNICODE_TEXT};
use serde_json::{Value, json};

use crate::http::{prompt_body, try_call};

struct Real {
    model: ModelServer,
    server: RealServer,
    session: String,
}

impl Real {
    async fn start() -> Self {
        let model = ModelServer::start().await.unwrap();
        let server = RealServer::start(&model.opencode_config()).await.unwrap();
        Self {
            model,
            server,
            session: String::new(),
        }
    }

    /// Goes on in a session of its own.
    async fn begin(&mut self) {
        let session = self
            .call("POST", "/session", Some(&json!({"title": "real"})))
            .await;
        session["id"]
            .as_str()
            .unwrap()
            .clone_into(&mut self.session);
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let directory = self.server.directory();
        let glue = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{glue}directory={}", directory.display());
        let extra = format!("authorization: {}\r\n", self.server.authorization());
        let answer = try_call(self.server.port(), method, &path, &extra, body)
            .await
            .unwrap();
        assert!(answer.status < 300, "{method} {path}: {}", answer.status);
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// Prompts, waits for the end, and gives the assistant messages of the turn.
    async fn turn(&self, text: &str) -> Vec<Value> {
        let body = json!({"parts": [{"type": "text", "text": text}]});
        self.call(
            "POST",
            &format!("/session/{}/message", self.session),
            Some(&body),
        )
        .await;
        self.messages().await
    }

    async fn messages(&self) -> Vec<Value> {
        let all = self
            .call("GET", &format!("/session/{}/message", self.session), None)
            .await;
        all.as_array()
            .unwrap()
            .iter()
            .filter(|message| message["info"]["role"] == "assistant")
            .cloned()
            .collect()
    }
}

fn texts(messages: &[Value]) -> Vec<&str> {
    messages
        .iter()
        .flat_map(|message| message["parts"].as_array().unwrap())
        .filter(|part| part["type"] == "text")
        .filter_map(|part| part["text"].as_str())
        .collect()
}

/// A start costs seconds: the cases share it, and the one that kills the server comes last.
#[tokio::test]
async fn a_real_server_does_as_the_double_does() {
    let mut real = Real::start().await;
    text_and_files_come_as_scripted(&mut real).await;
    a_question_is_asked_and_a_401_is_an_error(&mut real).await;
    a_killed_server_comes_back_with_the_text_gone(&mut real).await;
}

async fn text_and_files_come_as_scripted(real: &mut Real) {
    real.begin().await;
    let said = real.turn("please answer [[text]]").await;
    assert_eq!(texts(&said), [UNICODE_TEXT]);
    assert_eq!(said[0]["info"]["cost"], 0.000_09);
    let said = real.turn("make it [[write]] [[file:made.md]]").await;
    assert_eq!(
        texts(&said)[1..],
        ["I will write the file. ", "Done. See made.md"]
    );
    let made = std::fs::read_to_string(real.server.directory().join("made.md")).unwrap();
    assert_eq!(made, "# Report\n\nhello <b>world</b>\n");
    assert_eq!(real.model.runs("[[write]]"), 2);
}

async fn a_question_is_asked_and_a_401_is_an_error(real: &mut Real) {
    real.begin().await;
    let body = json!({"parts": [{"type": "text", "text": "ask me [[question]]"}]});
    let path = format!("/session/{}/message", real.session);
    let asked = async {
        loop {
            let questions = real.call("GET", "/question", None).await;
            if let Some(id) = questions[0]["id"].as_str() {
                let answers = json!({"answers": [["Yes"]]});
                real.call("POST", &format!("/question/{id}/reply"), Some(&answers))
                    .await;
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(real.call("POST", &path, Some(&body)), asked);
    assert_eq!(texts(&real.messages().await), ["Thanks for the answer"]);

    let said = real.turn("fail [[err401]]").await;
    let error = &said.last().unwrap()["info"]["error"];
    assert_eq!(
        (&error["name"], &error["data"]["statusCode"]),
        (&json!("APIError"), &json!(401))
    );
}

async fn a_killed_server_comes_back_with_the_text_gone(real: &mut Real) {
    real.begin().await;
    let path = format!("/session/{}/prompt_async", real.session);
    let session = real
        .call("GET", &format!("/session/{}", real.session), None)
        .await;
    let born = session["time"]["created"].as_u64().unwrap();
    let id = format!(
        "{:012x}abcdefghijklmn",
        (born * 0x1000 + 1) & 0xFFFF_FFFF_FFFF
    );
    real.call("POST", &path, Some(&prompt_body(&id, "go on [[hold]]")))
        .await;
    tokio::time::timeout(
        std::time::Duration::from_secs(20),
        real.model.reached("hold"),
    )
    .await
    .unwrap();
    real.server.restart().await.unwrap();
    assert_eq!(real.call("GET", "/session/status", None).await, json!({}));
    let messages = real.messages().await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["info"].get("finish"), None);
    assert!(
        texts(&messages).iter().all(|text| text.is_empty()),
        "{messages:?}"
    );
    let said = real.turn("again [[text]]").await;
    assert_eq!(texts(&said).last(), Some(&UNICODE_TEXT));
}
