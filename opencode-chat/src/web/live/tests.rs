use opencode_host::client::reply::{Change, PersistedPart, SnapshotPart, ToolPart, ToolStatus};
use opencode_host::id::{MessageId, TurnId};
use opencode_host::live::Cursor;
use uuid::Uuid;

use super::{LiveAnswer, MAX_LIVE};
use crate::web::base_path::BasePath;
use crate::web::patch::Patch;

const HERE: Cursor = Cursor {
    generation: 1,
    sequence: 1,
};

fn answer() -> LiveAnswer {
    let mut answer = LiveAnswer::new(
        BasePath::default(),
        TurnId::from_uuid(Uuid::nil()),
        MessageId::from_uuid(Uuid::nil()),
        None,
    );
    answer.is_shown();
    answer
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
        kind: "text".into(),
        delta: delta.to_owned().into(),
    }
}

/// The patches as lines: operation, target without the message's id, text without tags.
fn told(answer: &mut LiveAnswer) -> Vec<String> {
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
        Patch::Remove(target) => format!("remove {}", short(&target)),
        Patch::Visit(url) => format!("visit {url}"),
    };
    answer
        .patches(HERE)
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
    let parts = ["a", "b", "c"].map(|id| SnapshotPart {
        part_id: id.to_owned(),
        part: text(&format!("Text {id}.")),
    });
    let mut answer = answer();
    answer.reset(&parts, &[]);
    answer.is_shown();
    assert!(told(&mut answer).is_empty());
    answer.missed(&delta("b", "b."));
    answer.missed(&added("c", text("Text c.")));
    assert_eq!(
        told(&mut answer),
        ["replace m-b Text b.", "append m-parts Text c."]
    );
    answer.apply(&delta("c", " More."));
    assert_eq!(told(&mut answer), ["replace m-c-0 Text c. More."]);
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
    for number in 0..10_000 {
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
    assert!(answer.size <= MAX_LIVE, "{}", answer.size);
    assert!(answer.parts.len() < 10);
    let told = told(&mut answer);
    assert!(
        told.last().unwrap().contains("very long"),
        "{:?}",
        told.last()
    );
    // A text that had no room does not go on behind the hole.
    let before = answer.size;
    answer.apply(&Change::PartRemoved {
        part_id: "t0".into(),
    });
    answer.apply(&delta("p", "after the hole"));
    assert!(answer.size <= before);
}
