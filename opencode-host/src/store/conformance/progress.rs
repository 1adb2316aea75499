//! What has streamed is saved: for many turns at once, first the whole, then what has come.

use std::time::Duration;

use opencode_client::reply::{Growth, PersistedPart};
use serde_json::json;

use super::Fixture;
use super::sample::{SaveOne as _, checkpoint, finish};
use crate::clock::Clock as _;
use crate::store::{ClaimedTurn, Progress, StoreError, Streamed, TurnStatus};

/// What has streamed of many turns is saved at once; a lease that is lost holds up no other.
pub async fn turns_are_saved_together(on: &dyn Fixture) {
    let store = on.store();
    let lost = on.running("lost").await;
    on.expire_leases();
    let other = on.claim().await.unwrap();
    assert_eq!(other.turn.id, lost.turn.id);
    let (first, second) = (on.running("first").await, on.running("second").await);
    let ended = on.running("ended").await;
    let kept = finish(TurnStatus::Completed, "Kept");
    store.finish(&ended.lease, &kept).await.unwrap();
    let deleted = on.running("deleted").await;
    store
        .delete_conversation(deleted.conversation.id, None)
        .await
        .unwrap();
    let said = |text: &str| checkpoint(text);
    let (one, two, late) = (said("One"), said("Two"), said("late"));
    let progress = |lease, checkpoint| Progress {
        lease,
        streamed: Streamed::Whole(checkpoint),
    };
    let all = [
        progress(&lost.lease, &late),
        progress(&second.lease, &two),
        progress(&ended.lease, &late),
        progress(&first.lease, &one),
        progress(&deleted.lease, &late),
    ];
    let mut told = store.save(&all).await.unwrap();
    told.sort_by_key(|lease| lease.turn);
    let mut expected = [lost.lease, ended.lease, deleted.lease];
    expected.sort_by_key(|lease| lease.turn);
    assert_eq!(told, expected);
    for (claimed, text) in [(&first, "One"), (&second, "Two")] {
        assert_eq!(on.turn(claimed.turn.id).await.checkpoint, checkpoint(text));
        let message = on.message(claimed.turn.message).await;
        assert_eq!(message.answer.parts, checkpoint(text).parts());
    }
    assert_ne!(on.turn(lost.turn.id).await.checkpoint, late);
    let message = on.message(ended.turn.message).await;
    assert_eq!(message.answer.content, "Kept");
    // The same again is nothing new, and no lease of those is lost.
    assert_eq!(store.save(&all[1..2]).await.unwrap(), []);
    assert_eq!(store.save(&[]).await.unwrap(), []);
}

/// Writing down the same again is no progress.
pub async fn an_equal_checkpoint_is_no_progress(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    on.store()
        .save_one(&lease, &checkpoint("So far"))
        .await
        .unwrap();
    let first_at = on.clock().now();
    on.expire_leases();
    let ClaimedTurn { lease, .. } = on.claim().await.unwrap();
    on.store()
        .save_one(&lease, &checkpoint("So far"))
        .await
        .unwrap();
    let row = on.turn(turn.id).await;
    assert_eq!((row.attempts, row.progress_at()), (1, Some(first_at)));
    on.store()
        .save_one(&lease, &checkpoint("So far, and"))
        .await
        .unwrap();
    let row = on.turn(turn.id).await;
    assert_eq!(
        (row.attempts, row.progress_at()),
        (0, Some(on.clock().now()))
    );
}

fn more(number: u64, growth: &Growth) -> Streamed<'_> {
    Streamed::More { number, growth }
}

/// What has come to a reply since its whole was saved is put together with that wherever the turn is read: by who looks, by
/// the next worker, and behind the end.
pub async fn what_has_come_is_added_to_the_whole(on: &dyn Fixture) {
    let store = on.store();
    let first = on.running("garden").await;
    let growth = |json: serde_json::Value| serde_json::from_value::<Growth>(json).unwrap();
    let grown = |from: usize, text: &str| {
        growth(json!({"count": 1, "parts": [[0, {"more": {"from": from, "text": text}}]]}))
    };
    let texts = |parts: &[PersistedPart]| -> Vec<String> {
        let text = |part: &PersistedPart| match part {
            PersistedPart::Text { content } => content.clone(),
            other => panic!("{other:?}"),
        };
        parts.iter().map(text).collect()
    };
    let is_saved = async |expected: &[&str]| {
        let row = on.turn(first.turn.id).await;
        assert_eq!(texts(&row.checkpoint.parts()), expected);
        let message = on.message(first.turn.message).await;
        assert_eq!(texts(&message.answer.parts), expected);
        let indexed = store
            .message_index(Some(first.conversation.id), 0, 10)
            .await;
        let of_answer = indexed.unwrap().pop().unwrap();
        let least = expected.iter().map(|text| text.len() as u64).sum::<u64>();
        assert!(of_answer.bytes >= least, "{of_answer:?}");
    };
    store
        .save_one(&first.lease, &checkpoint("A \0b"))
        .await
        .unwrap();
    let odd = grown(4, " \\0\0\\");
    let new_part = growth(json!({"count": 2, "parts": [
        [0, {"more": {"from": 8, "text": " end."}}],
        [1, {"whole": {"part": {"type": "text", "content": "Second"}}}],
    ]}));
    on.clock().advance(Duration::from_secs(1));
    for (number, growth, expected) in [
        (1, &odd, &["A \0b \\0\0\\"][..]),
        (2, &new_part, &["A \0b \\0\0 end.", "Second"]),
    ] {
        store
            .save_streamed(&first.lease, more(number, growth))
            .await
            .unwrap();
        is_saved(expected).await;
    }
    assert_eq!(
        on.turn(first.turn.id).await.progress_at(),
        Some(on.clock().now())
    );
    // Who takes the turn over has all of it, and whose lease is lost adds nothing.
    on.expire_leases();
    let second = on.claim().await.unwrap();
    assert_eq!(
        texts(&second.turn.checkpoint.parts()),
        ["A \0b \\0\0 end.", "Second"]
    );
    let late = grown(0, "late");
    let refused = store.save_streamed(&first.lease, more(3, &late)).await;
    assert!(
        matches!(refused, Err(StoreError::LeaseLost { .. })),
        "{refused:?}"
    );
    is_saved(&["A \0b \\0\0 end.", "Second"]).await;
    // A whole is all there is.
    store
        .save_one(&second.lease, &checkpoint("Anew"))
        .await
        .unwrap();
    is_saved(&["Anew"]).await;
    store
        .save_streamed(&second.lease, more(1, &grown(4, ".")))
        .await
        .unwrap();
    is_saved(&["Anew."]).await;
    let none = growth(json!({"count": 0}));
    store
        .save_streamed(&second.lease, more(2, &none))
        .await
        .unwrap();
    is_saved(&[]).await;
    store
        .save_one(&second.lease, &checkpoint("Anew"))
        .await
        .unwrap();
    store
        .save_streamed(&second.lease, more(1, &grown(4, ", and on")))
        .await
        .unwrap();
    store.release(&second.lease).await.unwrap();
    is_saved(&["Anew, and on"]).await;
    let third = on.claim().await.unwrap();
    assert_eq!(texts(&third.turn.checkpoint.parts()), ["Anew, and on"]);
    store
        .save_streamed(&third.lease, more(1, &grown(12, ".")))
        .await
        .unwrap();
    let progress_at = on.turn(first.turn.id).await.progress_at();
    on.clock().advance(Duration::from_secs(1));
    store
        .finish(&third.lease, &finish(TurnStatus::Completed, "End"))
        .await
        .unwrap();
    let ended = on.turn(first.turn.id).await;
    assert_eq!(texts(&ended.checkpoint.parts()), ["Anew, and on."]);
    assert!(progress_at.is_some());
    let refused = store.save_streamed(&third.lease, more(2, &late)).await;
    assert!(
        matches!(refused, Err(StoreError::LeaseLost { .. })),
        "{refused:?}"
    );
    assert_eq!(
        texts(&on.turn(first.turn.id).await.checkpoint.parts()),
        ["Anew, and on."]
    );
    assert_eq!(on.message(first.turn.message).await.answer.content, "End");
}
