//! What is put in comes out.

use std::time::Duration;

use opencode_client::SessionId;
use opencode_client::reply::{PersistedPart, ToolPart, ToolStatus};
use opencode_client::wire::{Prompt, System};
use serde_json::json;

use super::Fixture;
use super::sample::{SaveOne as _, checkpoint, checkpoint_of, finish, prompt};
use crate::clock::Clock as _;
use crate::id::MessageId;
use crate::outcome::TurnError;
use crate::store::{ClaimedTurn, Lease, NewTurn, Note, StoreError, TurnStatus, Usage};

/// Every kind of character: of all lengths in UTF-8, quotes, escapes, line
/// ends, a byte order mark, unassigned and control characters, NUL too.
pub(super) fn odd_text() -> String {
    let plain = "a\u{E4}\u{20AC}\u{1F33B}\u{FEFF}\u{202E}\u{FFFF}\u{10FFFF} '\"\\ \\0 \\u0000 $1 ?1 %s {{}} \r\n\t";
    let controls: String = (0..0x20_u8).chain([0x7F]).map(char::from).collect();
    format!("\0{plain}{controls}\0\0")
}

/// Every message has a place, its size is told, and those of others are left out.
pub async fn messages_are_found_one_by_one(on: &dyn Fixture) {
    let here = on.running("garden").await.turn;
    let there = on.running("kitchen").await.turn;
    let store = on.another().await;
    let all = store.message_index(None, 0, 10).await.unwrap();
    let ids: Vec<_> = all.iter().map(|entry| entry.id.clone()).collect();
    let messages = store.messages(None, None, 10).await.unwrap();
    let known: Vec<_> = messages
        .iter()
        .map(|message| message.id.to_string())
        .collect();
    assert_eq!(ids, known);
    assert!(all.is_sorted_by(|one, next| 0 < one.place && one.place < next.place));
    for (entry, message) in all.iter().zip(&messages) {
        assert!(
            entry.bytes >= message.answer.content.len() as u64,
            "{entry:?}"
        );
    }
    let first = store.message_index(None, 0, 1).await.unwrap();
    let rest = store.message_index(None, first[0].place, 10).await.unwrap();
    assert_eq!([first, rest].concat(), all);
    for turn in [here, there] {
        let of = Some(turn.conversation);
        let found = store.message_index(of, 0, 10).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|entry| entry.id).collect();
        let own = [turn.user_message, turn.message].map(|id| id.to_string());
        assert_eq!(found, own);
    }
}

/// The session and ids of a prompt are kept; the same record twice is noted once.
pub async fn a_prompt_record_is_kept(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    for _ in 0..2 {
        on.store()
            .note(&lease, Note::Prompt(&prompt("1", false)))
            .await
            .unwrap();
        let stored = on.another().await.turn(turn.id).await.unwrap().unwrap();
        assert_eq!(
            (stored.prompted, stored.resends),
            (Some(prompt("1", false)), 0)
        );
    }
    for _ in 0..2 {
        on.store()
            .note(&lease, Note::Prompt(&prompt("2", true)))
            .await
            .unwrap();
        let stored = on.turn(turn.id).await;
        assert_eq!(
            (stored.prompted, stored.resends),
            (Some(prompt("2", true)), 1)
        );
    }
    on.store()
        .note(&lease, Note::Prompt(&prompt("3", true)))
        .await
        .unwrap();
    assert_eq!(on.turn(turn.id).await.resends, 2);
}

/// A turn replaces one session, whichever worker has it: the first one noted stays.
pub async fn the_first_replacement_stays(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    assert_eq!(turn.replaced, None);
    let (first, second) = (SessionId::from("ses_1"), SessionId::from("ses_2"));
    let note = async |lease: &Lease, lost: &SessionId| {
        let note = Note::Replacement(lost);
        on.store().note(lease, note).await.unwrap();
        on.turn(turn.id).await.replaced.unwrap()
    };
    // A worker that tries again, or died on the way, replaces the same one.
    assert_eq!(note(&lease, &first).await, first);
    assert_eq!(note(&lease, &first).await, first);
    on.expire_leases();
    let next = on.claim().await.unwrap();
    assert_eq!(next.turn.replaced.as_ref(), Some(&first));
    assert_eq!(note(&next.lease, &second).await, first);
    on.store().release(&next.lease).await.unwrap();
    assert_eq!(on.turn(turn.id).await.replaced, Some(first));
}

/// That the server is out of reach shows in the row, until it is not, or another worker begins.
pub async fn an_unreachable_server_is_noted(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    assert!(!turn.unreachable);
    for unreachable in [true, true, false, true] {
        on.store()
            .note(&lease, Note::Unreachable(unreachable))
            .await
            .unwrap();
        let stored = on.another().await.turn(turn.id).await.unwrap().unwrap();
        assert_eq!(stored.unreachable, unreachable);
    }
    on.expire_leases();
    let next = on.claim().await.unwrap();
    assert!(!next.turn.unreachable);
    assert!(!on.turn(turn.id).await.unreachable);
}

/// What has streamed is kept with the turn, and shows in its message.
pub async fn a_checkpoint_is_kept(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    let tool = ToolPart {
        tool: "write".to_owned(),
        status: ToolStatus::Running,
        input: Some(json!({"content": odd_text(), odd_text(): [1, -2.5, null, true, {}]})),
        ..ToolPart::default()
    };
    let parts = [
        PersistedPart::Reasoning {
            content: odd_text(),
        },
        PersistedPart::Tool(tool),
        PersistedPart::Text {
            content: odd_text(),
        },
    ];
    let kept = checkpoint_of(&parts);
    on.store().save_one(&lease, &kept).await.unwrap();
    assert_eq!(
        on.another()
            .await
            .turn(turn.id)
            .await
            .unwrap()
            .unwrap()
            .checkpoint,
        kept
    );
    let message = on.message(turn.message).await;
    assert_eq!(message.answer.parts, parts);
    assert_eq!(
        (message.answer.content.as_str(), message.finished_at),
        ("", None)
    );
    on.store()
        .save_one(&lease, &checkpoint("shorter"))
        .await
        .unwrap();
    assert_eq!(on.turn(turn.id).await.checkpoint, checkpoint("shorter"));
}

/// Any text is kept to the character, NUL included, wherever a row holds text.
pub async fn any_text_is_kept(on: &dyn Fixture) {
    let conversation = on.open(&odd_text()).await;
    let mut new = on.new_turn(&conversation, &odd_text());
    new.client_key = Some(odd_text());
    new.prompt.system = Some(System::Append(odd_text()));
    new.prompt.tools.insert(odd_text(), json!(true));
    let turn = on.store().submit(&new).await.unwrap().turn;
    assert_eq!(
        on.another().await.turn(turn.id).await.unwrap().unwrap(),
        turn
    );
    assert_eq!(
        (&turn.prompt, &turn.client_key),
        (&new.prompt, &new.client_key)
    );
    assert_eq!(
        on.message(new.user_message).await.answer.content,
        odd_text()
    );
    let mut claim = super::sample::claim_by(&odd_text());
    claim.only = Some(turn.id);
    let claimed = on.store().claim(&claim).await.unwrap().unwrap();
    assert_eq!(claimed.conversation.name, odd_text());
    let mut prompted = prompt("odd", false);
    prompted.changed = Some(Box::new(Prompt::text(odd_text())));
    let noting = Note::Prompt(&prompted);
    on.store().note(&claimed.lease, noting).await.unwrap();
    assert_eq!(on.turn(turn.id).await.prompted, Some(prompted));
    let error = TurnError {
        name: odd_text(),
        message: odd_text(),
        status_code: None,
        url: Some(odd_text()),
    };
    let mut end = finish(TurnStatus::Failed, &odd_text());
    end.answer.reasoning = odd_text();
    end.answer.error = Some(error);
    on.store().finish(&claimed.lease, &end).await.unwrap();
    let message = on.message(turn.message).await;
    assert_eq!(
        (&message.answer.content, &message.answer.parts),
        (&end.answer.content, &end.answer.parts)
    );
    assert_eq!(
        (&message.answer.reasoning, &message.answer.error),
        (&end.answer.reasoning, &end.answer.error)
    );
    assert_eq!(
        on.store().turn_events(turn.id).await.unwrap()[0].payload,
        end.event()
    );
}

/// A turn's own deadlines are there for whichever worker claims it.
pub async fn a_turns_deadlines_are_kept(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let mut new = on.new_turn(&conversation, "Hello");
    new.deadlines.turn = Some(Duration::from_millis(90_001));
    new.deadlines.idle = Some(Duration::from_secs(30));
    on.store().submit(&new).await.unwrap();
    let claimed = on.claim_only(new.id).await.unwrap();
    assert_eq!(claimed.turn.deadlines, new.deadlines);
}

/// What nests as deep as a server can send it is kept.
pub async fn deep_nesting_is_kept(on: &dyn Fixture) {
    let deep = (0..128).fold(json!("core"), |inner, _| json!([inner]));
    let tool = ToolPart {
        tool: "write".to_owned(),
        input: Some(deep.clone()),
        ..ToolPart::default()
    };
    let conversation = on.open("garden").await;
    let mut new = on.new_turn(&conversation, "Hello");
    new.prompt.format = Some(deep);
    let turn = on.store().submit(&new).await.unwrap().turn;
    let claimed = on.claim().await.unwrap();
    let kept = checkpoint_of(&[PersistedPart::Tool(tool.clone())]);
    on.store().save_one(&claimed.lease, &kept).await.unwrap();
    let row = on.turn(turn.id).await;
    assert!(row.prompt == new.prompt && row.checkpoint == kept);
    let mut end = finish(TurnStatus::Completed, "");
    end.answer.parts = vec![PersistedPart::Tool(tool)];
    on.store().finish(&claimed.lease, &end).await.unwrap();
    assert!(on.message(turn.message).await.answer.parts == end.answer.parts);
}

/// Five million characters are kept, in a prompt, a checkpoint and a message.
pub async fn five_megabytes_are_kept(on: &dyn Fixture) {
    let big = "0123456789abcde\u{E9}".repeat(5_000_000 / 16);
    let conversation = on.open("garden").await;
    let turn = on.submit(&conversation, &big).await;
    let claimed = on.claim().await.unwrap();
    assert!(
        claimed.turn.prompt.text == big,
        "the prompt came out otherwise"
    );
    on.store()
        .save_one(&claimed.lease, &checkpoint(&big))
        .await
        .unwrap();
    assert!(
        on.turn(turn.id).await.checkpoint == checkpoint(&big),
        "the checkpoint came out otherwise"
    );
    on.store()
        .finish(&claimed.lease, &finish(TurnStatus::Completed, &big))
        .await
        .unwrap();
    let message = on.message(turn.message).await;
    assert!(
        message.answer.content == big,
        "the content came out otherwise"
    );
    assert!(
        message.answer.parts == [PersistedPart::Text { content: big }],
        "the parts came out otherwise"
    );
}

/// Costs are kept to the last bit, token counts beyond 2^53.
pub async fn numbers_are_kept(on: &dyn Fixture) {
    for (number, cost) in [0.0, 0.1 + 0.2, 1.0 / 3.0, 5e-324, 123_456_789.123_456_79]
        .into_iter()
        .enumerate()
    {
        let ClaimedTurn { lease, turn, .. } = on.running(&number.to_string()).await;
        let usage = Usage {
            cost,
            input_tokens: (1 << 53) + 1,
            output_tokens: u64::from(u32::MAX),
            cache_read_tokens: i64::MAX as u64,
            cache_write_tokens: 0,
        };
        let mut end = finish(TurnStatus::Completed, "");
        end.answer.usage = usage;
        on.store().finish(&lease, &end).await.unwrap();
        assert_eq!(on.message(turn.message).await.answer.usage, usage);
    }
}

/// The messages before one are read newest first, of its conversation alone.
pub async fn messages_are_read_backwards(on: &dyn Fixture) {
    let conversations = [on.open("one").await, on.open("two").await];
    let mut of_one: Vec<MessageId> = Vec::new();
    // More than a page of any store.
    for number in 0..80 {
        let new = on.new_turn(&conversations[number % 2], &number.to_string());
        on.store().submit(&new).await.unwrap();
        if number % 2 == 0 {
            of_one.extend([new.user_message, new.message]);
        }
    }
    for (at, limit) in [(0, 5), (1, 5), (5, 5), (6, 5), (79, 3), (79, 100), (70, 0)] {
        let (store, before) = (on.store(), Some(of_one[at]));
        let older = store.messages_before(conversations[0].id, before, limit);
        let older = older.await.unwrap();
        let older: Vec<_> = older.iter().map(|message| message.id).collect();
        let expected = of_one[..at].iter().rev().take(limit as usize).copied();
        assert_eq!(older, expected.collect::<Vec<_>>(), "{limit} before {at}");
    }
    let store = on.store();
    let newest = store.messages_before(conversations[0].id, None, 3);
    let newest: Vec<_> = newest
        .await
        .unwrap()
        .iter()
        .map(|message| message.id)
        .collect();
    assert_eq!(
        newest,
        of_one.iter().rev().take(3).copied().collect::<Vec<_>>()
    );
}

/// A message of another conversation is no place in this one, nor is one that there is not.
pub async fn places_of_other_conversations_are_refused(on: &dyn Fixture) {
    let (one, two) = (on.open("one").await, on.open("two").await);
    let here = on.submit(&one, "here").await.message;
    let there = on.submit(&two, "there").await.message;
    let store = on.store();
    assert_eq!(
        store.messages(Some(one.id), Some(here), 1).await.unwrap(),
        []
    );
    let unknown = MessageId::from_uuid(on.clock().new_uuid());
    for place in [there, unknown] {
        for refused in [
            store.messages_before(one.id, Some(place), 1).await,
            store.messages(Some(one.id), Some(place), 1).await,
        ] {
            assert!(
                matches!(&refused, Err(StoreError::NotFound { what: "message", id }) if *id == place.to_string()),
                "{refused:?}"
            );
        }
    }
}

/// Messages are read page by page, oldest first, of one conversation or of all.
pub async fn messages_come_in_pages(on: &dyn Fixture) {
    let conversations = [on.open("one").await, on.open("two").await];
    let mut made: Vec<NewTurn> = Vec::new();
    for number in 0..6 {
        let new = on.new_turn(&conversations[number % 2], &number.to_string());
        on.store().submit(&new).await.unwrap();
        made.push(new);
        on.clock().advance(Duration::from_millis(1));
    }
    let all: Vec<_> = made
        .iter()
        .flat_map(|new| [new.user_message, new.message])
        .collect();
    let of_one: Vec<_> = made
        .iter()
        .step_by(2)
        .flat_map(|new| [new.user_message, new.message])
        .collect();
    for (conversation, expected) in [(None, &all), (Some(conversations[0].id), &of_one)] {
        for limit in [1, 2, 5, 100] {
            let mut read: Vec<MessageId> = Vec::new();
            loop {
                let page = on
                    .store()
                    .messages(conversation, read.last().copied(), limit)
                    .await
                    .unwrap();
                assert!(page.len() <= limit as usize);
                if page.is_empty() {
                    break;
                }
                read.extend(page.iter().map(|message| message.id));
                assert!(read.len() <= expected.len(), "a page repeats");
            }
            assert_eq!(&read, expected, "limit {limit}");
        }
    }
    assert_eq!(on.store().messages(None, None, 0).await.unwrap(), []);
    let unknown = MessageId::from_uuid(on.clock().new_uuid());
    let refused = on.store().messages(None, Some(unknown), 1).await;
    assert!(
        matches!(
            refused,
            Err(StoreError::NotFound {
                what: "message",
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(on.store().message(unknown).await.unwrap(), None);
}
