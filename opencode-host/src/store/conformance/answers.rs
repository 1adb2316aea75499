//! What people answer to what agents ask.

use std::time::Duration;

use futures_util::future::join_all;
use opencode_client::wire::PermissionReply;
use opencode_client::{PermissionId, QuestionId};

use super::Fixture;
use super::sample::{claim_by, finish, prompt};
use crate::clock::Clock as _;
use crate::id::TurnId;
use crate::store::{
    AnswerOutcome, AnswerState, ClaimedTurn, LeaseStatus, MAX_ANSWER_BYTES, NewAnswer, Note,
    RequestAnswer, StoreError, TurnStatus,
};

impl dyn Fixture + '_ {
    /// A turn that runs and was prompted.
    async fn prompted(&self, name: &str) -> ClaimedTurn {
        let claimed = self.running(name).await;
        let record = prompt("1", false);
        let store = self.store();
        let noted = store.note(&claimed.lease, Note::Prompt(&record));
        noted.await.unwrap();
        claimed
    }

    /// Whether the turn's worker is told that there are answers to send.
    async fn has_answers(&self, claimed: &ClaimedTurn) -> bool {
        let leases = [claimed.lease];
        match self.store().check(&leases).await.unwrap()[..] {
            [LeaseStatus::Held { answers, .. }] => answers,
            ref other => panic!("{other:?}"),
        }
    }

    async fn answers(&self, turn: TurnId) -> Vec<RequestAnswer> {
        self.store().answers(turn).await.unwrap()
    }
}

fn yes(id: &str) -> NewAnswer {
    NewAnswer::permission(&PermissionId::from(id), PermissionReply::Once)
}

/// The first answer to a request is kept with who gave it and when; a second one changes nothing and is told of it.
pub async fn the_first_answer_wins(on: &dyn Fixture) {
    let claimed = on.prompted("garden").await;
    let turn = claimed.turn.id;
    assert_eq!(on.answers(turn).await, []);
    let first = yes("per_1").by("ada");
    let (at, other) = (on.clock().now(), on.another().await);
    let kept = RequestAnswer::new(first.clone(), at);
    let taken = other.answer(turn, &first).await.unwrap();
    assert_eq!(taken, AnswerOutcome::Taken(kept.clone()));
    on.clock().advance(Duration::from_secs(1));
    let id = PermissionId::from("per_1");
    let late = NewAnswer::permission(&id, PermissionReply::Reject).by("bob");
    for second in [late, first] {
        let told = on.store().answer(turn, &second).await.unwrap();
        assert_eq!(told, AnswerOutcome::Already(Box::new(kept.clone())));
    }
    // Another request, and another turn's of the same id, have answers of their own.
    let elsewhere = on.prompted("elsewhere").await.turn.id;
    for (turn, request) in [(turn, "per_2"), (elsewhere, "per_1")] {
        let taken = on.store().answer(turn, &yes(request)).await.unwrap();
        assert!(matches!(taken, AnswerOutcome::Taken(_)), "{taken:?}");
    }
    assert_eq!(on.answers(turn).await[0], kept);
    assert_eq!(on.answers(turn).await.len(), 2);
    assert_eq!(on.answers(elsewhere).await.len(), 1);
}

/// Of many that answer at once one wins, and all others are told of that one.
pub async fn one_of_many_answers_wins(on: &dyn Fixture) {
    let turn = on.prompted("garden").await.turn.id;
    let stores = [on.store(), on.another().await];
    let answering = (0..10).map(|number| {
        let (store, who) = (stores[number % 2].clone(), number.to_string());
        tokio::spawn(async move { store.answer(turn, &yes("per_1").by(who)).await.unwrap() })
    });
    let outcomes = join_all(answering).await;
    let [kept] = &on.answers(turn).await[..] else {
        panic!("one row");
    };
    let mut taken = 0;
    for outcome in outcomes {
        match outcome.unwrap() {
            AnswerOutcome::Taken(row) => {
                taken += 1;
                assert_eq!(row, *kept);
            }
            AnswerOutcome::Already(row) => assert_eq!(*row, *kept),
            AnswerOutcome::NotWaiting => panic!("it waits"),
        }
    }
    assert_eq!(taken, 1);
}

/// A turn that was not prompted, or has ended, waits for no answer. One that was given back goes on waiting.
pub async fn only_what_was_prompted_waits(on: &dyn Fixture) {
    let store = on.store();
    let waits = async |turn| store.answer(turn, &yes("per_1")).await.unwrap();
    let unknown = TurnId::from_uuid(on.clock().new_uuid());
    let refused = store.answer(unknown, &yes("per_1")).await;
    assert!(
        matches!(refused, Err(StoreError::NotFound { .. })),
        "{refused:?}"
    );
    assert_eq!(on.answers(unknown).await, []);

    let claimed = on.running("garden").await;
    let queued = on.submit(&claimed.conversation, "Me too").await;
    for turn in [claimed.turn.id, queued.id] {
        assert_eq!(waits(turn).await, AnswerOutcome::NotWaiting);
        assert_eq!(on.answers(turn).await, []);
    }
    let record = prompt("1", false);
    store
        .note(&claimed.lease, Note::Prompt(&record))
        .await
        .unwrap();
    store.release(&claimed.lease).await.unwrap();
    let taken = waits(claimed.turn.id).await;
    assert!(matches!(taken, AnswerOutcome::Taken(_)), "{taken:?}");
    let claimed = on.claim().await.unwrap();
    assert!(on.has_answers(&claimed).await, "the next worker is told");

    on.complete(&claimed.lease).await;
    assert_eq!(waits(claimed.turn.id).await, AnswerOutcome::NotWaiting);
    let late = store.answer(claimed.turn.id, &yes("per_2")).await.unwrap();
    assert_eq!(late, AnswerOutcome::NotWaiting);
}

/// The worker is told of an answer until it has said what became of it.
pub async fn an_answer_is_open_until_its_worker_knows(on: &dyn Fixture) {
    let claimed = on.prompted("garden").await;
    let (store, turn) = (on.store(), claimed.turn.id);
    assert!(!on.has_answers(&claimed).await);
    let other = on.another().await;
    other.answer(turn, &yes("per_1")).await.unwrap();
    other.answer(turn, &yes("per_2")).await.unwrap();
    let renewed = store.renew(&[claimed.lease], Duration::from_secs(15)).await;
    let told = LeaseStatus::Held {
        cancel_requested: false,
        answers: true,
    };
    assert_eq!(renewed.unwrap(), [told]);
    for (state, open) in [(AnswerState::Sent, true), (AnswerState::Arrived, false)] {
        for request in ["per_1", "per_2"] {
            store
                .answered(&claimed.lease, request, Some(&state))
                .await
                .unwrap();
        }
        assert_eq!(on.has_answers(&claimed).await, open, "{state:?}");
        let states: Vec<_> = on
            .answers(turn)
            .await
            .into_iter()
            .map(|row| row.state)
            .collect();
        assert_eq!(states, [state.clone(), state]);
    }
    // Whom nobody answered is nobody's business.
    store
        .answered(&claimed.lease, "per_9", Some(&AnswerState::Sent))
        .await
        .unwrap();
    assert!(!on.has_answers(&claimed).await);
    store.answered(&claimed.lease, "per_1", None).await.unwrap();
    let left = on.answers(turn).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].answer.request, "per_2");
}

/// An answer that did not arrive, or that was removed, is none: the next one takes its place.
pub async fn a_failed_answer_makes_room(on: &dyn Fixture) {
    let claimed = on.prompted("garden").await;
    let (store, turn) = (on.store(), claimed.turn.id);
    let failed = AnswerState::Failed {
        why: "connection refused".to_owned(),
        sent: true,
    };
    for state in [Some(&failed), None] {
        store.answer(turn, &yes("per_1")).await.unwrap();
        store
            .answered(&claimed.lease, "per_1", state)
            .await
            .unwrap();
        assert!(!on.has_answers(&claimed).await);
        let states: Vec<_> = on
            .answers(turn)
            .await
            .into_iter()
            .map(|row| row.state)
            .collect();
        assert_eq!(states.first(), state);
        on.clock().advance(Duration::from_secs(1));
        let again = yes("per_1").by("ada");
        let taken = store.answer(turn, &again).await.unwrap();
        let row = RequestAnswer::new(again, on.clock().now());
        assert_eq!(taken, AnswerOutcome::Taken(row.clone()));
        assert_eq!(on.answers(turn).await, [row]);
        assert!(on.has_answers(&claimed).await);
        store.answered(&claimed.lease, "per_1", None).await.unwrap();
    }
}

/// Who has lost the turn says nothing about its answers any more; who ended it still does.
pub async fn only_the_turns_worker_says_what_became_of_an_answer(on: &dyn Fixture) {
    let late = on.prompted("garden").await;
    let (store, turn) = (on.store(), late.turn.id);
    store.answer(turn, &yes("per_1")).await.unwrap();
    on.expire_leases();
    let theirs = on
        .another()
        .await
        .claim(&claim_by("b"))
        .await
        .unwrap()
        .unwrap();
    let rows = on.answers(turn).await;
    for state in [Some(&AnswerState::Arrived), None] {
        let refused = store.answered(&late.lease, "per_1", state).await;
        assert!(
            matches!(refused, Err(StoreError::LeaseLost { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(on.answers(turn).await, rows);
    store
        .finish(&theirs.lease, &finish(TurnStatus::Completed, "Hi"))
        .await
        .unwrap();
    let arrived = Some(&AnswerState::Arrived);
    store
        .answered(&theirs.lease, "per_1", arrived)
        .await
        .unwrap();
    assert!(store.settle(&theirs.lease).await.unwrap());
    store
        .answered(&theirs.lease, "per_1", arrived)
        .await
        .unwrap();
    assert_eq!(on.answers(turn).await[0].state, AnswerState::Arrived);
}

/// Answers are kept to the byte, whatever they hold.
pub async fn any_answer_is_kept(on: &dyn Fixture) {
    let claimed = on.prompted("garden").await;
    let (store, turn) = (on.store(), claimed.turn.id);
    let odd = "\\0 \0 ' \" \u{1F33B} \u{202e}\r\n";
    let id = format!("per_{odd}");
    let (question, permission) = (QuestionId::from("que_1"), PermissionId::from(id));
    let answers = vec![vec![odd.to_owned(), String::new()], Vec::new()];
    let given = [
        NewAnswer::question(&question, answers).by(odd),
        NewAnswer::rejection(&QuestionId::from("que_2")),
        NewAnswer::permission(&permission, PermissionReply::Reject).message(odd),
    ];
    for answer in &given {
        on.clock().advance(Duration::from_secs(1));
        store.answer(turn, answer).await.unwrap();
        let why = odd.to_owned();
        let state = AnswerState::Failed { why, sent: false };
        store
            .answered(&claimed.lease, &answer.request, Some(&state))
            .await
            .unwrap();
        let kept = on.answers(turn).await.pop().unwrap();
        assert_eq!((kept.answer, kept.state), (answer.clone(), state));
    }
}

/// An answer that is larger than anybody writes is refused.
pub async fn an_answer_has_a_bound(on: &dyn Fixture) {
    let turn = on.prompted("garden").await.turn.id;
    let (id, most) = (QuestionId::from("que_1"), MAX_ANSWER_BYTES);
    let long = |bytes| NewAnswer::question(&id, vec![vec!["a".repeat(bytes)]]);
    let no = NewAnswer::permission(&PermissionId::from("per_1"), PermissionReply::Reject);
    let refused = [
        long(most),
        no.clone().message("b".repeat(most)),
        no.by("c".repeat(most)),
        yes(&"d".repeat(600)),
    ];
    for answer in refused {
        let refused = on.store().answer(turn, &answer).await;
        assert!(
            matches!(refused, Err(StoreError::TooLong { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(on.answers(turn).await, []);
    let fits = on.store().answer(turn, &long(most - "que_1".len())).await;
    assert!(matches!(fits, Ok(AnswerOutcome::Taken(_))), "{fits:?}");
}

/// A conversation's answers go with it.
pub async fn deletion_takes_answers(on: &dyn Fixture) {
    let claimed = on.prompted("garden").await;
    let (store, turn) = (on.store(), claimed.turn.id);
    store.answer(turn, &yes("per_1")).await.unwrap();
    let other = on.another().await;
    other
        .delete_conversation(claimed.conversation.id, None)
        .await
        .unwrap();
    assert_eq!(on.answers(turn).await, []);
    let sent = Some(&AnswerState::Sent);
    let refused = store.answered(&claimed.lease, "per_1", sent).await;
    assert!(
        matches!(refused, Err(StoreError::LeaseLost { .. })),
        "{refused:?}"
    );
}
