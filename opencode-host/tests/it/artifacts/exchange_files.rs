//! What the tools say they changed.

use std::collections::BTreeSet;
use std::path::Path;

use opencode_client::Exchange;
use opencode_host::artifacts::{Artifact, ExchangeFiles, FileError};
use opencode_host::sandbox::Sandbox;
use serde_json::json;

use super::{Bench, edit, exchange, of_prompt, patch, put, write};

/// The folder the tapes were recorded in.
const TAPED: &str = "/workspace/demo";

/// The exchange of a tape's prompt, as if it had been recorded in `sandbox`.
fn taped(name: &str, prompt: usize, sandbox: &Sandbox) -> Exchange {
    let tape = opencode_impostor::tape(name).unwrap();
    let messages = tape.final_exchange().unwrap().to_string();
    let messages = messages.replace(TAPED, sandbox.path().to_str().unwrap());
    let messages: serde_json::Value = serde_json::from_str(&messages).unwrap();
    let prompts: Vec<_> = messages
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["info"]["role"] == "user")
        .map(|message| message["info"]["id"].as_str().unwrap().to_owned())
        .collect();
    of_prompt(&prompts[prompt], messages)
}

async fn read(exchange: &Exchange, sandbox: Option<&Sandbox>) -> (Vec<Artifact>, Vec<String>) {
    let files = ExchangeFiles::of(exchange, sandbox);
    let (artifacts, dropped) = files.read(sandbox, &BTreeSet::new()).await;
    let told = dropped
        .iter()
        .map(|file| format!("{}: {}", file.path, file.reason));
    (artifacts, told.collect())
}

#[tokio::test]
async fn a_written_file_is_taken_from_the_call() {
    let bench = Bench::new().await;
    let exchange = taped("write-file", 0, &bench.sandbox);
    let expected = [Artifact::new(
        "report.md",
        "# Report\n\nhello <b>world</b>\n",
    )];
    assert_eq!(expected[0].mime_type, "text/markdown");
    for sandbox in [Some(&bench.sandbox), None] {
        let (artifacts, dropped) = read(&exchange, sandbox).await;
        assert_eq!(artifacts, expected);
        assert!(dropped.is_empty(), "{dropped:?}");
    }
}

#[tokio::test]
async fn files_written_at_once_come_in_order() {
    let bench = Bench::new().await;
    let (artifacts, _) = read(&taped("parallel-tools", 0, &bench.sandbox), None).await;
    let expected = [
        Artifact::new("a.txt", "alpha"),
        Artifact::new("b.csv", "x,y\n1,2\n"),
    ];
    assert_eq!(artifacts, expected);
    assert_eq!(artifacts[1].mime_type, "text/csv");
}

#[tokio::test]
async fn an_edited_file_is_read_from_the_sandbox() {
    let bench = Bench::new().await;
    let exchange = taped("edit-diff", 1, &bench.sandbox);
    bench.put("report.md", "as it lies there");
    let (artifacts, _) = read(&exchange, Some(&bench.sandbox)).await;
    assert_eq!(artifacts, [Artifact::new("report.md", "as it lies there")]);
    let (artifacts, dropped) = read(&exchange, None).await;
    assert_eq!(artifacts, []);
    assert_eq!(dropped, ["report.md: there is no sandbox to read it from"]);
}

#[tokio::test]
async fn a_patched_file_is_read_from_the_sandbox() {
    let bench = Bench::new().await;
    let exchange = taped("apply-patch", 0, &bench.sandbox);
    let (artifacts, dropped) = read(&exchange, Some(&bench.sandbox)).await;
    assert_eq!(artifacts, []);
    assert_eq!(dropped, ["notes.md: \"notes.md\" does not exist"]);
    bench.put("notes.md", "# Notes\nline two");
    let (artifacts, dropped) = read(&exchange, Some(&bench.sandbox)).await;
    assert_eq!(artifacts, [Artifact::new("notes.md", "# Notes\nline two")]);
    assert!(dropped.is_empty());
}

#[tokio::test]
async fn the_last_content_of_a_name_counts() {
    let bench = Bench::new().await;
    let at = |path: &str| bench.sandbox.path().join(path);
    bench.put("c.md", "edited");
    let exchange = exchange(&[
        write(&at("a.md"), "first"),
        write(&at("b/x.md"), "in b"),
        write(&at("a.md"), "second"),
        write(&at("x.md"), "at the top"),
        write(Path::new("./c.md"), "written"),
        edit(&at("c.md")),
    ]);
    let (artifacts, dropped) = read(&exchange, Some(&bench.sandbox)).await;
    let expected = [
        Artifact::new("a.md", "second"),
        Artifact::new("x.md", "at the top"),
        Artifact::new("c.md", "edited"),
    ];
    assert_eq!(artifacts, expected);
    assert!(dropped.is_empty(), "{dropped:?}");
    let files = ExchangeFiles::of(&exchange, Some(&bench.sandbox));
    let exclude = BTreeSet::from(["x.md".to_owned(), "c.md".to_owned()]);
    let (artifacts, _) = files.read(Some(&bench.sandbox), &exclude).await;
    assert_eq!(artifacts, expected[..1]);
}

#[tokio::test]
async fn deleted_and_moved_files_are_honoured() {
    let bench = Bench::new().await;
    let at = |path: &str| bench.sandbox.path().join(path);
    bench.put("new.md", "moved");
    bench.put("again.md", "not read");
    let exchange = exchange(&[
        write(&at("gone.md"), "gone"),
        write(&at("old.md"), "old"),
        write(&at("again.md"), "deleted first"),
        patch(&json!([
            {"filePath": at("gone.md"), "type": "delete"},
            {"filePath": at("old.md"), "type": "move", "movePath": at("new.md")},
            {"filePath": at("again.md"), "type": "delete"},
            {"type": "add"}, 7, {"filePath": null},
        ])),
        write(&at("again.md"), "written again"),
    ]);
    let (artifacts, dropped) = read(&exchange, Some(&bench.sandbox)).await;
    let expected = [
        Artifact::new("new.md", "moved"),
        Artifact::new("again.md", "written again"),
    ];
    assert_eq!(artifacts, expected);
    assert!(dropped.is_empty(), "{dropped:?}");
}

#[tokio::test]
async fn only_calls_that_succeeded_count() {
    let calls = ["error", "running", "pending", ""].map(|status| {
        let (tool, mut state) = write(Path::new("/x.md"), status);
        state["status"] = json!(status);
        (tool, state)
    });
    let odd = [
        (
            "write",
            json!({"input": {"filePath": "/a.md", "content": 7}}),
        ),
        ("write", json!({"input": {"content": "no name"}})),
        ("write", json!({"input": null})),
        ("edit", json!({})),
        ("apply_patch", json!({"metadata": {"files": {"a": 1}}})),
        ("read", json!({"input": {"filePath": "/a.md"}})),
    ];
    for call in calls.into_iter().chain(odd) {
        let exchange = exchange(std::slice::from_ref(&call));
        let (artifacts, dropped) = read(&exchange, None).await;
        assert!(artifacts.is_empty() && dropped.is_empty(), "{call:?}");
    }
}

#[tokio::test]
async fn what_is_not_the_sandboxs_is_not_read() {
    let bench = Bench::new().await;
    let secret = bench.home.path().join("secret.txt");
    std::fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, bench.sandbox.path().join("link.txt")).unwrap();
    let at = |path: &str| bench.sandbox.path().join(path);
    put(&bench.sandbox, "big.bin", &"x".repeat(10 * 1024 * 1024 + 1));
    let long = "n".repeat(300);
    let exchange = exchange(&[
        edit(&secret),
        edit(&at("../secret.txt")),
        edit(&at("link.txt")),
        edit(&at("big.bin")),
        write(&at("large.txt"), &"x".repeat(10 * 1024 * 1024 + 1)),
        write(Path::new("/"), "no name"),
        write(&at(&long), "long"),
        // Told by the call: nothing is read.
        write(Path::new("/elsewhere/told.txt"), "told"),
    ]);
    let (artifacts, dropped) = read(&exchange, Some(&bench.sandbox)).await;
    assert_eq!(artifacts, [Artifact::new("told.txt", "told")]);
    assert_eq!(dropped.len(), 6, "{dropped:#?}");
    assert!(
        !format!("{dropped:?}").contains("home"),
        "no path outside is told"
    );
    let files = ExchangeFiles::of(&exchange, Some(&bench.sandbox));
    let (_, dropped) = files.read(Some(&bench.sandbox), &BTreeSet::new()).await;
    let outside = dropped
        .iter()
        .filter(|file| matches!(file.reason, FileError::Outside));
    assert_eq!(outside.count(), 1, "two of that name are one file");
}
