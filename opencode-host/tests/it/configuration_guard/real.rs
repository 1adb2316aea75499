//! The same on a real server: what it would run, and what reaches the model.

use crate::cases::{all_hold, cases};
use crate::real::Upstream;
use opencode_host::store::Tenant;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A sandbox on a real server, and an agent with a patch tool.
struct Live {
    home: tempfile::TempDir,
    host: Host,
    worker: Worker,
    conversation: ConversationId,
    recorder: Recorder,
}

impl Live {
    async fn on(upstream: &Upstream, own: OwnConfiguration, home: tempfile::TempDir) -> Self {
        let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let recorder = Recorder::default();
        let (host, worker) = Builder::new(upstream.client(), Arc::clone(&store))
            .product(Strict(own))
            .sandboxes(root)
            .recorder(&recorder)
            .build()
            .unwrap();
        let conversation = store
            .open_conversation(&Tenant::default(), "live")
            .await
            .unwrap()
            .id;
        Self {
            home,
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
fn plugin(case: &str, home: &Path) -> ModelScript {
    let mark = home.join("mark").display().to_string();
    let run = format!("import fs from \"node:fs\"; fs.writeFileSync({mark:?}, \"ran\");");
    ModelScript::new()
        .on(
            format!("[[plant {case}]]"),
            [
                patch(&[add(
                    "x.js",
                    &[&run, "// one", "export const X = async () => ({});"],
                )]),
                patch(&[move_to("x.js", ".opencode/plugin/x.js", "// one", "// two")]),
                Round::text("Planted"),
            ],
        )
        .on(format!("[[reap {case}]]"), [Round::text("Reaped")])
}

/// Makes the sandbox a Git worktree whose border is the folder above the sandboxes, and writes there.
fn worktree(case: &str, home: &Path) -> ModelScript {
    let border = format!("\tworktree = {}", home.display());
    let escaped = home.join("escaped.md").display().to_string();
    ModelScript::new()
        .on(
            format!("[[plant {case}]]"),
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
            format!("[[reap {case}]]"),
            [patch(&[add(&escaped, &["out"])]), Round::text("Reaped")],
        )
}

/// No rule sees a move. A server reads a folder once in its life: what was moved in is for the next one, which goes by
/// it where it is kept. Without that a case in which it is removed proves nothing.
#[tokio::test]
async fn the_next_server_goes_by_what_the_agent_moved_in_only_where_that_is_kept() {
    let home = || tempfile::tempdir().unwrap();
    let (plugged, plugged_kept, widened, widened_kept) = (home(), home(), home(), home());
    let script = plugin("plugin", plugged.path())
        .then(plugin("kept plugin", plugged_kept.path()))
        .then(worktree("worktree", widened.path()))
        .then(worktree("kept worktree", widened_kept.path()));
    // Settings that one might trust. Without them it is worse: any first request runs what is there.
    let settings = [
        ("OPENCODE_DISABLE_PROJECT_CONFIG", "1"),
        ("OPENCODE_PURE", "1"),
    ];
    let upstream = Upstream::start(script, json!({}), &settings).await;
    let on = async |own, home| Live::on(&upstream, own, home).await;
    let plugged = on(OwnConfiguration::Remove, plugged).await;
    let plugged_kept = on(OwnConfiguration::Keep, plugged_kept).await;
    let widened = on(OwnConfiguration::Remove, widened).await;
    let widened_kept = on(OwnConfiguration::Keep, widened_kept).await;
    tokio::join!(
        plugged.plant("plugin"),
        plugged_kept.plant("kept plugin"),
        widened.plant("worktree"),
        widened_kept.plant("kept worktree"),
    );
    upstream.restart().await;
    let mut cases = cases![&plugged; a_plugin_that_a_patch_moved_in_is_not_run];
    cases.extend(cases![&plugged_kept; a_plugin_that_is_kept_is_run]);
    cases.extend(cases![&widened; a_worktree_of_the_agents_own_does_not_widen_its_folder]);
    cases.extend(cases![&widened_kept; a_worktree_that_is_kept_does]);
    all_hold(4, cases).await;
}

impl Live {
    async fn plant(&self, case: &str) {
        let result = self.turn(&format!("[[plant {case}]]")).await;
        assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
        let calls = result.answer.tool_calls();
        let fine = calls
            .iter()
            .filter(|call| call.status == ToolStatus::Completed);
        assert_eq!(fine.count(), 2, "{case}: no rule sees the move: {calls:?}");
    }
}

async fn a_plugin_that_a_patch_moved_in_is_not_run(live: &Live) {
    let result = live.turn("[[reap plugin]]").await;
    assert_eq!(result.answer.content, "Reaped", "{result:?}");
    assert!(!live.home.path().join("mark").exists(), "the plugin ran");
    assert!(!live.sandbox().join(".opencode").exists());
    let events = live.recorder.named("sandbox.configuration_removed");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["names"], json!([".opencode"]));
}

async fn a_plugin_that_is_kept_is_run(live: &Live) {
    let result = live.turn("[[reap kept plugin]]").await;
    assert_eq!(result.answer.content, "Reaped", "{result:?}");
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

async fn a_worktree_of_the_agents_own_does_not_widen_its_folder(live: &Live) {
    live.turn("[[reap worktree]]").await;
    assert!(!live.home.path().join("escaped.md").exists());
}

async fn a_worktree_that_is_kept_does(live: &Live) {
    live.turn("[[reap kept worktree]]").await;
    assert!(
        live.home.path().join("escaped.md").exists(),
        "the border did not move: this proves nothing any more"
    );
}

/// A model that greets.
pub(crate) fn greeting() -> ModelScript {
    ModelScript::new().on("[[hello]]", [Round::text("Hello")])
}

/// A server as people start it reads an `AGENTS.md`, and the skills, of its folder.
pub(crate) async fn instructions_and_skills_of_the_agents_own_do_not_reach_the_model(
    upstream: &Upstream,
) {
    for (own, reached) in [
        (OwnConfiguration::Remove, false),
        (OwnConfiguration::Keep, true),
    ] {
        let live = Live::on(upstream, own, tempfile::tempdir().unwrap()).await;
        let skill = live.sandbox().join(".claude/skills/zebra/SKILL.md");
        fs::create_dir_all(skill.parent().unwrap()).unwrap();
        fs::write(skill, "---\nname: zebra\ndescription: For zebras.\n---\n").unwrap();
        fs::write(live.sandbox().join("AGENTS.md"), "Answer in rhymes.").unwrap();
        let result = live.turn("[[hello]]").await;
        assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
        let told: String = upstream
            .model
            .requests()
            .iter()
            .map(Value::to_string)
            .collect();
        for word in ["rhymes", "zebra"] {
            assert_eq!(told.contains(word), reached, "{own:?} {word}: {told}");
        }
    }
}
