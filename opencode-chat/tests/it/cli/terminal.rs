//! Output that goes to a terminal, to a program, or to nobody; input of any bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use opencode_impostor::{Impostor, Script, Step, Streamed, Tool, attachment};
use serde_json::{Value, json};

use crate::support::{Chat, PATIENCE};

/// What steers a terminal, reorders text or shows as nothing.
const HOSTILE: &str =
    "a\u{1b}]0;owned\u{7}b\u{9b}2Jc\u{202e}d\u{2066}e\u{200b}f\u{feff}g\u{e0041}h\rz";
const SHOWN: &str =
    "a\\u{1b}]0;owned\\u{7}b\\u{9b}2Jc\\u{202e}d\\u{2066}e\\u{200b}f\\u{feff}g\\u{e0041}h\\rz";

#[track_caller]
fn assert_harmless(text: &str) {
    let harmful = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(
                c,
                '\u{200b}' | '\u{202e}' | '\u{2066}' | '\u{2028}' | '\u{feff}' | '\u{e0041}'
            )
    };
    assert!(!text.contains(harmful), "{text:?}");
}

#[tokio::test]
async fn nothing_that_was_said_steers_the_terminal() {
    let chunks = [
        "x\u{1b}",
        "]0;owned\u{7} 👩",
        "\u{200d}",
        "🚀 \u{202e}",
        HOSTILE,
    ];
    let tool = Tool {
        tool: "bash".into(),
        input: json!({"command": format!("echo {HOSTILE}")}),
        output: HOSTILE.into(),
        ..Tool::default()
    };
    let script = Script::new()
        .on(
            "busy",
            [
                Step::Tool(tool),
                Step::todos([(HOSTILE, "pending")]),
                Step::Text(Streamed {
                    chunks: Some(chunks.map(str::to_owned).to_vec()),
                    ..Streamed::default()
                }),
            ],
        )
        .on("fails", [Step::provider_error(400, HOSTILE)]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let chat = Chat::with(&impostor);
    let name = format!("name {HOSTILE}\tof\nit");
    let ran = chat.run(&["turn", "busy", "--conversation", &name]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_harmless(&ran.stdout);
    assert_harmless(&ran.stderr);
    assert_eq!(
        ran.stdout,
        format!("x\\u{{1b}}]0;owned\\u{{7}} 👩\u{200d}🚀 \\u{{202e}}{SHOWN}\n")
    );
    assert!(ran.stderr.contains(&format!("`echo {SHOWN}`")), "{ran:?}");
    assert!(ran.stderr.contains(&format!("[ ] {SHOWN}")), "{ran:?}");

    let failed = chat.run(&["turn", "fails", "--conversation", &name]).await;
    assert_eq!(failed.code, 1);
    assert_harmless(&failed.stderr);
    assert!(failed.stderr.contains(SHOWN), "{failed:?}");

    let shown = chat.run(&["show"]).await;
    assert_harmless(&shown.stdout);
    let line = shown.stdout.lines().next().unwrap();
    assert_eq!(
        line,
        format!("name {SHOWN}\\tof\\nit\tyou\tcompleted\tbusy")
    );
    let unknown = chat.run(&["show", "--conversation", HOSTILE]).await;
    assert_harmless(&unknown.stderr);
    let refused = chat.run(&["watch", HOSTILE]).await;
    assert_eq!(refused.code, 2);
    assert_harmless(&refused.stderr);
}

#[tokio::test]
async fn a_line_of_json_is_one_line_for_every_reader() {
    let said = format!("{HOSTILE}\u{2028}i\u{2029}j\u{85}k\u{b}l\u{c}m\u{1c}n\u{1d}o\u{1e}p");
    let impostor = Impostor::scripted(Script::always([Step::text(said.clone())]))
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let ran = chat.turn("say it", &["--conversation", &said]).await;
    assert_eq!(ran.ended(0, "completed")["content"], said);
    assert_harmless(&ran.stdout);
    let shown = chat.run(&["show", "--json"]).await;
    assert_harmless(&shown.stdout);
    assert_eq!(shown.lines()[0]["conversation"], said);
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_taken() {
    let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]))
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let ran = chat
        .run_with_input(&["turn", "-", "--json"], b"-caf\xe9\n+caf\xc3\xa9 \xff\xfe")
        .await;
    ran.ended(0, "completed");
    let args = [
        b"turn".as_slice(),
        b"caf\xe9?",
        b"--conversation",
        b"a\xffb",
    ];
    let ran = chat.run(&args.map(OsStr::from_bytes)).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(OsStr::from_bytes(b"r\xe9sum\xe9.txt"));
    std::fs::write(&file, "words").unwrap();
    let args = [
        OsStr::new("turn"),
        OsStr::new("read"),
        OsStr::new("--file"),
        file.as_os_str(),
    ];
    let ran = chat.run(&args).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let said: Vec<_> = chat.show().await;
    let said: Vec<_> = said.iter().filter(|row| row["role"] == "user").collect();
    assert_eq!(said[0]["content"], "-caf\u{fffd}\n+café \u{fffd}\u{fffd}");
    assert_eq!(
        (&said[1]["content"], &said[1]["conversation"]),
        (&json!("caf\u{fffd}?"), &json!("a\u{fffd}b"))
    );
    assert_eq!(said[2]["artifacts"][0]["name"], "r\u{fffd}sum\u{fffd}.txt");
}

/// Runs it with output that nobody reads any more.
async fn unread(chat: &Chat, args: &[&str], also_stderr: bool) -> (i32, String) {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let mut command = chat.command(args);
    command.stdout(closed());
    if also_stderr {
        command.stderr(closed());
    }
    let ran = tokio::time::timeout(PATIENCE, command.output()).await;
    let ran = ran.expect("it did not end").unwrap();
    // No code: a signal.
    (
        ran.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&ran.stderr).into_owned(),
    )
}

#[tokio::test]
async fn a_reader_that_went_away_ends_every_command_quietly() {
    let script = Script::new()
        .on("fails", [Step::provider_error(400, "no")])
        .otherwise([Step::text("One.\n\nTwo."), Step::text("Three.")]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let chat = Chat::with(&impostor);
    let turn = chat.turn("first", &[]).await.result()["turn_id"].clone();
    let turn = turn.as_str().unwrap();
    for (args, code) in [
        (&["turn", "again"][..], 0),
        (&["turn", "again", "--json"], 0),
        (&["turn", "fails"], 1),
        (&["turn", "fails", "--json"], 1),
        (&["turn", ""], 2),
        (&["turn", "", "--json"], 2),
        (&["show"], 0),
        (&["show", "--json"], 0),
        (&["show", "--conversation", "none"], 2),
        (&["watch", turn], 0),
        (&["watch", turn, "--json"], 0),
        (&["submit", "later", "--conversation", "other"], 0),
        (&["submit", "later", "--conversation", "other", "--json"], 0),
        (&["cancel", turn], 0),
        (&["doctor"], 0),
        (&["doctor", "--json"], 0),
        (&["--help"], 0),
        (&["turn", "--help"], 0),
        (&["--version"], 0),
        (&["nonsense"], 2),
    ] {
        for also_stderr in [false, true] {
            let (ended, stderr) = unread(&chat, args, also_stderr).await;
            assert_eq!(ended, code, "{args:?} {also_stderr}: {stderr}");
            assert!(
                !stderr.contains("panicked") && !stderr.contains("roken pipe"),
                "{args:?}: {stderr}"
            );
        }
    }
    // What nobody read was said all the same.
    let said: Vec<Value> = chat.show().await;
    let answers = said
        .iter()
        .filter(|row| row["content"] == "One.\n\nTwo.\n\nThree.");
    assert_eq!(answers.count(), 5, "{said:?}");
}

#[tokio::test]
async fn what_a_tool_attached_is_named() {
    let read = Tool {
        tool: "read".into(),
        input: json!({"filePath": "/x/shot.png"}),
        output: "Image read successfully".into(),
        attachments: vec![
            attachment("image/png", "shot.png", "iVBORw0KGgo="),
            attachment("image/png", &format!("b{HOSTILE}"), "iVBORw0KGgo="),
        ],
        ..Tool::default()
    };
    let script = Script::always([Step::Tool(read), Step::text("Seen.")]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let chat = Chat::with(&impostor);
    let ran = chat.run(&["turn", "look"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = "attached shot.png (image/png, 8 bytes)";
    assert_eq!(ran.stderr.matches(told).count(), 1, "{ran:?}");
    assert_eq!(ran.stderr.matches("attached ").count(), 2, "{ran:?}");
    let shown = chat.run(&["show"]).await;
    let row = "\tread\tattached\tshot.png (image/png, 8 bytes)\n";
    assert!(shown.stdout.contains(row), "{shown:?}");
    for text in [&ran.stdout, &ran.stderr, &shown.stdout] {
        assert_harmless(text);
    }
}
