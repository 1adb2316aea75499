//! What a server can send without end is kept up to a bound, and that is told.

use opencode_client::event::Event;
use opencode_client::reply::{
    MAX_DETAIL_BYTES, MAX_PARTS, MAX_REPLY_BYTES, PersistedPart, ReplyResult,
};
use opencode_client::wire::{Message, PartBody};
use opencode_client::{Client, Error, Exchange, Reply};
use opencode_impostor::{Action, Calls, Impostor};
use serde_json::{Value, json};

fn apply(reply: &mut Reply, kind: &str, properties: &Value) {
    let frame = json!({"type": kind, "properties": properties}).to_string();
    if let Some(event) = Event::decode(frame.as_bytes()).unwrap() {
        reply.apply(&event);
    }
}

fn begun() -> Reply {
    let mut reply = Reply::new("ses_1".into(), "msg_1".into());
    let info =
        json!({"id": "msg_2", "sessionID": "ses_1", "role": "assistant", "parentID": "msg_1"});
    apply(&mut reply, "message.updated", &json!({"info": info}));
    reply
}

fn part(reply: &mut Reply, part: &Value) {
    let mut part = part.clone();
    part["sessionID"] = "ses_1".into();
    part["messageID"] = "msg_2".into();
    apply(reply, "message.part.updated", &json!({"part": part}));
}

/// The bytes of all texts of the parts.
fn size(result: &ReplyResult) -> usize {
    let of = |part: &PersistedPart| match part {
        PersistedPart::Text { content } | PersistedPart::Reasoning { content } => content.len(),
        PersistedPart::Tool(tool) => {
            let texts = [&tool.title, &tool.output, &tool.error]
                .into_iter()
                .flatten();
            let attachments = tool
                .attachments
                .iter()
                .map(|attachment| attachment.url.len());
            let values = [json!(tool.input), json!(tool.metadata)];
            texts
                .map(String::len)
                .chain(attachments)
                .chain(values.iter().map(in_value))
                .sum()
        }
    };
    result.parts.iter().map(of).sum()
}

fn in_value(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(in_value).sum(),
        Value::Object(map) => map.values().map(in_value).sum(),
        _ => 0,
    }
}

#[test]
fn words_are_kept_up_to_a_bound_at_the_end_of_a_character() {
    let mut reply = begun();
    part(
        &mut reply,
        &json!({"id": "prt_1", "type": "text", "text": ""}),
    );
    let piece = "é".repeat(1 << 19);
    let frame = format!(
        r#"{{"type":"message.part.delta","properties":{{"sessionID":"ses_1","messageID":"msg_2","partID":"prt_1","field":"text","delta":"{piece}"}}}}"#
    );
    let grown = Event::decode(frame.as_bytes()).unwrap().unwrap();
    for _ in 0..20 {
        reply.apply(&grown);
    }
    let text = reply.result().full_text;
    assert!(text.len() <= MAX_REPLY_BYTES && text.len() > MAX_REPLY_BYTES - 2048);
    assert!(reply.is_cut() && text.len() == 2 * text.matches('é').count());
    // The same from the exchange, and where another worker goes on.
    let message: Message = serde_json::from_value(json!({
        "info": {"id": "msg_2", "role": "assistant", "parentID": "msg_1", "finish": "stop"},
        "parts": [{"id": "prt_1", "type": "text", "text": piece.repeat(20)}],
    }))
    .unwrap();
    let mut rebuilt = Reply::new("ses_1".into(), "msg_1".into());
    rebuilt.reconcile(&Exchange::of(&"msg_1".into(), [message]));
    assert_eq!(rebuilt.result().full_text.len(), text.len());
    assert!(rebuilt.is_cut());
    let restored = Reply::restore("ses_1".into(), "msg_1".into(), reply.checkpoint());
    assert!(restored.is_cut());
}

#[test]
fn parts_are_counted() {
    let mut reply = begun();
    for number in 0..MAX_PARTS + 10 {
        let id = format!("prt_{number}");
        part(&mut reply, &json!({"id": id, "type": "text", "text": "x"}));
    }
    assert_eq!(reply.result().parts.len(), MAX_PARTS);
    assert!(reply.is_cut());
}

#[test]
fn details_of_tools_are_cut_with_a_mark_and_the_words_stay() {
    let mut reply = begun();
    let long = "y".repeat(MAX_DETAIL_BYTES + 1000);
    for number in 0..12 {
        let more = if number == 0 { long.as_str() } else { "" };
        // Written as text: what makes JSON of so much takes seconds without optimisation.
        let state = format!(
            r#"{{"status":"completed","title":"{more}","output":"{long}","input":{{"list":[1,"{more}"]}},
            "metadata":{{"a":"{more}"}},"attachments":[{{"mime":"image/png","filename":"big.png","url":"{more}"}}]}}"#
        );
        let frame = format!(
            r#"{{"type":"message.part.updated","properties":{{"part":{{"id":"prt_{number}","sessionID":"ses_1",
            "messageID":"msg_2","type":"tool","tool":"bash","callID":"c","state":{state}}}}}}}"#
        );
        reply.apply(&Event::decode(frame.as_bytes()).unwrap().unwrap());
    }
    part(
        &mut reply,
        &json!({"id": "prt_z", "type": "text", "text": "Done."}),
    );
    let result = reply.result();
    assert_eq!(result.parts.len(), 13, "each call is told");
    assert_eq!(
        (result.full_text.as_str(), reply.is_cut()),
        ("Done.", false)
    );
    assert!(size(&result) < 2 * MAX_REPLY_BYTES, "{}", size(&result));
    assert!(reply.is_trimmed());
    let PersistedPart::Tool(tool) = &result.parts[0] else {
        panic!("no tool")
    };
    let output = tool.output.as_ref().unwrap();
    assert!(output.ends_with("too long]") && output.len() < MAX_DETAIL_BYTES + 100);
    assert_eq!(tool.attachments[0].filename.as_deref(), Some("big.png"));
    assert_eq!(tool.attachments[0].url, "");
    let restored = Reply::restore("ses_1".into(), "msg_1".into(), reply.checkpoint());
    assert!(restored.is_trimmed());
    assert_eq!(
        inputs(&restored),
        inputs(&reply),
        "what was cut is no input, in another process too"
    );
}

/// The tools' inputs in what a reply tells of the exchange.
fn inputs(reply: &Reply) -> Vec<Option<Value>> {
    let messages = reply.as_exchange().messages.into_iter();
    let parts = messages.flat_map(|message| message.parts);
    let inputs = parts.filter_map(|part| match part.body {
        PartBody::Tool(call) => Some(call.state.input),
        _ => None,
    });
    let inputs: Vec<_> = inputs
        .map(|input| input.map(|input| json!(input)))
        .collect();
    assert!(inputs.iter().any(Option::is_none));
    inputs
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error_that_says_so() {
    let impostor = Impostor::scripted(opencode_impostor::Script::always([]))
        .await
        .unwrap();
    let body = format!("[{}{{}}]", "0,".repeat(5 << 20));
    let answer = Action::Answer {
        status: 200,
        content_type: "application/json".to_owned(),
        body,
    };
    impostor
        .faults()
        .request("GET /permission", Calls::All, answer);
    let client = Client::builder(impostor.url()).build().unwrap();
    let error = client.permissions().await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("larger than what is read"));
}

/// Answers to `msg_1`, each as (id, finish, whether it calls a tool).
fn answers(of: &[(&str, Option<&str>, bool)]) -> Exchange {
    let messages = of.iter().map(|(id, finish, calls)| {
        let tool = json!({"id": format!("prt_{id}"), "type": "tool", "tool": "bash", "callID": "c", "state": {}});
        let parts = if *calls { vec![tool] } else { Vec::new() };
        let info = json!({
            "id": id, "role": "assistant", "parentID": "msg_1", "finish": finish, "cost": 1, "time": {"completed": 1},
        });
        serde_json::from_value(json!({"info": info, "parts": parts})).unwrap()
    });
    Exchange::of(&"msg_1".into(), messages.collect::<Vec<Message>>())
}

#[test]
fn only_an_answer_that_ended_and_goes_on_is_a_loop() {
    for word in ["stop", "length", "eos", "tool-calls", ""] {
        let exchange = answers(&[("msg_2", Some(word), true), ("msg_3", Some("stop"), false)]);
        assert_eq!(exchange.restarts(), 0, "{word}");
        let open = answers(&[("msg_2", Some(word), true)]);
        assert!(open.wants_more() && !open.is_complete(), "{word}");
    }
    let open = answers(&[("msg_2", None, true)]);
    assert!(open.wants_more() && !open.is_complete());
    let looping = answers(&[
        ("msg_2", Some("stop"), false),
        ("msg_3", Some("stop"), false),
    ]);
    assert_eq!(looping.restarts(), 1);
    let repeated = answers(&[
        ("msg_2", Some("stop"), false),
        ("msg_2", Some("stop"), false),
    ]);
    assert_eq!((repeated.restarts(), repeated.messages.len()), (0, 1));
    assert!((repeated.cost() - 1.0).abs() < 1e-9);
}

#[test]
fn a_live_answer_restarts_only_behind_a_message_without_tools() {
    for calls in [true, false] {
        let mut reply = begun();
        if calls {
            let state = json!({"status": "completed", "output": "x"});
            let tool = json!({"id": "prt_1", "type": "tool", "tool": "bash", "callID": "c", "state": state});
            part(&mut reply, &tool);
        }
        for id in ["msg_2", "msg_3"] {
            let info =
                json!({"id": id, "role": "assistant", "parentID": "msg_1", "finish": "stop"});
            let properties = json!({"sessionID": "ses_1", "info": info});
            apply(&mut reply, "message.updated", &properties);
        }
        assert_eq!(reply.take_restart(), !calls);
    }
}

#[test]
fn parts_without_ids_keep_their_place_and_identity() {
    let mut reply = begun();
    for text in ["One", "One two"] {
        part(&mut reply, &json!({"type": "text", "text": text}));
    }
    assert_eq!(reply.result().full_text, "One two");
    let message: Message = serde_json::from_value(json!({
        "info": {"id": "msg_2", "role": "assistant", "parentID": "msg_1", "finish": "stop"},
        "parts": [
            {"type": "text", "text": "One two"}, null, 7, {"id": "prt_x"}, {"type": "tool", "tool": "bash", "callID": "c"},
            {"type": "text", "text": "three"},
        ],
    }))
    .unwrap();
    reply.reconcile(&Exchange::of(&"msg_1".into(), [message]));
    assert_eq!(reply.result().full_text, "One two\n\nthree");
}
