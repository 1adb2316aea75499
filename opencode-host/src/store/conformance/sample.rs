//! Turns, checkpoints and ends to try a store with.

use std::time::Duration;

use opencode_client::reply::{Checkpoint, PersistedPart};
use opencode_client::wire::Prompt;
use opencode_client::{PromptIds, SessionId};
use serde_json::json;

use super::Fixture;
use crate::clock::Clock as _;
use crate::id::{MessageId, TurnId};
use crate::outcome::Answer;
use crate::store::{
    Claim, ClaimedTurn, Conversation, Finish, Finished, Lease, Message, Metadata, NewTurn, OnBusy,
    Progress, PromptRecord, SessionRecord, Store, StoreResult, Streamed, Submitted, Tenant, Turn,
    TurnStatus, WorkerId,
};
use crate::turn::Deadlines;

/// How long the leases of the promises last.
pub(super) const LEASE: Duration = Duration::from_secs(15);

impl dyn Fixture + '_ {
    /// A turn to be, with fresh ids.
    pub(super) fn new_turn(&self, conversation: &Conversation, text: &str) -> NewTurn {
        NewTurn {
            id: TurnId::from_uuid(self.clock().new_uuid()),
            user_message: MessageId::from_uuid(self.clock().new_uuid()),
            message: MessageId::from_uuid(self.clock().new_uuid()),
            conversation: conversation.id,
            prompt: Prompt::text(text),
            client_key: None,
            metadata: Metadata::default(),
            deadlines: Deadlines::default(),
            priority: 0,
            not_before: None,
            budget: None,
            on_busy: OnBusy::Enqueue,
            uploads: None,
            instead_of: None,
        }
    }

    pub(super) async fn open(&self, name: &str) -> Conversation {
        self.store()
            .open_conversation(&Tenant::default(), name)
            .await
            .unwrap()
    }

    /// A submitted turn.
    pub(super) async fn submit(&self, conversation: &Conversation, text: &str) -> Turn {
        let new = self.new_turn(conversation, text);
        let Submitted { turn, created } = self.store().submit(&new).await.unwrap();
        assert!(created, "a turn of a new id and no key is new");
        turn
    }

    /// What the worker `a` can claim.
    pub(super) async fn claim(&self) -> Option<ClaimedTurn> {
        self.store().claim(&claim_by("a")).await.unwrap()
    }

    /// A turn that runs, claimed by the worker `a`.
    pub(super) async fn running(&self, name: &str) -> ClaimedTurn {
        let conversation = self.open(name).await;
        let turn = self.submit(&conversation, "Hello").await;
        let claimed = self.claim_only(turn.id).await.unwrap();
        assert_eq!(claimed.turn.id, turn.id);
        claimed
    }

    pub(super) async fn claim_only(&self, turn: TurnId) -> Option<ClaimedTurn> {
        let claim = Claim {
            only: Some(turn),
            ..claim_by("a")
        };
        self.store().claim(&claim).await.unwrap()
    }

    /// Lets every lease run out.
    pub(super) fn expire_leases(&self) {
        self.clock().advance(LEASE + Duration::from_millis(1));
    }

    pub(super) async fn turn(&self, id: TurnId) -> Turn {
        self.store().turn(id).await.unwrap().unwrap()
    }

    pub(super) async fn message(&self, id: MessageId) -> Message {
        self.store().message(id).await.unwrap().unwrap()
    }

    /// Ends and settles a turn.
    pub(super) async fn complete(&self, lease: &Lease) {
        complete(&*self.store(), lease).await.unwrap();
    }

    /// How many ends the turn's record holds.
    pub(super) async fn ends(&self, turn: TurnId) -> usize {
        let events = self.store().turn_events(turn).await.unwrap();
        events
            .iter()
            .filter(|event| event.name == Finish::EVENT)
            .count()
    }
}

/// A save of one turn.
pub(super) trait SaveOne {
    /// Saves what has streamed of one turn; an error where its lease is lost.
    async fn save_one(&self, lease: &Lease, checkpoint: &Checkpoint) -> StoreResult<()>;

    /// The same of the whole, or of what has come to it.
    async fn save_streamed(&self, lease: &Lease, streamed: Streamed<'_>) -> StoreResult<()>;
}

impl SaveOne for dyn Store {
    async fn save_one(&self, lease: &Lease, checkpoint: &Checkpoint) -> StoreResult<()> {
        self.save_streamed(lease, Streamed::Whole(checkpoint)).await
    }

    async fn save_streamed(&self, lease: &Lease, streamed: Streamed<'_>) -> StoreResult<()> {
        let lost = self.save(&[Progress { lease, streamed }]).await?;
        if lost.is_empty() {
            return Ok(());
        }
        assert_eq!(lost, [*lease], "the lease that is lost is told");
        Err(lease.lost())
    }
}

/// Ends and settles a turn.
pub(super) async fn complete(store: &dyn Store, lease: &Lease) -> StoreResult<()> {
    let finished = store
        .finish(lease, &finish(TurnStatus::Completed, "Hi"))
        .await?;
    assert_eq!(finished, Finished::Stored(TurnStatus::Completed));
    assert!(store.settle(lease).await?, "the first settle is the one");
    Ok(())
}

pub(super) fn claim_by(worker: &str) -> Claim {
    Claim::new(WorkerId(worker.to_owned()), LEASE)
}

pub(super) fn session(id: &str) -> SessionRecord {
    SessionRecord {
        id: SessionId::from(id),
        server: None,
        directory: None,
        created_ms: 1,
        policy: None,
        owed: None,
    }
}

pub(super) fn prompt(id: &str, resend: bool) -> PromptRecord {
    let ids = PromptIds {
        message: format!("msg_{id}").into(),
        part: format!("prt_{id}").into(),
    };
    PromptRecord {
        session: SessionId::from("ses_1"),
        server: None,
        ids,
        resend,
        changed: None,
    }
}

/// A checkpoint of one text part.
pub(super) fn checkpoint(text: &str) -> Checkpoint {
    checkpoint_of(&[PersistedPart::Text {
        content: text.to_owned(),
    }])
}

pub(super) fn checkpoint_of(parts: &[PersistedPart]) -> Checkpoint {
    let parts: Vec<_> = parts
        .iter()
        .map(|part| json!({"id": "prt_1", "part": part}))
        .collect();
    serde_json::from_value(json!({"parts": parts})).unwrap()
}

pub(super) fn finish(status: TurnStatus, content: &str) -> Finish {
    let mut answer = Answer::text(content);
    answer.parts = vec![PersistedPart::Text {
        content: content.to_owned(),
    }];
    Finish::new(status, answer, Duration::from_millis(12))
}
