//! What commits owe to the world outside.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;

use super::Fixture;
use super::sample::{LEASE, session};
use crate::clock::{Clock as _, Timestamp};
use crate::store::{Conversation, Effect, EffectKind, Swapped, Tried};

/// How long effects are taken for here.
const TAKEN: Duration = Duration::from_secs(60);

async fn take(on: &dyn Fixture) -> Option<Effect> {
    on.store().take_effect(TAKEN).await.unwrap()
}

async fn settle(on: &dyn Fixture, taken: &Effect, tried: Tried) {
    on.store().settle_effect(taken, &tried).await.unwrap();
}

async fn listed(on: &dyn Fixture) -> Vec<Effect> {
    on.store().effects(99).await.unwrap()
}

/// A conversation that was deleted.
async fn deleted(on: &dyn Fixture, name: &str) -> Conversation {
    let conversation = on.open(name).await;
    let deleted = on.store().delete_conversation(conversation.id, None).await;
    deleted.unwrap().unwrap()
}

fn again(seconds: u64, error: &str) -> Tried {
    Tried::Again {
        after: Duration::from_secs(seconds),
        error: Some(error.to_owned()),
    }
}

fn is_of(effect: &Effect, conversation: &Conversation) -> bool {
    let EffectKind::Deletion {
        conversation: id, ..
    } = &effect.kind;
    *id == conversation.id
}

/// A deletion notes what is to go outside the database: the session, and until when a worker may be at a turn.
pub async fn a_deletion_is_noted_with_its_session(on: &dyn Fixture) {
    let claimed = on.running("garden").await;
    let conversation = claimed.conversation;
    let (store, new) = (on.store(), session("ses_1"));
    let swapped = store.swap_session(conversation.id, None, &new);
    assert_eq!(swapped.await.unwrap(), Swapped::Yes);
    assert_eq!(listed(on).await, []);
    let now = on.clock().now();
    let unknown = deleted(on, "empty").await;
    let gone = on.store().delete_conversation(conversation.id, None).await;
    assert!(gone.unwrap().is_some());
    let again = on.store().delete_conversation(conversation.id, None).await;
    assert_eq!(again.unwrap(), None);
    let of = |wanted: Conversation| async move {
        let effects = listed(on).await;
        assert_eq!(effects.len(), 2, "{effects:?}");
        effects
            .into_iter()
            .find(|effect| is_of(effect, &wanted))
            .unwrap()
    };
    let expected = |until: Timestamp, session| {
        move |id| EffectKind::Deletion {
            conversation: id,
            session,
            until,
        }
    };
    let noted = of(conversation.clone()).await;
    assert_eq!(
        noted.kind,
        expected(now.after(LEASE), Some(session("ses_1")))(conversation.id)
    );
    assert_eq!((noted.attempts, noted.error), (0, None));
    assert_eq!((noted.created_at, noted.due_at), (now, Some(now)));
    let noted = of(unknown.clone()).await;
    assert_eq!(noted.kind, expected(now, None)(unknown.id));
}

/// What is taken is its taker's until its time is up; then it is due again, and what the first one says is passed over.
pub async fn an_effect_is_its_takers_for_a_time(on: &dyn Fixture) {
    deleted(on, "garden").await;
    let first = take(on).await.unwrap();
    assert_eq!(first.attempts, 1);
    assert_eq!(take(on).await, None);
    assert_eq!(listed(on).await, std::slice::from_ref(&first));
    on.clock().advance(Duration::from_millis(59_999));
    assert_eq!(take(on).await, None);
    on.clock().advance(Duration::from_millis(1));
    let second = take(on).await.unwrap();
    assert_eq!((second.id, second.attempts), (first.id, 2));
    settle(on, &first, Tried::Done).await;
    settle(on, &first, again(1, "late")).await;
    assert_eq!(listed(on).await, std::slice::from_ref(&second));
    settle(on, &second, Tried::Done).await;
    assert_eq!(listed(on).await, []);
    settle(on, &second, Tried::Done).await;
    on.clock().advance(TAKEN);
    assert_eq!(take(on).await, None);
}

/// What failed is due again when it was said to be, and tells why it failed; what is given up stays to be seen.
pub async fn an_effect_is_tried_again(on: &dyn Fixture) {
    deleted(on, "garden").await;
    let taken = take(on).await.unwrap();
    settle(on, &taken, again(10, "the server\0 is \\away")).await;
    let told = listed(on).await.remove(0);
    assert_eq!(told.error.as_deref(), Some("the server\0 is \\away"));
    on.clock().advance(Duration::from_millis(9_999));
    assert_eq!(take(on).await, None);
    on.clock().advance(Duration::from_millis(1));
    let taken = take(on).await.unwrap();
    assert_eq!(taken.attempts, 2);
    let error = "never".to_owned();
    settle(on, &taken, Tried::GivenUp { error }).await;
    on.clock().advance(Duration::from_secs(1_000_000));
    assert_eq!(take(on).await, None);
    let told = listed(on).await.remove(0);
    assert_eq!((told.due_at, told.error.as_deref()), (None, Some("never")));
}

/// The one that is due longest comes first; the list has the oldest first.
pub async fn effects_come_by_when_they_are_due(on: &dyn Fixture) {
    let mut made = Vec::new();
    for name in ["one", "two", "three"] {
        made.push(deleted(on, name).await);
        on.clock().advance(Duration::from_secs(1));
    }
    let first = take(on).await.unwrap();
    assert!(is_of(&first, &made[0]));
    settle(on, &first, again(5, "not yet")).await;
    on.clock().advance(Duration::from_secs(10));
    for expected in [1, 2, 0] {
        assert!(is_of(&take(on).await.unwrap(), &made[expected]));
    }
    let all = listed(on).await;
    assert!(all.iter().zip(&made).all(|(effect, of)| is_of(effect, of)));
    let two = on.store().effects(2).await.unwrap();
    assert_eq!(two, all[..2]);
}

/// A clock that was put back keeps nothing from being tried.
pub async fn a_clock_put_back_holds_up_no_effect(on: &dyn Fixture) {
    deleted(on, "garden").await;
    let taken = take(on).await.unwrap();
    settle(on, &taken, again(10, "away")).await;
    let now = on.clock().now();
    on.clock().set(Timestamp(now.0 - 3_600_000));
    assert_eq!(take(on).await.unwrap().attempts, 2);
    assert_eq!(take(on).await, None, "it was set by this clock");
}

/// Of many that take at once, each effect is one's.
pub async fn each_effect_is_taken_once(on: &dyn Fixture) {
    for number in 0..10 {
        deleted(on, &number.to_string()).await;
    }
    let (here, there) = (on.store(), on.another().await);
    let takes = (0..20).map(|number| {
        let store = if number % 2 == 0 {
            here.clone()
        } else {
            there.clone()
        };
        async move { store.take_effect(TAKEN).await.unwrap() }
    });
    let taken: Vec<_> = join_all(takes).await.into_iter().flatten().collect();
    let ids: BTreeSet<_> = taken.iter().map(|effect| effect.id).collect();
    assert_eq!((taken.len(), ids.len()), (10, 10));
}

/// With `unused_since`, a conversation is deleted only if it was not used since and is not busy.
pub async fn what_is_used_is_not_deleted_as_unused(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let made = on.clock().now();
    let delete = async |since: Timestamp| {
        let store = on.store();
        let deleted = store.delete_conversation(conversation.id, Some(since));
        deleted.await.unwrap().is_some()
    };
    assert!(!delete(made).await, "it was made then");
    on.clock().advance(Duration::from_secs(1));
    let turn = on.submit(&conversation, "Hello").await;
    let used = on.clock().now();
    on.clock().advance(Duration::from_secs(1));
    let later = on.clock().now();
    assert!(!delete(later).await, "it is busy");
    let claimed = on.claim_only(turn.id).await.unwrap();
    assert!(!delete(later).await, "it runs");
    on.complete(&claimed.lease).await;
    assert!(!delete(used).await, "it was used then");
    assert_eq!(listed(on).await, []);
    assert!(delete(later).await);
    assert_eq!(listed(on).await.len(), 1);
    assert_eq!(
        on.store().conversation(conversation.id).await.unwrap(),
        None
    );
}
