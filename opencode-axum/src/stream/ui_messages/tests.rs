//! The encoder against a model of the client's fold: whatever views it is given, the client holds the last one.

use std::collections::BTreeSet;

use opencode_client::reply::{Change, SnapshotPart};
use opencode_host::outcome::TurnError;
use proptest::prelude::*;

use super::*;

/// What the AI SDK's client does with chunks, as npm `ai` 7 does it.
#[derive(Debug, Default)]
struct Client {
    parts: Vec<(String, Shown)>,
    open: BTreeSet<String>,
    resets: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Shown {
    Text(String),
    Reasoning(String),
    Tool(String, ToolStatus, Value, String),
    File(String),
    Data(Value),
}

impl Client {
    fn take(&mut self, chunks: &[Chunk]) {
        for chunk in chunks {
            match chunk.clone() {
                Chunk::ResetStep => {
                    self.parts.clear();
                    self.open.clear();
                    self.resets += 1;
                }
                Chunk::TextStart { id } => self.begin(id, Shown::Text(String::new())),
                Chunk::ReasoningStart { id } => self.begin(id, Shown::Reasoning(String::new())),
                Chunk::TextDelta { id, delta } | Chunk::ReasoningDelta { id, delta } => {
                    assert!(self.open.contains(&id), "{id} is not open");
                    match self.part(&id) {
                        Shown::Text(words) | Shown::Reasoning(words) => words.push_str(&delta),
                        other => panic!("{other:?} has no words"),
                    }
                }
                Chunk::TextEnd { id } | Chunk::ReasoningEnd { id } => {
                    assert!(self.open.remove(&id), "{id} is not open");
                }
                Chunk::ToolInputStart {
                    tool_call_id,
                    tool_name,
                    ..
                } => {
                    let tool =
                        Shown::Tool(tool_name, ToolStatus::Pending, json!({}), String::new());
                    self.parts.push((tool_call_id, tool));
                }
                Chunk::ToolInputAvailable {
                    tool_call_id,
                    input,
                    ..
                } => self.call(&tool_call_id, ToolStatus::Running, Some(input), ""),
                Chunk::ToolOutputAvailable {
                    tool_call_id,
                    output,
                    ..
                } => self.call(&tool_call_id, ToolStatus::Completed, None, &output),
                Chunk::ToolOutputError {
                    tool_call_id,
                    error_text,
                    ..
                } => self.call(&tool_call_id, ToolStatus::Error, None, &error_text),
                Chunk::File { url, .. } => self.parts.push((String::new(), Shown::File(url))),
                Chunk::DataRequest { id, data } => {
                    self.parts.retain(|(known, _)| *known != id);
                    self.parts.push((id, Shown::Data(data)));
                }
                _ => {}
            }
        }
    }

    fn begin(&mut self, id: String, part: Shown) {
        assert!(
            self.parts.iter().all(|(known, _)| *known != id),
            "{id} twice"
        );
        self.open.insert(id.clone());
        self.parts.push((id, part));
    }

    fn part(&mut self, id: &str) -> &mut Shown {
        let found = self.parts.iter_mut().find(|(known, _)| known == id);
        &mut found.unwrap_or_else(|| panic!("no part {id}")).1
    }

    fn call(&mut self, id: &str, status: ToolStatus, input: Option<Value>, end: &str) {
        let Shown::Tool(_, was, arguments, out) = self.part(id) else {
            panic!("{id} is no tool call")
        };
        *was = status;
        *arguments = input.unwrap_or_else(|| arguments.clone());
        end.clone_into(out);
    }

    fn reply(&self) -> Vec<Shown> {
        let reply = self.parts.iter().map(|(_, shown)| shown.clone());
        reply
            .filter(|shown| !matches!(shown, Shown::Data(_) | Shown::File(_)))
            .collect()
    }

    /// The pictures there are, in any order: each stands where its tool ended.
    fn pictures(&self) -> Vec<&str> {
        let urls = self.parts.iter().filter_map(|(_, shown)| match shown {
            Shown::File(url) => Some(url.as_str()),
            _ => None,
        });
        sorted(urls)
    }

    fn data(&self) -> Vec<&Value> {
        let data = self.parts.iter().filter_map(|(_, shown)| match shown {
            Shown::Data(data) => Some(&data["state"]),
            _ => None,
        });
        data.collect()
    }
}

/// What a client should show of these parts. While the last text may grow, white space at its end may be missing.
fn expected<'a>(parts: impl IntoIterator<Item = &'a PersistedPart>, last: bool) -> Vec<Shown> {
    let mut shown: Vec<_> = parts
        .into_iter()
        .map(|part| match part {
            PersistedPart::Text { content } => Shown::Text(content.clone()),
            PersistedPart::Reasoning { content } => Shown::Reasoning(content.clone()),
            PersistedPart::Tool(tool) => {
                let end = tool.output.clone().or(tool.error.clone()).unwrap_or_default();
                let input = tool.input.clone().unwrap_or(json!({}));
                Shown::Tool(tool.tool.clone(), tool.status, input, end)
            }
        })
        .filter(|shown| !matches!(shown, Shown::Text(words) | Shown::Reasoning(words) if words.is_empty()))
        .collect();
    let blank = |words: &str| words.trim_end().is_empty();
    if !last {
        shown.pop_if(
            |shown| matches!(shown, Shown::Text(words) | Shown::Reasoning(words) if blank(words)),
        );
        if let Some(Shown::Text(words) | Shown::Reasoning(words)) = shown.last_mut() {
            words.truncate(words.trim_end().len());
        }
    }
    shown
}

/// The pictures that it should show.
fn expected_pictures<'a>(parts: impl IntoIterator<Item = &'a PersistedPart>) -> Vec<&'a str> {
    let of = |part: &'a PersistedPart| match part {
        PersistedPart::Tool(tool) if tool.status == ToolStatus::Completed => &tool.attachments[..],
        _ => &[],
    };
    let urls = parts.into_iter().flat_map(of);
    sorted(urls.map(|attachment| attachment.url.as_str()))
}

fn sorted<'a>(urls: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut urls: Vec<_> = urls.collect();
    urls.sort_unstable();
    urls
}

fn text(content: &str) -> PersistedPart {
    PersistedPart::Text {
        content: content.to_owned(),
    }
}

fn tool(status: ToolStatus, input: u8) -> PersistedPart {
    let input = (status > ToolStatus::Pending).then(|| json!({ "n": input }));
    PersistedPart::Tool(ToolPart {
        tool: "bash".to_owned(),
        status,
        input,
        output: (status == ToolStatus::Completed).then(|| "out".to_owned()),
        error: (status == ToolStatus::Error).then(|| "no".to_owned()),
        call_id: Some("call".to_owned()),
        ..ToolPart::default()
    })
}

/// A call that gave these pictures, named by the bytes they are.
fn seeing(pictures: &[u8]) -> PersistedPart {
    let PersistedPart::Tool(mut call) = tool(ToolStatus::Completed, 0) else {
        unreachable!()
    };
    let attachment = |picture: &u8| ToolAttachment {
        url: format!("data:image/png;base64,{picture:04}"),
        ..ToolAttachment::default()
    };
    call.attachments = pictures.iter().map(attachment).collect();
    PersistedPart::Tool(call)
}

fn view(parts: &[PersistedPart]) -> View {
    let parts = parts.iter().enumerate().map(|(at, part)| SnapshotPart {
        part_id: format!("prt_{at}").into(),
        part: part.clone(),
    });
    View::new(parts, [])
}

fn answer(parts: &[PersistedPart]) -> Answer {
    let mut answer = Answer::text("");
    answer.parts = parts.to_vec();
    answer
}

fn any_part() -> impl Strategy<Value = PersistedPart> {
    prop_oneof![
        "[ab \n]{0,4}".prop_map(|content| PersistedPart::Text { content }),
        "[ab \n]{0,4}".prop_map(|content| PersistedPart::Reasoning { content }),
        (0..4_usize, 0..2_u8).prop_map(|(status, input)| {
            let all = [
                ToolStatus::Pending,
                ToolStatus::Running,
                ToolStatus::Completed,
                ToolStatus::Error,
            ];
            tool(all[status], input)
        }),
        prop::collection::vec(0..3_u8, 0..3).prop_map(|pictures| seeing(&pictures)),
    ]
}

fn any_change() -> impl Strategy<Value = Change<'static>> {
    let id = || (0..4_u8).prop_map(|id| format!("prt_{id}"));
    let text_kind = any::<bool>().prop_map(|text| {
        if text {
            PartKind::Text
        } else {
            PartKind::Reasoning
        }
    });
    prop_oneof![
        4 => (id(), text_kind, "[ab \n]{1,3}").prop_map(|(id, kind, delta)| Change::PartDelta {
            part_id: id.into(),
            kind,
            delta: delta.into(),
        }),
        2 => (id(), any_part()).prop_map(|(id, part)| Change::PartAdded { part_id: id.into(), part }),
        1 => (id(), any_part()).prop_map(|(id, part)| Change::PartFinal { part_id: id.into(), part }),
        1 => id().prop_map(|id| Change::PartRemoved { part_id: id.into() }),
        1 => prop::collection::vec(any_part(), 0..4).prop_map(|parts| Change::Snapshot {
            parts: (parts.into_iter().enumerate())
                .map(|(at, part)| SnapshotPart { part_id: format!("prt_{at}").into(), part })
                .collect(),
        }),
    ]
}

proptest! {
    /// Any changes, of which the watcher is shown any, and any answer at the end.
    #[test]
    fn the_client_holds_the_last_view(
        changes in prop::collection::vec((any_change(), any::<bool>()), 0..30),
        other in prop::option::of(prop::collection::vec(any_part(), 0..4)),
    ) {
        let (mut encoder, mut client) = (UiMessages::new("msg"), Client::default());
        let mut view = View::default();
        for (change, is_seen) in &changes {
            view.apply(change);
            if *is_seen {
                client.take(&encoder.view(&view));
                let parts = || view.parts().map(|part| &part.part);
                prop_assert_eq!(client.reply(), expected(parts(), false));
                prop_assert_eq!(client.pictures(), expected_pictures(parts()));
            }
        }
        let own = || view.parts().map(|part| part.part.clone()).collect();
        let answer = answer(&other.unwrap_or_else(own));
        client.take(&encoder.finished(TurnStatus::Completed, &answer, []));
        prop_assert_eq!(client.reply(), expected(&answer.parts, true));
        prop_assert_eq!(client.pictures(), expected_pictures(&answer.parts));
        prop_assert!(client.open.is_empty());
    }
}

#[test]
fn what_a_take_over_says_again_is_shown_once() {
    let (mut encoder, mut client) = (UiMessages::new("msg"), Client::default());
    client.take(&encoder.view(&view(&[text("Half of")])));
    client.take(&encoder.view(&view(&[text("The whole")])));
    client.take(&encoder.finished(
        TurnStatus::Completed,
        &answer(&[text("The whole answer")]),
        [],
    ));
    assert_eq!(client.reply(), [Shown::Text("The whole answer".to_owned())]);
    assert_eq!(client.resets, 1);
}

#[test]
fn a_reply_that_only_grows_is_never_sent_again() {
    let (mut encoder, mut client) = (UiMessages::new("msg"), Client::default());
    let run = tool(ToolStatus::Running, 1);
    let done = tool(ToolStatus::Completed, 1);
    // OpenCode trims a text once it is done.
    for parts in [
        vec![text("Look:\n")],
        vec![text("Look:\n"), text("\n")],
        vec![text("Look:"), tool(ToolStatus::Pending, 0)],
        vec![text("Look:"), run],
        vec![text("Look:"), done.clone()],
        vec![text("Look:"), done.clone(), text("Done. \n")],
    ] {
        client.take(&encoder.view(&view(&parts)));
    }
    let end = answer(&[text("Look:"), done, text("Done.")]);
    client.take(&encoder.finished(TurnStatus::Completed, &end, []));
    assert_eq!(client.reply(), expected(&end.parts, true));
    assert_eq!(client.resets, 0);
}

#[test]
fn pictures_that_come_later_are_told_alone_and_others_instead_of_them_anew() {
    let (mut encoder, mut client) = (UiMessages::new("msg"), Client::default());
    for (pictures, resets) in [(&[1][..], 0), (&[1, 2], 0), (&[2], 1), (&[], 2)] {
        let parts = [seeing(pictures)];
        client.take(&encoder.view(&view(&parts)));
        assert_eq!(client.pictures(), expected_pictures(&parts));
        assert_eq!(client.resets, resets);
    }
}

#[test]
fn a_turn_is_these_lines() {
    let mut encoder = UiMessages::new("msg_1");
    let parts = [text("Hi"), tool(ToolStatus::Completed, 1)];
    let mut chunks = encoder.view(&view(&parts));
    let file = File {
        url: "files/1".to_owned(),
        media_type: "image/png".to_owned(),
    };
    chunks.extend(encoder.finished(TurnStatus::Completed, &answer(&parts), [file]));
    let lines: String = chunks.iter().map(Chunk::to_line).collect();
    let wanted = [
        r#"{"type":"start","messageId":"msg_1"}"#,
        r#"{"type":"start-step"}"#,
        r#"{"type":"text-start","id":"0-0"}"#,
        r#"{"type":"text-delta","id":"0-0","delta":"Hi"}"#,
        r#"{"type":"text-end","id":"0-0"}"#,
        r#"{"type":"tool-input-start","toolCallId":"0-1","toolName":"bash","dynamic":true,"providerExecuted":true}"#,
        r#"{"type":"tool-input-available","toolCallId":"0-1","toolName":"bash","input":{"n":1},"dynamic":true,"providerExecuted":true}"#,
        r#"{"type":"tool-output-available","toolCallId":"0-1","output":"out","dynamic":true,"providerExecuted":true}"#,
        r#"{"type":"file","url":"files/1","mediaType":"image/png"}"#,
        r#"{"type":"finish-step"}"#,
        r#"{"type":"finish","finishReason":"stop"}"#,
    ];
    let wanted = wanted.map(|json| format!("data: {json}\n\n")).concat();
    assert_eq!(lines, wanted);
}

#[test]
fn each_end_has_its_last_chunk_and_comes_once() {
    let mut cut = answer(&[]);
    cut.truncated = true;
    let mut failed = answer(&[]);
    failed.error = Some(TurnError {
        name: "APIError".to_owned(),
        message: "No credit left".to_owned(),
        status_code: None,
        url: None,
    });
    for (status, answer, last) in [
        (
            TurnStatus::Completed,
            &cut,
            r#"{"type":"finish","finishReason":"length"}"#,
        ),
        (TurnStatus::Cancelled, &cut, r#"{"type":"abort"}"#),
        (
            TurnStatus::Error,
            &failed,
            r#"{"type":"error","errorText":"No credit left"}"#,
        ),
        (
            TurnStatus::Failed,
            &failed,
            r#"{"type":"error","errorText":"No credit left"}"#,
        ),
    ] {
        let mut encoder = UiMessages::new("msg");
        let chunks = encoder.finished(status, answer, []);
        assert_eq!(
            chunks.last().unwrap().to_line(),
            format!("data: {last}\n\n")
        );
        assert!(encoder.finished(status, answer, []).is_empty());
        assert!(encoder.view(&view(&[text("late")])).is_empty());
    }
}

#[test]
fn a_request_is_shown_until_it_is_answered_also_over_a_reset() {
    let question = || Change::Question {
        request: serde_json::from_value(json!({
            "id": "que_1", "sessionID": "ses_1", "questions": [{"question": "Which?"}],
        }))
        .unwrap(),
    };
    let (mut encoder, mut client) = (UiMessages::new("msg"), Client::default());
    let mut view = view(&[text("Well")]);
    view.apply(&question());
    client.take(&encoder.view(&view));
    assert_eq!(client.data(), ["pending"]);
    view.apply(&Change::Snapshot { parts: Vec::new() });
    client.take(&encoder.view(&view));
    assert_eq!((client.data(), client.resets), (vec![&json!("pending")], 1));
    view.apply(&Change::QuestionRejected {
        request_id: "que_1".into(),
    });
    client.take(&encoder.view(&view));
    assert_eq!(client.data(), ["closed"]);
    view.apply(&question());
    client.take(&encoder.view(&view));
    client.take(&encoder.finished(TurnStatus::Cancelled, &answer(&[]), []));
    assert_eq!(client.data(), ["closed"]);
}

/// A call by the model's id of it.
fn call(id: &str, status: ToolStatus) -> PersistedPart {
    let PersistedPart::Tool(part) = tool(status, 1) else {
        unreachable!()
    };
    PersistedPart::Tool(ToolPart {
        call_id: Some(id.to_owned()),
        ..part
    })
}

/// The parts, and requests for permission with the calls that wait for them.
fn waiting(parts: &[PersistedPart], requests: &[(&str, &str)]) -> View {
    let mut view = view(parts);
    for (id, call) in requests {
        let request = json!({
            "id": id, "sessionID": "ses_1", "permission": "bash",
            "tool": {"messageID": "msg_1", "callID": call},
        });
        view.apply(&Change::Permission {
            request: serde_json::from_value(request).unwrap(),
        });
    }
    view
}

/// The approvals that chunks ask for: the request, and the call.
fn asked(chunks: &[Chunk]) -> Vec<(&str, &str)> {
    let asked = chunks.iter().filter_map(|chunk| match chunk {
        Chunk::ToolApprovalRequest {
            approval_id,
            tool_call_id,
        } => Some((approval_id.as_str(), tool_call_id.as_str())),
        _ => None,
    });
    asked.collect()
}

#[test]
fn a_stream_ends_once_all_calls_are_over_or_wait_for_an_approval() {
    use ToolStatus::{Completed, Pending, Running};
    let mut encoder = UiMessages::new("msg").ending_at_approvals();
    let begun = [call("a", Running), call("b", Running)];
    let chunks = encoder.view(&waiting(&begun, &[("per_1", "a")]));
    assert_eq!(asked(&chunks), [("per_1", "0-0")]);
    assert!(!encoder.is_over());
    let chunks = encoder.view(&waiting(&begun, &[("per_1", "a")]));
    assert!(chunks.is_empty(), "{chunks:?}");
    // The other one is over, and a third is being written.
    let parts = [call("a", Running), call("b", Completed), call("c", Pending)];
    let requests = [("per_1", "a"), ("per_2", "c")];
    let chunks = encoder.view(&waiting(&parts, &requests));
    assert!(asked(&chunks).is_empty() && !encoder.is_over());
    let parts = [
        call("a", Running),
        call("b", Completed),
        call("c", Running),
        text("Well"),
    ];
    let chunks = encoder.view(&waiting(&parts, &requests));
    assert_eq!(asked(&chunks), [("per_2", "0-2")]);
    let end = [
        Chunk::TextEnd { id: "0-3".into() },
        Chunk::FinishStep,
        Chunk::Finish {
            finish_reason: FinishReason::ToolCalls,
        },
    ];
    assert!(chunks.ends_with(&end), "{chunks:?}");
    assert!(encoder.is_over());
    assert!(encoder.view(&view(&[text("late")])).is_empty());
}

#[test]
fn a_call_that_another_lets_run_is_shown_as_running() {
    use ToolStatus::{Completed, Running};
    let mut encoder = UiMessages::new("msg").ending_at_approvals();
    let parts = [call("a", Running), call("b", Running)];
    encoder.view(&waiting(&parts, &[("per_1", "a")]));
    let chunks = encoder.view(&view(&parts));
    assert!(matches!(
        chunks.last(),
        Some(Chunk::ToolInputAvailable { tool_call_id, .. }) if tool_call_id == "0-0"
    ));
    // What is told of it anew is asked for anew.
    let chunks = encoder.view(&waiting(&parts, &[("per_2", "a")]));
    assert_eq!(asked(&chunks), [("per_2", "0-0")]);
    let PersistedPart::Tool(mut titled) = parts[0].clone() else {
        unreachable!()
    };
    titled.title = Some("List".to_owned());
    let titled = [PersistedPart::Tool(titled), parts[1].clone()];
    let chunks = encoder.view(&waiting(&titled, &[("per_2", "a")]));
    assert_eq!(asked(&chunks), [("per_2", "0-0")]);
    // A call whose approval is not this call's is not asked for, and ends nothing.
    let done = [call("a", Completed), call("b", Running)];
    let chunks = encoder.view(&waiting(&done, &[("per_3", "other")]));
    assert!(asked(&chunks).is_empty() && !encoder.is_over());
}

#[test]
fn what_goes_on_drops_the_beginning_once_and_asks_for_no_answer_again() {
    use ToolStatus::{Completed, Running};
    let mut encoder = UiMessages::new("msg").going_on(["per_1".to_owned()]);
    let start = encoder.view(&View::default());
    assert!(matches!(start[..], [Chunk::Start { .. }]), "{start:?}");
    let parts = [call("a", Running)];
    let chunks = encoder.view(&waiting(&parts, &[("per_1", "a")]));
    assert_eq!(chunks[0], Chunk::ResetStep);
    assert!(asked(&chunks).is_empty() && !encoder.is_over());
    let chunks = encoder.view(&view(&[call("a", Completed)]));
    assert!(!chunks.contains(&Chunk::ResetStep), "{chunks:?}");
    // Where nothing is left, the beginning is dropped nonetheless.
    let mut encoder = UiMessages::new("msg").going_on([]);
    let chunks = encoder.finished(TurnStatus::Cancelled, &answer(&[]), []);
    assert_eq!(chunks[1..3], [Chunk::ResetStep, Chunk::FinishStep]);
}

#[test]
fn without_approvals_a_permission_is_a_request_and_ends_nothing() {
    let mut encoder = UiMessages::new("msg");
    let parts = [call("a", ToolStatus::Running)];
    let chunks = encoder.view(&waiting(&parts, &[("per_1", "a")]));
    assert!(asked(&chunks).is_empty() && !encoder.is_over());
}

#[test]
fn a_notice_is_told_once_and_taken_back() {
    let mut encoder = UiMessages::new("msg");
    let mut view = view(&[]);
    encoder.view(&view);
    view.apply(&Change::ServerUnreachable {
        message: "trying again".into(),
    });
    let told = |chunks: Vec<Chunk>| -> Vec<Value> {
        let told = chunks.into_iter().filter_map(|chunk| match chunk {
            Chunk::DataNotice { data, .. } => Some(data["type"].clone()),
            _ => None,
        });
        told.collect()
    };
    assert_eq!(told(encoder.view(&view)), ["server_unreachable"]);
    assert!(told(encoder.view(&view)).is_empty());
    view.apply(&Change::ServerReachable);
    assert_eq!(told(encoder.view(&view)), ["none"]);
}
