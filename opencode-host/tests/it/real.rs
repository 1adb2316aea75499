//! A real OpenCode server with the scripted model. These tests fail where there
//! is no OpenCode, and say how to get one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use opencode_client::Client;
use opencode_client::reply::{Change, PendingRequest};
use opencode_client::wire::{
    PermissionAction, PermissionReply, PermissionRequest, PermissionRule, Prompt,
};
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::live::{Cursor, LiveEvent};
use opencode_host::product::{HookError, Product};
use opencode_host::store::{Conversation, MemoryStore, Store, TurnStatus};
use opencode_host::turn::TurnResult;
use opencode_host::{Host, SubmitOptions, Worker};
use opencode_impostor::real::RealServer;
use opencode_impostor::{ModelScript, ModelServer, UNICODE_TEXT};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::hosting::{Builder, Recorder, assert_ended};

mod odd;
mod restarts;
mod sub_agents;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct InFolder {
    directory: String,
    rules: Vec<PermissionRule>,
}

#[async_trait]
impl Product for InFolder {
    fn permission_rules(&self, _: &Conversation) -> Vec<PermissionRule> {
        self.rules.clone()
    }

    async fn directory(&self, _: &Conversation) -> Result<Option<String>, HookError> {
        Ok(Some(self.directory.clone()))
    }
}

struct Live {
    model: ModelServer,
    server: RealServer,
    host: Host,
    worker: Worker,
    conversation: ConversationId,
    recorder: Recorder,
}

impl Live {
    async fn start() -> Self {
        Self::with_rules(Vec::new()).await
    }

    async fn with_rules(rules: Vec<PermissionRule>) -> Self {
        Self::playing(ModelScript::standard(), rules, json!({}), |builder| builder).await
    }

    /// With this model, these settings in the server's configuration, and a host of this kind.
    async fn playing(
        script: ModelScript,
        rules: Vec<PermissionRule>,
        settings: Value,
        adjust: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let model = ModelServer::on_port(0, script).await.unwrap();
        let mut config = model.opencode_config();
        for (name, value) in settings.as_object().unwrap() {
            config[name] = value.clone();
        }
        let server = RealServer::start(&config).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let recorder = Recorder::default();
        let client = Client::builder(server.url())
            .password(server.password())
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let directory = server.directory().to_str().unwrap().to_owned();
        let builder = Builder::new(client, Arc::clone(&store))
            .product(InFolder { directory, rules })
            .recorder(&recorder)
            .product_folders();
        let (host, worker) = adjust(builder).build().unwrap();
        let conversation = store.open_conversation("live").await.unwrap().id;
        Self {
            model,
            server,
            host,
            worker,
            conversation,
            recorder,
        }
    }

    async fn submit(&self, text: &str) -> (TurnId, tokio::task::JoinHandle<()>) {
        let submitted = self
            .host
            .submit(
                self.conversation,
                Prompt::text(text),
                SubmitOptions::default(),
            )
            .await;
        let turn = submitted.unwrap().turn.id;
        let worker = self.worker.clone();
        let working = tokio::spawn(async move {
            worker
                .run_turn(turn, CancellationToken::new())
                .await
                .unwrap()
        });
        (turn, working)
    }

    async fn finished(&self, turn: TurnId, working: tokio::task::JoinHandle<()>) -> TurnResult {
        tokio::time::timeout(PATIENCE, working)
            .await
            .expect("the turn did not end")
            .unwrap();
        assert_eq!(
            self.recorder
                .named("turn.finished")
                .iter()
                .filter(|fields| fields["turn"] == turn.to_string())
                .count(),
            1
        );
        self.host.result(turn).await.unwrap().unwrap()
    }

    async fn turn(&self, text: &str) -> TurnResult {
        let (turn, working) = self.submit(text).await;
        self.finished(turn, working).await
    }

    /// Watches until `wanted` finds something.
    async fn watch<T>(&self, turn: TurnId, mut wanted: impl FnMut(&Change<'_>) -> Option<T>) -> T {
        let watching = async {
            let mut live = self.host.live(turn, Cursor::START).await.unwrap();
            loop {
                match live
                    .try_next()
                    .await
                    .unwrap()
                    .expect("the turn ended before that")
                {
                    LiveEvent::Change { change, .. } => {
                        if let Some(found) = wanted(&change) {
                            return found;
                        }
                    }
                    LiveEvent::Snapshot { view, .. } => {
                        for request in view.requests() {
                            let change = match request.clone() {
                                PendingRequest::Question(request) => Change::Question { request },
                                PendingRequest::Permission(request) => {
                                    Change::Permission { request }
                                }
                            };
                            if let Some(found) = wanted(&change) {
                                return found;
                            }
                        }
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, watching)
            .await
            .expect("it was not seen in time")
    }

    /// The first permission that is asked for, by a sub-agent too.
    async fn asked(&self, turn: TurnId) -> PermissionRequest {
        fn permission_of(change: &Change<'_>) -> Option<PermissionRequest> {
            match change {
                Change::Permission { request } => Some((*request).clone()),
                Change::Subtask { change, .. } => permission_of(change),
                _ => None,
            }
        }
        self.watch(turn, permission_of).await
    }

    async fn text(&self, turn: TurnId) {
        self.watch(turn, |change| {
            matches!(change, Change::PartDelta { .. }).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn text_reasoning_todos_and_the_sums() {
    let live = Live::start().await;
    let result = live.turn("please answer [[text]]").await;
    assert_ended(&result, TurnStatus::Completed, None, UNICODE_TEXT);
    let result = live.turn("think first [[reason]]").await;
    assert_eq!(result.status, TurnStatus::Completed);
    assert!(
        !result.answer.reasoning.is_empty()
            && !result.answer.content.contains(&result.answer.reasoning)
    );
    let result = live.turn("plan it [[todo]]").await;
    assert_eq!(result.status, TurnStatus::Completed);
    assert!(
        result
            .answer
            .tool_calls()
            .iter()
            .any(|tool| tool.tool == "todowrite")
    );
    // Every model step costs the same here: the turn costs them all.
    let steps = result.answer.usage.input_tokens / 50;
    assert!(steps >= 2, "{:?}", result.answer.usage);
    assert!(
        (result.answer.usage.cost - 0.000_09 * steps as f64).abs() < 1e-9,
        "{:?}",
        result.answer.usage
    );
}

#[tokio::test]
async fn files_are_written_and_edited() {
    let live = Live::start().await;
    let result = live.turn("make it [[write]] [[file:made.md]]").await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    assert_eq!(result.answer.tool_calls()[0].tool, "write");
    assert!(live.server.directory().join("made.md").exists());
    let result = live.turn("now edit [[edit]] [[file:made.md]]").await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    let edit = result
        .answer
        .tool_calls()
        .into_iter()
        .find(|tool| tool.tool == "edit")
        .unwrap();
    assert!(edit.metadata.as_ref().unwrap().contains_key("diff"));
}

#[tokio::test]
async fn a_permission_is_asked_for_and_given() {
    let live = Live::with_rules(vec![PermissionRule::all("bash", PermissionAction::Ask)]).await;
    let (turn, working) = live.submit("say hi [[bash]]").await;
    let asked = live.asked(turn).await;
    assert_eq!(asked.permission, "bash");
    live.host
        .reply_permission(turn, &asked.id, PermissionReply::Once, None)
        .await
        .unwrap();
    let result = live.finished(turn, working).await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    assert!(
        result.answer.tool_calls()[0]
            .output
            .as_ref()
            .unwrap()
            .contains("hi")
    );
}

#[tokio::test]
async fn a_write_outside_the_folder_is_refused_by_the_default_rules() {
    let live = Live::with_rules(opencode_host::sandbox::default_permission_rules()).await;
    let path = live.server.directory().parent().unwrap().join("escaped.md");
    let result = live.turn("make it [[write]] [[file:../escaped.md]]").await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    assert_eq!(
        result.answer.tool_calls()[0].status,
        opencode_client::reply::ToolStatus::Error
    );
    assert!(!path.exists());
}

async fn question(
    live: &Live,
) -> (
    TurnId,
    tokio::task::JoinHandle<()>,
    opencode_client::QuestionId,
) {
    let (turn, working) = live.submit("ask me [[question]]").await;
    let asked = live
        .watch(turn, |change| match change {
            Change::Question { request } => Some(request.id.clone()),
            _ => None,
        })
        .await;
    (turn, working, asked)
}

#[tokio::test]
async fn a_question_is_answered_and_another_rejected() {
    let live = Live::start().await;
    let (turn, working, asked) = question(&live).await;
    live.host
        .answer_question(turn, &asked, &[vec!["Yes".to_owned()]])
        .await
        .unwrap();
    let result = live.finished(turn, working).await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");

    let (turn, working, asked) = question(&live).await;
    live.host.reject_question(turn, &asked).await.unwrap();
    let result = tokio::time::timeout(Duration::from_secs(2), live.finished(turn, working))
        .await
        .expect("over 2 s");
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Cancelled, "declined")
    );
}

#[tokio::test]
async fn a_sub_agent_shows_as_nested_progress() {
    let live = Live::start().await;
    let (turn, working) = live.submit("delegate [[task]]").await;
    live.watch(turn, |change| match change {
        Change::Subtask { change, .. } => {
            matches!(**change, Change::PartDelta { .. }).then_some(())
        }
        _ => None,
    })
    .await;
    let result = live.finished(turn, working).await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    assert!(
        !result.answer.content.contains(UNICODE_TEXT),
        "the sub-agent's words are its own"
    );
    assert!(
        result.answer.tool_calls()[0]
            .output
            .as_ref()
            .unwrap()
            .contains(UNICODE_TEXT)
    );
}

#[tokio::test]
async fn a_provider_that_refuses_and_one_that_is_busy() {
    let live = Live::start().await;
    let result = live.turn("fail [[err401]]").await;
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Error, "upstream")
    );
    let error = result.answer.error.unwrap();
    assert_eq!(
        (error.name.as_str(), error.status_code),
        ("APIError", Some(401))
    );
    let (turn, working) = live.submit("busy [[err429]]").await;
    live.watch(turn, |change| {
        matches!(change, Change::Retry { attempt: 1, .. }).then_some(())
    })
    .await;
    let result = live.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, UNICODE_TEXT);
}

#[tokio::test]
async fn a_lost_session_is_replaced_and_told_the_conversation_so_far() {
    let live = Live::start().await;
    let first = live.turn("remember the word marmot [[text]]").await;
    let lost = first.session.unwrap();
    live.worker.client().delete_session(&lost).await.unwrap();
    let result = live.turn("which word was it? [[text]]").await;
    assert_ended(&result, TurnStatus::Completed, None, UNICODE_TEXT);
    assert_ne!(result.session.as_ref(), Some(&lost));
    assert_eq!(live.recorder.count("session.carried_over"), 1);
    let requests = live.model.requests();
    let asked = requests
        .iter()
        .rev()
        .find(|request| request["tools"].is_array());
    let said: Vec<String> = asked.unwrap()["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["role"] != "system")
        .map(|message| message["content"].to_string())
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("> remember the word marmot"), "{said:?}");
    assert!(said[0].contains("Assistant:"), "{said:?}");
    assert!(said[1].contains("which word was it?"), "{said:?}");
    assert_eq!(live.model.runs("which word was it?"), 1);
}

#[tokio::test]
async fn a_cancel_and_the_turn_after_it() {
    let live = Live::start().await;
    let (turn, working) = live.submit("go on [[slow]]").await;
    live.text(turn).await;
    live.host.cancel(turn).await.unwrap();
    let result = live.finished(turn, working).await;
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Cancelled, "cancelled")
    );
    assert!(
        result.answer.content.starts_with("slow"),
        "{:?}",
        result.answer.content
    );
    let result = live.turn("please answer [[text]]").await;
    assert_ended(&result, TurnStatus::Completed, None, UNICODE_TEXT);
}

#[tokio::test]
async fn a_cut_off_answer_is_flagged_and_an_empty_one_told() {
    let live = Live::start().await;
    let result = live.turn("go [[cutoff]]").await;
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Completed, "length")
    );
    assert!(result.answer.truncated && !result.answer.content.is_empty());
    let result = live.turn("say nothing [[empty]]").await;
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Error, "empty_reply")
    );
}

#[tokio::test]
async fn unknown_names_are_told() {
    let live = Live::start().await;
    let go = || Prompt::text("go [[text]]");
    let agent = Prompt {
        agent: Some("nope".to_owned()),
        ..go()
    };
    let model = Prompt {
        model: Some("local/nope".parse().unwrap()),
        ..go()
    };
    let provider = Prompt {
        model: Some("nowhere/scripted".parse().unwrap()),
        ..go()
    };
    for (prompt, told) in [
        (agent, ["agent \"nope\"", "build"]),
        (model, ["model \"local/nope\"", "local/scripted"]),
        (provider, ["model \"nowhere/scripted\"", "local/scripted"]),
    ] {
        let submitting = live
            .host
            .submit(live.conversation, prompt, SubmitOptions::default());
        let turn = submitting.await.unwrap().turn.id;
        let worker = live.worker.clone();
        let working = tokio::spawn(async move {
            worker
                .run_turn(turn, CancellationToken::new())
                .await
                .unwrap()
        });
        let result = live.finished(turn, working).await;
        let error = result.answer.error.unwrap();
        assert_eq!(
            (result.status, result.answer.reason.unwrap().as_str()),
            (TurnStatus::Error, "unknown_name"),
            "{error:?}"
        );
        for words in told {
            assert!(error.message.contains(words), "{error:?}");
        }
    }
    // The session would go on with the unknown model.
    let result = live.turn("go [[text]]").await;
    assert_ended(&result, TurnStatus::Completed, None, UNICODE_TEXT);
}
