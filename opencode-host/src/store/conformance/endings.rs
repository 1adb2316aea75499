//! One end for every turn.

use std::time::Duration;

use futures_util::future::join_all;
use opencode_client::reply::PersistedPart;

use super::Fixture;
use super::sample::{SaveOne as _, checkpoint, finish, prompt};
use crate::clock::Clock as _;
use crate::id::TurnId;
use crate::outcome::{Reason, TurnError};
use crate::store::{
    CancelOutcome, ClaimedTurn, Finish, Finished, LeaseStatus, Message, MessageStatus, Note, Phase,
    StoreError, TurnEvent, TurnStatus, Usage,
};

/// An end is written to turn, message and record at once.
pub async fn an_end_is_whole(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    on.clock().advance(Duration::from_secs(3));
    let error = TurnError {
        name: "APIError".to_owned(),
        message: "Too many \u{1F33B}".to_owned(),
        status_code: Some(429),
        url: Some("https://provider.test/v1".to_owned()),
    };
    let mut end = finish(TurnStatus::Error, "So far");
    end.answer.reason = Some(Reason::Upstream);
    "Let me see".clone_into(&mut end.answer.reasoning);
    end.answer.usage = Usage {
        cost: 0.1 + 0.2,
        input_tokens: 1,
        output_tokens: 2,
        cache_read_tokens: 3,
        cache_write_tokens: 4,
    };
    end.answer.truncated = true;
    end.answer.error = Some(error);
    let before = on.message(turn.message).await;
    assert_eq!(
        on.store().finish(&lease, &end).await.unwrap(),
        Finished::Stored(TurnStatus::Error)
    );
    let now = on.clock().now();
    let stored = on.another().await.turn(turn.id).await.unwrap().unwrap();
    assert_eq!(
        stored.phase(),
        Phase::Finished {
            status: TurnStatus::Error,
            settled: false
        }
    );
    assert_eq!(stored.finished_at(), Some(now));
    let expected = Message {
        status: MessageStatus::Error,
        answer: end.answer.clone(),
        finished_at: Some(now),
        ..before
    };
    assert_eq!(on.message(turn.message).await, expected);
    let event = TurnEvent {
        name: "turn.finished".to_owned(),
        payload: end.event(),
        at: now,
    };
    assert_eq!(on.store().turn_events(turn.id).await.unwrap(), [event]);
}

/// The first end stays, and is the only one in the record.
pub async fn an_end_is_final(on: &dyn Fixture) {
    let statuses = [
        TurnStatus::Completed,
        TurnStatus::Cancelled,
        TurnStatus::Error,
        TurnStatus::Failed,
    ];
    for first in statuses {
        let ClaimedTurn { lease, turn, .. } = on.running(&format!("{first:?}")).await;
        assert_eq!(
            on.store()
                .finish(&lease, &finish(first, "first"))
                .await
                .unwrap(),
            Finished::Stored(first)
        );
        let (row, message) = (on.turn(turn.id).await, on.message(turn.message).await);
        assert_eq!(message.status, MessageStatus::from(first));
        for second in statuses {
            let again = on
                .store()
                .finish(&lease, &finish(second, "second"))
                .await
                .unwrap();
            assert_eq!(again, Finished::Already(first));
        }
        assert_eq!(
            (on.turn(turn.id).await, on.message(turn.message).await),
            (row, message)
        );
        assert!(on.store().settle(&lease).await.unwrap());
        let late = on
            .store()
            .finish(&lease, &finish(TurnStatus::Completed, "late"))
            .await
            .unwrap();
        assert_eq!(late, Finished::Already(first));
        assert_eq!(on.ends(turn.id).await, 1);
    }
}

/// Who asked for the cancel first gets it, with what had come.
pub async fn a_cancel_wins_over_a_completion(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    assert_eq!(
        on.store().request_cancel(turn.id, None).await.unwrap(),
        CancelOutcome::Requested
    );
    let finished = on
        .store()
        .finish(&lease, &finish(TurnStatus::Completed, "All of it"))
        .await
        .unwrap();
    assert_eq!(finished, Finished::Stored(TurnStatus::Cancelled));
    let message = on.message(turn.message).await;
    assert_eq!(
        (message.status, message.answer.reason),
        (MessageStatus::Cancelled, Some(Reason::Cancelled))
    );
    assert_eq!(message.answer.content, "All of it");
    assert_eq!(
        message.answer.parts,
        [PersistedPart::Text {
            content: "All of it".to_owned()
        }]
    );
    let events = on.store().turn_events(turn.id).await.unwrap();
    let told = finish(TurnStatus::Completed, "All of it").after_cancel(None);
    assert_eq!(told.event()["status"], "cancelled");
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].payload,
        told.event(),
        "the record agrees with the row"
    );
}

/// Who cancels a turn, or why, is kept with it and recorded with its end, whatever state it is cancelled in.
pub async fn the_first_reason_of_a_cancel_is_kept(on: &dyn Fixture) {
    let cancel = async |turn, reason| on.store().request_cancel(turn, reason).await.unwrap();
    let odd = super::content::odd_text();
    for (first, kept) in [(Some(odd.as_str()), Some(odd.clone())), (None, None)] {
        let queued = on.submit(&on.open("queue").await, "Hello").await;
        assert_eq!(cancel(queued.id, first).await, CancelOutcome::Cancelled);
        let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
        assert_eq!(cancel(turn.id, first).await, CancelOutcome::Requested);
        assert_eq!(
            cancel(turn.id, Some("too late")).await,
            CancelOutcome::Requested
        );
        let end = finish(TurnStatus::Completed, "All of it");
        on.store().finish(&lease, &end).await.unwrap();
        for id in [queued.id, turn.id] {
            let already = CancelOutcome::Already(TurnStatus::Cancelled);
            assert_eq!(cancel(id, Some("later still")).await, already);
            let turn = on.another().await.turn(id).await.unwrap().unwrap();
            assert_eq!(turn.cancel_reason, kept);
            let events = on.store().turn_events(id).await.unwrap();
            let recorded = events[0].payload.get("cancel_reason");
            assert_eq!(recorded, kept.clone().map(Into::into).as_ref());
        }
        on.store().settle(&lease).await.unwrap();
        let left = on.claim_only(queued.id).await.unwrap();
        on.store().settle(&left.lease).await.unwrap();
    }
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    on.store().release(&lease).await.unwrap();
    assert_eq!(cancel(turn.id, Some("ada")).await, CancelOutcome::Cancelled);
    let events = on.store().turn_events(turn.id).await.unwrap();
    assert_eq!(events[0].payload["cancel_reason"], "ada", "given back");
}

/// A cancel does not hide that the turn had failed.
pub async fn an_error_stays_an_error_after_a_cancel(on: &dyn Fixture) {
    for status in [TurnStatus::Error, TurnStatus::Failed] {
        let ClaimedTurn { lease, turn, .. } = on.running(&format!("{status:?}")).await;
        on.store().request_cancel(turn.id, None).await.unwrap();
        assert_eq!(
            on.store()
                .finish(&lease, &finish(status, ""))
                .await
                .unwrap(),
            Finished::Stored(status)
        );
        assert_eq!(on.message(turn.message).await.status, MessageStatus::Error);
    }
}

/// Of ten who end a turn at once, one does.
pub async fn one_of_many_finishers_wins(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    let stores = [on.store(), on.another().await];
    let finishers = join_all((0..10).map(|number| {
        let store = stores[number % 2].clone();
        let content = number.to_string();
        tokio::spawn(async move {
            let finished = store
                .finish(&lease, &finish(TurnStatus::Completed, &content))
                .await
                .unwrap();
            (finished == Finished::Stored(TurnStatus::Completed)).then_some(content)
        })
    }));
    let won: Vec<_> = finishers
        .await
        .into_iter()
        .filter_map(|finisher| finisher.unwrap())
        .collect();
    assert_eq!(won, [on.message(turn.message).await.answer.content]);
    assert_eq!(on.ends(turn.id).await, 1);
}

/// One settle does it; none does before the end.
pub async fn settling_happens_once(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    assert!(
        !on.store().settle(&lease).await.unwrap(),
        "it has not ended"
    );
    assert_eq!(on.turn(turn.id).await, turn);
    on.store()
        .finish(&lease, &finish(TurnStatus::Completed, "Hi"))
        .await
        .unwrap();
    let stores = [on.store(), on.another().await];
    let settlers = join_all((0..10).map(|number| {
        let store = stores[number % 2].clone();
        tokio::spawn(async move { store.settle(&lease).await.unwrap() })
    }));
    let settled = settlers
        .await
        .into_iter()
        .filter(|settled| *settled.as_ref().unwrap())
        .count();
    assert_eq!(settled, 1);
    let state = Phase::Finished {
        status: TurnStatus::Completed,
        settled: true,
    };
    assert_eq!(on.turn(turn.id).await.phase(), state);
    on.expire_leases();
    assert!(on.claim().await.is_none());
}

/// A turn that nobody has worked on ends with its cancel, whole. A worker settles it, whichever process cancelled it.
pub async fn a_queued_turn_is_cancelled_at_once(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let turn = on.submit(&conversation, "Hello").await;
    let next = on.submit(&conversation, "Next").await;
    on.clock().advance(Duration::from_secs(2));
    assert_eq!(
        on.another()
            .await
            .request_cancel(turn.id, None)
            .await
            .unwrap(),
        CancelOutcome::Cancelled
    );
    let now = on.clock().now();
    let end = Finish::never_started(Duration::from_secs(2));
    let row = on.turn(turn.id).await;
    let ended = |settled| Phase::Finished {
        status: TurnStatus::Cancelled,
        settled,
    };
    assert_eq!(row.phase(), ended(false));
    assert!(row.is_over());
    assert_eq!(
        (row.finished_at(), row.cancel_requested_at()),
        (Some(now), Some(now))
    );
    let message = on.message(turn.message).await;
    assert_eq!(
        (message.status, message.answer.reason),
        (MessageStatus::Cancelled, Some(Reason::Cancelled))
    );
    assert_eq!(
        (message.answer.content.as_str(), message.finished_at),
        (end.answer.content.as_str(), Some(now))
    );
    let events = on.store().turn_events(turn.id).await.unwrap();
    assert_eq!(
        events,
        [TurnEvent {
            name: "turn.finished".to_owned(),
            payload: end.event(),
            at: now
        }]
    );
    let again = on.store().request_cancel(turn.id, None).await.unwrap();
    assert_eq!(again, CancelOutcome::Already(TurnStatus::Cancelled));
    assert_eq!(on.ends(turn.id).await, 1);
    let settling = on.claim().await.unwrap();
    assert_eq!(settling.turn.id, turn.id);
    assert_eq!(settling.turn.phase(), ended(false));
    assert_eq!(settling.turn.started_at(), None, "it never started");
    assert!(on.claim().await.is_none(), "the next one waits for that");
    assert!(on.store().settle(&settling.lease).await.unwrap());
    assert_eq!(on.turn(turn.id).await.phase(), ended(true));
    assert_eq!(on.ends(turn.id).await, 1);
    assert_eq!(on.claim().await.unwrap().turn.id, next.id);
}

/// A turn that was cancelled in the queue is settled in its order, behind those ahead of it.
pub async fn a_cancel_in_the_queue_is_settled_in_order(on: &dyn Fixture) {
    let first = on.running("garden").await;
    let second = on.submit(&first.conversation, "Me too").await;
    let third = on.submit(&first.conversation, "And me").await;
    on.store().request_cancel(second.id, None).await.unwrap();
    assert!(on.turn(second.id).await.is_over(), "it ends at once");
    for waits in [second.id, third.id] {
        let claimed = on.claim_only(waits).await;
        assert!(claimed.is_none(), "the first is not settled");
    }
    let ahead = on.store().turn_ahead(third.id).await.unwrap();
    assert_eq!(ahead, Some(first.turn.id));
    on.complete(&first.lease).await;
    let ahead = on.store().turn_ahead(third.id).await.unwrap();
    assert_eq!(ahead, Some(second.id));
    let lost = on.claim().await.unwrap();
    assert_eq!(lost.turn.id, second.id);
    on.expire_leases();
    let settling = on.claim_only(second.id).await.unwrap();
    assert!(on.store().settle(&lost.lease).await.is_err());
    assert!(on.store().settle(&settling.lease).await.unwrap());
    assert_eq!(on.claim().await.unwrap().turn.id, third.id);
}

/// The cancel of a running turn is noted for its worker, once.
pub async fn a_running_turn_is_cancelled_by_its_worker(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    let asked_at = on.clock().now();
    let other = on.another().await;
    assert_eq!(
        other.request_cancel(turn.id, None).await.unwrap(),
        CancelOutcome::Requested
    );
    on.clock().advance(Duration::from_secs(1));
    assert_eq!(
        other.request_cancel(turn.id, None).await.unwrap(),
        CancelOutcome::Requested
    );
    let row = on.turn(turn.id).await;
    assert_eq!(
        (row.phase(), row.cancel_requested_at()),
        (Phase::Running, Some(asked_at))
    );
    assert_eq!(on.ends(turn.id).await, 0);
    let told = LeaseStatus::Held {
        cancel_requested: true,
        answers: false,
    };
    assert_eq!(on.store().check(&[lease]).await.unwrap(), [told]);
    on.store()
        .save_one(&lease, &checkpoint("So far"))
        .await
        .unwrap();
    on.expire_leases();
    let taken = on.claim().await.unwrap();
    assert_eq!(
        taken.turn.cancel_requested_at(),
        Some(asked_at),
        "the next worker knows too"
    );
    let finished = on
        .store()
        .finish(&taken.lease, &finish(TurnStatus::Cancelled, "So far"))
        .await
        .unwrap();
    assert_eq!(finished, Finished::Stored(TurnStatus::Cancelled));
}

/// A turn that was given back after its prompt is still at work upstream: a
/// worker has to stop it there.
pub async fn a_prompted_turn_is_cancelled_by_a_worker(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    on.store()
        .note(&lease, Note::Prompt(&prompt("1", false)))
        .await
        .unwrap();
    on.store().release(&lease).await.unwrap();
    assert_eq!(
        on.store().request_cancel(turn.id, None).await.unwrap(),
        CancelOutcome::Requested
    );
    assert_eq!(on.turn(turn.id).await.phase(), Phase::Queued);
    assert_eq!(on.ends(turn.id).await, 0);
    let claimed = on.claim().await.unwrap();
    assert_eq!(claimed.turn.cancel_requested_at(), Some(on.clock().now()));

    let unprompted = on.running("unprompted").await;
    on.store().release(&unprompted.lease).await.unwrap();
    assert_eq!(
        on.store()
            .request_cancel(unprompted.turn.id, None)
            .await
            .unwrap(),
        CancelOutcome::Cancelled
    );
}

/// A cancel after the end changes nothing.
pub async fn an_ended_turn_is_not_cancelled(on: &dyn Fixture) {
    let ClaimedTurn { lease, turn, .. } = on.running("garden").await;
    on.store()
        .finish(&lease, &finish(TurnStatus::Completed, "Hi"))
        .await
        .unwrap();
    let (row, message) = (on.turn(turn.id).await, on.message(turn.message).await);
    let already = CancelOutcome::Already(TurnStatus::Completed);
    assert_eq!(
        on.store().request_cancel(turn.id, None).await.unwrap(),
        already
    );
    assert_eq!(
        (on.turn(turn.id).await, on.message(turn.message).await),
        (row, message)
    );
    assert!(on.store().settle(&lease).await.unwrap());
    assert_eq!(
        on.store().request_cancel(turn.id, None).await.unwrap(),
        already
    );
    let unknown = TurnId::from_uuid(on.clock().new_uuid());
    let refused = on.store().request_cancel(unknown, None).await;
    assert!(
        matches!(refused, Err(StoreError::NotFound { what: "turn", .. })),
        "{refused:?}"
    );
}

/// When a cancel and an end meet, both are told the same outcome.
pub async fn cancel_and_finish_agree(on: &dyn Fixture) {
    let other = on.another().await;
    for number in 0..20 {
        let ClaimedTurn { lease, turn, .. } = on.running(&number.to_string()).await;
        let (store, other) = (on.store(), other.clone());
        let finishing = tokio::spawn(async move {
            store
                .finish(&lease, &finish(TurnStatus::Completed, "Hi"))
                .await
                .unwrap()
        });
        let cancelling =
            tokio::spawn(async move { other.request_cancel(turn.id, None).await.unwrap() });
        match (finishing.await.unwrap(), cancelling.await.unwrap()) {
            (Finished::Stored(TurnStatus::Cancelled), CancelOutcome::Requested) => {
                assert_eq!(
                    on.message(turn.message).await.status,
                    MessageStatus::Cancelled
                );
            }
            (
                Finished::Stored(TurnStatus::Completed),
                CancelOutcome::Already(TurnStatus::Completed),
            ) => {
                assert_eq!(
                    on.message(turn.message).await.status,
                    MessageStatus::Completed
                );
            }
            disagreed => panic!("{disagreed:?}"),
        }
        assert_eq!(on.ends(turn.id).await, 1);
    }
}
