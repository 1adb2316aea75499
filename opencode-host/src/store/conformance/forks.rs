//! Conversations that go on from a turn of another one.

use std::time::Duration;

use super::Fixture;
use super::sample::session;
use crate::blobs::Digest;
use crate::budget::{Dollars, Spent};
use crate::clock::{Clock as _, Timestamp};
use crate::id::{AttachmentId, ConversationId, MessageId, TurnId};
use crate::store::{
    Account, AttachmentSource, Conversation, ConversationFilter, Forked, MAX_KEY_CHARS, Message,
    Metadata, NewAttachment, NewFork, NewTurn, Note, Page, StoreError, StoreResult, Swapped,
    Tenant, Turn,
};

impl dyn Fixture + '_ {
    async fn answered(&self, conversation: &Conversation, text: &str) -> Turn {
        let turn = self.submit(conversation, text).await;
        let claimed = self.claim_only(turn.id).await.unwrap();
        self.complete(&claimed.lease).await;
        self.turn(turn.id).await
    }

    fn new_fork(&self, turn: TurnId, name: &str) -> NewFork {
        NewFork::new(
            ConversationId::from_uuid(self.clock().new_uuid()),
            turn,
            name,
        )
    }

    async fn fork(&self, turn: TurnId, name: &str) -> StoreResult<Forked> {
        self.store().fork(&self.new_fork(turn, name)).await
    }

    async fn messages_of(&self, conversation: ConversationId) -> Vec<Message> {
        let messages = self.store().messages(Some(conversation), None, 100).await;
        messages.unwrap()
    }

    async fn contents_of(&self, conversation: ConversationId) -> Vec<String> {
        let messages = self.messages_of(conversation).await.into_iter();
        messages.map(|message| message.answer.content).collect()
    }
}

/// A fork has the turns up to the one that it is made of, and their messages as they are, under ids of its own; the next turn
/// goes on from there. Of the other conversation nothing changes.
pub async fn a_fork_begins_as_the_other_conversation_did(on: &dyn Fixture) {
    let (store, garden) = (on.store(), on.open("garden").await);
    let metadata: Metadata = serde_json::from_str(r#"{"ticket": 7}"#).unwrap();
    store.set_metadata(garden.id, &metadata).await.unwrap();
    let one = on.answered(&garden, "one").await;
    let two = on.answered(&garden, "two").await;
    on.answered(&garden, "three").await;
    let before = on.messages_of(garden.id).await;

    let Forked {
        conversation: fork,
        created,
    } = on.fork(two.id, "garden again").await.unwrap();
    assert!(created);
    assert_eq!(
        store.conversation(fork.id).await.unwrap(),
        Some(fork.clone())
    );
    assert_eq!(
        (&fork.tenant, &*fork.name),
        (&garden.tenant, "garden again")
    );
    assert_eq!((&fork.metadata, &fork.session), (&metadata, &None));
    assert_eq!(fork.forked_from, Some(two.id));
    assert_eq!(on.contents_of(fork.id).await, ["one", "Hi", "two", "Hi"]);
    assert_eq!(on.messages_of(garden.id).await, before);

    let copies = on.messages_of(fork.id).await;
    for (copy, of) in copies.iter().zip(&before) {
        assert_ne!(copy.id, of.id);
        assert_ne!(copy.turn, of.turn);
        let mut like = of.clone();
        (like.id, like.turn, like.conversation) = (copy.id, copy.turn, fork.id);
        assert_eq!(*copy, like);
    }
    let first = on.turn(copies[0].turn).await;
    let mut like = one.clone();
    (like.id, like.conversation) = (first.id, fork.id);
    (like.user_message, like.message) = (copies[0].id, copies[1].id);
    assert_eq!(first, like);
    let second = on.turn(copies[2].turn).await;
    assert_eq!(second.parent, Some(first.id));
    assert_eq!(on.submit(&fork, "three").await.parent, Some(second.id));
    let versions = store.versions(second.id).await.unwrap();
    assert_eq!(versions.len(), 1);
    let all = ConversationFilter::default();
    let listed = store.conversations(&all, &Page::newest(10)).await.unwrap();
    let listed = listed.iter().find(|one| one.conversation.id == fork.id);
    assert_eq!(listed.unwrap().excerpt.as_deref(), Some("one"));
}

/// Nothing that the copied turns did is done again: they are claimed by nobody and counted once.
pub async fn what_is_copied_is_over(on: &dyn Fixture) {
    let (store, garden) = (on.store(), on.open("garden").await);
    let turn = on.submit(&garden, "one").await;
    let claimed = on.claim_only(turn.id).await.unwrap();
    let spent = Spent::new(Dollars::cents(5), 10, Duration::ZERO);
    let note = Note::Spent(&spent);
    store.note(&claimed.lease, note).await.unwrap();
    on.complete(&claimed.lease).await;
    let used = async |account: Account| {
        let spending = store.spending(&account, Timestamp(0)).await;
        spending.unwrap().used
    };
    let tenant = Account::Tenant(garden.tenant.clone());
    let before = if store.keeps_ledger() {
        used(tenant.clone()).await
    } else {
        Spent::default()
    };
    let effects = store.effects(10).await.unwrap().len();
    let fork = on.fork(turn.id, "fork").await.unwrap().conversation;
    assert!(on.claim().await.is_none());
    assert_eq!(store.effects(10).await.unwrap().len(), effects);
    assert!(store.active_turns(fork.id, 10).await.unwrap().is_empty());
    if store.keeps_ledger() {
        assert_eq!(used(tenant).await, before);
        let fork = Account::Conversation(fork.id);
        assert_eq!(used(fork).await, Spent::default());
    }
}

/// What a conversation does not show is not in its fork; a turn that it does not show can be forked as any other.
pub async fn a_fork_has_the_line_of_its_turn(on: &dyn Fixture) {
    let garden = on.open("garden").await;
    on.answered(&garden, "one").await;
    let two = on.answered(&garden, "two").await;
    let new = NewTurn {
        instead_of: Some(two.id),
        ..on.new_turn(&garden, "two again")
    };
    let again = on.store().submit(&new).await.unwrap().turn;
    let claimed = on.claim_only(again.id).await.unwrap();
    on.complete(&claimed.lease).await;
    let shown = on.fork(again.id, "shown").await.unwrap().conversation;
    assert_eq!(
        on.contents_of(shown.id).await,
        ["one", "Hi", "two again", "Hi"]
    );
    let hidden = on.fork(two.id, "hidden").await.unwrap().conversation;
    assert_eq!(on.contents_of(hidden.id).await, ["one", "Hi", "two", "Hi"]);
}

/// Files are those of the other conversation's messages, under ids of their own, and stay when that is deleted.
pub async fn a_fork_outlives_the_other_conversation(on: &dyn Fixture) {
    let (store, garden) = (on.store(), on.open("garden").await);
    let one = on.answered(&garden, "one").await;
    let two = on.answered(&garden, "two").await;
    let attach = |message: MessageId, name: &str| {
        let id = AttachmentId::from_uuid(on.clock().new_uuid());
        let digest = Digest::of(name.as_bytes());
        let size = name.len() as u64;
        NewAttachment::new(
            id,
            message,
            name,
            digest,
            size,
            "text/plain",
            AttachmentSource::Upload,
        )
    };
    for (message, name) in [
        (one.user_message, "a.txt"),
        (one.message, "b.txt"),
        (two.message, "c.txt"),
    ] {
        let file = attach(message, name);
        assert!(store.attach(&file).await.unwrap().created);
    }
    let fork = on.fork(one.id, "fork").await.unwrap().conversation;
    let copies = on.messages_of(fork.id).await;
    let before = store.attachments(one.user_message).await.unwrap();
    assert!(
        store
            .delete_conversation(garden.id, None)
            .await
            .unwrap()
            .is_some()
    );
    let files = store.attachments(copies[0].id).await.unwrap();
    assert_eq!(files.len(), 1);
    let mut like = before[0].clone();
    assert_ne!(files[0].id, like.id);
    (like.id, like.message, like.conversation) = (files[0].id, copies[0].id, fork.id);
    assert_eq!(files[0], like);
    assert_eq!(store.uploaded_bytes(fork.id).await.unwrap(), 10);
    assert_eq!(
        store.newest_attachments(fork.id, 10).await.unwrap().len(),
        2
    );
    assert_eq!(on.contents_of(fork.id).await, ["one", "Hi"]);
    let of = on.turn(copies[0].turn).await;
    assert_eq!(of.prompt, one.prompt);
}

/// The same fork once more is the one that is there. Another conversation keeps its name, and a fork of another turn too.
pub async fn a_name_is_one_fork(on: &dyn Fixture) {
    let (store, garden) = (on.store(), on.open("garden").await);
    let one = on.answered(&garden, "one").await;
    let two = on.answered(&garden, "two").await;
    let fork = on.fork(one.id, "fork").await.unwrap();
    let again = on.fork(one.id, "fork").await.unwrap();
    assert_eq!(
        (again.conversation.id, again.created),
        (fork.conversation.id, false)
    );
    // Also when it went on meanwhile.
    on.submit(&fork.conversation, "more").await;
    let new = session("ses_1");
    let swapped = store.swap_session(fork.conversation.id, None, &new).await;
    assert_eq!(swapped.unwrap(), Swapped::Yes);
    let again = on.fork(one.id, "fork").await.unwrap();
    assert_eq!(again.conversation.session, Some(new));
    for (turn, name) in [(one.id, "garden"), (two.id, "fork")] {
        let refused = on.fork(turn, name).await;
        assert!(
            matches!(&refused, Err(StoreError::NameTaken { name: taken }) if taken == name),
            "{refused:?}"
        );
    }
    // Another tenant's names are its own.
    let elsewhere = store.open_conversation(&Tenant::from("else"), "mine").await;
    elsewhere.unwrap();
    assert!(on.fork(two.id, "mine").await.unwrap().created);
}

/// A turn that is not settled cannot be forked, nor one that is not there; nothing is left of the try.
pub async fn only_a_settled_turn_is_forked(on: &dyn Fixture) {
    let (store, garden) = (on.store(), on.open("garden").await);
    on.answered(&garden, "one").await;
    let turn = on.submit(&garden, "two").await;
    let busy = |refused: StoreResult<Forked>| {
        assert!(
            matches!(refused, Err(StoreError::Busy { turn: busy }) if busy == turn.id),
            "{refused:?}"
        );
    };
    busy(on.fork(turn.id, "fork").await);
    let claimed = on.claim_only(turn.id).await.unwrap();
    busy(on.fork(turn.id, "fork").await);
    let missing = TurnId::from_uuid(on.clock().new_uuid());
    let refused = on.fork(missing, "fork").await;
    assert!(matches!(refused, Err(StoreError::NotFound { what, .. }) if what == "turn"));
    let named = store.conversation_named(&garden.tenant, "fork").await;
    assert_eq!(named.unwrap(), None);
    on.complete(&claimed.lease).await;
    assert!(on.fork(turn.id, "fork").await.unwrap().created);
    let long = "x".repeat(MAX_KEY_CHARS + 1);
    let refused = on.fork(turn.id, &long).await;
    assert!(matches!(refused, Err(StoreError::TooLong { .. })));
}
