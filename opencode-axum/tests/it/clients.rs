//! Clients that others wrote, against the router on loopback: what they show is what is kept.
//!
//! Their packages are in the folder that `OPENCODE_HOST_CLIENTS` names; `cargo xtask test` installs them and names it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use opencode_impostor::{Script, Step, Tool, attachment};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::processes::{WorkerProcess, take_over};
use crate::site::Site;

/// No step of a client's takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of the clients' packages.
pub(crate) fn packages() -> PathBuf {
    let packages = std::env::var_os("OPENCODE_HOST_CLIENTS").map(PathBuf::from);
    let packages = packages.filter(|folder| folder.join("node_modules").is_dir());
    packages
        .expect("OPENCODE_HOST_CLIENTS names no folder with the clients: run `cargo xtask test`")
}

/// A client at work. It says what it sees on lines of JSON.
struct Running {
    _process: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts the AI SDK's client.
    async fn ai_sdk(site: &Site, act: &str) -> Self {
        Self::start(site, include_str!("../clients/ai_sdk.mjs"), act).await
    }

    /// Starts AG-UI's client.
    async fn ag_ui(site: &Site, act: &str) -> Self {
        Self::start(site, include_str!("../clients/ag_ui.mjs"), act).await
    }

    async fn start(site: &Site, program: &str, act: &str) -> Self {
        let address = site.serve().await;
        let mut process = Command::new("node")
            .current_dir(packages())
            .args(["--input-type=module", "--eval", program, "--"])
            .args([&format!("http://{address}/api"), "acme", act])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node is not installed");
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            _process: process,
            said,
        }
    }

    /// What it says next.
    async fn says(&mut self) -> Value {
        let line = timeout(PATIENCE, self.said.next_line());
        let line = line.await.expect("the client says nothing").unwrap();
        let line = line.expect("the client ended early");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// What it says once it is done: it shows what is kept.
    async fn shows_what_is_kept(&mut self) -> Value {
        let said = self.says().await;
        assert_eq!(said["status"], "ready", "{said}");
        assert_eq!(said["message"], true, "{said}");
        assert_eq!(said["shown"], said["kept"], "{said}");
        said
    }
}

#[tokio::test]
async fn the_ai_sdk_shows_an_answer_with_its_tools_and_files() {
    let site = Site::new([
        Step::reasoning("Let me see."),
        Step::tool("read", json!({"path": "a.txt"}), "alpha"),
        Step::tool_error("read", json!({"path": "b.txt"}), "no such file"),
        seeing(),
        Step::write_file("out.txt", "done"),
        Step::text("It grows."),
    ])
    .await;
    let said = Running::ai_sdk(&site, "answer")
        .await
        .shows_what_is_kept()
        .await;
    let parts = said["parts"].as_array().unwrap();
    let of = |kind: &str| -> Vec<_> { parts.iter().filter(|part| part["type"] == kind).collect() };
    assert_eq!(of("reasoning")[0]["text"], "Let me see.");
    let tools = of("dynamic-tool");
    assert_eq!(tools[0]["state"], "output-available");
    assert_eq!(tools[0]["output"], "alpha");
    assert_eq!(tools[1]["state"], "output-error");
    assert_eq!(tools[1]["errorText"], "no such file");
    let files: Vec<_> = of("file").iter().map(|file| &file["mediaType"]).collect();
    assert_eq!(files, ["image/png", "text/plain"], "{said}");
    assert_eq!(
        of("file")[0]["url"],
        format!("data:image/png;base64,{PIXEL}")
    );
    assert_eq!(said["shown"], json!(["It grows."]));
}

#[tokio::test]
async fn the_ai_sdk_is_stopped_and_keeps_its_half() {
    let site = Site::new([Step::text("Half"), Step::gate("never"), Step::text("whole")]).await;
    let said = Running::ai_sdk(&site, "stop")
        .await
        .shows_what_is_kept()
        .await;
    assert_eq!(said["shown"], json!(["Half"]));
}

#[tokio::test]
async fn the_ai_sdk_goes_on_after_a_cut() {
    let site = Site::new([Step::text("One. "), Step::gate("two"), Step::text("Two.")]).await;
    let mut client = Running::ai_sdk(&site, "resume").await;
    assert_eq!(client.says().await, json!({"at": "resumed"}));
    site.impostor.gate("two").open();
    let said = client.shows_what_is_kept().await;
    assert_eq!(said["shown"], json!(["One. ", "Two."]));
    assert_eq!(said["messages"], 2, "{said}");
    // Nothing runs any more, and nothing is shown anew.
    assert_eq!(client.says().await, json!({"again": 2, "status": "ready"}));
}

#[tokio::test]
async fn the_ai_sdk_shows_the_text_once_after_kill_9_of_the_worker() {
    let site = Site::shared(counting()).await;
    let mut client = Running::ai_sdk(&site, "follow").await;
    let dying = WorkerProcess::start(&site);
    assert_eq!(client.says().await, json!({"at": "half"}));
    dying.kill().await;
    let _successor = take_over(&site, "two");
    let said = client.shows_what_is_kept().await;
    assert_eq!(said["shown"], json!(["One. ", "Two."]));
    was_taken_over(&site, &said).await;
}

/// A picture of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// A call that gives a picture beside its output, and a drawing that might be a program.
pub(crate) fn seeing() -> Step {
    Step::Tool(Tool {
        tool: "look".to_owned(),
        input: json!({}),
        output: "seen".to_owned(),
        attachments: vec![
            attachment("image/png", "shot.png", PIXEL),
            attachment("image/svg+xml", "plan.svg", "PHN2Zz4="),
        ],
        ..Tool::default()
    })
}

/// A question, and a call that waits for a permission.
pub(crate) fn asking() -> [Step; 3] {
    let question = Step::question("Go on?", ["Yes"]);
    [question, Step::ask_bash("ls", "a.txt"), Step::text("Done.")]
}

fn counting() -> Script {
    let steps = [Step::text("One. "), Step::gate("two"), Step::text("Two.")];
    Script::always(steps)
}

pub(crate) async fn was_taken_over(site: &Site, said: &Value) {
    let turn = said["turn"].as_str().unwrap().parse().unwrap();
    let row = site.host.store().turn(turn).await.unwrap().unwrap();
    assert_eq!(row.generation, 2);
}

#[tokio::test]
async fn the_ai_sdk_answers_a_question_and_gives_a_permission() {
    let site = Site::new(asking()).await;
    let said = Running::ai_sdk(&site, "asked")
        .await
        .shows_what_is_kept()
        .await;
    assert_eq!(said["shown"], json!(["Done."]));
    assert_eq!(said["messages"], 2, "{said}");
}

#[tokio::test]
async fn the_ai_sdk_refuses_a_call_and_the_agent_reads_why() {
    let site = Site::new([Step::ask_bash("ls", "a.txt"), Step::text("Then not.")]).await;
    let said = Running::ai_sdk(&site, "denied")
        .await
        .shows_what_is_kept()
        .await;
    let parts = said["parts"].as_array().unwrap();
    let call = parts.iter().find(|part| part["type"] == "dynamic-tool");
    let why = call.unwrap()["errorText"].as_str().unwrap();
    assert!(why.contains("Not on Fridays."), "{why}");
    // It was told why, and went on.
    assert_eq!(said["shown"], json!(["Then not."]));
}

#[tokio::test]
async fn the_ai_sdk_approves_of_call_after_call_also_on_a_page_that_comes_back() {
    let site = Site::new([
        Step::text("First: "),
        Step::ask_bash("ls", "a.txt"),
        Step::ask_bash("rm a.txt", ""),
        Step::text("Done."),
    ])
    .await;
    let mut client = Running::ai_sdk(&site, "approved").await;
    let states = json!({"states": ["output-available", "approval-requested"]});
    assert_eq!(client.says().await, states);
    let said = client.shows_what_is_kept().await;
    assert_eq!(said["shown"], json!(["First: ", "Done."]));
    assert_eq!(said["messages"], 2, "{said}");
}

#[tokio::test]
async fn the_ai_sdk_shows_what_came_where_another_has_answered() {
    let site = Site::new([Step::ask_bash("ls", "a.txt"), Step::text("Done.")]).await;
    let said = Running::ai_sdk(&site, "late")
        .await
        .shows_what_is_kept()
        .await;
    assert_eq!(said["shown"], json!(["Done."]));
}

#[tokio::test]
async fn the_ai_sdk_says_something_else_while_it_is_asked() {
    let script = Script::new()
        .on("Leave it", [Step::text("Left.")])
        .otherwise([Step::ask_bash("ls", "a.txt"), Step::text("Done.")]);
    let site = Site::scripted(script).await;
    let said = Running::ai_sdk(&site, "instead")
        .await
        .shows_what_is_kept()
        .await;
    assert_eq!(said["shown"], json!(["Left."]));
}

#[tokio::test]
async fn the_ai_sdk_has_an_answer_made_again() {
    let site = Site::new([Step::text("Hi.")]).await;
    let said = Running::ai_sdk(&site, "again")
        .await
        .shows_what_is_kept()
        .await;
    assert_eq!(said["turns"], 4, "{said}");
    assert_eq!(said["messages"], 2, "{said}");
}

#[tokio::test]
async fn the_ai_sdk_sends_a_file_and_gets_one() {
    let site = Site::new([Step::write_file("out.txt", "done"), Step::text("Done.")]).await;
    let said = Running::ai_sdk(&site, "files")
        .await
        .shows_what_is_kept()
        .await;
    assert_eq!(said["given"], "done");
    let sent = site.sent_files().await;
    assert_eq!(sent, [("a.txt".to_owned(), b"alpha".to_vec())]);
}

#[tokio::test]
async fn the_ai_sdk_is_told_what_is_wrong() {
    let site = Site::without_worker(Script::new()).await;
    let mut client = Running::ai_sdk(&site, "refused").await;
    let told = client.says().await;
    assert!(told["error"].as_str().unwrap().contains("empty"), "{told}");
    assert_eq!(client.says().await["status"], "error");
}

/// What AG-UI's client shows once it is done is what is kept.
#[track_caller]
fn is_kept(said: &Value) {
    assert_eq!(said["shown"], said["kept"], "{said}");
    assert!(said.get("failed").is_none(), "{said}");
}

#[tokio::test]
async fn ag_ui_shows_an_answer_with_its_tools() {
    let site = Site::new([
        Step::reasoning("Let me see."),
        Step::tool("read", json!({"path": "a.txt"}), "alpha"),
        Step::tool_error("read", json!({"path": "b.txt"}), "no such file"),
        seeing(),
        Step::text("It grows."),
    ])
    .await;
    let said = Running::ag_ui(&site, "answer").await.says().await;
    is_kept(&said);
    assert_eq!(said["outcome"], json!({"type": "success"}));
    let messages = said["messages"].as_array().unwrap();
    let of = |role: &str| -> Vec<_> {
        messages
            .iter()
            .filter(|message| message["role"] == role)
            .collect()
    };
    assert_eq!(of("user").len(), 1);
    assert_eq!(of("reasoning")[0]["content"], "Let me see.");
    let results: Vec<_> = of("tool").iter().map(|tool| &tool["content"]).collect();
    assert_eq!(results, ["alpha", "no such file", "seen"]);
    let url = format!("data:image/png;base64,{PIXEL}");
    assert_eq!(
        said["files"],
        json!([{"url": url, "mediaType": "image/png"}])
    );
    let call = &of("assistant")[0]["toolCalls"][0]["function"];
    assert_eq!(call["name"], "read");
    assert_eq!(call["arguments"], "{\"path\":\"a.txt\"}");
}

#[tokio::test]
async fn ag_ui_is_stopped_and_keeps_its_half() {
    let site = Site::new([Step::text("Half"), Step::gate("never"), Step::text("whole")]).await;
    let said = Running::ag_ui(&site, "stop").await.says().await;
    is_kept(&said);
    assert_eq!(said["shown"], json!(["Half"]));
    assert_eq!(said["outcome"], json!({"type": "cancelled"}));
}

#[tokio::test]
async fn ag_ui_goes_on_after_a_cut() {
    let steps = [Step::text("One. "), Step::gate("two"), Step::text("Two.")];
    let site = Site::new(steps).await;
    let mut client = Running::ag_ui(&site, "resume").await;
    assert_eq!(client.says().await, json!({"at": "resumed"}));
    site.impostor.gate("two").open();
    let said = client.says().await;
    is_kept(&said);
    assert_eq!(said["shown"], json!(["One. ", "Two."]));
}

#[tokio::test]
async fn ag_ui_shows_the_text_once_after_kill_9_of_the_worker() {
    let site = Site::shared(counting()).await;
    let mut client = Running::ag_ui(&site, "follow").await;
    let dying = WorkerProcess::start(&site);
    assert_eq!(client.says().await, json!({"at": "half"}));
    dying.kill().await;
    let _successor = take_over(&site, "two");
    let said = client.says().await;
    is_kept(&said);
    assert_eq!(said["shown"], json!(["One. ", "Two."]));
    was_taken_over(&site, &said).await;
}

#[tokio::test]
async fn ag_ui_answers_a_question_and_gives_a_permission() {
    let site = Site::new(asking()).await;
    let said = Running::ag_ui(&site, "asked").await.says().await;
    is_kept(&said);
    assert_eq!(said["shown"], json!(["Done."]));
}

#[tokio::test]
async fn ag_ui_sends_a_file_and_gets_one() {
    let site = Site::new([Step::write_file("out.txt", "done"), Step::text("Done.")]).await;
    let mut client = Running::ag_ui(&site, "files").await;
    is_kept(&client.says().await);
    assert_eq!(client.says().await, json!({"given": "done"}));
    let sent = site.sent_files().await;
    assert_eq!(sent, [("file".to_owned(), b"alpha".to_vec())]);
}

#[tokio::test]
async fn ag_ui_has_an_answer_made_again() {
    let site = Site::new([Step::Echo]).await;
    let mut client = Running::ag_ui(&site, "again").await;
    let mut turns = Vec::new();
    for said in ["Hello", "Hello", "Hello!"] {
        let told = client.says().await;
        is_kept(&told);
        assert_eq!(told["shown"], json!([said]), "{told}");
        turns.push(told["turn"].clone());
    }
    // Of the one message that is shown, all three are versions.
    let versions = format!("/turns/{}/versions", turns[0].as_str().unwrap());
    let versions = site.get(&versions).await.ok();
    let of = |field: &str| -> Vec<Value> {
        let versions = versions["versions"].as_array().unwrap().iter();
        versions.map(|version| version[field].clone()).collect()
    };
    assert_eq!(of("turn"), turns);
    assert_eq!(of("shown"), [json!(false), json!(false), json!(true)]);
}

#[tokio::test]
async fn ag_ui_runs_again_what_had_an_answer_in_the_place_of_it() {
    let site = Site::new([Step::Echo]).await;
    let mut client = Running::ag_ui(&site, "rerun").await;
    let mut turns = Vec::new();
    for shown in [
        &["Hello"][..],
        &["Hello"],
        &["Hello", "And now?"],
        &["Hello", "And now?"],
        &["Hello", "And now?"],
        &["Hello", "And now?", "And now?"],
    ] {
        let told = client.says().await;
        assert_eq!(told["shown"], json!(shown), "{told}");
        turns.push(told["turn"].clone());
    }
    let conversation = site.conversation().await;
    let shown = format!("/conversations/{conversation}/messages");
    let shown = site.get(&shown).await.ok();
    let shown = shown["messages"].as_array().unwrap().iter();
    let answers = shown.filter(|message| message["role"] == "assistant");
    let mut shown: Vec<_> = answers.map(|message| message["turn"].clone()).collect();
    shown.reverse();
    assert_eq!(
        shown,
        [turns[1].clone(), turns[4].clone(), turns[5].clone()]
    );
    let versions = format!("/turns/{}/versions", turns[4].as_str().unwrap());
    let versions = site.get(&versions).await.ok();
    let versions = versions["versions"].as_array().unwrap().iter();
    let versions: Vec<_> = versions.map(|version| version["turn"].clone()).collect();
    assert_eq!(versions, turns[2..5]);
}

#[tokio::test]
async fn ag_ui_runs_again_what_is_being_answered_and_follows_it() {
    let steps = [Step::text("One. "), Step::gate("two"), Step::text("Two.")];
    let site = Site::new(steps).await;
    let mut client = Running::ag_ui(&site, "rerun_cut").await;
    assert_eq!(client.says().await, json!({"at": "resumed"}));
    site.impostor.gate("two").open();
    let said = client.says().await;
    is_kept(&said);
    assert_eq!(said["shown"], json!(["One. ", "Two."]));
    let conversation = site.conversation().await;
    let messages = format!("/conversations/{conversation}/messages");
    let messages = site.get(&messages).await.ok();
    assert_eq!(messages["messages"].as_array().unwrap().len(), 2);
}
