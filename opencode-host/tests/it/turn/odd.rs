//! One odd thing on the wire costs itself, not the turn.

use futures_util::TryStreamExt as _;
use opencode_client::reply::{Change, PendingRequest, PersistedPart, ToolPart};
use opencode_host::live::LiveEvent;
use opencode_impostor::{
    Dialect, Fault, LONE_SURROGATE, List, OddRecord, Oddity, Permission, Record, Retry, Tool,
    attachment, nested, raw_json,
};
use serde_json::Value;

use super::*;

/// A tool, then words: two messages, of 0.25 dollars, 30 and 10 tokens each.
fn two_steps() -> Vec<Step> {
    vec![
        Step::tool("grep", json!({"pattern": "x"}), "found"),
        Step::text("All good."),
    ]
}

async fn playing(steps: impl IntoIterator<Item = Step>) -> Hosting {
    let builder = Impostor::builder().script(Script::always(steps));
    Hosting::new(builder.usage(0.25, 30, 10).start().await.unwrap()).await
}

/// How often something of this kind was skipped.
fn skipped(test: &Hosting, kind: &str) -> u64 {
    let traced = test.recorder.named("wire.skipped");
    let of_kind = traced.iter().filter(|event| event["kind"] == kind);
    of_kind.map(|event| event["count"].as_u64().unwrap()).sum()
}

fn tool(result: &TurnResult) -> ToolPart {
    let tools = result.answer.parts.iter().find_map(|part| match part {
        PersistedPart::Tool(tool) => Some(tool.clone()),
        _ => None,
    });
    tools.expect("a tool part")
}

#[tokio::test]
async fn half_an_emoji_costs_one_character() {
    let cut = |text: &str| format!("{text}{LONE_SURROGATE}");
    let output = Tool {
        tool: "bash".into(),
        input: json!({"command": cut("input ")}),
        output: cut("output "),
        title: Some(cut("title ")),
        metadata: serde_json::from_value(json!({"preview": cut("preview ")})).unwrap(),
        ..Tool::default()
    };
    let test = playing([Step::Tool(output), Step::text(cut("Cut "))]).await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Completed, None, "Cut \u{FFFD}");
    let tool = tool(&result);
    assert_eq!(tool.output.as_deref(), Some("output \u{FFFD}"));
    assert_eq!(tool.title.as_deref(), Some("title \u{FFFD}"));
    assert_eq!(tool.input.unwrap()["command"], "input \u{FFFD}");
    assert_eq!(tool.metadata.unwrap()["preview"], "preview \u{FFFD}");
    assert!(skipped(&test, "characters") > 0);
}

#[tokio::test]
async fn input_of_any_depth_costs_what_is_too_deep() {
    for depth in [90, 101, 200, 5_000, 100_000] {
        let mut deep = Tool {
            tool: "mcp_call".into(),
            input: nested(depth),
            output: "done".into(),
            ..Tool::default()
        };
        deep.metadata.insert("deep".into(), nested(depth));
        deep.metadata.insert("good".into(), "kept".into());
        let test = playing([Step::Tool(deep), Step::text("Deep enough.")]).await;
        let result = test.turn("go").await;
        assert_ended(&result, TurnStatus::Completed, None, "Deep enough.");
        let tool = tool(&result);
        assert_eq!(tool.output.as_deref(), Some("done"), "{depth}");
        assert_eq!(tool.metadata.unwrap()["good"], "kept", "{depth}");
        let input = tool.input.unwrap().to_string();
        assert_eq!(input.contains("left out"), depth > 100, "{depth}");
        assert_eq!(skipped(&test, "nesting") > 0, depth > 100, "{depth}");
        // Whoever reads the line or the row that holds it reads no deeper than 128.
        let line = serde_json::to_string(&json!({"parts": result.answer.parts})).unwrap();
        serde_json::from_str::<Value>(&line).unwrap();
    }
}

#[tokio::test]
async fn odd_records_and_numbers_cost_themselves() {
    let infinite = || raw_json("1e999");
    let without = |of, at: &str| {
        OddRecord::new(Oddity::Without {
            of,
            at: at.to_owned(),
        })
    };
    // The oddity; the cost and the input tokens that are left of two times 0.25 and 30.
    let odd = [
        (OddRecord::new(Oddity::MessageWithoutSession), 0.5, 60),
        (OddRecord::new(Oddity::PartWithoutSession), 0.5, 60),
        (OddRecord::new(Oddity::BareMessage), 0.5, 60),
        (OddRecord::new(Oddity::BareTokens), 0.5, 60),
        (OddRecord::new(Oddity::PartWithoutId), 0.5, 60),
        // Its id is on one side only, or comes and goes.
        (OddRecord::new(Oddity::PartWithoutId).in_lists(), 0.5, 60),
        (OddRecord::new(Oddity::PartWithoutId).in_events(), 0.5, 60),
        (
            OddRecord::new(Oddity::PartWithoutId).which(Calls::First(4)),
            0.5,
            60,
        ),
        (
            OddRecord::new(Oddity::PartWithoutId).which(Calls::Nth(5)),
            0.5,
            60,
        ),
        (without(Record::Message, "/role"), 0.5, 60),
        (without(Record::Message, "/parentID").in_lists(), 0.5, 60),
        (without(Record::Message, "/time"), 0.5, 60),
        (without(Record::Part, "/messageID").in_lists(), 0.5, 60),
        // What the message does not say of itself, its steps do.
        (without(Record::Message, "/cost"), 0.5, 60),
        (without(Record::Message, "/tokens"), 0.5, 60),
        (
            OddRecord::new(Oddity::PartWithoutType).part("step-start"),
            0.5,
            60,
        ),
        // Message and step of one of the two.
        (
            OddRecord::new(Oddity::Cost(infinite())).which(Calls::First(2)),
            0.25,
            60,
        ),
        (
            OddRecord::new(Oddity::Cost(json!(-7))).which(Calls::First(2)),
            0.25,
            60,
        ),
        (
            OddRecord::new(Oddity::Tokens(json!(null))).which(Calls::First(2)),
            0.5,
            30,
        ),
        (
            OddRecord::new(Oddity::Tokens(json!(-1))).which(Calls::First(2)),
            0.5,
            30,
        ),
        (
            OddRecord::new(Oddity::Tokens(json!("NaN"))).which(Calls::First(2)),
            0.5,
            30,
        ),
        (
            OddRecord::new(Oddity::Tokens(raw_json("NaN"))).which(Calls::First(2)),
            0.5,
            30,
        ),
        (
            OddRecord::new(Oddity::Tokens(infinite())).which(Calls::First(2)),
            0.5,
            30,
        ),
        (
            OddRecord::new(Oddity::Tokens(json!(1e30))).which(Calls::First(2)),
            0.5,
            30,
        ),
        (
            OddRecord::new(Oddity::Tokens(json!(50.5))).which(Calls::First(2)),
            0.5,
            81,
        ),
    ];
    for (odd, cost, input) in odd {
        let name = format!("{odd:?}");
        let test = playing(two_steps()).await;
        test.impostor.faults().add(Fault::Odd(odd));
        let result = test.turn("go").await;
        assert_eq!(
            (result.status, result.answer.content.as_str()),
            (TurnStatus::Completed, "All good."),
            "{name}: {:?}",
            result.answer.error
        );
        assert_eq!(tool(&result).output.as_deref(), Some("found"), "{name}");
        assert!(
            (result.answer.usage.cost - cost).abs() < 1e-9,
            "{name}: {}",
            result.answer.usage.cost
        );
        assert_eq!(result.answer.usage.input_tokens, input, "{name}");
    }
}

#[tokio::test]
async fn strays_in_lists_are_passed_over_and_repeated_messages_count_once() {
    let strays = [
        json!(null),
        json!({}),
        json!("stray"),
        json!({"info": null}),
        json!({"info": 7}),
    ];
    for record in strays {
        for among in [List::Messages, List::Parts, List::Sessions, List::Requests] {
            let test = playing(two_steps()).await;
            let record = record.clone();
            test.impostor.faults().add(Fault::Stray { among, record });
            test.impostor.faults().add(Fault::RepeatMessages);
            let result = test.turn("go").await;
            assert_ended(&result, TurnStatus::Completed, None, "All good.");
            assert!((result.answer.usage.cost - 0.5).abs() < 1e-9);
            // The next prompt's id comes from the list too.
            let result = test.turn("again").await;
            assert_ended(&result, TurnStatus::Completed, None, "All good.");
        }
    }
}

#[tokio::test]
async fn a_permission_with_half_an_emoji_is_asked_and_can_be_given() {
    let ask = Permission {
        permission: "bash".into(),
        patterns: vec![format!("echo {LONE_SURROGATE}")],
        metadata: serde_json::from_value(json!({"command": format!("echo {LONE_SURROGATE}")}))
            .unwrap(),
        tool: Tool {
            tool: "bash".into(),
            output: "said".into(),
            ..Tool::default()
        },
        ..Permission::default()
    };
    let test = playing([Step::Permission(ask), Step::text("Done.")]).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    let asking = async {
        let mut live = test.host.live(turn, Cursor::START).await.unwrap();
        while let Some(event) = live.try_next().await.unwrap() {
            match event {
                LiveEvent::Change { change, .. } => {
                    if let Change::Permission { request } = &*change {
                        return request.clone();
                    }
                }
                LiveEvent::Snapshot { view, .. } => {
                    if let Some(PendingRequest::Permission(request)) = view.requests().next() {
                        return request.clone();
                    }
                }
                _ => break,
            }
        }
        panic!("nobody was asked");
    };
    let request = tokio::time::timeout(PATIENCE, asking).await.unwrap();
    assert_eq!(request.patterns, ["echo \u{FFFD}"]);
    assert_eq!(request.metadata["command"], "echo \u{FFFD}");
    let reply = test
        .host
        .reply_permission(turn, &request.id, PermissionReply::Once, None);
    reply.await.unwrap();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "Done.");
}

#[tokio::test]
async fn a_message_with_tool_calls_is_not_the_end_whatever_word_it_ends_with() {
    for word in [
        Some("stop"),
        Some("length"),
        Some("eos"),
        Some("unknown"),
        Some(""),
        None,
    ] {
        let mut steps = vec![Step::ToolsFinish(word.map(str::to_owned))];
        steps.extend(two_steps());
        let test = playing(steps).await;
        let result = test.turn("go").await;
        assert_ended(&result, TurnStatus::Completed, None, "All good.");
        assert!(!result.answer.truncated, "{word:?}");
        assert!((result.answer.usage.cost - 0.5).abs() < 1e-9, "{word:?}");
        test.assert_prompted_once(&result);
    }
}

#[tokio::test]
async fn a_rejected_permission_is_declined_whatever_the_words_and_the_finish() {
    for version in ["1.2.27", "1.18.33"] {
        for word in [Some("tool-calls"), Some("stop"), None] {
            let script = Script::always([
                Step::ToolsFinish(word.map(str::to_owned)),
                Step::ask_bash("id", "root"),
                Step::text("Never said."),
            ]);
            let builder = Impostor::builder().script(script);
            let impostor = builder.dialect(Dialect::of(version)).start().await.unwrap();
            let test = Hosting::new(impostor).await;
            let turn = test.submit("go").await;
            let working = test.work(turn);
            test.impostor
                .wait_for(|ledger| !ledger.permissions().is_empty())
                .await
                .unwrap();
            let id = test
                .impostor
                .with_ledger(|ledger| ledger.permissions()[0].to_owned());
            let id = id.as_str().into();
            let rejected = test
                .host
                .reply_permission(turn, &id, PermissionReply::Reject, None);
            rejected.await.unwrap();
            let result = test.finished(turn, working).await;
            assert_eq!(
                (
                    result.status,
                    result.answer.reason.map(|reason| reason.as_str())
                ),
                (TurnStatus::Cancelled, Some("declined")),
                "{version} {word:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_blank_answer_is_an_empty_one() {
    for blank in [" ", "\n\n", "\t \u{a0}\u{2003}", "\u{200B}\u{FEFF}"] {
        let test = playing([Step::text(blank)]).await;
        let result = test.turn("go").await;
        assert_eq!(
            (
                result.status,
                result.answer.reason.map(|reason| reason.as_str())
            ),
            (TurnStatus::Error, Some("empty_reply")),
            "{blank:?}"
        );
        assert!(!result.answer.content.trim().is_empty(), "{blank:?}");
    }
}

#[tokio::test]
async fn pictures_of_tools_and_what_helps_against_a_busy_provider_are_kept() {
    let picture = Tool {
        tool: "read".into(),
        input: json!({"filePath": "/a.png"}),
        output: "Image read".into(),
        attachments: vec![attachment("image/png", "a.png", "aGk=")],
        ..Tool::default()
    };
    let busy = Retry {
        action: Some(json!({
            "title": "Limit reached", "message": "Raise the limit", "label": "Settings", "link": "https://example.org/limits",
        })),
        ..Retry::default()
    };
    let test = playing([
        Step::Retry(busy),
        Step::gate("busy"),
        Step::Tool(picture),
        Step::text("A picture."),
    ])
    .await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    let watching = async {
        let mut live = test.host.live(turn, Cursor::START).await.unwrap();
        while let Some(event) = live.try_next().await.unwrap() {
            if let LiveEvent::Change { change, .. } = event
                && let Change::Retry { action, .. } = &*change
            {
                return action.clone();
            }
        }
        None
    };
    let action = tokio::time::timeout(PATIENCE, watching)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        action.to_string(),
        "Raise the limit (Settings: https://example.org/limits)"
    );
    test.impostor.gate("busy").open();
    let result = test.finished(turn, working).await;
    let part = serde_json::to_value(tool(&result)).unwrap();
    assert_eq!(
        part["attachments"],
        json!([{"mime": "image/png", "filename": "a.png", "url": "data:image/png;base64,aGk="}])
    );
}

#[tokio::test]
async fn interim_answers_before_the_event_stream_are_passed_over() {
    for interim in [100, 103] {
        let impostor = Impostor::scripted(Script::always([Step::text("Heard.")]))
            .await
            .unwrap();
        impostor.faults().request(
            "GET /global/event",
            Calls::All,
            Action::Informational(interim),
        );
        let test = Hosting::new(impostor).await;
        let result = test.turn("go").await;
        assert_ended(&result, TurnStatus::Completed, None, "Heard.");
        let heard = &test.recorder.named("stream.completed")[0]["event_count"];
        assert!(heard.as_u64().unwrap() > 5, "{interim}: {heard}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_kept_up_to_a_bound_and_said_to_be_cut() {
    let most = opencode_client::reply::MAX_REPLY_BYTES;
    let steps = [Step::deltas(most / (64 << 10) + 40, 64 << 10)];
    // A busy machine takes its time with so much.
    let mut options = quick();
    options.snapshot_interval = Duration::from_secs(5);
    options.limits.unreachable = PATIENCE;
    options.limits.pace.answer = PATIENCE;
    let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
    let test = Hosting::with(impostor, options, |builder| builder).await;
    let turn = test.submit("go").await;
    let mut working = test.work(turn);
    let worked = tokio::time::timeout(PATIENCE * 6, &mut working).await;
    worked.expect("the turn did not end").unwrap();
    let result = test.finished(turn, tokio::spawn(async {})).await;
    assert_eq!(
        (
            result.status,
            result.answer.reason.map(|reason| reason.as_str())
        ),
        (TurnStatus::Completed, Some("oversized")),
        "{:?}",
        result.answer.error
    );
    assert!(result.answer.truncated);
    assert!(result.answer.content.len() <= most && result.answer.content.len() > most - 4096);
    assert_eq!(test.recorder.named("reply.cut")[0]["words"], true);
}
