//! What a submit stores, and what a busy conversation does with one.

use futures_util::future::join_all;

use super::Fixture;
use super::sample::finish;
use crate::clock::Clock as _;
use crate::id::{ConversationId, TurnId};
use crate::store::{
    Conversation, MAX_KEY_CHARS, MessageRole, MessageStatus, NewTurn, OnBusy, Phase, StoreError,
    Submitted, Turn, TurnStatus, Usage,
};

/// A submit adds a completed user message, a pending assistant message and a queued turn.
pub async fn a_submit_is_two_messages_and_a_turn(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let mut new = on.new_turn(&conversation, "Explain monads");
    new.prompt.model = Some("anthropic/claude".parse().unwrap());
    new.client_key = Some("k".to_owned());
    let Submitted { turn, created } = on.store().submit(&new).await.unwrap();
    assert!(created);
    assert_eq!(turn, new.turn(on.clock().now()));
    assert_eq!(on.turn(turn.id).await, turn);
    assert_eq!(on.store().turn_events(turn.id).await.unwrap(), []);

    let messages = on
        .another()
        .await
        .messages(Some(conversation.id), None, 10)
        .await
        .unwrap();
    let [user, assistant] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(
        (user.id, user.role, user.status),
        (
            new.user_message,
            MessageRole::User,
            MessageStatus::Completed
        )
    );
    assert_eq!(
        (user.answer.content.as_str(), user.turn),
        ("Explain monads", turn.id)
    );
    assert_eq!((assistant.id, assistant.turn), (new.message, turn.id));
    assert_eq!(
        (assistant.role, assistant.status),
        (MessageRole::Assistant, MessageStatus::Pending)
    );
    for message in &messages {
        assert_eq!(message.conversation, conversation.id);
        assert_eq!(
            (message.created_at, message.finished_at),
            (on.clock().now(), None)
        );
        assert_eq!(
            (
                &message.answer.parts,
                message.answer.reasoning.as_str(),
                message.answer.usage
            ),
            (&Vec::new(), "", Usage::default())
        );
        assert_eq!(
            (
                message.answer.reason,
                &message.answer.error,
                message.answer.truncated
            ),
            (None, &None, false)
        );
        assert_eq!(on.message(message.id).await, *message);
    }
    assert_eq!(assistant.answer.content, "");
}

/// The same client key in the same conversation is one turn, whatever became of it.
pub async fn a_client_key_is_one_turn(on: &dyn Fixture) {
    let (one, two) = (on.open("one").await, on.open("two").await);
    let keyed = |conversation: &Conversation, text: &str| {
        let new = on.new_turn(conversation, text);
        NewTurn {
            client_key: Some("k\0\\".to_owned()),
            on_busy: OnBusy::Reject,
            ..new
        }
    };
    let first = on.store().submit(&keyed(&one, "Hello")).await.unwrap();
    assert!(first.created);
    let again = on
        .store()
        .submit(&keyed(&one, "Something else"))
        .await
        .unwrap();
    assert_eq!(
        again,
        Submitted {
            turn: first.turn.clone(),
            created: false
        }
    );
    assert_eq!(again.turn.client_key.as_deref(), Some("k\0\\"));
    assert!(
        on.store()
            .submit(&keyed(&two, "Hello"))
            .await
            .unwrap()
            .created,
        "another conversation"
    );
    let claimed = on.claim_only(first.turn.id).await.unwrap();
    on.complete(&claimed.lease).await;
    let late = on
        .another()
        .await
        .submit(&keyed(&one, "Hello"))
        .await
        .unwrap();
    assert_eq!((late.turn.id, late.created), (first.turn.id, false));
    assert!(matches!(
        late.turn.phase(),
        Phase::Finished {
            status: TurnStatus::Completed,
            settled: true
        }
    ));
    assert_eq!(
        on.store()
            .messages(Some(one.id), None, 10)
            .await
            .unwrap()
            .len(),
        2
    );

    let other = NewTurn {
        client_key: Some("other".to_owned()),
        ..on.new_turn(&one, "Hello")
    };
    assert!(
        on.store().submit(&other).await.unwrap().created,
        "another key"
    );
    let too_long = NewTurn {
        client_key: Some("k".repeat(MAX_KEY_CHARS + 1)),
        ..on.new_turn(&one, "Hello")
    };
    let refused = on.store().submit(&too_long).await;
    assert!(
        matches!(
            refused,
            Err(StoreError::TooLong {
                what: "client key",
                ..
            })
        ),
        "{refused:?}"
    );
}

/// 50 submits of one key at once, from two processes, are one turn.
pub async fn a_client_key_is_one_turn_for_50_at_once(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let (here, there) = (on.store(), on.another().await);
    let submits = join_all((0..50).map(|number| {
        let store = if number % 2 == 0 {
            here.clone()
        } else {
            there.clone()
        };
        let new = NewTurn {
            client_key: Some("k".to_owned()),
            ..on.new_turn(&conversation, "Hello")
        };
        tokio::spawn(async move { store.submit(&new).await.unwrap() })
    }));
    let submitted: Vec<_> = submits
        .await
        .into_iter()
        .map(|submit| submit.unwrap())
        .collect();
    assert_eq!(
        submitted
            .iter()
            .filter(|submitted| submitted.created)
            .count(),
        1
    );
    assert!(
        submitted
            .iter()
            .all(|answer| answer.turn == submitted[0].turn)
    );
    assert_eq!(on.store().messages(None, None, 10).await.unwrap().len(), 2);
}

/// A submit whose answer was lost can be sent again as it was.
pub async fn a_turn_id_is_one_turn(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let new = NewTurn {
        on_busy: OnBusy::Interrupt,
        ..on.new_turn(&conversation, "Hello")
    };
    let first = on.store().submit(&new).await.unwrap();
    let again = on.store().submit(&new).await.unwrap();
    assert_eq!(
        again,
        Submitted {
            turn: first.turn,
            created: false
        }
    );
    assert_eq!(on.store().messages(None, None, 10).await.unwrap().len(), 2);
}

/// [`OnBusy::Reject`] refuses while a turn is queued or runs, and stores nothing.
pub async fn a_busy_conversation_can_reject(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let try_one = async || {
        let new = NewTurn {
            on_busy: OnBusy::Reject,
            ..on.new_turn(&conversation, "Hello")
        };
        on.store()
            .submit(&new)
            .await
            .map(|submitted| submitted.turn)
    };
    let first = try_one().await.unwrap();
    let second = on.submit(&conversation, "Behind it").await;
    let busy_with = |refused: Result<Turn, StoreError>| match refused {
        Err(StoreError::Busy { turn }) => turn,
        other => panic!("{other:?}"),
    };
    assert_eq!(busy_with(try_one().await), first.id, "the oldest, queued");
    let claimed = on.claim().await.unwrap();
    assert_eq!(busy_with(try_one().await), first.id, "the oldest, running");
    on.complete(&claimed.lease).await;
    assert_eq!(busy_with(try_one().await), second.id);
    assert_eq!(on.store().messages(None, None, 10).await.unwrap().len(), 4);
    let claimed = on.claim().await.unwrap();
    on.store()
        .finish(&claimed.lease, &finish(TurnStatus::Error, ""))
        .await
        .unwrap();
    try_one().await.unwrap();
}

/// [`OnBusy::Interrupt`] cancels what is queued, asks for the cancel of what
/// runs, and comes next.
pub async fn a_busy_conversation_can_be_interrupted(on: &dyn Fixture) {
    let running = on.running("garden").await;
    let conversation = &running.conversation;
    let queued = [
        on.submit(conversation, "One").await,
        on.submit(conversation, "Two").await,
    ];
    let elsewhere = on.running("elsewhere").await;
    let new = NewTurn {
        on_busy: OnBusy::Interrupt,
        ..on.new_turn(conversation, "Stop, this!")
    };
    let next = on.store().submit(&new).await.unwrap().turn;

    let stopped = on.turn(running.turn.id).await;
    assert_eq!(stopped.phase(), Phase::Running);
    assert_eq!(stopped.cancel_requested_at(), Some(on.clock().now()));
    for turn in &queued {
        let state = on.turn(turn.id).await.phase();
        assert_eq!(
            state,
            Phase::Finished {
                status: TurnStatus::Cancelled,
                settled: false
            }
        );
        assert_eq!(on.ends(turn.id).await, 1);
        assert_eq!(
            on.message(turn.message).await.status,
            MessageStatus::Cancelled
        );
    }
    assert_eq!(on.turn(elsewhere.turn.id).await.cancel_requested_at(), None);
    assert!(on.claim().await.is_none(), "the running turn has not ended");
    on.store()
        .finish(&running.lease, &finish(TurnStatus::Cancelled, "So far"))
        .await
        .unwrap();
    assert!(on.store().settle(&running.lease).await.unwrap());
    for turn in &queued {
        let settling = on.claim().await.unwrap();
        assert_eq!(settling.turn.id, turn.id);
        assert!(on.store().settle(&settling.lease).await.unwrap());
    }
    assert_eq!(on.claim().await.unwrap().turn.id, next.id);
}

/// A submit to no conversation is refused, and stores nothing.
pub async fn a_submit_needs_its_conversation(on: &dyn Fixture) {
    let mut nowhere = on.open("garden").await;
    nowhere.id = ConversationId::from_uuid(on.clock().new_uuid());
    let new = on.new_turn(&nowhere, "Hello");
    let refused = on.store().submit(&new).await;
    assert!(
        matches!(
            refused,
            Err(StoreError::NotFound {
                what: "conversation",
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(on.store().turn(new.id).await.unwrap(), None);
    assert_eq!(on.store().messages(None, None, 10).await.unwrap(), []);
    let unknown = TurnId::from_uuid(on.clock().new_uuid());
    assert_eq!(on.store().turn(unknown).await.unwrap(), None);
}
