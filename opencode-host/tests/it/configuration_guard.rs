//! An agent that would configure the server that runs it.

pub(crate) mod real;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use opencode_client::reply::ToolStatus;
use opencode_client::wire::{PermissionRule, Prompt};
use opencode_host::id::ConversationId;
use opencode_host::product::{HookError, Product, TurnContext};
use opencode_host::reporter::{ErrorReporter, Severity};
use opencode_host::sandbox::{
    OwnConfiguration, SandboxRoot, default_permission_rules, own_configuration_rules,
};
use opencode_host::store::{Conversation, MemoryStore, Store, TurnStatus};
use opencode_host::turn::TurnResult;
use opencode_host::{Host, SubmitOptions, Worker};
use opencode_impostor::{Impostor, ModelScript, Round, Script, Step};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::hosting::{Builder, Hosting, Recorder, quick};

/// The strictest rules there are without a shell.
#[derive(Debug)]
struct Strict(OwnConfiguration);

#[async_trait]
impl Product for Strict {
    async fn permission_rules(&self, _: &TurnContext) -> Result<Vec<PermissionRule>, HookError> {
        let mut rules = default_permission_rules();
        rules.extend(own_configuration_rules());
        Ok(rules)
    }

    fn own_configuration(&self, _: &Conversation) -> OwnConfiguration {
        self.0
    }
}

struct Guarded {
    home: tempfile::TempDir,
    hosting: Hosting,
}

impl Guarded {
    async fn new(own: OwnConfiguration) -> Self {
        Self::with(own, |builder| builder).await
    }

    async fn with(own: OwnConfiguration, adjust: impl FnOnce(Builder) -> Builder) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
        let impostor = Impostor::scripted(Script::always([Step::text("Hello")]))
            .await
            .unwrap();
        let hosting = Hosting::with(impostor, quick(), |builder| {
            adjust(builder.product(Strict(own)).sandboxes(root))
        });
        Self {
            hosting: hosting.await,
            home,
        }
    }

    fn agent(&self, path: &str) -> PathBuf {
        let sandboxes = self.home.path().join("sandboxes");
        let path = sandboxes
            .join(self.hosting.conversation.to_string())
            .join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}

#[tokio::test]
async fn each_prompt_finds_a_folder_without_configuration() {
    let guarded = Guarded::new(OwnConfiguration::Remove).await;
    // Before there is a session: an upload makes the folder too.
    for round in 0..2 {
        fs::write(guarded.agent(".opencode/plugin/x.js"), "evil()").unwrap();
        fs::write(guarded.agent("opencode.json"), "{}").unwrap();
        fs::write(guarded.agent(".git"), "gitdir: /elsewhere").unwrap();
        fs::write(guarded.agent("notes.md"), "kept").unwrap();
        let result = guarded.hosting.turn("Hello").await;
        assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
        for path in [".opencode", "opencode.json", ".git"] {
            assert!(!guarded.agent(path).exists(), "{path}");
        }
        assert!(guarded.agent("notes.md").exists());
        let recorder = &guarded.hosting.recorder;
        let events = recorder.named("sandbox.configuration_removed");
        assert_eq!(events.len(), round + 1);
        assert_eq!(events[round]["count"], 3);
        let mut names: Vec<_> = events[round]["names"].as_array().unwrap().clone();
        names.sort_by_key(Value::to_string);
        assert_eq!(names, [".git", ".opencode", "opencode.json"]);
        let reported = recorder.named("reported");
        let told = |fields: &&serde_json::Map<String, Value>| fields["action"] == "guard";
        assert_eq!(reported.iter().filter(told).count(), round + 1);
    }
}

#[tokio::test]
async fn a_product_may_keep_its_own() {
    let guarded = Guarded::new(OwnConfiguration::Keep).await;
    fs::write(guarded.agent(".opencode/agent/writer.md"), "mine").unwrap();
    guarded.hosting.turn("Hello").await;
    assert!(guarded.agent(".opencode/agent/writer.md").exists());
    let recorder = &guarded.hosting.recorder;
    assert_eq!(recorder.count("sandbox.configuration_removed"), 0);
}

#[tokio::test]
async fn what_cannot_be_removed_is_not_prompted() {
    let guarded = Guarded::new(OwnConfiguration::Remove).await;
    guarded.hosting.turn("Hello").await;
    fs::write(guarded.agent(".opencode/plugin/x.js"), "evil()").unwrap();
    fs::write(guarded.home.path().join("sandboxes/.quarantine"), "").unwrap();
    let result = guarded.hosting.turn("And now?").await;
    assert_eq!(result.status, TurnStatus::Error);
    let error = result.answer.error.unwrap();
    assert!(
        error
            .message
            .contains("configuration that OpenCode would run"),
        "{error:?}"
    );
    assert!(error.message.contains(".opencode"), "{error:?}");
    let prompts = guarded.hosting.impostor.ledger().prompt_posts().len();
    assert_eq!(prompts, 1, "the second was never posted");
}

/// Writes a file again whenever it was moved out, while there is one.
#[derive(Clone, Debug, Default)]
struct Writer(Arc<Mutex<Option<PathBuf>>>);

impl ErrorReporter for Writer {
    fn report(
        &self,
        _: &(dyn std::error::Error + 'static),
        _: bool,
        _: Severity,
        context: &serde_json::Map<String, Value>,
    ) {
        if context.get("action") == Some(&json!("guard"))
            && let Some(file) = &*self.0.lock().unwrap()
        {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "evil()").unwrap();
        }
    }
}

/// A process of the agent's that makes it again and again writes while the server reads, too.
#[tokio::test]
async fn what_comes_back_is_not_prompted() {
    let writer = Writer::default();
    let reporter = writer.clone();
    let with = |builder: Builder| builder.error_reporter(reporter);
    let guarded = Guarded::with(OwnConfiguration::Remove, with).await;
    guarded.hosting.turn("Hello").await;
    let file = guarded.agent(".opencode/plugin/x.js");
    fs::write(&file, "evil()").unwrap();
    *writer.0.lock().unwrap() = Some(file);
    let result = guarded.hosting.turn("And now?").await;
    assert_eq!(result.status, TurnStatus::Error);
    let message = result.answer.error.unwrap().message;
    assert!(
        message.contains(".opencode") && message.contains("comes back"),
        "{message}"
    );
    let prompts = || guarded.hosting.impostor.ledger().prompt_posts().len();
    assert_eq!(prompts(), 1, "the second was never posted");
    // Nobody writes any more.
    *writer.0.lock().unwrap() = None;
    let result = guarded.hosting.turn("And now?").await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    assert_eq!(prompts(), 2);
}

#[tokio::test]
async fn instructions_of_the_agents_own_stay_where_the_product_says_so() {
    for (own, stays) in [
        (OwnConfiguration::Remove, false),
        (OwnConfiguration::KeepInstructions, true),
    ] {
        let guarded = Guarded::new(own).await;
        fs::write(guarded.agent("AGENTS.md"), "Answer in rhymes.").unwrap();
        fs::write(guarded.agent(".claude/skills/x/SKILL.md"), "mine").unwrap();
        let result = guarded.hosting.turn("Hello").await;
        assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
        assert_eq!(guarded.agent("AGENTS.md").exists(), stays);
        assert!(!guarded.agent(".claude").exists());
    }
}
