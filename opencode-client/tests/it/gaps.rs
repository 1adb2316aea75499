//! What a reply makes of events that were missed, or are not its own.

use opencode_client::Reply;
use opencode_client::event::Event;
use serde_json::{Value, json};

use crate::tape::Tape;

fn apply(reply: &mut Reply, event: &Value) {
    let frame = event.to_string();
    if let Some(event) = Event::decode(frame.as_bytes()).unwrap() {
        reply.apply(&event);
    }
}

fn event(kind: &str, properties: &Value) -> Value {
    json!({"directory": "/", "payload": {"type": kind, "properties": properties}})
}

/// A reply with the prompt and an empty answer.
fn begun() -> Reply {
    let mut reply = Reply::new("ses_1".into(), "msg_1".into());
    for (id, role) in [("msg_1", "user"), ("msg_2", "assistant")] {
        let info = json!({"id": id, "sessionID": "ses_1", "role": role, "parentID": "msg_1", "time": {"created": 1}});
        apply(
            &mut reply,
            &event("message.updated", &json!({"info": info})),
        );
    }
    reply
}

fn delta(reply: &mut Reply, part: &str, text: &str) {
    let properties = json!({"sessionID": "ses_1", "messageID": "msg_2", "partID": part, "field": "text", "delta": text});
    apply(reply, &event("message.part.delta", &properties));
}

fn text(reply: &mut Reply, part: &str, text: &str) {
    let part = json!({"id": part, "sessionID": "ses_1", "messageID": "msg_2", "type": "text", "text": text});
    apply(
        reply,
        &event("message.part.updated", &json!({"part": part})),
    );
}

fn said(reply: &Reply) -> String {
    reply.result().full_text
}

#[test]
fn a_text_that_goes_on_after_a_gap_says_that_some_may_be_missing() {
    let mut reply = begun();
    text(&mut reply, "prt_1", "");
    delta(&mut reply, "prt_1", "One");
    reply.gap();
    assert_eq!(said(&reply), "One", "nothing has come since");
    delta(&mut reply, "prt_1", "three");
    delta(&mut reply, "prt_1", " four");
    assert_eq!(said(&reply), "One […] three four", "said once");
    text(&mut reply, "prt_1", "One two three four");
    assert_eq!(said(&reply), "One two three four");
}

#[test]
fn a_part_whose_beginning_was_missed_says_so_too() {
    let mut reply = begun();
    reply.gap();
    delta(&mut reply, "prt_1", "end");
    assert_eq!(said(&reply), "[…] end");
}

#[test]
fn a_part_that_begins_after_the_gap_is_whole() {
    let mut reply = begun();
    text(&mut reply, "prt_1", "Done.");
    reply.gap();
    text(&mut reply, "prt_2", "");
    delta(&mut reply, "prt_2", "Whole");
    assert_eq!(said(&reply), "Done.\n\nWhole");
}

/// Whatever stretch of a recording is missed: no event after it breaks the reply, and the server's
/// messages make it whole.
#[test]
fn every_hole_in_every_recording_is_mended_by_the_exchange() {
    let mut holes = 0;
    for tape in Tape::all() {
        for turn in tape.turns() {
            let (whole, exchange) = (turn.rebuilt(), turn.exchange());
            let events: Vec<_> = turn.events().collect();
            let count = events.len();
            for length in [1, 3, count / 3 + 1] {
                for from in (0..count).step_by(count / 25 + 1) {
                    let mut reply = turn.reply();
                    for (at, event) in events.iter().enumerate() {
                        if at == from {
                            reply.gap();
                        }
                        if (from..from + length).contains(&at) {
                            continue;
                        }
                        if let Some(event) = event {
                            reply.apply(event);
                        }
                    }
                    reply.reconcile(&exchange);
                    let result = reply.result();
                    let what = format!("{}: {length} missed at {from}", tape.name);
                    assert_eq!(result.full_text, whole.full_text, "{what}");
                    assert_eq!(result.reasoning_text, whole.reasoning_text, "{what}");
                    holes += 1;
                }
            }
        }
    }
    assert!(holes > 500, "{holes}");
}

/// What 1.14.48 sends when a session of `/` is told to stop without its folder: it works on.
#[test]
fn an_idle_of_another_folder_is_not_the_sessions() {
    let idle = json!({"sessionID": "ses_1"});
    let status = json!({"sessionID": "ses_1", "status": {"type": "idle"}});
    let mut reply = begun();
    for (kind, properties) in [("session.status", &status), ("session.idle", &idle)] {
        let mut elsewhere = event(kind, properties);
        elsewhere["directory"] = json!("/srv/elsewhere");
        apply(&mut reply, &elsewhere);
        assert!(!reply.take_idle(), "{kind} of another folder");
        apply(&mut reply, &event(kind, properties));
        assert!(reply.take_idle(), "{kind} of the session's folder");
        // `/event` is of one folder, and names none.
        apply(&mut reply, &event(kind, properties)["payload"]);
        assert!(reply.take_idle(), "{kind} without a folder");
    }
}
