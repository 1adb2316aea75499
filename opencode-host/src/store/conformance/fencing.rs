//! Whose writes count.

use super::Fixture;
use super::sample::{LEASE, SaveOne as _, checkpoint, claim_by, finish, prompt};
use crate::store::{
    ClaimedTurn, Finished, Lease, LeaseStatus, Note, Store, StoreError, StoreResult, TurnState,
    TurnStatus,
};

/// Tries every write of a worker; each must be refused.
async fn every_write_is_refused(store: &dyn Store, lease: &Lease) {
    let refused = |written: StoreResult<()>, write: &str| {
        let lost = matches!(written, Err(StoreError::LeaseLost { turn }) if turn == lease.turn);
        assert!(lost, "{write}: {written:?}");
    };
    refused(
        store
            .note(lease, Note::Prompt(&prompt("late", false)))
            .await,
        "prompt",
    );
    refused(
        store.save_one(lease, &checkpoint("late")).await,
        "checkpoint",
    );
    refused(store.note(lease, Note::Waiting(true)).await, "waiting");
    let lost = opencode_client::SessionId::from("ses_late");
    refused(
        store.note(lease, Note::Replacement(&lost)).await,
        "replacement",
    );
    refused(
        store.note(lease, Note::Unreachable(true)).await,
        "unreachable",
    );
    refused(
        store
            .finish(lease, &finish(TurnStatus::Completed, "late"))
            .await
            .map(drop),
        "finish",
    );
    refused(store.settle(lease).await.map(drop), "settle");
    refused(store.release(lease).await, "release");
    assert_eq!(
        store.renew(&[*lease], LEASE).await.unwrap(),
        [LeaseStatus::Lost]
    );
    assert_eq!(store.check(&[*lease]).await.unwrap(), [LeaseStatus::Lost]);
}

/// A worker whose turn was taken over writes nothing more, neither while the
/// other works on it nor afterwards.
pub async fn a_late_worker_changes_nothing(on: &dyn Fixture) {
    let ClaimedTurn {
        lease: late, turn, ..
    } = on.running("garden").await;
    let store = on.store();
    store
        .note(&late, Note::Prompt(&prompt("1", false)))
        .await
        .unwrap();
    on.expire_leases();
    let other = on.another().await;
    let theirs = other.claim(&claim_by("b")).await.unwrap().unwrap();

    let (row, message) = (on.turn(turn.id).await, on.message(turn.message).await);
    every_write_is_refused(&*store, &late).await;
    assert_eq!(
        (on.turn(turn.id).await, on.message(turn.message).await),
        (row, message)
    );

    other
        .save_one(&theirs.lease, &checkpoint("Theirs"))
        .await
        .unwrap();
    let finished = other
        .finish(&theirs.lease, &finish(TurnStatus::Completed, "Theirs"))
        .await
        .unwrap();
    assert_eq!(finished, Finished::Stored(TurnStatus::Completed));
    let (row, message) = (on.turn(turn.id).await, on.message(turn.message).await);
    every_write_is_refused(&*store, &late).await;
    assert!(other.settle(&theirs.lease).await.unwrap());
    every_write_is_refused(&*store, &late).await;
    let mut expected = row;
    if let TurnState::Finished { settled, .. } = &mut expected.state {
        *settled = true;
    }
    assert_eq!(on.turn(turn.id).await, expected);
    assert_eq!(on.message(turn.message).await, message);
    assert_eq!(on.ends(turn.id).await, 1);
}

/// Who gave a turn back has no right to it any more.
pub async fn a_worker_that_gave_back_changes_nothing(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    on.store().release(&lease).await.unwrap();
    let row = on.turn(turn.id).await;
    every_write_is_refused(&*on.store(), &lease).await;
    assert_eq!(on.turn(turn.id).await, row);
    let next = on.claim().await.unwrap();
    every_write_is_refused(&*on.store(), &lease).await;
    on.complete(&next.lease).await;
}

/// After the end there is nothing to note or write down, for its own worker either.
pub async fn an_ended_turn_takes_no_more(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    let store = on.store();
    store
        .finish(&lease, &finish(TurnStatus::Completed, "Hi"))
        .await
        .unwrap();
    let (row, message) = (on.turn(turn.id).await, on.message(turn.message).await);
    let late = store.save_one(&lease, &checkpoint("late")).await;
    assert!(
        matches!(late, Err(StoreError::LeaseLost { .. })),
        "{late:?}"
    );
    let late = store
        .note(&lease, Note::Prompt(&prompt("late", false)))
        .await;
    assert!(
        matches!(late, Err(StoreError::LeaseLost { .. })),
        "{late:?}"
    );
    assert_eq!(
        (on.turn(turn.id).await, on.message(turn.message).await),
        (row, message)
    );
    assert!(store.settle(&lease).await.unwrap());
    let late = store.release(&lease).await;
    assert!(
        matches!(late, Err(StoreError::LeaseLost { .. })),
        "{late:?}"
    );
    assert_eq!(
        store.renew(&[lease], LEASE).await.unwrap(),
        [LeaseStatus::Lost]
    );
}

/// The worker of a turn whose conversation was deleted is told so at every write.
pub async fn a_deleted_turn_takes_no_more(on: &dyn Fixture) {
    let running = on.running("garden").await;
    on.another()
        .await
        .delete_conversation(running.conversation.id, None)
        .await
        .unwrap();
    every_write_is_refused(&*on.store(), &running.lease).await;
    assert_eq!(on.store().turn(running.turn.id).await.unwrap(), None);
    assert_eq!(on.store().messages(None, None, 10).await.unwrap(), []);
}
