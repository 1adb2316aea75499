//! `ToolDisplay` on real recordings, row by row, and on any JSON.

mod any_json;
mod names;
mod views;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use opencode_host::client::reply::ToolPart;
use opencode_host::tool_display::ToolDisplay;
use serde_json::{Map, Value, json};

const TAPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../opencode-impostor/tapes");

/// A tool part as the server sends it, in the persisted shape.
fn persisted(part: &Value) -> Value {
    let mut persisted = Map::from_iter([("type".to_owned(), json!("tool"))]);
    for key in ["tool", "callID", "messageID"] {
        if let Some(value) = part.get(key) {
            persisted.insert(key.to_owned(), value.clone());
        }
    }
    for key in ["status", "title", "input", "metadata", "output", "error"] {
        if let Some(value) = part["state"].get(key) {
            persisted.insert(key.to_owned(), value.clone());
        }
    }
    Value::Object(persisted)
}

/// The tool parts of each tape's last `GET …/message`, the authoritative exchange.
fn recorded_parts() -> BTreeMap<String, Vec<Value>> {
    let mut tapes = BTreeMap::new();
    for entry in std::fs::read_dir(TAPES).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
        {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let tape = std::fs::read_to_string(&path).unwrap();
        let exchange = tape
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .rfind(|line| {
                let path = line["http"]["path"].as_str().unwrap_or_default();
                line["http"]["method"] == "GET" && path.ends_with("/message")
            })
            .unwrap_or_else(|| panic!("{name} has no exchange"));
        let parts = exchange["http"]["response"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|message| message["parts"].as_array().unwrap())
            .filter(|part| part["type"] == "tool")
            .map(persisted)
            .collect();
        tapes.insert(name, parts);
    }
    tapes
}

/// Everything a renderer can ask, as text.
fn describe(display: &ToolDisplay<'_>, folder: &Path) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            writeln!(text, "  {name}: {value}").unwrap();
        }
    };
    line(
        "tool",
        Some(format!("{} as {}", display.name(), display.canonical())),
    );
    line(
        "known",
        Some(format!("{} ({})", display.is_known(), display.provider())),
    );
    line(
        "kind",
        Some(format!("{} / {:?}", display.kind(), display.view())),
    );
    line(
        "verbs",
        Some(format!("{} / {}", display.gerund(), display.past_tense())),
    );
    line("icon", Some(display.icon().to_string()));
    line("status", display.status().map(|s| format!("{s:?}")));
    line("target", display.target().map(|t| format!("{t:?}")));
    line(
        "target in folder",
        display.target_in(folder).map(|t| format!("{t:?}")),
    );
    line("title", Some(format!("{:?}", display.title())));
    line(
        "past title",
        Some(format!("{:?}", display.past_tense_title())),
    );
    line(
        "line",
        Some(format!("{:?}", display.relative_to(folder).to_string())),
    );
    line("output", display.output().map(|o| format!("{o:?}")));
    line("error", display.error().map(|e| format!("{e:?}")));
    line("diff", display.diff().map(|d| format!("{d:#?}")));
    for todo in display.todos() {
        line("todo", Some(format!("{todo:?}")));
    }
    line("content", display.file_content().map(|c| format!("{c:?}")));
    line("language", display.language().map(str::to_owned));
    line("command", display.command().map(|c| format!("{c:?}")));
    line(
        "command output",
        display.command_output().map(|o| format!("{o:?}")),
    );
    line(
        "command description",
        display.command_description().map(str::to_owned),
    );
    line("preview", display.read_preview().map(|p| format!("{p:?}")));
    line("matches", display.match_count().map(|m| m.to_string()));
    text
}

fn part(tool: &str, status: &str, input: &Value) -> Value {
    json!({"type": "tool", "tool": tool, "status": status, "input": input})
}

#[test]
fn recorded_tool_parts() {
    let mut shown = String::new();
    let mut count = 0;
    for (tape, parts) in recorded_parts() {
        for part in &parts {
            count += 1;
            let display = ToolDisplay::of(part);
            assert!(display.is_terminal(), "{tape}: {part}");
            let description = describe(&display, Path::new("/workspace/demo"));
            let typed: ToolPart = serde_json::from_value(part.clone()).unwrap();
            let typed = describe(&ToolDisplay::of(&typed), Path::new("/workspace/demo"));
            assert_eq!(typed, description, "{tape}: {part}");
            writeln!(shown, "{tape}\n{description}").unwrap();
        }
    }
    assert!(count >= 15, "only {count} tool parts in the tapes");
    insta::assert_snapshot!(shown);
}
