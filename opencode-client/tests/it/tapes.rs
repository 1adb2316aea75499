//! Every recording, folded in full.

use opencode_client::event::Event;
use opencode_client::reply::{Change, Observer, ObserverError, PersistedPart, ReplyResult};
use opencode_client::wire::{Message, PartBody, Role, TodoStatus};
use opencode_client::{Exchange, Reply};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

use crate::tape::{RecordedTurn, Tape};

pub(crate) fn fold(
    turn: &RecordedTurn,
    frames: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Reply {
    let mut reply = turn.reply();
    for frame in frames {
        if let Some(event) = Event::decode(frame.as_ref()).unwrap() {
            reply.apply(&event);
        }
    }
    reply
}

/// Only who heard a question asked knows its id.
pub(crate) fn as_rebuilt(mut result: ReplyResult) -> ReplyResult {
    let parts = result.parts.iter_mut().filter_map(|part| match part {
        PersistedPart::Tool(tool) => Some(tool),
        _ => None,
    });
    for tool in parts.chain(&mut result.tool_parts) {
        tool.request_id = None;
    }
    result
}

/// The text by the simplest reading of the wire: no code of the reply's.
fn plain_text(turn: &RecordedTurn) -> String {
    let behind = |message: &&Message| message.info.id != turn.prompt;
    let says = |message: &&Message| message.info.role == Role::Assistant && !message.info.summary;
    let texts: Vec<&str> = turn
        .messages
        .iter()
        .skip_while(behind)
        .filter(says)
        .flat_map(|message| &message.parts)
        .filter_map(|part| match &part.body {
            PartBody::Text { text, .. } if !text.is_empty() => Some(text.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n\n")
}

#[test]
fn live_and_rebuilt_are_the_same_for_every_recording() {
    for tape in Tape::all() {
        for turn in tape.turns() {
            let live = fold(turn, &turn.frames);
            let rebuilt = turn.rebuilt();
            assert_eq!(as_rebuilt(live.result()), *rebuilt, "{}", tape.name);
            assert_eq!(live.result().full_text, plain_text(turn), "{}", tape.name);
            let exchange = turn.exchange();
            assert!(exchange.prompt_seen, "{}", tape.name);
            assert_eq!(live.usage().1, exchange.tokens(), "{}", tape.name);
            assert!(
                (live.usage().0 - exchange.cost()).abs() < 1e-12,
                "{}",
                tape.name
            );
        }
    }
}

/// All that decides how a turn ends is in what streamed, and in what is left of it behind a checkpoint.
#[test]
fn the_stream_tells_the_exchange_where_the_history_cannot_be_read() {
    for tape in Tape::all() {
        for turn in tape.turns() {
            let live = fold(turn, &turn.frames);
            let kept = serde_json::to_string(&live.checkpoint()).unwrap();
            let kept = serde_json::from_str(&kept).unwrap();
            let restored = Reply::restore(turn.session.clone(), turn.prompt.clone(), kept);
            let exchange = turn.exchange();
            for reply in [live, restored] {
                let told = reply.as_exchange();
                let ids = |exchange: &Exchange| -> Vec<_> {
                    let messages = exchange.messages.iter();
                    messages.map(|message| message.info.id.clone()).collect()
                };
                assert_eq!(ids(&told), ids(&exchange), "{}", tape.name);
                assert_eq!(told.prompt_seen, exchange.prompt_seen, "{}", tape.name);
                assert_eq!(told.tokens(), exchange.tokens(), "{}", tape.name);
                assert!(
                    (told.cost() - exchange.cost()).abs() < 1e-12,
                    "{}",
                    tape.name
                );
                let ending = |exchange: &Exchange| {
                    (
                        exchange.is_complete(),
                        exchange.is_truncated(),
                        exchange.wants_more(),
                        exchange.is_declined(|call| reply.has_refused(call)),
                        exchange.restarts(),
                        exchange.error().map(|error| error.name.clone()),
                    )
                };
                assert_eq!(ending(&told), ending(&exchange), "{}", tape.name);
                let mut rebuilt = turn.reply();
                rebuilt.reconcile(&told);
                let text = reply.result().full_text;
                assert_eq!(rebuilt.result().full_text, text, "{}", tape.name);
            }
        }
    }
}

#[test]
fn a_summary_in_the_middle_costs_and_says_nothing() {
    let turn = &Tape::named("compaction").turns()[0];
    let reply = fold(turn, &turn.frames);
    let result = reply.result();
    assert_eq!(
        result.full_text,
        "The first part.\n\nAnd the second part, after the summary."
    );
    let exchange = turn.exchange();
    let summaries: Vec<_> = exchange
        .messages
        .iter()
        .filter(|message| message.info.summary)
        .collect();
    assert_eq!((exchange.messages.len(), summaries.len()), (3, 1));
    assert!(summaries[0].info.cost > 0.0);
    assert_eq!(exchange.restarts(), 0);
    // The next turn has nothing of it.
    let next = Exchange::of(&"msg_next".into(), turn.messages.clone());
    assert_eq!((next.prompt_seen, next.messages.len()), (false, 0));
}

#[test]
fn reconciling_a_whole_reply_changes_nothing() {
    for tape in Tape::all() {
        for turn in tape.turns() {
            let mut live = fold(turn, &turn.frames);
            let before = live.result();
            let changes = live.changes();
            live.reconcile(&turn.exchange());
            assert_eq!(live.result(), before, "{}", tape.name);
            assert_eq!(
                live.changes(),
                changes,
                "{}: observers were told of a change",
                tape.name
            );
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<Change<'static>>>>);

impl Observer for Log {
    fn changed(&mut self, change: &Change<'_>) -> Result<(), ObserverError> {
        self.0.lock().unwrap().push(change.clone().into_owned());
        Ok(())
    }
}

fn changes(turn: &RecordedTurn) -> (Vec<Change<'static>>, Reply) {
    let log = Log::default();
    let mut reply = turn.reply();
    reply.observe(log.clone());
    for frame in &turn.frames {
        if let Some(event) = Event::decode(frame).unwrap() {
            reply.apply(&event);
        }
    }
    let changes = std::mem::take(&mut *log.0.lock().unwrap());
    (changes, reply)
}

#[test]
fn deltas_add_up_to_the_text_and_the_prompt_is_never_shown() {
    for tape in Tape::all() {
        for turn in tape.turns() {
            let (changes, reply) = changes(turn);
            let mut parts: Vec<(String, PersistedPart)> = Vec::new();
            for change in changes {
                match change {
                    Change::PartAdded { part_id, part } => parts.push((part_id.into_owned(), part)),
                    Change::PartDelta { part_id, delta, .. } => {
                        let (_, part) = parts.iter_mut().find(|(id, _)| *id == part_id).unwrap();
                        match part {
                            PersistedPart::Text { content }
                            | PersistedPart::Reasoning { content } => {
                                content.push_str(&delta);
                            }
                            PersistedPart::Tool(_) => panic!("{}: a tool grew", tape.name),
                        }
                    }
                    Change::Tool { part_id, part }
                    | Change::PartFinal { part_id, part }
                    | Change::PartReplaced { part_id, part } => {
                        parts.iter_mut().find(|(id, _)| *id == part_id).unwrap().1 = part;
                    }
                    _ => {}
                }
            }
            let shown = ReplyResult::of(parts.into_iter().map(|(_, part)| part).collect());
            assert_eq!(shown.full_text, reply.result().full_text, "{}", tape.name);
            assert_eq!(shown.tool_parts, reply.result().tool_parts, "{}", tape.name);
        }
    }
}

fn only_turn(name: &str) -> &'static RecordedTurn {
    let [turn] = Tape::named(name).turns() else {
        panic!("{name} has more than one turn")
    };
    turn
}

#[test]
fn a_renamed_tool_keeps_its_name() {
    let turn = only_turn("unknown-tool");
    for result in [&fold(turn, &turn.frames).result(), turn.rebuilt()] {
        assert_eq!(result.tool_parts[0].tool, "nosuchtool");
    }
}

#[test]
fn a_subtask_shows_as_nested_progress_only() {
    let turn = only_turn("subtask");
    let (changes, reply) = changes(turn);
    assert_eq!(reply.result().full_text, "Subtask done");
    let nested: String = changes
        .iter()
        .filter_map(|change| match change {
            Change::Subtask {
                part_id: Some(_),
                change,
                ..
            } => match &**change {
                Change::PartDelta { delta, .. } => Some(delta.as_ref()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(nested, "Hello — naïve café 日本語 👩‍👩‍👧. The answer is 42.");
}

#[test]
fn requests_wait_until_they_are_answered() {
    for (name, answered_by) in [
        ("question-answered", "question.replied"),
        ("question-rejected", "question.rejected"),
        ("permission-once", "permission.replied"),
        ("permission-rejected", "permission.replied"),
    ] {
        let turn = only_turn(name);
        let answered = turn
            .frames
            .iter()
            .position(|frame| {
                String::from_utf8_lossy(frame).contains(&format!("\"type\":\"{answered_by}\""))
            })
            .unwrap();
        let waiting = fold(turn, &turn.frames[..answered]);
        assert_eq!(waiting.requests().iter().count(), 1, "{name}");
        let request = waiting.requests().iter().next().unwrap();
        assert!(request.tool().is_some(), "{name}");
        assert!(fold(turn, &turn.frames).requests().is_empty(), "{name}");
        // A permission that was refused with a word why lets the agent go on without.
        let declined = name == "question-rejected";
        let live = fold(turn, &turn.frames);
        let mut exchange = turn.exchange();
        assert_eq!(exchange.is_declined(|_| false), declined, "{name}");
        assert_eq!(
            exchange.is_declined(|call| live.has_refused(call)),
            declined,
            "{name}"
        );
        // The event says it whatever words the server has for it.
        exchange.messages.truncate(1);
        for part in &mut exchange.messages[0].parts {
            if let PartBody::Tool(call) = &mut part.body {
                call.state.error = Some("Sorry".to_owned());
            }
        }
        assert_eq!(
            exchange.is_declined(|call| live.has_refused(call)),
            name.ends_with("-rejected"),
            "{name}"
        );
    }
}

#[test]
fn a_question_is_merged_into_its_tool_part_whichever_comes_first() {
    let turn = only_turn("question-rejected");
    let asked = turn
        .frames
        .iter()
        .position(|frame| String::from_utf8_lossy(frame).contains("question.asked"))
        .unwrap();
    let reply = fold(turn, &turn.frames[..=asked]);
    let PersistedPart::Tool(tool) = &reply.parts()[0] else {
        panic!("no tool")
    };
    assert_eq!(
        tool.input.as_ref().unwrap()["questions"][0]["question"],
        "Continue?"
    );
    let request = tool.request_id.as_ref().unwrap();
    assert!(request.starts_with("que_"), "{request}");
    // It is kept behind the answer, and behind the exchange, which does not know it.
    let mut ended = fold(turn, &turn.frames);
    ended.reconcile(&turn.exchange());
    assert_eq!(
        ended.result().tool_parts[0].request_id.as_ref(),
        Some(request)
    );
    let tool_part = turn.frames[..asked]
        .iter()
        .rposition(|frame| String::from_utf8_lossy(frame).contains("call_1"));
    let mut other_order: Vec<_> = turn.frames[..=asked].to_vec();
    let tool_part = other_order.remove(tool_part.unwrap());
    other_order.push(tool_part);
    assert_eq!(fold(turn, &other_order).parts(), reply.parts());
}

#[test]
fn todos_without_a_tool_part_are_kept_in_place() {
    let turn = only_turn("text");
    let todo = br#"{"type":"todo.updated","properties":{"sessionID":"SESSION","todos":[{"content":"Plan","status":"in-progress"}]}}"#;
    let todo = String::from_utf8_lossy(todo)
        .replace("SESSION", turn.session.as_str())
        .into_bytes()
        .into_boxed_slice();
    let first_text = turn
        .frames
        .iter()
        .position(|frame| String::from_utf8_lossy(frame).contains("part.delta"))
        .unwrap();
    let mut events = turn.frames.clone();
    // The text part is there already: the plan comes behind it.
    events.insert(first_text, todo);
    let mut reply = fold(turn, &events);
    reply.reconcile(&turn.exchange());
    let parts = reply.parts();
    assert_eq!(parts.len(), 2);
    let PersistedPart::Tool(plan) = &parts[1] else {
        panic!("{parts:?}")
    };
    assert_eq!(
        serde_json::to_value(plan).unwrap()["provenance"],
        "todo.updated"
    );
    assert_eq!(
        plan.metadata.as_ref().unwrap()["todos"][0]["status"],
        TodoStatus::InProgress.as_str()
    );
}

#[test]
fn an_exchange_that_lost_the_text_does_not_erase_it() {
    // What a server says after kill -9: the message unfinished, its text part empty.
    let turn = only_turn("text");
    let last_delta = turn
        .frames
        .iter()
        .rposition(|frame| String::from_utf8_lossy(frame).contains("part.delta"))
        .unwrap();
    let mut reply = fold(turn, &turn.frames[..=last_delta]);
    let streamed = reply.result();
    let mut messages = turn.messages.clone();
    let answer = messages.last_mut().unwrap();
    (answer.info.finish, answer.info.time.completed) = (None, None);
    for part in &mut answer.parts {
        if let PartBody::Text { text, .. } = &mut part.body {
            text.clear();
        }
    }
    reply.reconcile(&Exchange::of(&turn.prompt, messages.clone()));
    assert_eq!(reply.result(), streamed);
    messages.pop();
    reply.reconcile(&Exchange::of(&turn.prompt, messages));
    assert_eq!(reply.result(), streamed);
}

#[test]
fn a_checkpoint_goes_on_where_it_was_taken() {
    for tape in Tape::all() {
        for turn in tape.turns() {
            let events: Vec<_> = turn.events().collect();
            let mut before = turn.reply();
            for (cut, event) in events.iter().enumerate() {
                if cut % 7 == 0 {
                    let stored = serde_json::to_string(&before.checkpoint()).unwrap();
                    let checkpoint = serde_json::from_str(&stored).unwrap();
                    let mut after =
                        Reply::restore(turn.session.clone(), turn.prompt.clone(), checkpoint);
                    assert_eq!(after.result(), before.result(), "{} at {cut}", tape.name);
                    events[cut..]
                        .iter()
                        .flatten()
                        .for_each(|event| after.apply(event));
                    after.reconcile(&turn.exchange());
                    let result = as_rebuilt(after.result());
                    assert_eq!(result, *turn.rebuilt(), "{} at {cut}", tape.name);
                }
                event.iter().for_each(|event| before.apply(event));
            }
        }
    }
}

#[test]
fn an_idle_before_the_prompt_was_seen_does_not_count() {
    let turn = only_turn("text");
    let idle = turn
        .frames
        .iter()
        .find(|frame| String::from_utf8_lossy(frame).contains("\"session.idle\""))
        .unwrap();
    assert!(!fold(turn, [idle]).take_idle());
    assert!(fold(turn, &turn.frames).take_idle());
}

/// One turn of the recordings.
fn any_turn() -> impl Strategy<Value = &'static RecordedTurn> {
    let turns: Vec<_> = Tape::all().iter().flat_map(Tape::turns).collect();
    prop::sample::select(turns)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Duplicated, reordered, lost: the exchange has the last word.
    #[test]
    fn any_order_of_events_ends_in_the_exchange(
        turn in any_turn(),
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..40),
        doubles in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        losses in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut frames: Vec<&[u8]> = turn.frames.iter().map(|frame| &**frame).collect();
        for (a, b) in swaps {
            let (a, b) = (a.index(frames.len()), b.index(frames.len()));
            frames.swap(a, b);
        }
        for double in doubles {
            let double = double.index(frames.len());
            frames.insert(double, frames[double]);
        }
        for loss in losses {
            frames.remove(loss.index(frames.len()));
        }
        let mut reply = fold(turn, &frames);
        reply.reconcile(&turn.exchange());
        let (mut got, mut want) = (as_rebuilt(reply.result()), turn.rebuilt().clone());
        // A plan that lost its tool part on the stream is told by the stream.
        got.parts.retain(|part| !matches!(part, PersistedPart::Tool(tool) if tool.provenance.is_some()));
        got.tool_parts.retain(|tool| tool.provenance.is_none());
        want.tool_parts.retain(|tool| tool.provenance.is_none());
        prop_assert_eq!(got, want);
    }

    /// Bytes of recordings, broken at random: errors, never a panic.
    #[test]
    fn broken_frames_never_panic(
        turn in any_turn(),
        broken in prop::collection::vec((any::<[prop::sample::Index; 3]>(), any::<u8>()), 1..20),
    ) {
        let mut frames: Vec<_> = turn.frames.iter().map(|frame| frame.to_vec()).collect();
        for ([frame, at, cut], byte) in broken {
            let frame = frame.index(turn.frames.len());
            let mut whole = turn.frames[frame].to_vec();
            let (at, cut) = (at.index(whole.len()), cut.index(whole.len()));
            whole[at] = byte;
            frames.push(whole[..cut].to_vec());
            frames[frame] = whole;
        }
        let mut reply = turn.reply();
        for frame in &frames {
            if let Ok(Some(event)) = Event::decode(frame) {
                reply.apply(&event);
            }
        }
        let _ = reply.result();
    }
}
