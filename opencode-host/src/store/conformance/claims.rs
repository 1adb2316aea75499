//! Who gets which turn, and for how long.

use std::time::Duration;

use super::Fixture;
use super::sample::{LEASE, SaveOne as _, checkpoint, claim_by, finish};
use crate::clock::{Clock as _, Timestamp};
use crate::id::TurnId;
use crate::store::{CancelOutcome, Lease, LeaseStatus, Note, Phase, StoreError, TurnStatus};

const HELD: LeaseStatus = LeaseStatus::Held {
    cancel_requested: false,
    answers: false,
};

/// Queued turns of different conversations are claimed in the order of their submits.
pub async fn the_oldest_comes_first(on: &dyn Fixture) {
    assert!(on.claim().await.is_none(), "an empty queue");
    let mut submitted = Vec::new();
    for name in ["c", "a", "b"] {
        let conversation = on.open(name).await;
        submitted.push(on.submit(&conversation, name).await.id);
        on.clock().advance(Duration::from_millis(5));
    }
    for turn in submitted {
        let claimed = on.claim().await.unwrap();
        assert_eq!(claimed.turn.id, turn);
        assert_eq!(claimed.turn.phase(), Phase::Running);
        assert_eq!((claimed.turn.generation, claimed.turn.attempts), (1, 1));
        assert_eq!(claimed.turn.started_at(), Some(on.clock().now()));
        assert_eq!(claimed.now, on.clock().now());
        assert_eq!(
            claimed.lease,
            Lease {
                turn,
                generation: 1
            }
        );
        assert_eq!(claimed.conversation.id, claimed.turn.conversation);
        assert_eq!(on.turn(turn).await, claimed.turn);
    }
    assert!(on.claim().await.is_none());
}

/// A turn can be claimed only when all earlier ones of its conversation are settled.
pub async fn one_at_a_time_in_order(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let mut turns = Vec::new();
    for text in ["one", "two", "three"] {
        turns.push(on.submit(&conversation, text).await);
    }
    for turn in turns {
        let claimed = on.claim().await.unwrap();
        assert_eq!(claimed.turn.id, turn.id);
        assert!(on.claim().await.is_none(), "the earlier one runs");
        on.store()
            .finish(&claimed.lease, &finish(TurnStatus::Completed, ""))
            .await
            .unwrap();
        assert!(on.claim().await.is_none(), "the earlier one is not settled");
        assert!(on.store().settle(&claimed.lease).await.unwrap());
    }
    assert!(on.claim().await.is_none());
}

/// A turn that waits can say for which one: the oldest that is not settled.
pub async fn the_turn_ahead_is_told(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let mut turns = Vec::new();
    for text in ["one", "two", "three"] {
        turns.push(on.submit(&conversation, text).await.id);
    }
    on.submit(&on.open("elsewhere").await, "Hello").await;
    let ahead = async |turn| on.store().turn_ahead(turn).await.unwrap();
    assert_eq!(ahead(turns[0]).await, None);
    assert_eq!(ahead(turns[1]).await, Some(turns[0]));
    assert_eq!(ahead(turns[2]).await, Some(turns[0]));
    let claimed = on.claim().await.unwrap();
    let end = finish(TurnStatus::Completed, "");
    on.store().finish(&claimed.lease, &end).await.unwrap();
    assert_eq!(ahead(turns[2]).await, Some(turns[0]), "it is not settled");
    on.store().settle(&claimed.lease).await.unwrap();
    assert_eq!(ahead(turns[1]).await, None);
    assert_eq!(ahead(turns[2]).await, Some(turns[1]));
    assert_eq!(ahead(turns[0]).await, None);
    assert_eq!(ahead(TurnId::from_uuid(on.clock().new_uuid())).await, None);
}

/// A turn under a good lease is nobody else's.
pub async fn a_leased_turn_is_skipped(on: &dyn Fixture) {
    let running = on.running("garden").await;
    on.clock()
        .advance(LEASE.saturating_sub(Duration::from_millis(1)));
    let other = on.another().await;
    assert!(other.claim(&claim_by("b")).await.unwrap().is_none());
    on.store()
        .finish(&running.lease, &finish(TurnStatus::Completed, ""))
        .await
        .unwrap();
    assert!(other.claim(&claim_by("b")).await.unwrap().is_none());
    on.clock().advance(Duration::from_millis(1));
    assert!(other.claim(&claim_by("b")).await.unwrap().is_some());
}

/// A running turn whose lease ran out is anybody's, with all that was written down.
pub async fn an_expired_turn_is_taken_over(on: &dyn Fixture) {
    let first = on.running("garden").await;
    on.store()
        .save_one(&first.lease, &checkpoint("So far"))
        .await
        .unwrap();
    let left = on.turn(first.turn.id).await;
    on.expire_leases();
    let other = on.another().await;
    let second = other.claim(&claim_by("b")).await.unwrap().unwrap();
    assert_eq!(
        (second.turn.id, second.turn.phase()),
        (first.turn.id, Phase::Running)
    );
    assert_eq!(second.turn.generation, left.generation + 1);
    assert_eq!(
        second.turn.started_at(),
        left.started_at(),
        "the first claim's"
    );
    assert_eq!(second.turn.checkpoint, checkpoint("So far"));
    let leases = [first.lease, second.lease];
    assert_eq!(
        on.store().check(&leases).await.unwrap(),
        [LeaseStatus::Lost, HELD]
    );
    assert!(on.claim().await.is_none(), "the second worker has it");
}

/// A turn whose worker died between its end and settling is taken over too.
pub async fn an_expired_finished_turn_is_taken_over(on: &dyn Fixture) {
    let first = on.running("garden").await;
    on.store()
        .finish(&first.lease, &finish(TurnStatus::Completed, "Hi"))
        .await
        .unwrap();
    let later = on.submit(&first.conversation, "Next").await;
    on.expire_leases();
    let second = on.claim().await.unwrap();
    assert_eq!(second.turn.id, first.turn.id);
    assert_eq!(
        second.turn.phase(),
        Phase::Finished {
            status: TurnStatus::Completed,
            settled: false
        }
    );
    assert_eq!(second.turn.generation, 2);
    assert!(on.store().settle(&second.lease).await.unwrap());
    assert_eq!(on.claim().await.unwrap().turn.id, later.id);
}

/// A turn that somebody left in the middle is worked on before new ones.
pub async fn those_left_behind_come_first(on: &dyn Fixture) {
    let conversation = on.open("older").await;
    let queued = on.submit(&conversation, "Hello").await;
    let left = on.running("younger").await;
    on.expire_leases();
    assert_eq!(on.claim().await.unwrap().turn.id, left.turn.id);
    assert_eq!(on.claim().await.unwrap().turn.id, queued.id);
}

/// A claim of one turn takes no other, and that one by the same rules.
pub async fn only_means_only(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let first = on.submit(&conversation, "one").await;
    let second = on.submit(&conversation, "two").await;
    let elsewhere = on.open("elsewhere").await;
    let third = on.submit(&elsewhere, "three").await;
    assert!(
        on.claim_only(second.id).await.is_none(),
        "it is not its turn"
    );
    assert_eq!(on.claim_only(third.id).await.unwrap().turn.id, third.id);
    assert!(on.claim_only(third.id).await.is_none(), "it is leased");
    let unknown = TurnId::from_uuid(on.clock().new_uuid());
    assert!(on.claim_only(unknown).await.is_none());
    let claimed = on.claim_only(first.id).await.unwrap();
    on.complete(&claimed.lease).await;
    assert!(on.claim_only(first.id).await.is_none(), "it is settled");
    on.expire_leases();
    assert_eq!(on.claim_only(third.id).await.unwrap().turn.generation, 2);
    assert_eq!(on.claim_only(second.id).await.unwrap().turn.id, second.id);
}

/// A lease lasts as long as it is renewed, also when it had run out but nobody took the turn.
pub async fn a_renewed_lease_lasts(on: &dyn Fixture) {
    let running = on.running("garden").await;
    for _ in 0..5 {
        on.clock().advance(LEASE / 2);
        assert_eq!(
            on.store().renew(&[running.lease], LEASE).await.unwrap(),
            [HELD]
        );
        assert!(on.claim().await.is_none());
    }
    on.expire_leases();
    assert_eq!(
        on.store().renew(&[running.lease], LEASE * 3).await.unwrap(),
        [HELD]
    );
    on.clock().advance(LEASE * 2);
    assert!(on.claim().await.is_none());
    on.clock().advance(LEASE);
    let taken = on
        .another()
        .await
        .claim(&claim_by("b"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        on.store().renew(&[running.lease], LEASE * 3).await.unwrap(),
        [LeaseStatus::Lost]
    );
    assert_eq!(on.turn(running.turn.id).await, taken.turn);
    on.expire_leases();
    let third = on.claim().await;
    assert!(third.is_some(), "the late renewal prolonged nothing");
}

/// Leases are told in the order they were asked for, those of no turn as lost.
pub async fn leases_are_told_in_order(on: &dyn Fixture) {
    let (one, two) = (on.running("one").await, on.running("two").await);
    assert_eq!(
        on.store().request_cancel(two.turn.id, None).await.unwrap(),
        CancelOutcome::Requested
    );
    let unknown = Lease {
        turn: TurnId::from_uuid(on.clock().new_uuid()),
        generation: 1,
    };
    let never = Lease {
        generation: 2,
        ..one.lease
    };
    let asked = [two.lease, unknown, one.lease, never, two.lease];
    let cancelled = LeaseStatus::Held {
        cancel_requested: true,
        answers: false,
    };
    let told = [
        cancelled,
        LeaseStatus::Lost,
        HELD,
        LeaseStatus::Lost,
        cancelled,
    ];
    assert_eq!(on.store().check(&asked).await.unwrap(), told);
    assert_eq!(on.store().renew(&asked, LEASE).await.unwrap(), told);
    assert_eq!(on.store().check(&[]).await.unwrap(), []);
    assert_eq!(on.store().renew(&[], LEASE).await.unwrap(), []);
    on.store()
        .finish(&one.lease, &finish(TurnStatus::Completed, ""))
        .await
        .unwrap();
    assert_eq!(
        on.store().check(&[one.lease]).await.unwrap(),
        [HELD],
        "until it is settled"
    );
    on.store().settle(&one.lease).await.unwrap();
    assert_eq!(
        on.store().check(&[one.lease]).await.unwrap(),
        [LeaseStatus::Lost]
    );
}

/// A lease that was set by a clock since put back ends within its own length,
/// unless it is renewed.
pub async fn a_lease_from_the_future_ends_in_time(on: &dyn Fixture) {
    let dead = on.running("dead").await;
    let alive = on.running("alive").await;
    let queued = on.submit(&on.open("queued").await, "Hello").await;
    let Timestamp(now) = on.clock().now();
    on.clock().set(Timestamp(now - 86_400_000));
    assert_eq!(
        on.claim().await.unwrap().turn.id,
        queued.id,
        "others are unharmed"
    );
    assert!(on.claim().await.is_none(), "its worker may live");
    on.clock().advance(LEASE / 2);
    assert_eq!(
        on.store().renew(&[alive.lease], LEASE).await.unwrap(),
        [HELD]
    );
    on.clock().advance(LEASE / 2 + Duration::from_millis(1));
    let taken = on.claim_only(dead.turn.id).await.unwrap();
    assert_eq!(taken.turn.generation, 2);
    assert!(on.claim_only(alive.turn.id).await.is_none());
}

/// A turn that was given back can be claimed at once; the claim does not count as an attempt.
pub async fn a_released_turn_is_free_at_once(on: &dyn Fixture) {
    let running = on.running("garden").await;
    on.store()
        .save_one(&running.lease, &checkpoint("So far"))
        .await
        .unwrap();
    on.store().release(&running.lease).await.unwrap();
    let released = on.turn(running.turn.id).await;
    assert_eq!((released.phase(), released.attempts), (Phase::Queued, 0));
    let mut generation = released.generation;
    for _ in 0..3 {
        let claimed = on.claim().await.unwrap();
        assert_eq!(
            (claimed.turn.id, claimed.turn.attempts),
            (running.turn.id, 1)
        );
        assert!(claimed.turn.generation > generation);
        assert_eq!(claimed.turn.checkpoint, checkpoint("So far"));
        generation = claimed.turn.generation;
        on.store().release(&claimed.lease).await.unwrap();
    }
}

/// A finished turn that was given back before settling can be claimed at once.
pub async fn a_released_finished_turn_is_free_at_once(on: &dyn Fixture) {
    let running = on.running("garden").await;
    on.store()
        .finish(&running.lease, &finish(TurnStatus::Completed, "Hi"))
        .await
        .unwrap();
    on.store().release(&running.lease).await.unwrap();
    let claimed = on.claim().await.unwrap();
    assert_eq!(claimed.turn.id, running.turn.id);
    assert_eq!(
        claimed.turn.phase(),
        Phase::Finished {
            status: TurnStatus::Completed,
            settled: false
        }
    );
    assert!(on.store().settle(&claimed.lease).await.unwrap());
}

/// Every claim raises the attempts, progress starts them anew.
pub async fn attempts_count_claims_since_progress(on: &dyn Fixture) {
    let mut claimed = on.running("garden").await;
    for attempts in 2..5 {
        on.expire_leases();
        claimed = on.claim().await.unwrap();
        assert_eq!(claimed.turn.attempts, attempts);
    }
    assert_eq!(claimed.turn.progress_at(), None);
    on.store()
        .save_one(&claimed.lease, &checkpoint("So far"))
        .await
        .unwrap();
    let went_on = on.turn(claimed.turn.id).await;
    assert_eq!(
        (went_on.attempts, went_on.progress_at()),
        (0, Some(on.clock().now()))
    );
    on.expire_leases();
    assert_eq!(on.claim().await.unwrap().turn.attempts, 1);
}

/// A turn that waits for a person can be claimed any number of times.
pub async fn a_waiting_turn_uses_up_no_attempts(on: &dyn Fixture) {
    on.running("garden").await;
    on.expire_leases();
    let claimed = on.claim().await.unwrap();
    assert_eq!(claimed.turn.attempts, 2);
    on.store()
        .note(&claimed.lease, Note::Waiting(true))
        .await
        .unwrap();
    let row = on.turn(claimed.turn.id).await;
    assert_eq!((row.attempts, row.progress_at()), (0, None));
    on.expire_leases();
    assert_eq!(on.claim().await.unwrap().turn.attempts, 1);
}

/// A turn that this version cannot read is told once and not claimed again; all others are.
pub async fn an_unreadable_turn_is_told_and_passed_over(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let broken = on.submit(&conversation, "Hello").await;
    let behind = on.submit(&conversation, "Me too").await;
    let elsewhere = on.open("elsewhere").await;
    let fine = on.submit(&elsewhere, "Hello").await;
    if !on.make_unreadable(broken.id).await {
        return;
    }
    match on.store().claim(&claim_by("a")).await {
        Err(StoreError::Corrupt { table, id, .. }) => {
            assert_eq!((table, id), ("turns", broken.id.to_string()))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(on.claim().await.unwrap().turn.id, fine.id);
    assert!(on.claim().await.is_none());
    assert!(
        on.claim_only(behind.id).await.is_none(),
        "its order is kept"
    );
    on.expire_leases();
    assert_eq!(on.claim().await.unwrap().turn.id, fine.id);
    // The person can stop it, and the conversation goes on.
    assert_eq!(
        on.store().request_cancel(broken.id, None).await.unwrap(),
        CancelOutcome::Cancelled
    );
    assert_eq!(on.claim().await.unwrap().turn.id, behind.id);
}
