//! What providers, tools and plugins make a real server send: words that end nothing, halves of emojis, deep input.

use opencode_client::reply::ToolStatus;
use opencode_impostor::{ModelScript, Round};
use serde_json::{Value, json};

use super::*;

/// Arguments of a shell call.
fn bash(command: &str) -> Value {
    json!({"command": command, "description": "Say it"})
}

/// A thumb up is two UTF-16 units: cut from either end at 30,000 of them, one is cut in two.
const THUMBS: &str = "printf a; printf '👍%.0s' $(seq 15001); printf b";

pub(super) fn script() -> ModelScript {
    let mut script = ModelScript::new();
    for word in ["stop", "length", "eos", "function_call"] {
        let mut call = Round::call("bash", bash("echo it ran"));
        call.finish = Some(word.to_owned());
        script = script.on(
            format!("[[finish {word}]]"),
            [call, Round::text("It went on.")],
        );
    }
    let mut deep = bash("echo deep");
    let mut inner = json!("bottom");
    for _ in 0..200 {
        inner = json!({"in": inner});
    }
    deep["extra"] = inner;
    let read = json!({"filePath": "{{directory}}/line.txt"});
    script
        .on(
            "[[line]]",
            [Round::call("read", read), Round::text("It was read.")],
        )
        .on(
            "[[thumbs]]",
            [
                Round::call("bash", bash(THUMBS)),
                Round::text("It was shown."),
            ],
        )
        .on(
            "[[deep]]",
            [Round::call("bash", deep), Round::text("It was deep.")],
        )
}

pub(super) async fn odd_words_cut_emojis_and_deep_input_complete(upstream: &Upstream) {
    let live = Live::on(upstream).await;
    let line = format!("{}{}", "x".repeat(1999), "👍".repeat(20));
    std::fs::write(live.directory().join("line.txt"), line).unwrap();
    for (prompt, said, output) in [
        ("[[finish stop]]", "It went on.", "it ran"),
        ("[[finish length]]", "It went on.", "it ran"),
        ("[[finish eos]]", "It went on.", "it ran"),
        ("[[finish function_call]]", "It went on.", "it ran"),
        ("[[line]]", "It was read.", "xxx"),
        ("[[thumbs]]", "It was shown.", "👍👍"),
        ("[[deep]]", "It was deep.", "deep"),
    ] {
        let result = live.turn(prompt).await;
        assert_eq!(
            (result.status, result.answer.content.as_str()),
            (TurnStatus::Completed, said),
            "{prompt}: {:?} {:?}",
            result.answer.reason,
            result.answer.error
        );
        assert!(!result.answer.truncated, "{prompt}");
        let tools = result.answer.tool_calls();
        assert_eq!(
            (tools.len(), tools[0].status),
            (1, ToolStatus::Completed),
            "{prompt}"
        );
        let shown = tools[0].output.clone().unwrap_or_default();
        assert!(shown.contains(output), "{prompt}: {shown}");
        // Two model steps, and both are counted.
        assert_eq!(result.answer.usage.input_tokens, 100, "{prompt}");
        assert!(
            (result.answer.usage.cost - 0.000_18).abs() < 1e-9,
            "{prompt}: {:?}",
            result.answer.usage
        );
    }
}
