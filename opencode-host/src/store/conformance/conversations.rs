//! Conversations and their list.

use std::time::Duration;

use futures_util::future::join_all;

use super::Fixture;
use super::sample::{SaveOne as _, checkpoint, claim_by, session};
use crate::clock::Clock as _;
use crate::id::ConversationId;
use crate::store::{
    ConversationFilter, LeaseStatus, MAX_KEY_CHARS, Page, StoreError, Swapped, Tenant,
};

/// A name is one conversation, for any number who open it at once.
pub async fn names_are_unique(on: &dyn Fixture) {
    let (here, there) = (on.store(), on.another().await);
    assert_eq!(
        here.conversation_named(&Tenant::default(), "garden")
            .await
            .unwrap(),
        None
    );
    let opened = join_all((0..20).map(|number| {
        let store = if number % 2 == 0 {
            here.clone()
        } else {
            there.clone()
        };
        async move {
            store
                .open_conversation(&Tenant::default(), "garden")
                .await
                .unwrap()
        }
    }));
    let opened = opened.await;
    assert!(
        opened.iter().all(|conversation| *conversation == opened[0]),
        "{opened:?}"
    );
    assert_eq!(opened[0].session, None);
    assert_eq!(opened[0].created_at, on.clock().now());
    let found = there
        .conversation_named(&Tenant::default(), "garden")
        .await
        .unwrap();
    assert_eq!(found.as_ref(), Some(&opened[0]));
    assert_eq!(there.conversation(opened[0].id).await.unwrap(), found);
    let unknown = ConversationId::from_uuid(on.clock().new_uuid());
    assert_eq!(here.conversation(unknown).await.unwrap(), None);
    assert_eq!(
        here.conversations(&ConversationFilter::default(), &Page::newest(10))
            .await
            .unwrap()
            .len(),
        1
    );
}

/// A name may hold any character, and different names are different conversations.
pub async fn names_are_kept_as_they_are(on: &dyn Fixture) {
    let names = [
        "",
        " ",
        "a",
        "A",
        "a ",
        "a\0b",
        "a\\0b",
        "a\\\\0b",
        "\\",
        "näh",
        "na\u{308}h",
        "'; --",
        "\u{1F33B}",
    ];
    let mut ids = Vec::new();
    for name in names {
        let made = on.open(name).await;
        assert_eq!(made.name, name);
        assert_eq!(
            on.store().conversation(made.id).await.unwrap(),
            Some(made.clone())
        );
        ids.push(made.id);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), names.len());
}

/// A name has at most [`MAX_KEY_CHARS`] characters, of any size.
pub async fn names_have_a_bound(on: &dyn Fixture) {
    for letter in ["a", "\u{1F33B}", "\\", "\0"] {
        let longest = letter.repeat(MAX_KEY_CHARS);
        assert_eq!(on.open(&longest).await.name, longest);
        let refused = on
            .store()
            .open_conversation(&Tenant::default(), &letter.repeat(MAX_KEY_CHARS + 1))
            .await;
        assert!(
            matches!(
                refused,
                Err(StoreError::TooLong {
                    limit: MAX_KEY_CHARS,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}

/// Conversations are listed by their last submit, or by when they were made.
pub async fn summaries_come_newest_first(on: &dyn Fixture) {
    let mut made = Vec::new();
    for name in ["one", "two", "three"] {
        made.push(on.open(name).await);
        on.clock().advance(Duration::from_secs(1));
    }
    on.submit(&made[0], "Again").await;
    let submitted_at = on.clock().now();
    on.clock().advance(Duration::from_secs(1));
    let names = async |limit| {
        let listed = on
            .store()
            .conversations(&ConversationFilter::default(), &Page::newest(limit))
            .await
            .unwrap();
        listed
            .into_iter()
            .map(|summary| summary.conversation.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(10).await, ["one", "three", "two"]);
    assert_eq!(names(2).await, ["one", "three"]);
    assert_eq!(names(0).await, [""; 0]);
    let listed = on
        .store()
        .conversations(&ConversationFilter::default(), &Page::newest(2))
        .await
        .unwrap();
    assert_eq!(listed[0].used_at, submitted_at);
    assert_eq!(listed[1].used_at, listed[1].conversation.created_at);
}

/// A summary has the start of the first prompt, and says whether a turn is queued or runs.
pub async fn a_summary_tells_the_first_prompt(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let summary = async || {
        on.store()
            .conversations(&ConversationFilter::default(), &Page::newest(1))
            .await
            .unwrap()
            .remove(0)
    };
    assert_eq!(
        (summary().await.excerpt, summary().await.busy),
        (None, false)
    );
    let first = on.submit(&conversation, &"\u{1F33B}\0x".repeat(100)).await;
    on.submit(&conversation, "second").await;
    let told = summary().await;
    let excerpt = told.excerpt.unwrap();
    assert_eq!(excerpt.chars().count(), 200);
    assert!("\u{1F33B}\0x".repeat(100).starts_with(&excerpt));
    assert!(told.busy, "two are queued");
    let claimed = on.claim_only(first.id).await.unwrap();
    on.complete(&claimed.lease).await;
    assert!(summary().await.busy, "one is queued");
    let claimed = on.claim().await.unwrap();
    assert!(summary().await.busy, "one runs");
    on.complete(&claimed.lease).await;
    assert!(!summary().await.busy);
}

/// A deleted conversation is gone with all it had, a running turn too.
pub async fn deletion_takes_messages_and_turns(on: &dyn Fixture) {
    let claimed = on.running("garden").await;
    let conversation = claimed.conversation.clone();
    let queued = on.submit(&conversation, "More").await;
    let store = on.store();
    let lock = store
        .lock_session(conversation.id, Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(lock.set(&session("ses_1")).await.unwrap(), Swapped::Yes);

    let deleted = on
        .store()
        .delete_conversation(conversation.id, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        deleted.session,
        Some(session("ses_1")),
        "so that it can be deleted upstream"
    );
    assert_eq!(deleted.id, conversation.id);
    assert_eq!(
        on.store()
            .delete_conversation(conversation.id, None)
            .await
            .unwrap(),
        None
    );

    assert_eq!(
        on.store().conversation(conversation.id).await.unwrap(),
        None
    );
    for turn in [&claimed.turn, &queued] {
        assert_eq!(on.store().turn(turn.id).await.unwrap(), None);
        assert_eq!(on.store().message(turn.message).await.unwrap(), None);
        assert_eq!(on.store().turn_events(turn.id).await.unwrap(), []);
    }
    assert_eq!(on.store().messages(None, None, 10).await.unwrap(), []);
    on.expire_leases();
    assert!(on.claim().await.is_none());
    assert_eq!(
        on.store().check(&[claimed.lease]).await.unwrap(),
        [LeaseStatus::Lost]
    );
    let written = on
        .store()
        .save_one(&claimed.lease, &checkpoint("late"))
        .await;
    assert!(matches!(written, Err(StoreError::LeaseLost { turn }) if turn == claimed.turn.id));

    let again = on.open("garden").await;
    assert_ne!(again.id, conversation.id);
    assert_eq!(again.session, None);
}

/// Deleting one conversation changes nothing about the others.
pub async fn deletion_spares_other_conversations(on: &dyn Fixture) {
    let kept = on.running("kept").await;
    let gone = on.running("gone").await;
    on.store()
        .delete_conversation(gone.conversation.id, None)
        .await
        .unwrap();
    assert_eq!(on.turn(kept.turn.id).await, kept.turn);
    assert_eq!(on.store().messages(None, None, 10).await.unwrap().len(), 2);
    on.store()
        .save_one(&kept.lease, &checkpoint("on"))
        .await
        .unwrap();
    on.complete(&kept.lease).await;
    assert!(on.store().claim(&claim_by("b")).await.unwrap().is_none());
}
