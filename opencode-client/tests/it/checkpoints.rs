//! Checkpoints to the byte: rows of existing databases hold them.

use std::fmt::Write as _;

use opencode_client::Reply;
use opencode_client::reply::{Checkpoint, Growth, SaveMark};

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

/// A store that keeps growths: what it has of a reply, and how many bytes it was given.
#[derive(Default)]
struct Store {
    kept: Checkpoint,
    mark: SaveMark,
    bytes: usize,
}

impl Store {
    fn save(&mut self, reply: &Reply) {
        let (growth, mark) = reply.growth_since(&self.mark);
        self.mark = mark;
        if let Some(growth) = growth {
            let json = serde_json::to_string(&growth).unwrap();
            self.bytes += json.len();
            let growth: Growth = serde_json::from_str(&json).unwrap();
            self.kept.grow(growth).unwrap();
        }
        assert_eq!(self.kept, reply.checkpoint());
        assert!(reply.growth_since(&self.mark).0.is_none());
    }
}

/// Of all recordings, saved at each event, at each third, and so on; with the exchange taken in halfway, and missed events.
#[test]
fn growths_come_to_the_checkpoint() {
    for tape in Tape::all() {
        for turn in tape.turns() {
            let events = turn.events().count();
            for every in [1, 3, 10, 50] {
                for reconciled_at in [None, Some(events / 2)] {
                    let (mut reply, mut store) = (turn.reply(), Store::default());
                    for (number, event) in turn.events().enumerate() {
                        let Some(event) = event else { continue };
                        reply.apply(&event);
                        if reconciled_at == Some(number) {
                            reply.gap();
                            reply.reconcile(&turn.exchange());
                        }
                        if number % every == 0 {
                            store.save(&reply);
                        }
                    }
                    reply.reconcile(&turn.exchange());
                    store.save(&reply);
                }
            }
        }
    }
}

/// A text of any length costs what it has grown by: saved at each delta, and taken in whole again and again meanwhile.
#[test]
fn what_is_written_is_bounded_by_what_has_come() {
    let delta = "Twenty-odd characters. ";
    let event = |kind: &str, properties: serde_json::Value| {
        serde_json::json!({"type": kind, "properties": properties}).to_string()
    };
    let told = |frame: &str, reply: &mut Reply| {
        let event = opencode_client::event::Event::decode(frame.as_bytes()).unwrap();
        reply.apply(&event.unwrap());
    };
    let mut reply = Reply::new("ses_1".into(), "msg_1".into());
    let info = serde_json::json!({"info": {"id": "msg_2", "sessionID": "ses_1", "role": "assistant", "parentID": "msg_1",
        "time": {"created": 1}, "cost": 0, "tokens": {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}}});
    told(&event("message.updated", info), &mut reply);
    let part = |text: &str| {
        event(
            "message.part.updated",
            serde_json::json!({"part": {"id": "prt_1", "sessionID": "ses_1", "messageID": "msg_2", "type": "text", "text": text}}),
        )
    };
    told(&part(""), &mut reply);
    let (mut store, mut whole) = (Store::default(), String::new());
    for number in 0..2000 {
        whole.push_str(delta);
        let properties = serde_json::json!({"sessionID": "ses_1", "messageID": "msg_2", "partID": "prt_1", "field": "text", "delta": delta});
        told(&event("message.part.delta", properties), &mut reply);
        if number % 100 == 0 {
            told(&part(&whole), &mut reply);
        }
        if number % 10 == 0 {
            store.save(&reply);
        }
    }
    store.save(&reply);
    assert!(
        store.bytes < whole.len() * 3 / 2,
        "{} for {}",
        store.bytes,
        whole.len()
    );
}

#[test]
fn a_growth_of_another_checkpoint_is_refused() {
    let row = r#"{"parts":[{"id":"prt_1","part":{"type":"text","content":"\u00e9t\u00e9"}}]}"#;
    for growth in [
        r#"{"count":1,"parts":[[0,{"more":{"from":6,"text":"x"}}]]}"#,
        r#"{"count":1,"parts":[[0,{"more":{"from":1,"text":"x"}}]]}"#,
        r#"{"count":2,"parts":[[1,{"more":{"from":0,"text":"x"}}]]}"#,
        r#"{"count":3,"parts":[[2,{"whole":{"part":{"type":"text","content":"x"}}}]]}"#,
        r#"{"count":2}"#,
    ] {
        let mut checkpoint: Checkpoint = serde_json::from_str(row).unwrap();
        let growth = serde_json::from_str(growth).unwrap();
        assert!(checkpoint.grow(growth).is_err(), "{checkpoint:?}");
    }
    let mut checkpoint: Checkpoint = serde_json::from_str(row).unwrap();
    let fewer = serde_json::from_str(r#"{"count":0}"#).unwrap();
    checkpoint.grow(fewer).unwrap();
    assert_eq!(checkpoint, Checkpoint::default());
}
