//! A prompt that is about to be submitted: checked, its files in place.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use opencode_client::wire::Prompt;

use super::{SubmitError, SubmitOptions, check_prompt};
use crate::budget::Budget;
use crate::budgets::Spender;
use crate::front::Front;
use crate::id::ConversationId;
use crate::product::TurnContext;
use crate::reporter::Severity;
use crate::sandbox;
use crate::store::{NewTurn, SessionGate, StoreError, Submitted};
use crate::uploads::Placed;

/// How long a prompt with files waits for another one of its conversation.
const PLACING: Duration = Duration::from_secs(30);

/// A turn that is about to be submitted in a transaction of the application's own; see
/// [`Host::prepare`](super::Host::prepare).
///
/// The files that came with its prompt have their names in the conversation's sandbox already. Dropped without
/// [`committed`](Self::committed) it takes them back, since there is no turn that knows them. Until then no other
/// prompt with files is prepared for the conversation.
#[must_use = "without `committed` its files are taken back"]
pub struct Prepared {
    turn: NewTurn,
    /// With the right to be the only one: a second submit of the same files finds those of the first, which must not be
    /// taken back meanwhile.
    placed: Option<(Placed, SessionGate)>,
    front: Arc<Front>,
}

impl Prepared {
    pub(super) async fn new(
        front: &Arc<Front>,
        conversation: ConversationId,
        prompt: Prompt,
        options: SubmitOptions,
    ) -> Result<Self, SubmitError> {
        check_prompt(&prompt.text, front.options.max_prompt)?;
        if let Some(deadline) = options.deadlines.none_left() {
            return Err(SubmitError::NoTime { deadline });
        }
        let mut turn = NewTurn::new(conversation, prompt, &*front.clock);
        turn.client_key = options.client_key;
        turn.metadata = options.metadata;
        turn.deadlines = options.deadlines;
        turn.priority = options.priority;
        turn.not_before = options.not_before;
        turn.on_busy = options.on_busy;
        turn.instead_of = options.instead_of;
        turn.check()?;
        // On the heap: it is rarely asked, and the future of a submit is large.
        turn.budget = Box::pin(budget_of(front, &turn)).await?.map(Box::new);
        let mut prepared = Self {
            turn,
            placed: None,
            front: Arc::clone(front),
        };
        if let Some(files) = options.uploads {
            let alone = front.placing.enter(conversation, PLACING).await?;
            // Rare, and no reason for all submits to be larger.
            let keeping = Box::pin(files.keep(conversation, &prepared.turn.prompt.text));
            let kept = keeping.await?;
            prepared.turn.prompt.text = kept.text;
            prepared.turn.prompt.files.extend(kept.shown);
            prepared.turn.uploads = Some(kept.uploads);
            prepared.placed = Some((kept.placed, alone));
            prepared.turn.check()?;
        }
        Ok(prepared)
    }

    /// The transaction was committed, or it is not known whether: the files stay, if `submitted` was made by it, and
    /// the workers of this process look for turns.
    pub fn committed(mut self, submitted: &Submitted) {
        if submitted.created {
            self.placed = None;
        }
        self.front.queue_changed.notify_waiters();
    }

    /// As [`committed`](Self::committed), where `created` says whether the files may have a turn.
    pub(super) async fn submitted(mut self, created: bool) {
        if let Some((placed, _alone)) = self.placed.take().filter(|_| !created) {
            let taken_back = sandbox::blocking(move || {
                placed.take_back();
                Ok(())
            });
            // It has said already what went wrong.
            let _ = taken_back.await;
        }
        self.front.queue_changed.notify_waiters();
    }
}

/// What the turn may use, as the application says; `None` where it says nothing.
pub(super) async fn budget_of(
    front: &Front,
    turn: &NewTurn,
) -> Result<Option<Budget>, SubmitError> {
    if front.budgets.are_none() {
        return Ok(None);
    }
    let missing = || StoreError::not_found("conversation", turn.conversation);
    let conversation = front.store.conversation(turn.conversation).await?;
    let now = front.clock.now();
    let context = TurnContext::new(conversation.ok_or_else(missing)?, &turn.turn(now));
    match front.budgets.of(Spender::of(context)).await {
        Ok(budget) => Ok(Some(budget)),
        Err(error) => {
            let context = [("action", "budgets".into())];
            front.telemetry.report(&error, Severity::Error, context);
            Err(SubmitError::NoBudget)
        }
    }
}

impl Deref for Prepared {
    type Target = NewTurn;

    fn deref(&self) -> &NewTurn {
        &self.turn
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some((placed, _)) = &self.placed {
            placed.take_back();
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}
