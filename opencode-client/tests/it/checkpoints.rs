//! Checkpoints to the byte: rows of existing databases hold them.

use std::fmt::Write as _;

use opencode_client::reply::Checkpoint;

use crate::tape::Tape;

/// Of the recordings that differ in what a checkpoint holds: while the agent waits for a person, and at the end.
#[test]
fn a_checkpoint_is_written_as_it_has_always_been() {
    let mut written = String::new();
    for name in [
        "text",
        "reasoning",
        "write-file",
        "question-answered",
        "question-rejected",
        "permission-rejected",
        "subtask",
        "provider-401",
        "compaction",
    ] {
        for turn in Tape::named(name).turns() {
            let (mut reply, mut waits) = (turn.reply(), false);
            for event in turn.events().flatten() {
                reply.apply(&event);
                let checkpoint = reply.checkpoint();
                if waits == checkpoint.requests.is_empty() {
                    waits = !waits;
                    let json = serde_json::to_string(&checkpoint).unwrap();
                    writeln!(written, "# {name}, a request: {waits}\n{json}").unwrap();
                }
            }
            let json = serde_json::to_string(&reply.checkpoint()).unwrap();
            writeln!(written, "# {name}\n{json}").unwrap();
        }
    }
    insta::assert_snapshot!(written);
}

/// Of a checkpoint with every field there is, and of the empty one.
#[test]
fn a_checkpoint_of_a_row_is_written_back_as_it_was() {
    for row in [
        r#"{"parts":[]}"#,
        r#"{"prompt":"msg_1","answers":["msg_2"],"heard":[{"id":"msg_2","parent":"msg_1","summary":true,"finish":"stop","completed":7,"error":{"name":"APIError","message":"no","status_code":401,"url":"https://a.test/v1","retryable":false},"cost":0.1,"tokens":[1,2,3,4,5]}],"parts":[{"id":"prt_1","message":"msg_2","part":{"type":"text","content":"a\\b"},"trimmed":true,"by_provider":true},{"part":{"type":"reasoning","content":"r"}}],"refused":["call_1"],"cut":true}"#,
    ] {
        let checkpoint: Checkpoint = serde_json::from_str(row).unwrap();
        assert_eq!(serde_json::to_string(&checkpoint).unwrap(), row);
    }
}
