//! Tenants, what an application notes at rows, and lists.

use std::time::Duration;

use serde_json::{Value, json};

use super::Fixture;
use super::sample::{SaveOne as _, checkpoint, finish};
use crate::clock::Clock as _;
use crate::id::{ConversationId, TurnId};
use crate::store::{
    Conversation, ConversationFilter, ConversationSummary, MAX_METADATA_BYTES, MAX_TENANT_CHARS,
    Metadata, Note, Order, Page, StoreError, Tenant, TurnStanding, TurnStatus,
};

fn metadata(value: Value) -> Metadata {
    Metadata::try_from(value).unwrap()
}

async fn open(on: &dyn Fixture, tenant: &Tenant, name: &str) -> Conversation {
    let opened = on.store().open_conversation(tenant, name).await;
    opened.unwrap()
}

async fn listed(
    on: &dyn Fixture,
    filter: &ConversationFilter,
    page: &Page,
) -> Vec<ConversationSummary> {
    on.store().conversations(filter, page).await.unwrap()
}

fn names(summaries: &[ConversationSummary]) -> Vec<&str> {
    let names = summaries.iter();
    names.map(|summary| &*summary.conversation.name).collect()
}

/// Two tenants with one name have a conversation each, and neither opens the other's.
pub async fn names_are_unique_within_a_tenant(on: &dyn Fixture) {
    let [one, two] = ["one", "two"].map(Tenant::from);
    let of_one = open(on, &one, "garden").await;
    let store = on.store();
    let found = store.conversation_named(&two, "garden").await.unwrap();
    assert_eq!(found, None);
    let of_two = open(on, &two, "garden").await;
    assert_ne!(of_one.id, of_two.id);
    for (tenant, made) in [(&one, &of_one), (&two, &of_two)] {
        assert_eq!((&made.tenant, &*made.name), (tenant, "garden"));
        assert_eq!(open(on, tenant, "garden").await, *made);
        let found = store.conversation_named(tenant, "garden").await.unwrap();
        assert_eq!(found.as_ref(), Some(made));
        let found = store.conversation(made.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(made));
    }
    on.submit(&of_two, "Hello").await;
    let claimed = on.claim().await.unwrap();
    assert_eq!(claimed.conversation.tenant, two);
    let deleted = store.delete_conversation(of_one.id, None).await.unwrap();
    assert_eq!(deleted.unwrap().tenant, one);
    assert_eq!(open(on, &two, "garden").await.id, of_two.id);
}

/// A tenant may hold any character; what it is made of does not run into the name.
pub async fn tenants_are_kept_as_they_are(on: &dyn Fixture) {
    let pairs = [
        ("", "ab"),
        ("a", "b"),
        ("ab", ""),
        ("A", "b"),
        ("a ", "b"),
        ("a\0", "b"),
        ("a\\0", "b"),
        ("a", "\0b"),
        ("\\", ":b"),
        ("\u{1F33B}", "b"),
        ("'; --", "b"),
    ];
    let mut ids = Vec::new();
    for (tenant, name) in pairs {
        let made = open(on, &tenant.into(), name).await;
        assert_eq!((made.tenant.as_str(), &*made.name), (tenant, name));
        let found = on.store().conversation(made.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&made));
        let filter = ConversationFilter::of(&tenant.into());
        let listed = listed(on, &filter, &Page::newest(9)).await;
        assert!(listed.iter().any(|summary| summary.conversation == made));
        ids.push(made.id);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), pairs.len());
}

/// A tenant has at most [`MAX_TENANT_CHARS`] characters, of any size, beside the longest name.
pub async fn a_tenant_has_a_bound(on: &dyn Fixture) {
    for letter in ["a", "\u{1F33B}", "\\", "\0"] {
        let longest = Tenant::from(letter.repeat(MAX_TENANT_CHARS));
        let name = letter.repeat(crate::store::MAX_KEY_CHARS);
        assert_eq!(open(on, &longest, &name).await.tenant, longest);
        let longer = Tenant::from(letter.repeat(MAX_TENANT_CHARS + 1));
        let refused = on.store().open_conversation(&longer, "garden").await;
        assert!(
            matches!(
                refused,
                Err(StoreError::TooLong {
                    what: "tenant",
                    limit: MAX_TENANT_CHARS
                })
            ),
            "{refused:?}"
        );
    }
}

/// What is noted at a conversation is said back by all that read it, until something else is.
pub async fn metadata_is_kept_and_replaced(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    assert!(conversation.metadata.is_empty());
    let largest = "\u{1F33B}".repeat(MAX_METADATA_BYTES / 4 - 2);
    let noted = [
        json!({ "ticket": 42, "who": { "name": "Ann\0\\e", "tags": ["a", null, true, 0.5] } }),
        json!({ "": largest }),
        json!({ "other": 1 }),
        json!({}),
    ];
    let store = on.store();
    for value in noted {
        let noted = metadata(value);
        store.set_metadata(conversation.id, &noted).await.unwrap();
        let read = store.conversation(conversation.id).await.unwrap().unwrap();
        assert_eq!(read.metadata, noted);
        assert_eq!(on.open("garden").await, read);
        let listed = listed(on, &ConversationFilter::default(), &Page::newest(1)).await;
        assert_eq!(listed[0].conversation, read);
    }
    let noted = metadata(json!({ "last": true }));
    store.set_metadata(conversation.id, &noted).await.unwrap();
    on.submit(&conversation, "Hello").await;
    assert_eq!(on.claim().await.unwrap().conversation.metadata, noted);
    let unknown = ConversationId::from_uuid(on.clock().new_uuid());
    let refused = store.set_metadata(unknown, &noted).await;
    assert!(
        matches!(refused, Err(StoreError::NotFound { what: "conversation", id }) if id == unknown.to_string())
    );
    let deleted = store
        .delete_conversation(conversation.id, None)
        .await
        .unwrap();
    assert_eq!(deleted.unwrap().metadata, noted);
}

/// What is noted at a turn stays as it was submitted.
pub async fn metadata_of_a_turn_is_kept(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let mut new = on.new_turn(&conversation, "Hello");
    new.metadata = metadata(json!({ "from": "mail", "n": [1, 2.5, "\0"] }));
    new.client_key = Some("key".to_owned());
    let submitted = on.store().submit(&new).await.unwrap();
    assert_eq!(submitted.turn.metadata, new.metadata);
    assert_eq!(on.turn(new.id).await.metadata, new.metadata);
    let mut again = on.new_turn(&conversation, "Hello");
    again.client_key.clone_from(&new.client_key);
    let known = on.store().submit(&again).await.unwrap();
    assert_eq!(known.turn.metadata, new.metadata);
    let claimed = on.claim().await.unwrap();
    assert_eq!(claimed.turn.metadata, new.metadata);
    on.complete(&claimed.lease).await;
    assert_eq!(on.turn(new.id).await.metadata, new.metadata);
}

/// A list is read part by part, from either end, and each conversation comes once; of equal times the ids decide.
pub async fn lists_come_in_pages_either_way(on: &dyn Fixture) {
    let (one, two) = (Tenant::from("one"), Tenant::from("two"));
    // More than a page of any store, three of one age each.
    for number in 0..150 {
        let tenant = if number % 5 == 0 { &two } else { &one };
        open(on, tenant, &number.to_string()).await;
        if number % 3 == 2 {
            on.clock().advance(Duration::from_millis(1));
        }
    }
    for (filter, count) in [
        (ConversationFilter::default(), 150),
        (ConversationFilter::of(&one), 120),
        (ConversationFilter::of(&two), 30),
        (ConversationFilter::of(&"three".into()), 0),
    ] {
        let all = listed(on, &filter, &Page::newest(1000)).await;
        assert_eq!(all.len(), count);
        let mut places: Vec<_> = all.iter().map(ConversationSummary::cursor).collect();
        assert!(places.is_sorted_by(|newer, older| newer > older));
        for (order, size) in [
            (Order::NewestFirst, 7),
            (Order::OldestFirst, 7),
            (Order::OldestFirst, 64),
        ] {
            let mut page = match order {
                Order::NewestFirst => Page::newest(size),
                Order::OldestFirst => Page::oldest(size),
            };
            let mut read = Vec::new();
            loop {
                let part = listed(on, &filter, &page).await;
                assert!(part.len() <= size as usize);
                let Some(last) = part.last() else { break };
                let text = last.cursor().to_string();
                page = page.after(text.parse().unwrap());
                read.extend(part.iter().map(ConversationSummary::cursor));
            }
            assert_eq!(read, places, "{order:?} by {size}");
            if order == Order::NewestFirst {
                places.reverse();
            }
        }
    }
    let nothing = listed(on, &ConversationFilter::default(), &Page::newest(0)).await;
    assert_eq!(nothing, []);
    // A place outlasts its conversation.
    let all = listed(on, &ConversationFilter::default(), &Page::newest(3)).await;
    let place = all[0].cursor();
    let gone = all[0].conversation.id;
    on.store().delete_conversation(gone, None).await.unwrap();
    let rest = Page::newest(2).after(place);
    assert_eq!(
        listed(on, &ConversationFilter::default(), &rest).await,
        all[1..]
    );
}

/// What a list is asked for, all of it is true of what it answers; and it answers as many as were asked for.
pub async fn lists_are_filtered(on: &dyn Fixture) {
    let (one, two) = (Tenant::from("one"), Tenant::from("two"));
    let began = on.clock().now();
    for number in 0..6 {
        let tenant = if number % 2 == 0 { &one } else { &two };
        let conversation = open(on, tenant, &number.to_string()).await;
        if number >= 3 {
            on.submit(&conversation, "Hello").await;
        }
        let noted = match number {
            1 => json!({ "pinned": true }),
            2 => json!({ "pinned": null, "\"odd\\'$.": { "a": 1 } }),
            4 => json!({ "archived": true, "deep": { "pinned": true } }),
            _ => json!({}),
        };
        let set = on
            .store()
            .set_metadata(conversation.id, &metadata(noted))
            .await;
        set.unwrap();
        on.clock().advance(Duration::from_secs(1));
    }
    let at = |seconds| began.after(Duration::from_secs(seconds));
    let all = ConversationFilter::default;
    for (filter, expected) in [
        (all(), &["5", "4", "3", "2", "1", "0"][..]),
        (all().busy(true), &["5", "4", "3"]),
        (all().busy(false), &["2", "1", "0"]),
        (all().used_since(at(4)), &["5", "4"]),
        (all().used_before(at(1)), &["0"]),
        (all().used_since(at(1)).used_before(at(4)), &["3", "2", "1"]),
        (ConversationFilter::of(&one), &["4", "2", "0"]),
        (ConversationFilter::of(&one).busy(false), &["2", "0"]),
        (
            ConversationFilter::of(&two).busy(true).used_before(at(5)),
            &["3"],
        ),
        (ConversationFilter::of(&two).used_since(at(9)), &[]),
        (all().noted("pinned"), &["2", "1"]),
        (all().noted("pinned").noted("pinned"), &["2", "1"]),
        (ConversationFilter::of(&two).noted("pinned"), &["1"]),
        (all().noted("pinned").noted("\"odd\\'$."), &["2"]),
        (all().noted("pinned").not_noted("\"odd\\'$."), &["1"]),
        (
            all().not_noted("pinned").not_noted("archived"),
            &["5", "3", "0"],
        ),
        (all().noted("nothing"), &[]),
        (all().not_noted("nothing").busy(true), &["5", "4", "3"]),
    ] {
        assert_eq!(
            names(&listed(on, &filter, &Page::newest(9)).await),
            expected
        );
        let oldest = listed(on, &filter, &Page::oldest(9)).await;
        let turned: Vec<_> = expected.iter().rev().copied().collect();
        assert_eq!(names(&oldest), turned);
        for limit in 0..=expected.len() {
            let page = Page::newest(u32::try_from(limit).unwrap());
            assert_eq!(names(&listed(on, &filter, &page).await), expected[..limit]);
        }
    }
}

/// The active turns of a conversation are those that are queued or run, oldest first.
pub async fn active_turns_are_those_that_are_queued_or_run(on: &dyn Fixture) {
    let (garden, other) = (on.open("garden").await, on.open("other").await);
    on.submit(&other, "Hello").await;
    let mut turns = Vec::new();
    for number in 0..3 {
        turns.push(on.submit(&garden, &number.to_string()).await.id);
    }
    let active = async |limit| {
        let active = on.store().active_turns(garden.id, limit).await.unwrap();
        active.iter().map(|turn| turn.id).collect::<Vec<_>>()
    };
    assert_eq!(active(9).await, turns);
    assert_eq!(active(2).await, turns[..2]);
    assert_eq!(active(0).await, []);
    let claimed = on.claim_only(turns[0]).await.unwrap();
    assert_eq!(active(9).await, turns, "one runs");
    on.complete(&claimed.lease).await;
    assert_eq!(active(9).await, turns[1..]);
    on.store().request_cancel(turns[2], None).await.unwrap();
    assert_eq!(active(9).await, turns[1..2]);
    let unknown = ConversationId::from_uuid(on.clock().new_uuid());
    assert_eq!(on.store().active_turns(unknown, 9).await.unwrap(), []);
}

/// Many turns are looked at, and read, together.
pub async fn many_turns_are_looked_at_together(on: &dyn Fixture) {
    let running = on.running("running").await;
    let ended = on.running("ended").await;
    on.complete(&ended.lease).await;
    let gone_by = on.running("gone by").await;
    let (cancelled, queued) = (on.open("cancelled").await, on.open("queued").await);
    let cancelled = on.submit(&cancelled, "never mind").await.id;
    let queued = on.submit(&queued, "wait").await.id;
    let store = on.store();
    store.request_cancel(cancelled, None).await.unwrap();
    on.clock().advance(Duration::from_secs(1));
    let half = checkpoint("Half");
    store.save_one(&running.lease, &half).await.unwrap();
    let noting = Note::Unreachable(true);
    store.note(&running.lease, noting).await.unwrap();
    let end = finish(TurnStatus::Completed, "It ended.");
    store.finish(&gone_by.lease, &end).await.unwrap();
    let unknown = TurnId::from_uuid(on.clock().new_uuid());
    let ids = [
        queued,
        unknown,
        running.turn.id,
        ended.turn.id,
        gone_by.turn.id,
        cancelled,
    ];
    let another = on.another().await;
    let standings = another.standings(&ids).await.unwrap();
    let mut alone = Vec::new();
    for id in ids {
        let turn = another.turn(id).await.unwrap();
        alone.push(turn.as_ref().map(TurnStanding::of));
    }
    assert_eq!(standings, alone);
    let over: Vec<_> = standings
        .iter()
        .map(|standing| standing.map(|standing| standing.over))
        .collect();
    let expected = [
        Some(false),
        None,
        Some(false),
        Some(true),
        Some(false),
        Some(true),
    ];
    assert_eq!(over, expected);
    let standing = standings[2].unwrap();
    assert!(standing.unreachable);
    assert_eq!(standing.progress_at, Some(on.clock().now()));
    assert_eq!(standing.generation, running.lease.generation);

    let mut turns = another.turns(&ids).await.unwrap();
    turns.sort_by_key(|turn| ids.iter().position(|id| *id == turn.id));
    let mut alone = Vec::new();
    for id in ids {
        alone.extend(another.turn(id).await.unwrap());
    }
    assert_eq!(turns, alone);
    assert_eq!(another.turns(&[]).await.unwrap(), []);
    assert_eq!(another.standings(&[]).await.unwrap(), []);
    if on.make_unreadable(running.turn.id).await {
        let turns = another.turns(&ids).await.unwrap();
        assert_eq!(turns.len(), alone.len() - 1);
        let standings = another.standings(&ids).await.unwrap();
        assert!(standings[2].is_some() && standings[3] == Some(TurnStanding::of(&alone[2])));
    }
}
