//! What a browser lacks of a reply, and what it is sent.

use opencode_host::client::reply::{
    Change, PartKind, PersistedPart, SnapshotPart, ToolPart, ToolStatus, View,
};
use opencode_host::id::{MessageId, TurnId};
use opencode_host::live::Cursor;
use uuid::Uuid;

use super::{LiveAnswer, MAX_LIVE};
use crate::web::base_path::BasePath;
use crate::web::views::patch::Patch;

const HERE: Cursor = Cursor {
    generation: 1,
    sequence: 1,
};

/// A reply, and a browser that shows it.
struct Shown {
    view: View,
    answer: LiveAnswer,
}

fn answer() -> Shown {
    let mut shown = Shown {
        view: View::default(),
        answer: browser(),
    };
    shown.answer.whole(HERE, &shown.view, "").unwrap();
    shown
}

fn browser() -> LiveAnswer {
    LiveAnswer::new(
        BasePath::default(),
        TurnId::from_uuid(Uuid::nil()),
        MessageId::from_uuid(Uuid::nil()),
        None,
    )
}

impl Shown {
    fn apply(&mut self, change: &Change<'_>) {
        self.view.apply(change);
    }
}

fn text(content: &str) -> PersistedPart {
    PersistedPart::Text {
        content: content.to_owned(),
    }
}

fn added(part_id: &'static str, part: PersistedPart) -> Change<'static> {
    Change::PartAdded {
        part_id: part_id.into(),
        part,
    }
}

fn delta(part_id: &'static str, delta: &str) -> Change<'static> {
    Change::PartDelta {
        part_id: part_id.into(),
        kind: PartKind::Text,
        delta: delta.to_owned().into(),
    }
}

/// The patches as lines: operation, target without the message's id, text without tags.
fn told(shown: &mut Shown) -> Vec<String> {
    let short = |target: &str| target.replace("m-00000000-0000-0000-0000-000000000000", "m");
    let bare = |html: &str| {
        let mut inside = false;
        let text = html.chars().filter(|c| {
            let keep = !inside && *c != '<';
            inside = (inside || *c == '<') && *c != '>';
            keep
        });
        text.collect::<String>().trim().to_owned()
    };
    let line = |patch: Patch| match patch {
        Patch::Append(target, html) => format!("append {} {}", short(&target), bare(&html)),
        Patch::Replace(target, html) => format!("replace {} {}", short(&target), bare(&html)),
        Patch::Grow(target, _, html) => format!("grow {} {}", short(&target), bare(&html)),
        Patch::Remove(target) => format!("remove {}", short(&target)),
        Patch::RemoveFrom(target) => format!("remove from {}", short(&target)),
        Patch::Visit(url) => format!("visit {url}"),
    };
    shown
        .answer
        .patches(HERE, &shown.view)
        .unwrap()
        .into_iter()
        .map(line)
        .collect()
}

#[test]
fn a_growing_text_sends_the_blocks_that_changed() {
    let mut answer = answer();
    answer.apply(&added("p", text("")));
    answer.apply(&delta("p", "One"));
    assert_eq!(told(&mut answer), ["append m-parts One"]);
    answer.apply(&delta("p", " more.\n\nTwo.\n\n"));
    assert_eq!(
        told(&mut answer),
        ["replace m-p-0 One more.", "append m-p Two."]
    );
    answer.apply(&delta("p", "- a\n"));
    assert_eq!(told(&mut answer), ["append m-p a"]);
    answer.apply(&Change::PartReplaced {
        part_id: "p".into(),
        part: text("One more."),
    });
    assert_eq!(told(&mut answer), ["remove m-p-1", "remove m-p-2"]);
    answer.apply(&Change::PartFinal {
        part_id: "p".into(),
        part: text("One more."),
    });
    assert!(told(&mut answer).is_empty());
    answer.apply(&Change::PartRemoved {
        part_id: "p".into(),
    });
    assert_eq!(told(&mut answer), ["remove m-p"]);
}

#[test]
fn reasoning_grows_inside_its_fold() {
    let mut answer = answer();
    answer.apply(&added(
        "r",
        PersistedPart::Reasoning {
            content: "Hm".to_owned(),
        },
    ));
    assert_eq!(told(&mut answer), ["append m-parts ReasoningHm"]);
    answer.apply(&delta("r", ".\n\nWell."));
    assert_eq!(
        told(&mut answer),
        ["replace m-r-0 Hm.", "append m-r-body Well."]
    );
}

#[test]
fn a_tool_is_replaced_as_it_goes_on() {
    let tool = |status| {
        PersistedPart::Tool(ToolPart {
            tool: "read".to_owned(),
            status,
            ..ToolPart::default()
        })
    };
    let mut answer = answer();
    answer.apply(&added("t", tool(ToolStatus::Pending)));
    answer.apply(&Change::Tool {
        part_id: "t".into(),
        part: tool(ToolStatus::Running),
    });
    assert_eq!(told(&mut answer), ["append m-parts Reading"]);
    answer.apply(&Change::Tool {
        part_id: "t".into(),
        part: tool(ToolStatus::Completed),
    });
    assert_eq!(told(&mut answer), ["replace m-t Read"]);
}

#[test]
fn what_was_missed_is_sent_whole_and_nothing_else() {
    let mut shown = answer();
    for id in ["a", "b", "c"] {
        shown.apply(&added(id, text(&format!("Text {id}."))));
    }
    let seen = shown.view.revision();
    shown.apply(&delta("b", " More."));
    shown.apply(&Change::PartRemoved {
        part_id: "a".into(),
    });
    shown.apply(&added("d", text("Text d.")));
    shown.answer = browser();
    shown.answer.resume(&shown.view, seen);
    let missed = [
        "remove m-a",
        "replace m-b Text b. More.",
        "append m-parts Text d.",
        "replace m-notice",
    ];
    let lines = told(&mut shown);
    let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
    assert_eq!(lines, missed);
    shown.apply(&delta("d", " More."));
    assert_eq!(told(&mut shown), ["replace m-d-0 Text d. More."]);
    assert!(told(&mut shown).is_empty());
}

#[test]
fn who_was_away_for_too_long_gets_the_whole() {
    let mut shown = answer();
    shown.apply(&added("a", text("One.")));
    let seen = shown.view.revision();
    let parts = ["b", "a"].map(|id| SnapshotPart {
        part_id: id.into(),
        part: text("Other."),
    });
    shown.apply(&Change::Snapshot {
        parts: parts.to_vec(),
    });
    shown.answer = browser();
    shown.answer.resume(&shown.view, seen);
    let told = told(&mut shown);
    assert!(
        told.len() == 1 && told[0].starts_with("replace m "),
        "{told:?}"
    );
}

#[test]
fn a_part_that_comes_before_another_gives_the_whole() {
    let mut shown = answer();
    shown.apply(&added("a", text("One.")));
    assert_eq!(told(&mut shown), ["append m-parts One."]);
    let parts = ["b", "a"].map(|id| SnapshotPart {
        part_id: id.into(),
        part: text("Other."),
    });
    shown.apply(&Change::Snapshot {
        parts: parts.to_vec(),
    });
    assert_eq!(told(&mut shown).len(), 1);
    // In the same order, each part by itself.
    let parts = [("b", "Other."), ("a", "New."), ("c", "End.")].map(|(id, words)| SnapshotPart {
        part_id: id.into(),
        part: text(words),
    });
    shown.apply(&Change::Snapshot {
        parts: parts.to_vec(),
    });
    assert_eq!(
        told(&mut shown),
        ["replace m-a-0 New.", "append m-parts End."]
    );
}

#[test]
fn a_sub_agents_newest_steps_show_while_it_works() {
    let task = |status| {
        PersistedPart::Tool(ToolPart {
            tool: "task".to_owned(),
            status,
            ..ToolPart::default()
        })
    };
    let mut shown = answer();
    shown.apply(&added("t", task(ToolStatus::Running)));
    told(&mut shown);
    for number in 0..8 {
        let part_id = format!("p{number}");
        let part = text(&format!("{}step {number}", "x".repeat(200)));
        let change = Change::PartAdded {
            part_id: part_id.into(),
            part,
        };
        shown.apply(&Change::Subtask {
            part_id: Some("t".into()),
            session_id: "ses_child".into(),
            change: Box::new(change),
        });
    }
    let lines = told(&mut shown);
    assert!(
        lines[0].starts_with("replace m-t") && lines[0].contains("2 earlier…xxx"),
        "{lines:?}"
    );
    assert!(lines[0].ends_with("step 7"), "{lines:?}");
    shown.apply(&Change::Tool {
        part_id: "t".into(),
        part: task(ToolStatus::Completed),
    });
    // Once it has ended, all of them are folded away behind it.
    let lines = told(&mut shown);
    assert!(
        lines[0].contains("step 0") && lines[0].contains("step 7") && !lines[0].contains("earlier"),
        "{lines:?}"
    );
}

#[test]
fn a_sub_agents_files_are_named_as_its_conversations_are() {
    let mut shown = answer();
    shown.answer.folder = Some("/srv/sandbox".to_owned());
    let call = |tool: &str, status, input| {
        PersistedPart::Tool(ToolPart {
            tool: tool.to_owned(),
            status,
            input,
            ..ToolPart::default()
        })
    };
    shown.apply(&added("t", call("task", ToolStatus::Running, None)));
    told(&mut shown);
    let input = serde_json::json!({"filePath": "/srv/sandbox/deep/inner.md"});
    let part = call("read", ToolStatus::Completed, Some(input));
    shown.apply(&Change::Subtask {
        part_id: Some("t".into()),
        session_id: "ses_child".into(),
        change: Box::new(added("p", part)),
    });
    let lines = told(&mut shown);
    assert!(lines[0].ends_with("Read deep/inner.md"), "{lines:?}");
}

#[test]
fn a_notice_shows_until_the_answer_goes_on() {
    let mut shown = answer();
    shown.apply(&added("p", text("One")));
    told(&mut shown);
    shown.apply(&Change::ServerUnreachable {
        message: "Gone.".into(),
    });
    assert_eq!(told(&mut shown), ["replace m-notice Gone."]);
    shown.apply(&delta("p", " more"));
    let told = told(&mut shown);
    assert_eq!(
        told.iter().map(|line| line.trim()).collect::<Vec<_>>(),
        ["replace m-p-0 One more", "replace m-notice"]
    );
}

#[test]
fn deltas_before_their_part_are_text() {
    let mut answer = answer();
    answer.apply(&delta("p", "Early"));
    assert_eq!(told(&mut answer), ["append m-parts Early"]);
}

#[test]
fn an_endless_answer_takes_bounded_memory_and_says_so() {
    let mut answer = answer();
    answer.apply(&added("p", text("")));
    for _ in 0..40 {
        answer.apply(&delta("p", &"é".repeat(32 << 10)));
    }
    for number in 0..4_096 {
        let part = PersistedPart::Tool(ToolPart {
            tool: "read".to_owned(),
            output: Some("x".repeat(99)),
            ..ToolPart::default()
        });
        answer.apply(&Change::PartAdded {
            part_id: format!("t{number}").into(),
            part,
        });
    }
    let html = answer.answer.whole(HERE, &answer.view, "").unwrap();
    assert!(html.len() < MAX_LIVE + (16 << 10), "{}", html.len());
    assert!(
        html.contains("very long") && !html.contains("m-00000000-0000-0000-0000-000000000000-t0")
    );
    // Nothing shows behind a text that had no room.
    answer.apply(&delta("p", "behind the room"));
    assert!(told(&mut answer).is_empty());
}

/// What a browser makes of the patches of one text that grows: its blocks, and how many bytes came.
fn grown(parts: impl IntoIterator<Item = String>) -> (Vec<String>, usize) {
    let mut shown = answer();
    shown.apply(&added("p", text("")));
    shown.answer.whole(HERE, &shown.view, "").unwrap();
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut bytes = 0;
    for part in parts {
        shown.apply(&Change::PartDelta {
            part_id: "p".into(),
            kind: PartKind::Text,
            delta: part.into(),
        });
        for patch in shown.answer.patches(HERE, &shown.view).unwrap() {
            bytes += serde_json::to_string(&patch).unwrap().len();
            match patch {
                // The element is in the HTML.
                Patch::Append(_, html) => {
                    let id = html.split("id=\"").last().unwrap();
                    let id = id.split('"').next().unwrap().to_owned();
                    blocks.push((id, html));
                }
                Patch::Replace(id, html) => {
                    let block = blocks.iter_mut().find(|(known, _)| *known == id);
                    block.unwrap().1 = html;
                }
                Patch::Grow(id, kept, html) => {
                    let block = blocks.iter_mut().find(|(known, _)| *known == id);
                    let (_, old) = block.unwrap();
                    let units: Vec<u16> = old.encode_utf16().take(kept).collect();
                    *old = String::from_utf16(&units).unwrap() + &html;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    (blocks.into_iter().map(|(_, html)| html).collect(), bytes)
}

#[test]
fn one_growing_block_costs_its_length_and_not_its_square() {
    let pieces = |line: &str, count: usize| {
        let piece = line.repeat(20);
        (0..count / 20).map(|_| piece.clone()).collect::<Vec<_>>()
    };
    // Each of 200,000 characters, in a hundred pieces.
    let code = pieces(&format!("{}\n", "let x = 1; ".repeat(9)), 2000);
    let code = [vec!["```rust\n".to_owned()], code].concat();
    let list = pieces(&format!("- {}\n", "wörd 🚀 ".repeat(14)), 2000);
    for parts in [code, list] {
        let whole: String = parts.concat();
        assert!(
            whole.chars().count() >= 200_000,
            "{}",
            whole.chars().count()
        );
        let (blocks, bytes) = grown(parts);
        assert!(bytes < 1_500_000, "{bytes}");
        // And what the browser has is what a reload shows.
        let last = grown([whole]).0;
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks, last);
    }
}
