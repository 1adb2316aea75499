//! Turns that take the place of others, and which of them a conversation shows.

use super::Fixture;
use super::sample::{prompt, session};
use crate::clock::Clock as _;
use crate::id::TurnId;
use crate::store::{
    Conversation, MessageRole, NewTurn, Note, OnBusy, Owed, StoreError, Swapped, Turn,
};

impl dyn Fixture + '_ {
    /// A turn that has ended and is settled.
    async fn ended(&self, conversation: &Conversation, text: &str) -> Turn {
        let turn = self.submit(conversation, text).await;
        self.end(&turn).await;
        turn
    }

    async fn end(&self, turn: &Turn) {
        let claimed = self.claim_only(turn.id).await.unwrap();
        self.complete(&claimed.lease).await;
    }

    /// A turn to be in the place of another.
    fn instead_of(&self, conversation: &Conversation, turn: &Turn, text: &str) -> NewTurn {
        NewTurn {
            instead_of: Some(turn.id),
            ..self.new_turn(conversation, text)
        }
    }

    /// A turn in the place of another, queued.
    async fn again(&self, conversation: &Conversation, turn: &Turn, text: &str) -> Turn {
        let new = self.instead_of(conversation, turn, text);
        let submitted = self.store().submit(&new).await.unwrap();
        assert!(submitted.created);
        submitted.turn
    }

    /// The prompts that the conversation shows, read forwards; reading backwards has to give the same.
    async fn shown(&self, conversation: &Conversation) -> Vec<String> {
        let store = self.store();
        let messages = store.messages(Some(conversation.id), None, 100).await;
        let messages = messages.unwrap();
        let backwards = store.messages_before(conversation.id, None, 100).await;
        let mut backwards = backwards.unwrap();
        backwards.reverse();
        assert_eq!(backwards, messages);
        assert!(messages.iter().all(|message| !message.hidden));
        let (asked, answered): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| message.role == MessageRole::User);
        assert_eq!(asked.len(), answered.len());
        let asked = asked.into_iter().map(|message| message.answer.content);
        asked.collect()
    }

    /// The versions of a turn, and whether each is shown.
    async fn versions(&self, turn: &Turn) -> Vec<(TurnId, bool)> {
        let versions = self.store().versions(turn.id).await.unwrap();
        versions
            .iter()
            .map(|version| (version.turn, version.shown))
            .collect()
    }

    async fn give_session(&self, conversation: &Conversation, id: &str) {
        let current = self.store().conversation(conversation.id).await.unwrap();
        let current = current.unwrap().session;
        let (store, new) = (self.store(), session(id));
        let swapped = store.swap_session(conversation.id, current.as_ref(), &new);
        assert_eq!(swapped.await.unwrap(), Swapped::Yes);
    }

    async fn is_to_be_replaced(&self, conversation: &Conversation) -> bool {
        let row = self.store().conversation(conversation.id).await.unwrap();
        row.unwrap().session.unwrap().owed == Some(Owed::Replacement)
    }
}

/// A turn's parent is the turn before it, also of one that is queued behind it. Alone among its versions, it is one.
pub async fn turns_go_on_from_the_last_one_shown(on: &dyn Fixture) {
    let (garden, other) = (on.open("garden").await, on.open("other").await);
    let first = on.submit(&garden, "one").await;
    let second = on.submit(&garden, "two").await;
    assert_eq!(first.parent, None);
    assert_eq!(on.turn(second.id).await.parent, Some(first.id));
    assert_eq!(on.submit(&other, "else").await.parent, None);
    assert_eq!(on.versions(&first).await, [(first.id, true)]);
    let version = on.store().versions(second.id).await.unwrap().remove(0);
    assert_eq!(
        (version.user_message, version.message, version.created_at),
        (second.user_message, second.message, second.created_at)
    );
}

/// A turn that takes the place of another goes on from where that does; that one and those behind it are hidden, and the
/// session, which knows them, is to be replaced.
pub async fn a_turn_takes_the_place_of_another(on: &dyn Fixture) {
    let garden = on.open("garden").await;
    let one = on.ended(&garden, "one").await;
    let two = on.ended(&garden, "two").await;
    on.ended(&garden, "three").await;
    on.give_session(&garden, "ses_1").await;
    let again = on.again(&garden, &two, "two again").await;
    assert_eq!(again.parent, Some(one.id));
    assert_eq!(on.shown(&garden).await, ["one", "two again"]);
    assert!(on.is_to_be_replaced(&garden).await);
    let expected = [(two.id, false), (again.id, true)];
    assert_eq!(on.versions(&two).await, expected);
    assert_eq!(on.versions(&again).await, expected);
    // What follows goes on from what is shown.
    let four = on.submit(&garden, "four").await;
    assert_eq!(four.parent, Some(again.id));
    assert_eq!(on.shown(&garden).await, ["one", "two again", "four"]);
}

/// Hidden messages are read one by one, and are in the index, where they say that they are hidden. A turn that runs
/// writes to its message as ever.
pub async fn what_is_hidden_is_kept(on: &dyn Fixture) {
    let (store, garden) = (on.store(), on.open("garden").await);
    let one = on.ended(&garden, "one").await;
    let again = on.again(&garden, &one, "one again").await;
    let kept = on.message(one.message).await;
    assert!(kept.hidden);
    assert_eq!(kept.answer.content, "Hi");
    on.end(&again).await;
    assert!(!on.message(again.message).await.hidden);
    let index = store.message_index(Some(garden.id), 0, 10).await.unwrap();
    let hidden: Vec<_> = index.iter().map(|entry| entry.hidden).collect();
    assert_eq!(hidden, [true, true, false, false]);
    // Of all conversations, all are read.
    assert_eq!(store.messages(None, None, 10).await.unwrap().len(), 4);
}

/// What is chosen is shown with those before it and the newest behind it, and goes on from there.
pub async fn a_chosen_version_is_shown_with_the_newest_behind_it(on: &dyn Fixture) {
    let garden = on.open("garden").await;
    on.ended(&garden, "one").await;
    let two = on.ended(&garden, "two").await;
    let three = on.ended(&garden, "three").await;
    let third = on.again(&garden, &three, "three again").await;
    on.end(&third).await;
    let again = on.again(&garden, &two, "two again").await;
    on.end(&again).await;
    on.ended(&garden, "four").await;
    on.give_session(&garden, "ses_1").await;
    on.store().choose(again.id).await.unwrap();
    assert!(
        !on.is_to_be_replaced(&garden).await,
        "it is shown already: nothing changes"
    );

    on.store().choose(two.id).await.unwrap();
    assert_eq!(on.shown(&garden).await, ["one", "two", "three again"]);
    assert!(on.is_to_be_replaced(&garden).await);
    assert_eq!(on.versions(&two).await, [(two.id, true), (again.id, false)]);
    on.store().choose(three.id).await.unwrap();
    assert_eq!(on.shown(&garden).await, ["one", "two", "three"]);
    let five = on.submit(&garden, "five").await;
    assert_eq!(five.parent, Some(three.id));
    on.end(&five).await;
    // From one branch into another: those before it are shown too.
    on.store().choose(again.id).await.unwrap();
    assert_eq!(on.shown(&garden).await, ["one", "two again", "four"]);
}

/// The first turn has versions as any other.
pub async fn a_conversation_can_begin_anew(on: &dyn Fixture) {
    let (garden, other) = (on.open("garden").await, on.open("other").await);
    let one = on.ended(&garden, "one").await;
    on.ended(&garden, "two").await;
    on.ended(&other, "else").await;
    let again = on.again(&garden, &one, "one again").await;
    assert_eq!(again.parent, None);
    assert_eq!(on.shown(&garden).await, ["one again"]);
    assert_eq!(on.shown(&other).await, ["else"]);
    assert_eq!(on.versions(&one).await, [(one.id, false), (again.id, true)]);
}

/// While a turn is queued or runs, nothing takes its place or that of another one, and no other version is chosen: what
/// is worked on is shown. Whatever is to be done to those that are busy.
pub async fn an_unfinished_turn_keeps_its_place(on: &dyn Fixture) {
    let (store, garden) = (on.store(), on.open("garden").await);
    let one = on.ended(&garden, "one").await;
    let again = on.again(&garden, &one, "one again").await;
    let claimed = on.claim_only(again.id).await.unwrap();
    let record = prompt("1", false);
    store
        .note(&claimed.lease, Note::Prompt(&record))
        .await
        .unwrap();
    for on_busy in [OnBusy::Enqueue, OnBusy::Reject, OnBusy::Interrupt] {
        for turn in [&one, &again] {
            let mut new = on.instead_of(&garden, turn, "more");
            new.on_busy = on_busy;
            let refused = store.submit(&new).await;
            assert!(
                matches!(refused, Err(StoreError::Busy { turn }) if turn == again.id),
                "{refused:?}"
            );
        }
    }
    let refused = store.choose(one.id).await;
    assert!(matches!(refused, Err(StoreError::Busy { turn }) if turn == again.id));
    assert_eq!(on.shown(&garden).await, ["one again"]);
    assert_eq!(on.turn(again.id).await.cancel_requested_at(), None);
    // The same submit once more is the same turn, also now.
    let mut keyed = on.new_turn(&garden, "two");
    keyed.client_key = Some("k".to_owned());
    let two = store.submit(&keyed).await.unwrap().turn;
    let repeated = NewTurn {
        client_key: Some("k".to_owned()),
        ..on.instead_of(&garden, &one, "two")
    };
    let found = store.submit(&repeated).await.unwrap();
    assert_eq!((found.turn.id, found.created), (two.id, false));
}

/// A turn of another conversation makes no room, and one that is not there has no versions.
pub async fn only_turns_of_the_conversation_make_room(on: &dyn Fixture) {
    let (store, garden, other) = (on.store(), on.open("garden").await, on.open("other").await);
    let theirs = on.ended(&other, "else").await;
    on.ended(&garden, "one").await;
    let missing = |error: StoreError| {
        assert!(matches!(error, StoreError::NotFound { what, .. } if what == "turn"))
    };
    let new = on.instead_of(&garden, &theirs, "more");
    missing(store.submit(&new).await.unwrap_err());
    assert_eq!(store.turn(new.id).await.unwrap(), None);
    assert_eq!(on.shown(&garden).await, ["one"]);
    assert_eq!(on.shown(&other).await, ["else"]);
    let nobody = TurnId::from_uuid(on.clock().new_uuid());
    missing(store.choose(nobody).await.unwrap_err());
    missing(store.versions(nobody).await.unwrap_err());
}
