//! The same on a real server: what it would run, and what reaches the model.

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A real server, a sandbox, and an agent with a patch tool.
struct Live {
    home: tempfile::TempDir,
    server: RealServer,
    model: ModelServer,
    host: Host,
    worker: Worker,
    conversation: ConversationId,
    recorder: Recorder,
}

impl Live {
    async fn new(own: OwnConfiguration, script: impl FnOnce(&Path) -> ModelScript) -> Self {
        // Settings that one might trust. Without them it is worse: any first request runs what is there.
        let settings = [
            ("OPENCODE_DISABLE_PROJECT_CONFIG", "1"),
            ("OPENCODE_PURE", "1"),
        ];
        Self::with(own, script, &settings).await
    }

    async fn with(
        own: OwnConfiguration,
        script: impl FnOnce(&Path) -> ModelScript,
        settings: &[(&str, &str)],
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let model = ModelServer::scripted(script(home.path())).await.unwrap();
        let config = model.opencode_config();
        let server = RealServer::start_with(&config, settings);
        let server = server.await.unwrap();
        let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let recorder = Recorder::default();
        let client = Client::builder(server.url()).password(server.password());
        let client = client.timeout(Duration::from_secs(20)).build().unwrap();
        let (host, worker) = Builder::new(client, Arc::clone(&store))
            .product(Strict(own))
            .sandboxes(root)
            .recorder(&recorder)
            .build()
            .unwrap();
        let conversation = store.open_conversation("live").await.unwrap().id;
        Self {
            home,
            server,
            model,
            host,
            worker,
            conversation,
            recorder,
        }
    }

    async fn turn(&self, text: &str) -> TurnResult {
        let prompt = Prompt {
            model: Some("local/gpt-5-scripted".parse().unwrap()),
            ..Prompt::text(text)
        };
        let submitted = self
            .host
            .submit(self.conversation, prompt, SubmitOptions::default());
        let turn = submitted.await.unwrap().turn.id;
        let working = self.worker.run_turn(turn, CancellationToken::new());
        tokio::time::timeout(PATIENCE, working)
            .await
            .expect("the turn did not end")
            .unwrap();
        self.host.result(turn).await.unwrap().unwrap()
    }

    fn sandbox(&self) -> PathBuf {
        let sandboxes = self.home.path().join("sandboxes");
        sandboxes.join(self.conversation.to_string())
    }
}

fn patch(lines: &[String]) -> Round {
    let text = format!("*** Begin Patch\n{}\n*** End Patch", lines.join("\n"));
    Round::call("apply_patch", json!({ "patchText": text }))
}

fn add(path: &str, lines: &[&str]) -> String {
    format!("*** Add File: {path}\n+{}", lines.join("\n+"))
}

/// A patch that moves must change something too.
fn move_to(from: &str, to: &str, old: &str, new: &str) -> String {
    format!("*** Update File: {from}\n*** Move to: {to}\n@@\n-{old}\n+{new}")
}

/// Moves a plugin to where the server looks for them; when run it leaves a mark outside.
fn plugin(home: &Path) -> ModelScript {
    let mark = home.join("mark").display().to_string();
    let run = format!("import fs from \"node:fs\"; fs.writeFileSync({mark:?}, \"ran\");");
    ModelScript::new()
        .on(
            "[[plant]]",
            [
                patch(&[add(
                    "x.js",
                    &[&run, "// one", "export const X = async () => ({});"],
                )]),
                patch(&[move_to("x.js", ".opencode/plugin/x.js", "// one", "// two")]),
                Round::text("Planted"),
            ],
        )
        .on("[[reap]]", [Round::text("Reaped")])
}

async fn plant_and_reap(own: OwnConfiguration) -> Live {
    let mut live = Live::new(own, plugin).await;
    let result = live.turn("[[plant]]").await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    let calls = result.answer.tool_calls();
    let fine = calls
        .iter()
        .filter(|call| call.status == ToolStatus::Completed);
    assert_eq!(fine.count(), 2, "no rule sees the move: {calls:?}");
    // A server reads a folder once in its life.
    live.server.restart().await.unwrap();
    let result = live.turn("[[reap]]").await;
    assert_eq!(result.answer.content, "Reaped", "{result:?}");
    live
}

#[tokio::test]
async fn a_plugin_that_a_patch_moved_in_is_not_run() {
    let live = plant_and_reap(OwnConfiguration::Remove).await;
    assert!(!live.home.path().join("mark").exists(), "the plugin ran");
    assert!(!live.sandbox().join(".opencode").exists());
    let events = live.recorder.named("sandbox.configuration_removed");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["names"], json!([".opencode"]));
}

/// The test above would see it: where the configuration is kept, the plugin runs.
#[tokio::test]
async fn a_plugin_that_is_kept_is_run() {
    let live = plant_and_reap(OwnConfiguration::Keep).await;
    let mark = live.home.path().join("mark");
    let ran = async {
        while !mark.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ran)
        .await
        .expect("the plugin was not run: this proves nothing any more");
    assert!(live.sandbox().join(".opencode/plugin/x.js").exists());
}

/// Makes the sandbox a Git worktree whose border is the folder above the sandboxes, and writes there.
fn worktree(home: &Path) -> ModelScript {
    let border = format!("\tworktree = {}", home.display());
    let escaped = home.join("escaped.md").display().to_string();
    ModelScript::new()
        .on(
            "[[plant]]",
            [
                patch(&[
                    add("head", &["ref: refs/heads/main", "old"]),
                    add(
                        "config",
                        &[
                            "[core]",
                            "\trepositoryformatversion = 0",
                            "\told = 1",
                            &border,
                        ],
                    ),
                    add("objects", &["old"]),
                    add("refs", &["old"]),
                ]),
                patch(&[
                    "*** Update File: head\n*** Move to: .git/HEAD\n@@\n-old".to_owned(),
                    move_to("config", ".git/config", "\told = 1", "\told = 2"),
                    move_to("objects", ".git/objects/x", "old", "new"),
                    move_to("refs", ".git/refs/x", "old", "new"),
                ]),
                Round::text("Planted"),
            ],
        )
        .on(
            "[[reap]]",
            [patch(&[add(&escaped, &["out"])]), Round::text("Reaped")],
        )
}

async fn widen_and_escape(own: OwnConfiguration) -> bool {
    let mut live = Live::new(own, worktree).await;
    let result = live.turn("[[plant]]").await;
    let calls = result.answer.tool_calls();
    let fine = calls
        .iter()
        .filter(|call| call.status == ToolStatus::Completed);
    assert_eq!(fine.count(), 2, "{calls:?}");
    live.server.restart().await.unwrap();
    live.turn("[[reap]]").await;
    live.home.path().join("escaped.md").exists()
}

#[tokio::test]
async fn a_worktree_of_the_agents_own_does_not_widen_its_folder() {
    assert!(!widen_and_escape(OwnConfiguration::Remove).await);
    assert!(
        widen_and_escape(OwnConfiguration::Keep).await,
        "the border did not move: this proves nothing any more"
    );
}

/// A server as people start it reads an `AGENTS.md`, and the skills, of its folder.
#[tokio::test]
async fn instructions_and_skills_of_the_agents_own_do_not_reach_the_model() {
    let script = |_: &Path| ModelScript::new().on("[[hello]]", [Round::text("Hello")]);
    for (own, reached) in [
        (OwnConfiguration::Remove, false),
        (OwnConfiguration::Keep, true),
    ] {
        let live = Live::with(own, script, &[]).await;
        let skill = live.sandbox().join(".claude/skills/zebra/SKILL.md");
        fs::create_dir_all(skill.parent().unwrap()).unwrap();
        fs::write(skill, "---\nname: zebra\ndescription: For zebras.\n---\n").unwrap();
        fs::write(live.sandbox().join("AGENTS.md"), "Answer in rhymes.").unwrap();
        let result = live.turn("[[hello]]").await;
        assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
        let told: String = live.model.requests().iter().map(Value::to_string).collect();
        for word in ["rhymes", "zebra"] {
            assert_eq!(told.contains(word), reached, "{own:?} {word}: {told}");
        }
    }
}
