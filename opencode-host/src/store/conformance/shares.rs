//! Whose turn is next, how many run at once, and which waits for its moment.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Fixture;
use super::sample::{LEASE, claim_by, complete, finish};
use crate::clock::{Clock as _, Timestamp};
use crate::store::{
    Claim, ClaimedTurn, Conversation, NewTurn, Note, Rate, ServerName, ServerReport, StoreError,
    Tenant, TenantShare, Turn, TurnStatus, WorkerId,
};

const HOUR: Duration = Duration::from_secs(3600);

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

impl dyn Fixture + '_ {
    /// A queued turn of a tenant, in a conversation of its own.
    async fn queue_of(&self, tenant: &str, name: u32) -> (Conversation, Turn) {
        let (store, tenant) = (self.store(), Tenant::from(tenant));
        let opened = store.open_conversation(&tenant, &name.to_string()).await;
        let conversation = opened.unwrap();
        let turn = self.submit(&conversation, "Hello").await;
        (conversation, turn)
    }

    async fn set_share(&self, tenant: &str, share: TenantShare) {
        let (store, tenant) = (self.store(), Tenant::from(tenant));
        store.set_tenant_share(&tenant, Some(&share)).await.unwrap();
    }

    /// Whose turn is claimed, and completed at once.
    async fn served(&self) -> Option<String> {
        let claimed = self.claim().await?;
        self.complete(&claimed.lease).await;
        Some(claimed.conversation.tenant.as_str().to_owned())
    }

    async fn served_of(&self, turns: u32) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for _ in 0..turns {
            *counts.entry(self.served().await.unwrap()).or_default() += 1;
        }
        counts
    }
}

fn counts<const N: usize>(of: [(&str, u32); N]) -> BTreeMap<String, u32> {
    of.map(|(tenant, turns)| (tenant.to_owned(), turns)).into()
}

/// Turns that wait and that run are counted, those of a later moment not yet; a store may also count nothing.
pub async fn what_waits_and_runs_is_counted(on: &dyn Fixture) {
    let store = on.store();
    let Some(none) = store.backlog().await.unwrap() else {
        return;
    };
    assert_eq!((none.queued, none.oldest, none.running), (0, None, 0));
    let began = on.clock().now();
    for name in ["one", "two", "three"] {
        let conversation = on.open(name).await;
        on.submit(&conversation, name).await;
        on.clock().advance(Duration::from_millis(5));
    }
    let later = NewTurn {
        not_before: Some(on.clock().now().after(HOUR)),
        ..on.new_turn(&on.open("later").await, "later")
    };
    store.submit(&later).await.unwrap();
    let backlog = async || store.backlog().await.unwrap().unwrap();
    let waiting = backlog().await;
    assert_eq!((waiting.queued, waiting.oldest), (3, Some(began)));
    let claimed = on.claim().await.unwrap();
    store
        .note(&claimed.lease, Note::Waiting(true))
        .await
        .unwrap();
    let running = backlog().await;
    assert_eq!(
        (running.queued, running.running, running.waiting),
        (2, 1, 1)
    );
    assert_eq!(running.oldest, Some(began.after(Duration::from_millis(5))));
    on.complete(&claimed.lease).await;
    on.clock().advance(HOUR);
    let due = backlog().await;
    assert_eq!((due.queued, due.running, due.waiting), (3, 0, 0));
    assert_eq!(due.now, on.clock().now());
}

/// The share of a tenant is kept until it is taken back. One that says nothing is refused.
pub async fn a_share_is_kept(on: &dyn Fixture) {
    let (store, acme) = (on.store(), Tenant::from("acme\0"));
    assert_eq!(store.tenant_share(&acme).await.unwrap(), None);
    let rate = Rate::new(number(9), HOUR);
    let share = TenantShare::default()
        .weight(number(3))
        .concurrency(number(2))
        .rate(rate);
    let set = store.set_tenant_share(&acme, Some(&share)).await;
    if !store.keeps_shares() {
        assert!(matches!(set, Err(StoreError::Configuration(_))), "{set:?}");
        return;
    }
    set.unwrap();
    let other = on.another().await;
    assert_eq!(other.tenant_share(&acme).await.unwrap(), Some(share));
    let less = TenantShare::default();
    store.set_tenant_share(&acme, Some(&less)).await.unwrap();
    assert_eq!(other.tenant_share(&acme).await.unwrap(), Some(less));
    store.set_tenant_share(&acme, None).await.unwrap();
    assert_eq!(other.tenant_share(&acme).await.unwrap(), None);
    let none = less.rate(Rate::new(number(1), Duration::from_micros(999)));
    let refused = store.set_tenant_share(&acme, Some(&none)).await;
    assert!(matches!(refused, Err(StoreError::Configuration(_))));
    let long = Tenant::from("n".repeat(200));
    let refused = store.set_tenant_share(&long, Some(&less)).await;
    assert!(matches!(refused, Err(StoreError::TooLong { .. })));
}

/// A tenant with many queued turns holds up no other: each has its turn as often.
pub async fn tenants_take_turns(on: &dyn Fixture) {
    if !on.store().keeps_shares() {
        return;
    }
    for name in 0..60 {
        on.queue_of("many", name).await;
    }
    for tenant in ["a", "b", "c"] {
        for name in 0..5 {
            on.queue_of(tenant, name).await;
        }
    }
    let all = [("a", 1), ("b", 1), ("c", 1), ("many", 1)];
    for _ in 0..5 {
        assert_eq!(on.served_of(4).await, counts(all));
    }
    assert_eq!(on.served_of(55).await, counts([("many", 55)]));
    assert!(on.claim().await.is_none());
}

/// As long as tenants have turns queued, as many of each begin as their weights say.
pub async fn weights_are_kept(on: &dyn Fixture) {
    if !on.store().keeps_shares() {
        return;
    }
    on.set_share("heavy", TenantShare::default().weight(number(3)))
        .await;
    for name in 0..20 {
        on.queue_of("heavy", name).await;
        on.queue_of("light", name).await;
    }
    for _ in 0..5 {
        let served = on.served_of(4).await;
        assert_eq!(served, counts([("heavy", 3), ("light", 1)]));
    }
    // A change holds at once.
    on.set_share("heavy", TenantShare::default()).await;
    let served = on.served_of(10).await;
    assert_eq!(served, counts([("heavy", 5), ("light", 5)]));
}

/// A tenant that had nothing queued has no claim to what it did not use.
pub async fn what_was_not_used_is_gone(on: &dyn Fixture) {
    if !on.store().keeps_shares() {
        return;
    }
    for name in 0..30 {
        on.queue_of("early", name).await;
    }
    assert_eq!(on.served_of(20).await, counts([("early", 20)]));
    for name in 0..10 {
        on.queue_of("late", name).await;
    }
    for _ in 0..5 {
        let served = on.served_of(4).await;
        assert_eq!(served, counts([("early", 2), ("late", 2)]));
    }
}

/// Of a tenant no more turns run than its share says, whoever claims them. One that ends makes room, and one that is deleted,
/// or waits for a person.
pub async fn turns_at_once_are_bounded(on: &dyn Fixture) {
    if !on.store().keeps_shares() {
        return;
    }
    on.set_share("acme", TenantShare::default().concurrency(number(2)))
        .await;
    for name in 0..12 {
        on.queue_of("acme", name).await;
    }
    let stores = [on.store(), on.another().await];
    let claims = (0..8).map(|place| {
        let store = Arc::clone(&stores[place % 2]);
        let claim = claim_by(&place.to_string());
        tokio::spawn(async move { store.claim(&claim).await.unwrap() })
    });
    let claimed = join_all(claims).await.into_iter();
    let mut running: Vec<_> = claimed.filter_map(Result::unwrap).collect();
    assert_eq!(running.len(), 2);
    // It holds up no other tenant.
    let (_, other) = on.queue_of("other", 0).await;
    assert_eq!(on.claim().await.unwrap().turn.id, other.id);
    let next = async || on.claim().await.filter(is_of("acme"));
    assert!(next().await.is_none());
    // A turn of its own is no exception.
    let (_, only) = on.queue_of("acme", 99).await;
    assert!(on.claim_only(only.id).await.is_none());
    let store = on.store();
    let ended = running.remove(0);
    let end = finish(TurnStatus::Completed, "Hi");
    store.finish(&ended.lease, &end).await.unwrap();
    running.push(next().await.unwrap());
    assert!(next().await.is_none());
    let deleted = running.remove(0).conversation.id;
    store.delete_conversation(deleted, None).await.unwrap();
    running.push(next().await.unwrap());
    assert!(next().await.is_none());
    let waiting = running.remove(0);
    let note = |waits| store.note(&waiting.lease, Note::Waiting(waits));
    note(true).await.unwrap();
    running.push(next().await.unwrap());
    assert!(next().await.is_none());
    // With its answer it goes on at once, and is counted.
    note(false).await.unwrap();
    complete(&*store, &running.remove(0).lease).await.unwrap();
    assert!(next().await.is_none());
    complete(&*store, &running.remove(0).lease).await.unwrap();
    running.push(next().await.unwrap());
    // One that is given back makes room, for itself too.
    store.release(&running.remove(0).lease).await.unwrap();
    assert!(next().await.is_some());
    assert!(next().await.is_none());
}

fn is_of(tenant: &str) -> impl Fn(&ClaimedTurn) -> bool {
    move |claimed| claimed.conversation.tenant.as_str() == tenant
}

/// A turn whose worker died is taken over though its tenant has no room, and makes room with its end.
pub async fn a_dead_workers_turn_makes_room(on: &dyn Fixture) {
    if !on.store().keeps_shares() {
        return;
    }
    on.set_share("acme", TenantShare::default().concurrency(number(1)))
        .await;
    let (_, first) = on.queue_of("acme", 0).await;
    let (_, second) = on.queue_of("acme", 1).await;
    let dead = on.claim().await.unwrap();
    assert_eq!(dead.turn.id, first.id);
    let asking = on.store();
    asking.note(&dead.lease, Note::Waiting(true)).await.unwrap();
    on.expire_leases();
    let again = on.claim().await.unwrap();
    assert_eq!((again.turn.id, again.turn.generation), (first.id, 2));
    // Whoever takes it over has to find that it waits.
    assert!(on.claim().await.is_none());
    on.complete(&again.lease).await;
    assert_eq!(on.claim().await.unwrap().turn.id, second.id);
}

/// No more turns of a tenant begin in a period than its share says, and the store says when the next one begins.
pub async fn turns_of_a_period_are_bounded(on: &dyn Fixture) {
    let store = on.store();
    if !store.keeps_shares() {
        return;
    }
    on.set_share(
        "acme",
        TenantShare::default().rate(Rate::new(number(2), HOUR)),
    )
    .await;
    for name in 0..6 {
        on.queue_of("acme", name).await;
    }
    let default = TenantShare::default();
    let due = async || store.next_due(&default).await.unwrap();
    assert_eq!(due().await, None);
    let began = on.clock().now();
    assert_eq!(on.served().await.as_deref(), Some("acme"));
    on.clock().advance(HOUR / 2);
    assert_eq!(due().await, None);
    assert_eq!(on.served().await.as_deref(), Some("acme"));
    assert!(on.claim().await.is_none());
    assert_eq!(due().await, Some(began.after(HOUR)));
    // It holds up no other tenant.
    on.queue_of("other", 0).await;
    assert_eq!(on.served().await.as_deref(), Some("other"));
    on.clock()
        .advance((HOUR / 2).saturating_sub(Duration::from_millis(1)));
    assert!(
        on.another()
            .await
            .claim(&claim_by("b"))
            .await
            .unwrap()
            .is_none()
    );
    on.clock().advance(Duration::from_millis(1));
    assert_eq!(on.served_of(2).await, counts([("acme", 2)]));
    assert!(on.claim().await.is_none());
    // A share that is set anew begins with a period of its own.
    on.set_share(
        "acme",
        TenantShare::default().rate(Rate::new(number(1), HOUR)),
    )
    .await;
    assert_eq!(on.served().await.as_deref(), Some("acme"));
    assert!(on.claim().await.is_none());
    // What the claim says is for others.
    let none = TenantShare::default().concurrency(number(1));
    let claim = claim_by("a").share(none);
    on.queue_of("third", 0).await;
    on.queue_of("third", 1).await;
    assert!(store.claim(&claim).await.unwrap().is_some());
    assert!(store.claim(&claim).await.unwrap().is_none());
}

/// Of a tenant's turns one of the highest priority is claimed first, of those the oldest; never before an earlier one of its
/// conversation.
pub async fn the_highest_priority_comes_first(on: &dyn Fixture) {
    let mut turns = Vec::new();
    for (number, priority) in [0, -128, 7, 0, 127, 7].into_iter().enumerate() {
        let conversation = on.open(&number.to_string()).await;
        let new = NewTurn {
            priority,
            ..on.new_turn(&conversation, "Hello")
        };
        let submitted = on.store().submit(&new).await.unwrap();
        assert_eq!(on.turn(new.id).await.priority, priority);
        turns.push((conversation, submitted.turn.id));
    }
    // The first of its conversation has no more than this.
    let new = NewTurn {
        priority: 127,
        ..on.new_turn(&turns[1].0, "Hello")
    };
    on.store().submit(&new).await.unwrap();
    for place in [4, 2, 5, 0, 3, 1] {
        let claimed = on.claim().await.unwrap();
        assert_eq!(claimed.turn.id, turns[place].1);
        if place == 1 {
            on.complete(&claimed.lease).await;
        }
    }
    assert_eq!(on.claim().await.unwrap().turn.id, new.id);
}

/// A turn with a moment is not claimed before it, and then at once. Those behind it in its conversation wait with it; other
/// conversations do not.
pub async fn a_turn_waits_for_its_moment(on: &dyn Fixture) {
    let store = on.store();
    let garden = on.open("garden").await;
    let first = on.submit(&garden, "one").await;
    let moment = on.clock().now().after(HOUR);
    let new = NewTurn {
        not_before: Some(moment),
        ..on.new_turn(&garden, "two")
    };
    let second = store.submit(&new).await.unwrap().turn;
    assert_eq!(second.not_before, Some(moment));
    let third = on.submit(&garden, "three").await;
    let default = TenantShare::default();
    let due = async || store.next_due(&default).await.unwrap();
    let told = due().await;
    assert!(told.is_none_or(|told| told == moment), "{told:?}");
    let claimed = on.claim().await.unwrap();
    assert_eq!(claimed.turn.id, first.id);
    on.complete(&claimed.lease).await;
    assert!(on.claim().await.is_none());
    assert!(on.claim_only(second.id).await.is_none());
    assert!(on.claim_only(third.id).await.is_none());
    let elsewhere = on.open("elsewhere").await;
    let other = on.submit(&elsewhere, "four").await;
    assert_eq!(on.claim().await.unwrap().turn.id, other.id);
    on.clock().set(Timestamp(moment.0.saturating_sub(1)));
    store.renew(&[], LEASE).await.unwrap();
    let late = on.another().await;
    let taken = late.claim(&claim_by("b")).await.unwrap().unwrap();
    assert_eq!(taken.turn.id, other.id, "its lease ran out");
    on.complete(&taken.lease).await;
    assert!(late.claim(&claim_by("b")).await.unwrap().is_none());
    assert_eq!(due().await, told);
    on.clock().advance(Duration::from_millis(1));
    let claimed = on.claim().await.unwrap();
    assert_eq!(claimed.turn.id, second.id);
    assert_eq!(claimed.turn.not_before, Some(moment));
    assert_eq!(due().await, None);
    // One that is given back has had its moment.
    store.release(&claimed.lease).await.unwrap();
    let claimed = on.claim().await.unwrap();
    assert_eq!(claimed.turn.id, second.id);
    on.complete(&claimed.lease).await;
    assert_eq!(on.claim().await.unwrap().turn.id, third.id);
}

/// A turn that waits for its moment is cancelled and deleted as any other, and a moment that has passed holds nothing up.
pub async fn a_moment_holds_up_no_cancel(on: &dyn Fixture) {
    let store = on.store();
    let garden = on.open("garden").await;
    let moment = on.clock().now().after(HOUR);
    let new = NewTurn {
        not_before: Some(moment),
        ..on.new_turn(&garden, "one")
    };
    store.submit(&new).await.unwrap();
    let second = on.submit(&garden, "two").await;
    store.request_cancel(new.id, None).await.unwrap();
    let cancelled = on.claim().await.unwrap();
    assert_eq!(cancelled.turn.id, new.id);
    assert!(store.settle(&cancelled.lease).await.unwrap());
    let claimed = on.claim().await.unwrap();
    assert_eq!(claimed.turn.id, second.id);
    on.complete(&claimed.lease).await;
    let new = NewTurn {
        not_before: Some(moment),
        ..on.new_turn(&garden, "three")
    };
    store.submit(&new).await.unwrap();
    store.delete_conversation(garden.id, None).await.unwrap();
    on.clock().advance(HOUR * 2);
    assert!(on.claim().await.is_none());
    let other = on.open("other").await;
    let new = NewTurn {
        not_before: Some(moment),
        ..on.new_turn(&other, "four")
    };
    store.submit(&new).await.unwrap();
    // The clock is put back: its moment has come already, or comes again.
    on.clock().set(Timestamp(moment.0));
    assert_eq!(on.claim().await.unwrap().turn.id, new.id);
}

/// Each server has its own order: what a tenant has queued on another one holds nothing up.
pub async fn each_server_has_its_order(on: &dyn Fixture) {
    let store = on.store();
    if !store.keeps_shares() || !store.keeps_servers() {
        return;
    }
    let server = |name: &str| ServerName::new(name).unwrap();
    let heard = |name: &str| {
        let mut report = ServerReport::new(server(name), "http://127.0.0.1:4096");
        report.heard_by = Some(WorkerId::from("w"));
        report
    };
    for name in ["a", "b"] {
        store.report_server(&heard(name)).await.unwrap();
    }
    on.set_share("acme", TenantShare::default().concurrency(number(5)))
        .await;
    for name in 0..6 {
        for (tenant, at) in [("acme", "a"), ("acme", "b"), ("other", "b")] {
            let (conversation, _) = on
                .queue_of(tenant, if at == "a" { name } else { name + 100 })
                .await;
            assert!(store.place(conversation.id, &server(at)).await.unwrap());
        }
    }
    let claim = |name: &str| Claim::new(WorkerId::from("w"), LEASE).on(&server(name), None);
    let claimed = async |name: &str| {
        let claimed = store.claim(&claim(name)).await.unwrap()?;
        assert_eq!(claimed.conversation.server, Some(server(name)));
        Some(claimed)
    };
    let mut served = Vec::new();
    for _ in 0..4 {
        served.push(claimed("b").await.unwrap());
    }
    assert_eq!(served.iter().filter(|turn| is_of("acme")(turn)).count(), 2);
    // The bound of a tenant is for all servers.
    for _ in 0..3 {
        assert!(claimed("a").await.is_some_and(|turn| is_of("acme")(&turn)));
    }
    assert!(claimed("a").await.is_none());
    for _ in 0..4 {
        assert!(claimed("b").await.is_some_and(|turn| is_of("other")(&turn)));
    }
    assert!(claimed("b").await.is_none());
    on.complete(&served.remove(0).lease).await;
}
