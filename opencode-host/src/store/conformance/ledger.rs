//! What turns use is counted once and for all, and what those that run have reserved is nobody else's.
//!
//! A store that keeps no ledger ([`Ledger::keeps_ledger`](crate::store::Ledger::keeps_ledger)) promises to say so.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;

use super::Fixture;
use super::sample::{claim_by, finish};
use crate::budget::{Allowance, Budget, Dollars, OverBudget, Period, Scope, Spending, Spent};
use crate::clock::{Clock as _, Timestamp};
use crate::id::ConversationId;
use crate::store::{
    Account, CancelOutcome, Claim, ClaimedTurn, Finish, Lease, Note, Reserved, Store, StoreError,
    Tenant, TurnStatus,
};

fn cents(cents: u64) -> Spent {
    Spent::new(Dollars::cents(cents), cents, Duration::from_millis(cents))
}

/// What a tenant may use in a month, and that a turn reserves ten cents of it at a time.
fn month(cents: u64) -> Budget {
    let month = Allowance::UNLIMITED.cost(Dollars::cents(cents));
    Budget::default().tenant(month, Period::Month)
}

fn ended(cents_used: u64) -> Finish {
    let mut end = finish(TurnStatus::Completed, "Hi");
    end.spent = cents(cents_used);
    end
}

/// What the fixture's tenant has used and reserved in cents, as its cost says.
async fn spending(fixture: &dyn Fixture) -> (Dollars, Dollars) {
    let account = Account::Tenant(Tenant::default());
    let store = fixture.store();
    let spending = store.spending(&account, Timestamp(0)).await.unwrap();
    (spending.used.cost, spending.reserved.cost)
}

async fn reserve(store: &dyn Store, lease: &Lease, budget: &Budget, spent: u64) -> Reserved {
    store.reserve(lease, budget, &cents(spent)).await.unwrap()
}

/// How much more a turn may use.
fn granted(reserved: &Reserved) -> Option<Dollars> {
    match reserved {
        Reserved::Granted { grant, .. } => grant.cost,
        Reserved::Over { .. } => None,
    }
}

fn over(reserved: Reserved) -> OverBudget {
    match reserved {
        Reserved::Over { over, .. } => over,
        granted @ Reserved::Granted { .. } => panic!("{granted:?}"),
    }
}

/// A store that keeps no ledger refuses what needs one, and bounds a turn by its own allowance.
async fn keeps_none(fixture: &dyn Fixture) -> bool {
    let store = fixture.store();
    if store.keeps_ledger() {
        return false;
    }
    let claimed = fixture.running("no ledger").await;
    let refused = store.reserve(&claimed.lease, &month(100), &cents(0)).await;
    assert!(
        matches!(refused, Err(StoreError::Configuration(_))),
        "{refused:?}"
    );
    let own = Budget::default().turn(Allowance::UNLIMITED.cost(Dollars::cents(5)));
    let reserved = reserve(&*store, &claimed.lease, &own, 1).await;
    assert_eq!(granted(&reserved), Some(Dollars::cents(5)));
    over(reserve(&*store, &claimed.lease, &own, 5).await);
    true
}

/// What a turn has used when it ends is in the ledger, in sums of its conversation and of its tenant since a moment.
pub async fn what_a_turn_used_is_counted(fixture: &dyn Fixture) {
    if keeps_none(fixture).await {
        return;
    }
    let store = fixture.store();
    let ours = fixture.running("ours").await;
    let began = ours.now;
    store.finish(&ours.lease, &ended(7)).await.unwrap();
    store.finish(&ours.lease, &ended(9)).await.unwrap();
    fixture.clock().advance(Duration::from_secs(60));
    let later = fixture.running("later").await;
    store.finish(&later.lease, &ended(20)).await.unwrap();

    let conversation = Account::Conversation(ours.turn.conversation);
    let tenant = Account::Tenant(Tenant::default());
    let sum = async |account: &Account, since| store.spending(account, since).await.unwrap();
    let used = |amount| Spending::new(cents(amount), Spent::default());
    assert_eq!(sum(&conversation, began).await, used(7));
    assert_eq!(sum(&tenant, began).await, used(27));
    assert_eq!(sum(&tenant, later.now).await, used(20));
    assert_eq!(sum(&tenant, Timestamp(i64::MAX)).await, used(0));
    let other = Account::Tenant(Tenant::from("other"));
    assert_eq!(sum(&other, Timestamp(i64::MIN)).await, used(0));
    let none = ConversationId::from_uuid(fixture.clock().new_uuid());
    let none = Account::Conversation(none);
    assert_eq!(sum(&none, Timestamp(i64::MIN)).await, used(0));
}

/// A running turn reserves what it may use. Others have the rest; its end frees what it did not use, in any way to end.
pub async fn what_a_turn_reserves_is_free_at_its_end(fixture: &dyn Fixture) {
    if keeps_none(fixture).await {
        return;
    }
    let (store, budget) = (fixture.store(), month(16));
    let first = fixture.running("first").await;
    let second = fixture.running("second").await;
    let third = fixture.running("third").await;
    let (ten, sixteen) = (Dollars::cents(10), Dollars::cents(16));
    assert_eq!(
        granted(&reserve(&*store, &first.lease, &budget, 0).await),
        Some(ten)
    );
    // What is left.
    let six = Some(Dollars::cents(6));
    assert_eq!(
        granted(&reserve(&*store, &second.lease, &budget, 0).await),
        six
    );
    assert_eq!(spending(fixture).await, (Dollars::ZERO, sixteen));
    let refused = over(reserve(&*store, &third.lease, &budget, 0).await);
    assert_eq!(refused.scope, Scope::Tenant);
    assert_eq!(refused.to_string().matches("0.16").count(), 2, "{refused}");
    // It used two of its ten.
    store.finish(&first.lease, &ended(2)).await.unwrap();
    assert_eq!(
        spending(fixture).await,
        (Dollars::cents(2), Dollars::cents(6))
    );
    let eight = Some(Dollars::cents(8));
    assert_eq!(
        granted(&reserve(&*store, &third.lease, &budget, 0).await),
        eight
    );
    // Cancelled after it was given back, without a prompt: it ends in the queue.
    store.release(&third.lease).await.unwrap();
    assert_eq!(spending(fixture).await.1, Dollars::cents(14));
    let cancelled = store.request_cancel(third.turn.id, None).await.unwrap();
    assert_eq!(cancelled, CancelOutcome::Cancelled);
    assert_eq!(
        spending(fixture).await,
        (Dollars::cents(2), Dollars::cents(6))
    );
    // Whoever has lost the lease reserves nothing, nor does a turn that has ended.
    for lost in [first.lease, third.lease] {
        let refused = store.reserve(&lost, &budget, &cents(1)).await;
        assert!(
            matches!(refused, Err(StoreError::LeaseLost { .. })),
            "{refused:?}"
        );
    }
}

/// Of two that reserve the last of it at the same time, from different processes, one has it.
pub async fn the_last_of_a_budget_is_reserved_once(fixture: &dyn Fixture) {
    if keeps_none(fixture).await {
        return;
    }
    let budget = month(25);
    let mut claimed = Vec::new();
    for number in 0..8 {
        let turn = fixture.running(&format!("turn {number}")).await;
        claimed.push((turn, fixture.another().await));
    }
    let ready = Arc::new(Barrier::new(claimed.len()));
    let mut reserving = tokio::task::JoinSet::new();
    for (turn, another) in claimed {
        let ready = Arc::clone(&ready);
        reserving.spawn(async move {
            // It is connected by now.
            another.now().await.unwrap();
            ready.wait().await;
            let reserved = another.reserve(&turn.lease, &budget, &cents(0)).await;
            granted(&reserved.unwrap())
        });
    }
    let mut granted: Vec<_> = reserving.join_all().await.into_iter().flatten().collect();
    granted.sort();
    let cents = [5, 10, 10].map(Dollars::cents);
    assert_eq!(granted, cents, "so much is there and no more");
    assert_eq!(spending(fixture).await.1, Dollars::cents(25));
}

/// What a turn notes comes off what it has reserved; where that is used up it asks for more, until nothing is left.
pub async fn a_turn_that_uses_up_what_it_reserved_asks_for_more(fixture: &dyn Fixture) {
    if keeps_none(fixture).await {
        return;
    }
    let (store, budget) = (fixture.store(), month(22));
    let turn = fixture.running("turn").await;
    reserve(&*store, &turn.lease, &budget, 0).await;
    let note = async |amount| {
        let spent = cents(amount);
        store.note(&turn.lease, Note::Spent(&spent)).await.unwrap();
        spending(fixture).await
    };
    assert_eq!(note(4).await, (Dollars::cents(4), Dollars::cents(6)));
    // Less than before is no news.
    assert_eq!(note(3).await, (Dollars::cents(4), Dollars::cents(6)));
    assert_eq!(note(11).await, (Dollars::cents(11), Dollars::ZERO));
    let more = reserve(&*store, &turn.lease, &budget, 12).await;
    assert_eq!(granted(&more), Some(Dollars::cents(22)));
    assert_eq!(*more.spent(), cents(12));
    assert_eq!(
        spending(fixture).await,
        (Dollars::cents(12), Dollars::cents(10))
    );
    // The last step was dear.
    let refused = over(reserve(&*store, &turn.lease, &budget, 30).await);
    assert!(refused.to_string().contains("0.30 of 0.22"), "{refused}");
    assert_eq!(spending(fixture).await, (Dollars::cents(30), Dollars::ZERO));
}

/// A worker that dies leaves what was reserved, and what was used, to whoever takes the turn over.
pub async fn a_dead_workers_reservation_is_its_successors(fixture: &dyn Fixture) {
    if keeps_none(fixture).await {
        return;
    }
    let (store, budget) = (fixture.store(), month(10));
    let turn = fixture.running("turn").await;
    reserve(&*store, &turn.lease, &budget, 0).await;
    store
        .note(&turn.lease, Note::Spent(&cents(4)))
        .await
        .unwrap();
    fixture.expire_leases();
    let other = fixture.running("other").await;
    over(reserve(&*store, &other.lease, &budget, 0).await);
    let claim = Claim {
        only: Some(turn.turn.id),
        ..claim_by("b")
    };
    let ClaimedTurn { lease, .. } = store.claim(&claim).await.unwrap().unwrap();
    let late = store.note(&turn.lease, Note::Spent(&cents(9))).await;
    assert!(
        matches!(late, Err(StoreError::LeaseLost { .. })),
        "{late:?}"
    );
    let taken_over = reserve(&*store, &lease, &budget, 0).await;
    assert_eq!(granted(&taken_over), Some(Dollars::cents(10)));
    assert_eq!(*taken_over.spent(), cents(4));
    assert_eq!(
        spending(fixture).await,
        (Dollars::cents(4), Dollars::cents(6))
    );
}

/// A submit is refused where nothing is left, and writes nothing. The same submit as one that was taken is that one.
pub async fn a_submit_is_refused_where_nothing_is_left(fixture: &dyn Fixture) {
    if keeps_none(fixture).await {
        return;
    }
    let store = fixture.store();
    let claimed = fixture.running("used up").await;
    let mut new = fixture.new_turn(&fixture.open("used up").await, "And?");
    new.client_key = Some("key".to_owned());
    new.budget = Some(Box::new(month(30)));
    let taken = store.submit(&new).await.unwrap();
    store.finish(&claimed.lease, &ended(30)).await.unwrap();
    assert_eq!(store.submit(&new).await.unwrap().turn, taken.turn);

    let refused = async |budget| {
        let conversation = fixture.open("fresh").await;
        let mut new = fixture.new_turn(&conversation, "Me too");
        new.budget = Some(Box::new(budget));
        let refused = store.submit(&new).await;
        let Err(StoreError::OverBudget(over)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(store.turn(new.id).await.unwrap(), None);
        assert_eq!(store.message(new.user_message).await.unwrap(), None);
        over
    };
    let over = refused(month(30)).await;
    let now = store.now().await.unwrap();
    let renewed = (Period::Month, Period::Month.end(now));
    assert_eq!((over.scope, over.renewed), (Scope::Tenant, Some(renewed)));
    let none = Allowance::UNLIMITED.tokens(0);
    let over = refused(Budget::default().conversation(none)).await;
    assert_eq!((over.scope, over.renewed), (Scope::Conversation, None));
    let over = refused(Budget::default().turn(none)).await;
    assert_eq!(over.scope, Scope::Turn);

    // Another conversation has an allowance of its own; so has the next month.
    let allowance = Allowance::UNLIMITED.cost(Dollars::cents(30));
    let budget = Budget::default().conversation(allowance);
    let mut new = fixture.new_turn(&fixture.open("fresh").await, "Me too");
    new.budget = Some(Box::new(budget));
    store.submit(&new).await.unwrap();
    fixture.clock().set(renewed.1);
    let mut new = fixture.new_turn(&fixture.open("fresh").await, "Now?");
    new.budget = Some(Box::new(month(30)));
    store.submit(&new).await.unwrap();
}

/// Who deletes a conversation has its money back no more than before, and what its turns had reserved is free.
pub async fn a_deleted_conversation_has_used_what_it_used(fixture: &dyn Fixture) {
    if keeps_none(fixture).await {
        return;
    }
    let (store, budget) = (fixture.store(), month(100));
    let turn = fixture.running("turn").await;
    reserve(&*store, &turn.lease, &budget, 3).await;
    let conversation = turn.turn.conversation;
    store.delete_conversation(conversation, None).await.unwrap();
    assert_eq!(spending(fixture).await, (Dollars::cents(3), Dollars::ZERO));
    let account = Account::Conversation(conversation);
    let spent = store.spending(&account, Timestamp(0)).await.unwrap();
    assert_eq!(spent.used, cents(3));
}

/// Rows of deleted conversations go, the oldest first, and no others.
pub async fn what_is_pruned_was_deleted_long_ago(fixture: &dyn Fixture) {
    if keeps_none(fixture).await {
        return;
    }
    let store = fixture.store();
    for number in 0..4 {
        let turn = fixture.running(&format!("turn {number}")).await;
        store
            .finish(&turn.lease, &ended(1 << number))
            .await
            .unwrap();
        if number > 0 {
            let conversation = turn.turn.conversation;
            store.delete_conversation(conversation, None).await.unwrap();
        }
        fixture.clock().advance(Duration::from_secs(60));
    }
    let before = fixture.clock().now().before(Duration::from_secs(61));
    let prune = async || store.prune_ledger(before, 1).await.unwrap();
    assert_eq!(prune().await, 1);
    let left = Dollars::cents(0b1101);
    assert_eq!(spending(fixture).await.0, left);
    assert_eq!(prune().await, 1);
    assert_eq!(prune().await, 0);
    assert_eq!(spending(fixture).await.0, Dollars::cents(0b1001));
}
