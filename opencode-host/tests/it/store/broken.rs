//! Stores that fail their own promises: the suite says which.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use opencode_host::blobs::Digest;
use opencode_host::clock::{Clock, Timestamp};
use opencode_host::id::{AttachmentId, ConversationId, EffectId, MessageId, TurnId};
use opencode_host::store::conformance::{
    Fixture, answers, attachments, claims, conversations, endings, fencing, run, sessions, submits,
};
use opencode_host::store::{
    Attachment, ConversationCursor, ConversationRow, Effect, MemoryRows, MemoryTables,
    MessageEntry, MessageRow, RowStore, Rows, StoreResult, Tables, Tenant, TurnRow,
};

use super::{Memory, manual_clock};

/// What the tables do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    ForgetsLeases,
    GivesLeasedTurns,
    ForgetsGenerations,
    ForgetsEvents,
    ForgetsAnswers,
    ForgetsKeys,
    ForgetsSessions,
    ForgetsFiles,
    DeletesNothing,
    NeverWrites,
}

struct BrokenTables(MemoryTables, Mistake);

struct BrokenRows(MemoryRows, Mistake);

#[async_trait]
impl Tables for BrokenTables {
    type Rows = BrokenRows;

    async fn begin(&self) -> StoreResult<BrokenRows> {
        Ok(BrokenRows(self.0.begin().await?, self.1))
    }

    fn clock(&self) -> &dyn Clock {
        self.0.clock()
    }
}

macro_rules! rows {
    ({ $($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)+ } $($own:item)*) => {
        #[async_trait]
        impl Rows for BrokenRows {
            $(async fn $name(&mut self $(, $arg: $type)*) -> StoreResult<$answer> {
                self.0.$name($($arg),*).await
            })+

            $($own)*
        }
    };
}

rows! { {
    conversation(id: ConversationId) -> Option<ConversationRow>;
    conversation_named(tenant: &Tenant, name: &str) -> Option<ConversationRow>;
    newest_conversations(before: ConversationCursor, limit: u32) -> Vec<ConversationRow>;
    turn(id: TurnId) -> Option<TurnRow>;
    unsettled(conversation: ConversationId) -> Vec<TurnId>;
    set_aside(turn: TurnId) -> ();
    drop_unread(turn: TurnId) -> Option<MessageId>;
    message(id: MessageId) -> Option<MessageRow>;
    message_index(conversation: Option<ConversationId>, after: u64, limit: u32) -> Vec<MessageEntry>;
    put_message(row: MessageRow) -> ();
    file(id: AttachmentId) -> Option<Attachment>;
    newest_files(conversation: ConversationId, limit: u32) -> Vec<Attachment>;
    digests_in_use(digests: &[Digest]) -> Vec<Digest>;
    effects() -> Vec<Effect>;
    set_effect(id: EffectId, effect: Option<Effect>) -> ();
    delete_file(id: AttachmentId) -> ();
}
    async fn commit(self) -> StoreResult<()> {
        self.0.commit().await
    }

    async fn turn_with_key(&mut self, conversation: ConversationId, key: &str) -> StoreResult<Option<TurnRow>> {
        match self.1 {
            Mistake::ForgetsKeys => Ok(None),
            _ => self.0.turn_with_key(conversation, key).await,
        }
    }

    async fn next_turn(&mut self, now: Timestamp, only: Option<TurnId>) -> StoreResult<Option<TurnId>> {
        let now = match self.1 {
            Mistake::GivesLeasedTurns => Timestamp(i64::MAX),
            _ => now,
        };
        self.0.next_turn(now, only).await
    }

    async fn put_turn(&mut self, mut row: TurnRow) -> StoreResult<()> {
        match self.1 {
            Mistake::ForgetsLeases => row.lease = None,
            Mistake::ForgetsGenerations => row.turn.generation = 1,
            Mistake::ForgetsEvents => row.events.clear(),
            Mistake::ForgetsAnswers => row.answers.clear(),
            Mistake::NeverWrites if self.0.turn(row.turn.id).await?.is_some() => return Ok(()),
            _ => {}
        }
        self.0.put_turn(row).await
    }

    async fn put_conversation(&mut self, mut row: ConversationRow) -> StoreResult<()> {
        if self.1 == Mistake::ForgetsSessions {
            row.conversation.session = None;
        }
        self.0.put_conversation(row).await
    }

    async fn delete_conversation(&mut self, id: ConversationId) -> StoreResult<()> {
        match self.1 {
            Mistake::DeletesNothing => Ok(()),
            _ => self.0.delete_conversation(id).await,
        }
    }

    async fn add_file(&mut self, file: Attachment) -> StoreResult<()> {
        match self.1 {
            Mistake::ForgetsFiles => Ok(()),
            _ => self.0.add_file(file).await,
        }
    }
}

/// A store on tables with this mistake.
fn broken(mistake: Mistake) -> Memory {
    let clock = manual_clock();
    let tables = BrokenTables(MemoryTables::new(clock.clone()), mistake);
    let store = Arc::new(RowStore::over(tables));
    Memory { clock, store }
}

/// The promise is kept by sound tables, and said to be broken by those with the mistake.
async fn says(mistake: Mistake, name: &str, promise: impl AsyncFn(&dyn Fixture)) {
    run(name, broken(Mistake::None), &promise).await;
    let tried = run(name, broken(mistake), &promise);
    let tried = AssertUnwindSafe(tried).catch_unwind().await;
    let said = tried.expect_err("the mistake goes unnoticed");
    let said = said.downcast_ref::<String>().unwrap();
    let named = format!("the store breaks the promise {name}: ");
    assert!(said.starts_with(&named), "{mistake:?}: {said}");
}

macro_rules! says {
    ($($mistake:ident: $module:ident::$promise:ident;)+) => {
        $(says(
            Mistake::$mistake,
            concat!(stringify!($module), "::", stringify!($promise)),
            $module::$promise,
        )
        .await;)+
    };
}

#[tokio::test]
async fn a_store_that_fails_a_promise_is_told_which() {
    says! {
        ForgetsLeases: claims::a_leased_turn_is_skipped;
        GivesLeasedTurns: claims::a_leased_turn_is_skipped;
        ForgetsGenerations: fencing::a_late_worker_changes_nothing;
        ForgetsEvents: endings::an_end_is_whole;
        ForgetsAnswers: answers::the_first_answer_wins;
        ForgetsKeys: submits::a_client_key_is_one_turn;
        ForgetsSessions: sessions::a_set_session_is_kept;
        ForgetsFiles: attachments::a_file_is_kept;
        DeletesNothing: conversations::deletion_takes_messages_and_turns;
        NeverWrites: claims::a_lease_from_the_future_ends_in_time;
    }
}
