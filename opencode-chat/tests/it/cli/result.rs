//! What `turn` prints.

use std::collections::BTreeSet;

use opencode_impostor::{Impostor, Script, Step, Streamed, UNICODE_TEXT};
use serde_json::{Value, json};

use crate::support::Chat;

/// The fields of a result that programs rely on, and the turn's id.
const FIELDS: [&str; 20] = [
    "artifacts",
    "cache_read_tokens",
    "cache_write_tokens",
    "content",
    "cost",
    "duration_ms",
    "error",
    "input_tokens",
    "message_id",
    "opencode_message_id",
    "output_tokens",
    "parts",
    "reason",
    "reasoning",
    "session_id",
    "status",
    "tool_calls",
    "truncated",
    "turn_id",
    "type",
];

fn fields(line: &Value) -> BTreeSet<&str> {
    line.as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn changes_come_line_by_line_and_the_result_last() {
    let impostor = Impostor::builder()
        .script(Script::always([
            Step::reasoning("Let me think."),
            Step::text("First words. "),
            Step::write_file("report.md", "# Report\n"),
            Step::text(UNICODE_TEXT),
        ]))
        .usage(0.25, 10, 3)
        .start()
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let ran = chat.turn("please", &["--conversation", "work"]).await;
    let result = ran.ended(0, "completed");

    assert_eq!(fields(&result), BTreeSet::from(FIELDS));
    let content = format!("First words. \n\n{UNICODE_TEXT}");
    assert_eq!(result["content"], content);
    assert_eq!(result["reasoning"], "Let me think.");
    assert_eq!(result["reason"], Value::Null);
    assert_eq!(result["error"], Value::Null);
    assert_eq!(result["truncated"], false);
    assert!(result["duration_ms"].as_u64().unwrap() > 0);
    // Two model steps: the one with the tool, and the one after it.
    assert_eq!(result["cost"], 0.5);
    assert_eq!(result["input_tokens"], 20);
    assert_eq!(result["output_tokens"], 6);
    assert_eq!(result["cache_read_tokens"], 0);
    assert_eq!(result["cache_write_tokens"], 0);

    let parts = result["parts"].as_array().unwrap();
    assert_eq!(
        parts[0],
        json!({"type": "reasoning", "content": "Let me think."})
    );
    assert_eq!(
        parts[1],
        json!({"type": "text", "content": "First words. "})
    );
    assert_eq!(parts[3], json!({"type": "text", "content": UNICODE_TEXT}));
    let tool = &parts[2];
    assert_eq!(
        (&tool["type"], &tool["tool"], &tool["status"]),
        (&json!("tool"), &json!("write"), &json!("completed"))
    );
    assert_eq!(tool["input"]["content"], "# Report\n");
    let calls = result["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        (&calls[0]["tool"], &calls[0]["status"]),
        (&json!("write"), &json!("completed"))
    );

    let posts = impostor.ledger().prompt_posts().to_vec();
    assert_eq!(posts.len(), 1);
    assert_eq!(result["session_id"], *posts[0].session);
    assert_eq!(result["opencode_message_id"], *posts[0].message_id);
    impostor.assert_clean();

    // The row that `message_id` names holds the same.
    let stored = chat.show().await;
    assert_eq!(stored.len(), 2);
    for field in [
        "content",
        "parts",
        "cost",
        "input_tokens",
        "message_id",
        "turn_id",
        "status",
    ] {
        assert_eq!(stored[1][field], result[field], "{field}");
    }
}

#[tokio::test]
async fn each_change_has_a_type_and_a_place() {
    let impostor = Impostor::scripted(Script::always([
        Step::reasoning("Thinking."),
        Step::todos([("Plan", "in_progress"), ("Do", "pending")]),
        Step::text(UNICODE_TEXT),
    ]))
    .await
    .unwrap();
    let ran = Chat::with(&impostor).turn("please", &[]).await;
    ran.ended(0, "completed");

    let mut lines = ran.lines();
    let result = lines.pop().unwrap();
    let sequence = |line: &Value| -> u64 {
        let cursor = line["cursor"].as_str().unwrap();
        cursor.split_once('-').unwrap().1.parse().unwrap()
    };
    let places: Vec<u64> = lines.iter().map(sequence).collect();
    assert!(places.is_sorted_by(|one, next| one < next), "{places:?}");
    let types: BTreeSet<&str> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    for kind in [
        "part_added",
        "part_delta",
        "part_final",
        "tool",
        "todos",
        "step",
        "message",
    ] {
        assert!(types.contains(kind), "no {kind} in {types:?}");
    }

    // What the deltas of a part add up to is the part.
    for kind in ["text", "reasoning"] {
        let part = lines
            .iter()
            .find(|line| line["type"] == "part_final" && line["part"]["type"] == kind);
        let part = part.unwrap_or_else(|| panic!("no {kind} part was finished: {ran:?}"));
        let deltas: String = lines
            .iter()
            .filter(|line| line["type"] == "part_delta" && line["part_id"] == part["part_id"])
            .map(|line| {
                assert_eq!(line["kind"], kind);
                line["delta"].as_str().unwrap()
            })
            .collect();
        assert_eq!(part["part"]["content"], deltas);
    }
    assert_eq!(result["content"], UNICODE_TEXT);
    let plan = lines.iter().find(|line| line["type"] == "todos").unwrap();
    assert_eq!(plan["todos"][0]["content"], "Plan");
}

#[tokio::test]
async fn cost_and_tokens_are_sums_over_a_tool_loop() {
    let tool =
        |number: usize| Step::tool("grep", json!({"pattern": number.to_string()}), "3 matches");
    let impostor = Impostor::builder()
        .script(Script::always([
            tool(1),
            tool(2),
            tool(3),
            Step::text("Found."),
        ]))
        .usage(0.125, 100, 7)
        .start()
        .await
        .unwrap();
    let ran = Chat::with(&impostor).turn("look", &[]).await;
    let result = ran.ended(0, "completed");
    assert_eq!(result["cost"], 0.5);
    assert_eq!(result["input_tokens"], 400);
    assert_eq!(result["output_tokens"], 28);
    assert_eq!(result["tool_calls"].as_array().unwrap().len(), 3);
    let steps = ran.of_type("step");
    assert_eq!(steps.len(), 4);
    let cost: f64 = steps.iter().filter_map(|step| step["cost"].as_f64()).sum();
    assert!((cost - 0.5).abs() < 1e-9);
    assert_eq!(impostor.ledger().prompt_posts().len(), 1);
    impostor.assert_clean();
}

#[tokio::test]
async fn the_persons_own_words_are_not_part_of_the_answer() {
    let impostor = Impostor::scripted(Script::always([Step::text("The answer.")]))
        .await
        .unwrap();
    let ran = Chat::with(&impostor).turn("QUESTION WORDS", &[]).await;
    let result = ran.ended(0, "completed");
    assert_eq!(result["content"], "The answer.");
    assert_eq!(result["parts"].as_array().unwrap().len(), 1);
    assert!(!ran.stdout.contains("QUESTION WORDS"), "{ran:?}");
    impostor.assert_clean();
}

#[tokio::test]
async fn an_answer_that_is_cut_off_says_so() {
    let impostor = Impostor::start().await.unwrap();
    let ran = Chat::with(&impostor).turn("[[cutoff]]", &[]).await;
    let result = ran.ended(0, "completed");
    assert_eq!(
        (&result["truncated"], &result["reason"]),
        (&json!(true), &json!("length"))
    );
}

#[tokio::test]
async fn people_read_the_text_as_it_is() {
    let impostor = Impostor::scripted(Script::always([
        Step::Text(Streamed::new(UNICODE_TEXT).chunk_chars(1)),
        Step::tool("bash", json!({"command": "ls"}), "a.txt"),
        Step::text("Second."),
    ]))
    .await
    .unwrap();
    let ran = Chat::with(&impostor).run(&["turn", "please"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, format!("{UNICODE_TEXT}\n\nSecond.\n"));
    // What is not the answer is not where the answer is piped from.
    assert!(ran.stderr.contains("ls"), "{ran:?}");
}

#[tokio::test]
async fn agent_model_and_system_reach_the_server() {
    let impostor = Impostor::builder()
        .script(Script::always([Step::text("Yes.")]))
        .models(["local/a/b"])
        .start()
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let args = [
        "--agent",
        "plan",
        "--model",
        "local/a/b",
        "--system",
        "Be brief.",
    ];
    chat.turn("please", &args).await.ended(0, "completed");
    let posts = impostor.ledger();
    let posts = posts.requests_of("POST /session/:id/prompt_async");
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].body["agent"], "plan");
    assert_eq!(
        posts[0].body["model"],
        json!({"providerID": "local", "modelID": "a/b"})
    );
    assert!(
        posts[0].body["system"]
            .as_str()
            .unwrap()
            .contains("Be brief.")
    );
}

#[tokio::test]
async fn one_conversation_is_one_session() {
    let impostor = Impostor::scripted(Script::always([Step::Echo]))
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let mut sessions = Vec::new();
    for (prompt, conversation) in [("one", "a"), ("two", "a"), ("three", "b")] {
        let ran = chat.turn(prompt, &["--conversation", conversation]).await;
        let result = ran.ended(0, "completed");
        assert_eq!(result["content"], prompt);
        sessions.push(result["session_id"].clone());
    }
    assert_eq!(sessions[0], sessions[1]);
    assert_ne!(sessions[0], sessions[2]);
    assert_eq!(impostor.ledger().sessions_created(), 2);
    impostor.assert_clean();
}
