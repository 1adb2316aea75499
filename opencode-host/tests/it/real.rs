//! A real OpenCode server with the scripted model. These tests fail where there is no OpenCode, and say how to get
//! one. To start a server costs seconds, so that cases share one: tests are for what kills or configures it.

use std::path::PathBuf;
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
use opencode_host::product::{HookError, Product, TurnContext};
use opencode_host::store::{MemoryStore, Store, Tenant, TurnStatus};
use opencode_host::turn::TurnResult;
use opencode_host::{Host, SubmitOptions, Worker};
use opencode_impostor::real::RealServer;
use opencode_impostor::{ModelScript, ModelServer, UNICODE_TEXT};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::artifacts::{real as artifacts, shown};
use crate::cases::{all_hold, cases};
use crate::configuration_guard::real as configuration_guard;
use crate::hosting::{Builder, Recorder, assert_ended};

mod odd;
mod restarts;
mod servers;
mod sub_agents;
mod tools;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct InFolder {
    directory: String,
    rules: Vec<PermissionRule>,
}

#[async_trait]
impl Product for InFolder {
    async fn permission_rules(&self, _: &TurnContext) -> Result<Vec<PermissionRule>, HookError> {
        Ok(self.rules.clone())
    }

    async fn directory(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        Ok(Some(self.directory.clone()))
    }
}

/// A real server, and the model that it asks. Cases share it, each with a folder and a conversation of its own.
pub(crate) struct Upstream {
    pub(crate) model: ModelServer,
    server: Mutex<RealServer>,
    url: String,
    password: String,
}

impl Upstream {
    /// With this script, these settings in the server's configuration, and these variables in its environment.
    pub(crate) async fn start(
        script: ModelScript,
        settings: Value,
        environment: &[(&str, &str)],
    ) -> Self {
        let model = ModelServer::scripted(script).await.unwrap();
        let mut config = model.opencode_config();
        for (name, value) in settings.as_object().unwrap() {
            config[name] = value.clone();
        }
        let server = RealServer::start_with(&config, environment);
        let server = server.await.unwrap();
        Self {
            model,
            url: server.url(),
            password: server.password().to_owned(),
            server: Mutex::new(server),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::builder(&self.url)
            .password(&self.password)
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap()
    }

    /// Kills the server and starts it again.
    pub(crate) async fn restart(&self) {
        self.server.lock().await.restart().await.unwrap();
    }
}

/// A conversation on a real server.
struct Live<'a> {
    upstream: &'a Upstream,
    home: TempDir,
    host: Host,
    worker: Worker,
    conversation: ConversationId,
    recorder: Recorder,
}

impl<'a> Live<'a> {
    async fn on(upstream: &'a Upstream) -> Self {
        Self::with_rules(upstream, Vec::new()).await
    }

    async fn with_rules(upstream: &'a Upstream, rules: Vec<PermissionRule>) -> Self {
        Self::adjusted(upstream, rules, |builder| builder).await
    }

    /// With these rules, and a host of this kind.
    async fn adjusted(
        upstream: &'a Upstream,
        rules: Vec<PermissionRule>,
        adjust: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("work");
        std::fs::create_dir(&directory).unwrap();
        let directory = directory.to_str().unwrap().to_owned();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let recorder = Recorder::default();
        let builder = Builder::new(upstream.client(), Arc::clone(&store))
            .product(InFolder { directory, rules })
            .recorder(&recorder)
            .product_folders();
        let (host, worker) = adjust(builder).build().unwrap();
        let conversation = store
            .open_conversation(&Tenant::default(), "live")
            .await
            .unwrap()
            .id;
        Self {
            upstream,
            home,
            host,
            worker,
            conversation,
            recorder,
        }
    }

    /// Where the agent works.
    fn directory(&self) -> PathBuf {
        self.home.path().join("work")
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
        (turn, self.work(turn))
    }

    fn work(&self, turn: TurnId) -> tokio::task::JoinHandle<()> {
        let worker = self.worker.clone();
        tokio::spawn(async move {
            worker
                .run_turn(turn, CancellationToken::new())
                .await
                .unwrap()
        })
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
        let found = tokio::time::timeout(PATIENCE, watching).await;
        found.unwrap_or_else(|_| panic!("it was not seen in time: {:?}", self.recorder))
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
async fn on_one_server() {
    let script = odd::script()
        .then(sub_agents::delegating("off"))
        .then(sub_agents::delegating("unasked"))
        .then(artifacts::script())
        .then(shown::script())
        .then(configuration_guard::greeting())
        .then(ModelScript::standard());
    let upstream = &Upstream::start(script, json!({}), &[]).await;
    // It has 2 s to end: alone.
    all_hold(
        1,
        cases![upstream; a_question_is_answered_and_another_rejected],
    )
    .await;
    let cases = cases![
        upstream;
        text_reasoning_todos_and_the_sums,
        files_are_written_and_edited,
        a_permission_is_asked_for_and_given,
        a_write_outside_the_folder_is_refused_by_the_default_rules,
        a_sub_agent_shows_as_nested_progress,
        a_provider_that_refuses_and_one_that_is_busy,
        a_lost_session_is_replaced_and_told_the_conversation_so_far,
        another_version_knows_what_is_shown_alone,
        a_cancel_and_the_turn_after_it,
        a_cut_off_answer_is_flagged_and_an_empty_one_told,
        unknown_names_are_told,
        odd::odd_words_cut_emojis_and_deep_input_complete,
        sub_agents::on_a_given_server_sub_agents_are_off_where_something_is_asked_for,
        sub_agents::sub_agents_that_are_allowed_by_name_run_unasked_as_the_warning_says,
        artifacts::files_come_back_byte_for_byte_and_once,
        shown::a_model_is_shown_pictures_where_it_takes_them,
        configuration_guard::instructions_and_skills_of_the_agents_own_do_not_reach_the_model,
    ];
    all_hold(4, cases).await;
}

async fn text_reasoning_todos_and_the_sums(upstream: &Upstream) {
    let live = Live::on(upstream).await;
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

async fn files_are_written_and_edited(upstream: &Upstream) {
    let live = Live::on(upstream).await;
    let result = live.turn("make it [[write]] [[file:made.md]]").await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    assert_eq!(result.answer.tool_calls()[0].tool, "write");
    assert!(live.directory().join("made.md").exists());
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

async fn a_permission_is_asked_for_and_given(upstream: &Upstream) {
    let live = Live::with_rules(
        upstream,
        vec![PermissionRule::all("bash", PermissionAction::Ask)],
    )
    .await;
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

async fn a_write_outside_the_folder_is_refused_by_the_default_rules(upstream: &Upstream) {
    let live = Live::with_rules(upstream, opencode_host::sandbox::default_permission_rules()).await;
    let path = live.directory().parent().unwrap().join("escaped.md");
    let result = live.turn("make it [[write]] [[file:../escaped.md]]").await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    assert_eq!(
        result.answer.tool_calls()[0].status,
        opencode_client::reply::ToolStatus::Error
    );
    assert!(!path.exists());
}

async fn question(
    live: &Live<'_>,
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

async fn a_question_is_answered_and_another_rejected(upstream: &Upstream) {
    let live = Live::on(upstream).await;
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

async fn a_sub_agent_shows_as_nested_progress(upstream: &Upstream) {
    let live = Live::on(upstream).await;
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

async fn a_provider_that_refuses_and_one_that_is_busy(upstream: &Upstream) {
    let live = Live::on(upstream).await;
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

async fn a_lost_session_is_replaced_and_told_the_conversation_so_far(upstream: &Upstream) {
    let live = Live::on(upstream).await;
    let first = live.turn("remember the word marmot [[text]]").await;
    let lost = first.session.unwrap();
    live.worker.client().delete_session(&lost).await.unwrap();
    let result = live.turn("which word was it? [[text]]").await;
    assert_ended(&result, TurnStatus::Completed, None, UNICODE_TEXT);
    assert_ne!(result.session.as_ref(), Some(&lost));
    assert_eq!(live.recorder.count("session.carried_over"), 1);
    let requests = upstream.model.requests();
    let asked = requests.iter().rev().find(|request| {
        let messages = request["messages"].to_string();
        request["tools"].is_array() && messages.contains("which word was it?")
    });
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
    assert_eq!(upstream.model.runs("which word was it?"), 1);
}

async fn another_version_knows_what_is_shown_alone(upstream: &Upstream) {
    let live = Live::on(upstream).await;
    let first = live.turn("remember the word heron [[text]]").await;
    let again = live.host.regenerate(first.turn, None).await.unwrap();
    let again = live.finished(again.turn.id, live.work(again.turn.id)).await;
    assert_ended(&again, TurnStatus::Completed, None, UNICODE_TEXT);
    let prompt = Prompt::text("remember the word ibis [[text]]");
    let options = SubmitOptions::default();
    let edited = live.host.edit(again.turn, prompt, options).await.unwrap();
    live.finished(edited.turn.id, live.work(edited.turn.id))
        .await;
    let next = live.turn("which bird was it? [[text]]").await;
    assert_ended(&next, TurnStatus::Completed, None, UNICODE_TEXT);
    let requests = upstream.model.requests();
    let asked = requests.iter().rev().find(|request| {
        let messages = request["messages"].to_string();
        request["tools"].is_array() && messages.contains("which bird was it?")
    });
    let said = asked.unwrap()["messages"].to_string();
    assert!(said.contains("ibis") && !said.contains("heron"), "{said}");
}

async fn a_cancel_and_the_turn_after_it(upstream: &Upstream) {
    let live = Live::on(upstream).await;
    let (turn, working) = live.submit("go on [[slow]]").await;
    live.text(turn).await;
    live.host.cancel(turn, None).await.unwrap();
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

async fn a_cut_off_answer_is_flagged_and_an_empty_one_told(upstream: &Upstream) {
    let live = Live::on(upstream).await;
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

async fn unknown_names_are_told(upstream: &Upstream) {
    let live = Live::on(upstream).await;
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
