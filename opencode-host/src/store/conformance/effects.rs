//! What commits owe to the world outside.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, json};

use super::Fixture;
use super::sample::{LEASE, finish, session};
use crate::clock::{Clock as _, Timestamp};
use crate::id::EffectId;
use crate::store::{
    AskedRequest, CancelOutcome, Conversation, Effect, EffectKind, Finish, Finished, Lane,
    Metadata, NewTurn, Note, OnBusy, StoreError, Swapped, Take, Tried, Turn, TurnStatus,
    WebhookEvent,
};

/// How long effects are taken for here.
const TAKEN: Duration = Duration::from_secs(60);

/// Of the deletions the one that is due longest.
async fn take(on: &dyn Fixture) -> Option<Effect> {
    take_one(on, Take::Due(&Lane::DELETIONS)).await
}

async fn take_one(on: &dyn Fixture, which: Take<'_>) -> Option<Effect> {
    on.store().take_effect(which, TAKEN).await.unwrap()
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

fn completed() -> Finish {
    finish(TurnStatus::Completed, "Hi")
}

fn again(seconds: u64, error: &str) -> Tried {
    Tried::Again {
        after: Duration::from_secs(seconds),
        error: Some(error.to_owned()),
    }
}

fn is_of(effect: &Effect, conversation: &Conversation) -> bool {
    matches!(&effect.kind, EffectKind::Deletion { conversation: id, .. } if *id == conversation.id)
}

/// What the end of a turn owes, as it is listed.
async fn end_of(on: &dyn Fixture, turn: &Turn) -> Option<Effect> {
    let listed = listed(on).await.into_iter();
    let mut of_it = listed.filter(|effect| effect.id == turn.id.into());
    let found = of_it.next();
    assert_eq!(of_it.next(), None, "an effect is one row");
    found
}

fn owed(turn: &Turn, status: TurnStatus) -> EffectKind {
    EffectKind::turn_end(turn.conversation, turn.id, turn.message, status)
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
    let noted = Metadata::try_from(json!({"ticket": 42})).unwrap();
    let noting = on.store().set_metadata(conversation.id, &noted).await;
    assert!(noting.is_ok(), "{noting:?}");
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
    let expected = |until: Timestamp, session, name: &str, metadata| {
        let name = name.to_owned();
        move |id| EffectKind::Deletion {
            conversation: id,
            session,
            server: None,
            until,
            name,
            metadata,
            told: false,
        }
    };
    let noted_at = noted;
    let noted = of(conversation.clone()).await;
    assert_eq!(
        noted.kind,
        expected(now.after(LEASE), Some(session("ses_1")), "garden", noted_at)(conversation.id)
    );
    assert_eq!((noted.attempts, noted.error), (0, None));
    assert_eq!((noted.created_at, noted.due_at), (now, Some(now)));
    let noted = of(unknown.clone()).await;
    assert_eq!(
        noted.kind,
        expected(now, None, "empty", Metadata::default())(unknown.id)
    );
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

/// What is given up is listed by itself, and tried again when somebody says so.
pub async fn what_is_given_up_is_tried_again_when_told(on: &dyn Fixture) {
    let given_up = async || on.store().given_up_effects(99).await.unwrap();
    let retry = async |id| on.store().retry_effect(id).await.unwrap();
    let claimed = on.running("garden").await;
    let finished = on.store().finish(&claimed.lease, &completed()).await;
    assert!(finished.is_ok(), "{finished:?}");
    deleted(on, "one").await;
    on.clock().advance(Duration::from_secs(1));
    deleted(on, "two").await;
    let taken = take(on).await.unwrap();
    assert_eq!(
        given_up().await,
        [],
        "what is held, tried or due is not given up"
    );
    assert!(!retry(taken.id).await, "it is being tried");
    assert!(!retry(claimed.turn.id.into()).await, "it is held");
    let error = "never".to_owned();
    settle(on, &taken, Tried::GivenUp { error }).await;
    let told = given_up().await;
    assert_eq!((told.len(), told[0].id), (1, taken.id));
    assert!(told[0].is_given_up());
    assert_eq!(on.store().given_up_effects(0).await.unwrap(), []);
    assert!(retry(taken.id).await);
    assert!(!retry(taken.id).await, "it is due");
    assert_eq!(given_up().await, []);
    let again = take_one(on, Take::This(taken.id)).await.unwrap();
    assert_eq!((again.attempts, again.error.as_deref()), (2, Some("never")));
    settle(on, &taken, Tried::Done).await;
    assert_eq!(listed(on).await.len(), 3, "who took it first has no say");
}

/// What a taker has done of an effect is kept with it.
pub async fn what_is_done_of_an_effect_is_kept(on: &dyn Fixture) {
    let claimed = on.running("garden").await;
    on.complete(&claimed.lease).await;
    let mut taken = take_one(on, Take::Due(&Lane::HOOKS)).await.unwrap();
    let EffectKind::TurnEnd { called, .. } = &mut taken.kind else {
        panic!("{taken:?}")
    };
    called.on_finalized = true;
    settle(on, &taken, again(1, "no disk")).await;
    let told = end_of(on, &claimed.turn).await.unwrap();
    assert_eq!(told.kind, taken.kind);
}

/// A webhook that follows from another effect.
fn webhook(of: &Effect, to: &str) -> Effect {
    let kind = EffectKind::Webhook {
        endpoint: format!("endpoint\0 of {to}"),
        to: to.to_owned(),
        event: WebhookEvent::TurnFinished,
        at: of.created_at,
        data: Map::from_iter([("status".to_owned(), "completed".into())]),
    };
    let id = EffectId::derived(of.id, to);
    Effect::new(id, &of.tenant, kind, of.created_at)
}

/// What follows from an effect is noted with what its taker says of it, once, and only by its taker.
pub async fn what_follows_is_noted_once_and_by_its_taker(on: &dyn Fixture) {
    let claimed = on.running("garden").await;
    on.complete(&claimed.lease).await;
    let mut taken = take_one(on, Take::Due(&Lane::HOOKS)).await.unwrap();
    let follow = async |taken: &Effect, with: &[Effect]| {
        on.store().follow_effect(taken, with).await.unwrap()
    };
    let (one, two) = (webhook(&taken, "one"), webhook(&taken, "two"));
    let late = taken.clone();
    on.clock().advance(TAKEN);
    let mut again = take_one(on, Take::Due(&Lane::HOOKS)).await.unwrap();
    assert!(!follow(&late, std::slice::from_ref(&one)).await);
    assert_eq!(listed(on).await, std::slice::from_ref(&again));
    for told in [&mut taken.kind, &mut again.kind] {
        let EffectKind::TurnEnd { told, .. } = told else {
            panic!("{told:?}")
        };
        *told = true;
    }
    assert!(follow(&again, std::slice::from_ref(&one)).await);
    let noted = end_of(on, &claimed.turn).await.unwrap();
    assert_eq!(noted, again, "it is its taker's as before");
    // The one that is there stays as it is, though it was tried meanwhile.
    let tried = take_one(on, Take::This(one.id)).await.unwrap();
    assert_eq!((tried.attempts, &tried.kind), (1, &one.kind));
    assert!(follow(&again, &[one.clone(), two.clone()]).await);
    let effects = listed(on).await;
    assert_eq!(effects.len(), 3, "{effects:?}");
    assert!(
        effects.contains(&tried) && effects.contains(&two),
        "{effects:?}"
    );
    settle(on, &again, Tried::Done).await;
    assert!(
        !follow(&again, &[webhook(&again, "three")]).await,
        "it is done"
    );
    assert_eq!(listed(on).await.len(), 2);
}

/// Lanes are listed while something in them is to be tried.
pub async fn lanes_are_listed_while_something_is_to_be_tried(on: &dyn Fixture) {
    let lanes = async || {
        let mut lanes = on.store().lanes().await.unwrap();
        lanes.sort();
        lanes
    };
    assert_eq!(lanes().await, []);
    let claimed = on.running("garden").await;
    let finished = on.store().finish(&claimed.lease, &completed()).await;
    assert!(finished.is_ok(), "{finished:?}");
    assert_eq!(lanes().await, [], "what is held is not tried");
    assert!(on.store().settle(&claimed.lease).await.unwrap());
    deleted(on, "one").await;
    deleted(on, "two").await;
    let taken = take_one(on, Take::Due(&Lane::HOOKS)).await.unwrap();
    let with = [webhook(&taken, "one"), webhook(&taken, "two")];
    assert!(on.store().follow_effect(&taken, &with).await.unwrap());
    let expected = ["deletion", "hooks", "webhook:one", "webhook:two"];
    let expected = expected.map(|lane| Lane::from(lane.to_owned()));
    assert_eq!(
        lanes().await,
        expected,
        "what is being tried may be due again"
    );
    assert_eq!(expected[2], Lane::of_webhooks("one"));
    let one = take_one(on, Take::Due(&expected[2])).await.unwrap();
    assert_eq!(one.kind, with[0].kind);
    let error = "gone".to_owned();
    settle(on, &one, Tried::GivenUp { error }).await;
    settle(on, &taken, Tried::Done).await;
    assert_eq!(lanes().await, [expected[0].clone(), expected[3].clone()]);
}

/// What an agent asks is noted once for each request, by the turn's worker alone.
pub async fn a_request_is_noted_once(on: &dyn Fixture) {
    let claimed = on.running("garden").await;
    let asked = |request: &str| AskedRequest {
        conversation: claimed.conversation.id,
        turn: claimed.turn.id,
        message: claimed.turn.message,
        request: request.to_owned(),
        permission: Some("bash".to_owned()),
    };
    let note = async |request: &str| {
        let asked = asked(request);
        on.store().note(&claimed.lease, Note::Asked(&asked)).await
    };
    for request in ["per_1", "per_2", "per_1"] {
        note(request).await.unwrap();
    }
    let due = Take::Due(&Lane::REQUESTS);
    let first = take_one(on, due).await.unwrap();
    let second = take_one(on, due).await.unwrap();
    assert_eq!(take_one(on, due).await, None);
    assert_eq!(first.tenant, claimed.conversation.tenant);
    let ids = [first.id, second.id];
    for request in ["per_1", "per_2"] {
        assert!(ids.contains(&asked(request).effect()), "{request}");
    }
    note("per_1").await.unwrap();
    assert_eq!(take_one(on, due).await, None, "its taker has it");
    on.complete(&claimed.lease).await;
    let late = note("per_3").await;
    assert!(
        matches!(late, Err(StoreError::LeaseLost { .. })),
        "{late:?}"
    );
    assert_eq!(take_one(on, due).await, None);
}

/// What is due in one lane is not looked for in another; a taker can ask for one effect.
pub async fn lanes_are_apart(on: &dyn Fixture) {
    let claimed = on.running("garden").await;
    on.complete(&claimed.lease).await;
    let gone = deleted(on, "gone").await;
    let other = deleted(on, "other").await;
    let hooks = take_one(on, Take::Due(&Lane::HOOKS)).await.unwrap();
    assert_eq!(hooks.kind, owed(&claimed.turn, TurnStatus::Completed));
    assert_eq!(take_one(on, Take::Due(&Lane::HOOKS)).await, None);
    let this = take_one(on, Take::This(other.id.into())).await.unwrap();
    assert!(is_of(&this, &other));
    assert_eq!(take_one(on, Take::This(other.id.into())).await, None);
    assert!(is_of(&take(on).await.unwrap(), &gone));
    assert_eq!(take(on).await, None);
    on.clock().advance(TAKEN);
    assert!(take_one(on, Take::This(other.id.into())).await.is_some());
}

/// What the end of a turn owes is noted with the end, and not before; it is due once the turn is settled, and not before.
pub async fn an_end_is_noted_and_due_once_it_is_settled(on: &dyn Fixture) {
    let claimed = on.running("garden").await;
    let (turn, due) = (&claimed.turn, Take::Due(&Lane::HOOKS));
    assert_eq!(end_of(on, turn).await, None);
    assert!(!on.store().settle(&claimed.lease).await.unwrap());
    assert_eq!(end_of(on, turn).await, None, "it has not ended");
    let ended = on.clock().now();
    let finished = on.store().finish(&claimed.lease, &completed()).await;
    assert_eq!(finished.unwrap(), Finished::Stored(TurnStatus::Completed));
    let noted = end_of(on, turn).await.unwrap();
    assert_eq!(noted.kind, owed(turn, TurnStatus::Completed));
    assert_eq!(noted.tenant, claimed.conversation.tenant);
    assert!(noted.is_held() && !noted.is_given_up(), "{noted:?}");
    assert_eq!((noted.created_at, noted.attempts), (ended, 0));
    let again = on.store().finish(&claimed.lease, &completed()).await;
    assert_eq!(again.unwrap(), Finished::Already(TurnStatus::Completed));
    // A worker that dies here leaves both to the next one.
    on.expire_leases();
    assert_eq!(take_one(on, due).await, None);
    assert_eq!(take_one(on, Take::This(noted.id)).await, None);
    let claimed = on.claim_only(turn.id).await.unwrap();
    assert_eq!(end_of(on, turn).await.unwrap(), noted);
    assert!(on.store().settle(&claimed.lease).await.unwrap());
    let taken = take_one(on, due).await.unwrap();
    assert_eq!((taken.id, taken.attempts), (noted.id, 1));
    assert!(!on.store().settle(&claimed.lease).await.unwrap());
    assert_eq!(take_one(on, due).await, None, "it was settled before");
    settle(on, &taken, Tried::Done).await;
    assert!(!on.store().settle(&claimed.lease).await.unwrap());
    assert_eq!(end_of(on, turn).await, None, "it is done");
}

/// However a turn ends, that is noted: by a cancel in the queue, by one after a worker gave it back, by another submit.
pub async fn every_way_to_end_is_noted(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let running = on.submit(&conversation, "first").await;
    let claimed = on.claim_only(running.id).await.unwrap();
    let queued = on.submit(&conversation, "second").await;
    let interrupted = on.submit(&conversation, "third").await;
    let cancel = async |turn| on.store().request_cancel(turn, None).await.unwrap();
    assert_eq!(cancel(running.id).await, CancelOutcome::Requested);
    assert_eq!(
        end_of(on, &running).await,
        None,
        "its worker is to end it yet"
    );
    assert_eq!(cancel(queued.id).await, CancelOutcome::Cancelled);
    let finished = on.store().finish(&claimed.lease, &completed()).await;
    assert_eq!(finished.unwrap(), Finished::Stored(TurnStatus::Cancelled));
    let new = NewTurn {
        on_busy: OnBusy::Interrupt,
        ..on.new_turn(&conversation, "now")
    };
    assert!(on.store().submit(&new).await.unwrap().created);
    let other = on.running("other").await;
    on.store().release(&other.lease).await.unwrap();
    assert_eq!(cancel(other.turn.id).await, CancelOutcome::Cancelled);
    for turn in [&running, &queued, &interrupted, &other.turn] {
        let noted = end_of(on, turn).await.unwrap();
        assert_eq!(noted.kind, owed(turn, TurnStatus::Cancelled));
        assert!(noted.is_held(), "{noted:?}");
    }
    assert_eq!(listed(on).await.len(), 4);
    // In their order, as workers settle them.
    on.store().settle(&claimed.lease).await.unwrap();
    let next = on.claim_only(queued.id).await.unwrap();
    assert!(on.store().settle(&next.lease).await.unwrap());
    for turn in [&running, &queued] {
        assert!(take_one(on, Take::This(turn.id.into())).await.is_some());
    }
    assert_eq!(take_one(on, Take::Due(&Lane::HOOKS)).await, None);
}

/// A turn that is deleted with its conversation is never settled: what its end owes is due with the deletion.
pub async fn a_deletion_makes_due_what_ends_owe(on: &dyn Fixture) {
    let ended = on.running("garden").await;
    let finished = on.store().finish(&ended.lease, &completed()).await;
    assert!(finished.is_ok(), "{finished:?}");
    on.submit(&ended.conversation, "never").await;
    let other = on.running("other").await;
    let finished = on.store().finish(&other.lease, &completed()).await;
    assert!(finished.is_ok(), "{finished:?}");
    let (store, id) = (on.store(), ended.conversation.id);
    let gone = store.delete_conversation(id, None).await;
    assert!(gone.unwrap().is_some());
    let taken = take_one(on, Take::Due(&Lane::HOOKS)).await.unwrap();
    assert_eq!(taken.id, ended.turn.id.into());
    assert_eq!(take_one(on, Take::Due(&Lane::HOOKS)).await, None);
    assert!(end_of(on, &other.turn).await.unwrap().is_held());
}

/// A turn that cannot be read is settled with its cancel: what its end owes is due then.
pub async fn an_unreadable_turn_owes_with_its_cancel(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let turn = on.submit(&conversation, "Hello").await;
    if !on.make_unreadable(turn.id).await {
        return;
    }
    let cancelled = on.store().request_cancel(turn.id, None).await;
    assert_eq!(cancelled.unwrap(), CancelOutcome::Cancelled);
    let taken = take_one(on, Take::Due(&Lane::HOOKS)).await.unwrap();
    assert_eq!(taken.kind, owed(&turn, TurnStatus::Cancelled));
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
        async move {
            let taking = store.take_effect(Take::Due(&Lane::DELETIONS), TAKEN);
            taking.await.unwrap()
        }
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
    let deletions = async || {
        let effects = listed(on).await.into_iter();
        effects
            .filter(|effect| is_of(effect, &conversation))
            .count()
    };
    assert_eq!(deletions().await, 0);
    assert!(delete(later).await);
    assert_eq!(deletions().await, 1);
    assert_eq!(
        on.store().conversation(conversation.id).await.unwrap(),
        None
    );
}
