//! A real OpenCode, started by the program, with the scripted model.
//!
//! These tests fail where there is no OpenCode, and say how to get one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use opencode_impostor::real::{RealServer, find_binary, spare_first_start};
use opencode_impostor::{ModelScript, ModelServer, Round, UNICODE_TEXT};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Chat, PATIENCE, is_gone};

/// The program with a real server of its own, which asks this model.
pub(crate) fn chat(model: &ModelServer) -> Chat {
    let chat = Chat::new();
    let models = spare_first_start(&chat.data().join("opencode/config")).unwrap();
    chat.variable("OPENCODE_BIN", find_binary().unwrap())
        .variable("OPENCODE_MODELS_PATH", models)
        .variable(
            "OPENCODE_CONFIG_CONTENT",
            model.opencode_config().to_string(),
        )
}

/// The processes that were started with the data folder of this server: its guard, itself, and what it started.
fn processes(chat: &Chat) -> Vec<i32> {
    let mark = format!(
        "XDG_DATA_HOME={}",
        chat.data().join("opencode/data").display()
    );
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_marked = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes())
    };
    pids.filter(is_marked).collect()
}

/// The processes below this one.
fn descendants(pid: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let parents: Vec<(i32, i32)> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse();
            Some((pid, parent.ok()?))
        })
        .collect();
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(above) = found.get(at).copied() {
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == above)
                .map(|(pid, _)| pid),
        );
        at += 1;
    }
    found.split_off(1)
}

async fn all_are_gone(pids: &[i32]) {
    for pid in pids {
        is_gone(*pid).await;
    }
}

pub(crate) fn only_sandbox(chat: &Chat) -> PathBuf {
    let entries = std::fs::read_dir(chat.data().join("sandboxes"))
        .unwrap()
        .flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.retain(|folder| !is_hidden(folder));
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders.remove(0)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with('.')
}

#[tokio::test]
async fn a_real_server_answers_and_is_stopped() {
    let write = |path: &str| {
        let path = format!("{{{{directory}}}}/{path}");
        Round::call("write", json!({"filePath": path, "content": "export {}"}))
    };
    let planting = [
        write(".opencode/plugin/planted.js"),
        write("opencode.jsonc"),
        write("plain.txt"),
        Round::text("Tried."),
    ];
    let script = ModelScript::standard().on("[[plant]]", planting);
    let model = ModelServer::scripted(script).await.unwrap();
    let chat = chat(&model);
    let ran = chat.turn("please [[text]]", &["--opencode-isolated"]).await;
    let result = ran.ended(0, "completed");
    assert_eq!(result["content"], UNICODE_TEXT);
    assert_eq!(result["cost"], 0.000_09);
    assert_eq!(
        (&result["input_tokens"], &result["output_tokens"]),
        (&json!(50), &json!(20))
    );
    assert_eq!(model.runs("[[text]]"), 1);
    assert_eq!(processes(&chat), [] as [i32; 0]);

    // A configuration that somebody left in the sandbox is not the next server's.
    let sandbox = only_sandbox(&chat);
    let left = sandbox.join("opencode.json");
    std::fs::write(left, r#"{"model":"local/gpt-5-scripted"}"#).unwrap();
    let ran = chat.turn("plant [[plant]]", &["--opencode-isolated"]).await;
    let result = ran.ended(0, "completed");
    let asked = model.requests();
    assert!(asked.len() >= 3, "{asked:?}");
    for request in asked {
        assert_eq!(request["model"], "scripted");
    }
    // And what a server would run unasked is not written unasked.
    let calls = result["tool_calls"].as_array().unwrap();
    let outcomes: Vec<_> = calls.iter().map(|call| &call["status"]).collect();
    assert_eq!(outcomes, ["error", "error", "completed"], "{calls:?}");
    assert!(sandbox.join("plain.txt").exists());
    assert!(!sandbox.join(".opencode").exists());
}

#[tokio::test]
async fn nothing_of_a_real_server_survives_a_killed_parent() {
    let sleep = json!({"command": "sleep 600", "description": "Sleep"});
    let script = ModelScript::new().on(
        "[[sleep]]",
        [Round::call("bash", sleep), Round::text("Slept.")],
    );
    let model = ModelServer::scripted(script).await.unwrap();
    let chat = chat(&model);
    let args = [
        "turn",
        "--json",
        "[[sleep]]",
        "--opencode-isolated",
        "--permission",
        "once",
    ];
    let mut running = chat.start(&args);
    while running.hears("tool").await["part"]["status"] != "running" {}
    while running.hears("tool").await["part"]["metadata"]["output"] != "" {}
    // The guard, the server, and the shell's command, which is told of before it is started.
    let started = async {
        loop {
            let pids = descendants(running.id().cast_signed());
            if pids.len() >= 3 {
                return pids;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let pids = tokio::time::timeout(PATIENCE, started).await.unwrap();
    running.signal(Signal::KILL);
    running.end().await;
    all_are_gone(&pids).await;
    assert_eq!(processes(&chat), [] as [i32; 0]);
}

#[tokio::test]
async fn the_doctor_finds_a_real_server_sound() {
    let model = ModelServer::start().await.unwrap();
    let chat = chat(&model);
    let ran = chat.run(&["doctor", "--json", "--opencode-isolated"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines = ran.lines();
    assert_eq!(lines.len(), 14, "{ran:?}");
    assert!(lines.iter().all(|line| line["status"] == "ok"), "{ran:?}");
    let models = lines.iter().find(|line| line["check"] == "models").unwrap();
    assert!(
        models["detail"].as_str().unwrap().contains("local/"),
        "{ran:?}"
    );
    assert_eq!(processes(&chat), [] as [i32; 0]);
}

#[tokio::test]
async fn a_name_that_a_real_server_does_not_know_is_refused() {
    let model = ModelServer::start().await.unwrap();
    let chat = chat(&model);
    let isolated = "--opencode-isolated";
    let ran = chat.turn("hello", &[isolated, "--agent", "bild"]).await;
    ran.refused("build");
    let ran = chat
        .turn("hello", &[isolated, "--model", "local/none"])
        .await;
    ran.refused("local/scripted");
    assert!(chat.show().await.is_empty());
    assert!(model.requests().is_empty());
}

/// Agents that have a sub-agent run the shell: `[[general]]`, and `[[own]]` with an agent of the person's.
fn delegating() -> ModelScript {
    let delegate = |agent: &str| {
        let prompt = "[[shell]] now";
        let call = json!({"description": "sub work", "prompt": prompt, "subagent_type": agent});
        [Round::call("task", call), Round::text("Delegated.")]
    };
    let shell = json!({"command": "id > proof.txt", "description": "Who am I"});
    ModelScript::new()
        .on("[[general]]", delegate("general"))
        .on("[[own]]", delegate("own"))
        .on(
            "[[shell]]",
            [Round::call("bash", shell), Round::text("Ran.")],
        )
        .then(ModelScript::standard())
}

/// A person whose own configuration allows these agents everything. That does not win over what is to be asked.
fn generous(model: &ModelServer) -> Chat {
    let chat = chat(model);
    let agents = chat.data().join("opencode/config/opencode/agent");
    std::fs::create_dir_all(&agents).unwrap();
    for name in ["general", "own"] {
        let text = "---\ndescription: x\nmode: subagent\npermission:\n  bash: allow\n  \"*\": allow\n---\n\
                    Work.\n";
        std::fs::write(agents.join(format!("{name}.md")), text).unwrap();
    }
    chat
}

fn proof(chat: &Chat) -> bool {
    only_sandbox(chat).join("proof.txt").exists()
}

const ISOLATED: &str = "--opencode-isolated";

#[tokio::test]
async fn a_sub_agent_asks_before_it_runs_the_shell() {
    let model = ModelServer::scripted(delegating()).await.unwrap();
    let chat = generous(&model);
    let reject = [ISOLATED, "--permission", "reject"];
    let ran = chat.turn("[[general]]", &reject).await;
    assert!(!proof(&chat), "{ran:?}");
    assert_eq!(model.runs("[[shell]]"), 1, "it asked: {ran:?}");
    let once = [ISOLATED, "--permission", "once"];
    let ran = chat.turn("[[general]]", &once).await;
    assert!(proof(&chat), "{ran:?}");
}

#[tokio::test]
async fn an_agent_of_the_persons_is_no_sub_agent() {
    let model = ModelServer::scripted(delegating()).await.unwrap();
    let chat = generous(&model);
    let once = [ISOLATED, "--permission", "once"];
    let ran = chat.turn("[[own]]", &once).await;
    assert!(!proof(&chat), "{ran:?}");
    assert_eq!(model.runs("[[shell]]"), 0, "{ran:?}");
}

#[tokio::test]
async fn on_a_given_server_a_sub_agent_is_off_unless_it_is_allowed_to_run_unasked() {
    let model = ModelServer::scripted(delegating()).await.unwrap();
    let server = RealServer::start(&model.opencode_config()).await.unwrap();
    let chat = Chat::at(server.url()).variable("OPENCODE_SERVER_PASSWORD", server.password());
    let reject = ["--permission", "reject"];
    let ran = chat.turn("[[general]]", &reject).await;
    ran.ended(0, "completed");
    assert!(!proof(&chat), "{ran:?}");
    assert_eq!(model.runs("[[shell]]"), 0, "{ran:?}");
    let unasked = [&reject[..], &["--allow-unasked-subagents"]].concat();
    let ran = chat.turn("[[general]]", &unasked).await;
    assert!(ran.stderr.contains("ub-agents ask for nothing"), "{ran:?}");
    ran.ended(0, "completed");
    assert!(proof(&chat), "{ran:?}");
}
