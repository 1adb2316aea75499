//! The command, as other programs start it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::get;

/// Starts the command and reads its first line.
fn start(arguments: &[&str]) -> (Child, u16, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_opencode-impostor"))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let port = line
        .trim_end()
        .strip_prefix("listening on http://127.0.0.1:")
        .unwrap_or_else(|| panic!("first line: {line}"))
        .parse()
        .unwrap();
    (child, port, output)
}

fn stop(mut child: Child) {
    kill_process(
        Pid::from_raw(child.id().cast_signed()).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn it_serves_until_it_is_told_to_stop() {
    let (child, port, _output) = start(&["serve", "--port", "0", "--dialect", "1.14.48"]);
    assert_eq!(get(port, "/global/health").await["version"], "1.14.48");
    stop(child);
}

#[tokio::test]
async fn it_plays_a_tape_and_a_script() {
    let tape = opencode_impostor::tapes().unwrap()[0].path.clone();
    let (child, port, _output) = start(&["serve", "--tape", tape.to_str().unwrap()]);
    get(port, "/session").await;
    stop(child);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script.json");
    std::fs::write(
        &file,
        r#"{"rules": [{"steps": [{"text": "hi"}]}], "faults": ["refuse_auth"]}"#,
    )
    .unwrap();
    let (child, port, _output) = start(&["serve", "--script", file.to_str().unwrap()]);
    let answer = crate::http::call(port, "GET", "/session", None).await;
    assert_eq!(answer.status, 401);
    stop(child);
}

#[tokio::test]
async fn the_model_tells_the_configuration_it_wants() {
    let (child, port, mut output) = start(&["model"]);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let config: serde_json::Value = serde_json::from_str(&line).unwrap();
    let base = config["provider"]["local"]["options"]["baseURL"]
        .as_str()
        .unwrap();
    assert_eq!(base, format!("http://127.0.0.1:{port}/v1"));
    stop(child);
}

#[test]
fn a_bad_script_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script.json");
    std::fs::write(&file, "{\n  \"rulez\": []\n}").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_opencode-impostor"))
        .args(["serve", "--script", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("script.json") && error.contains("line 2"),
        "{error}"
    );
}
