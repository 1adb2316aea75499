//! Places conversations on servers, before their first turn is claimed.
//!
//! Any worker does: it looks for queued turns whose conversation is not placed, asks the product, chooses
//! ([`choose`]), and writes the choice down, which changes nothing where another worker was quicker. The server's own workers
//! claim the turn then. Where no server fits, why is written down, and it is looked again.
//!
//! Conversations of servers that are gone come off them here too.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::beats::silence;
use super::shared::Shared;
use crate::id::{ConversationId, TurnId};
use crate::placement::{Choice, Placement};
use crate::product::TurnContext;
use crate::reporter::Severity;
use crate::store::{StoreError, StoreResult, Unplaced};

/// How many conversations are read at a time.
const PAGE: u32 = 64;

/// How many of them at most before it is looked for others: those that no server fits are read again and again.
const PAGES: usize = 8;

/// How many conversations are placed at once.
const AT_ONCE: usize = 64;

/// How often it is chosen anew where a server took nothing after all.
const TRIES: u32 = 3;

/// How far conversations have been looked for that are not placed.
#[derive(Debug, Default)]
struct Search {
    /// Up to this turn.
    behind: Option<TurnId>,
    /// There was none behind it.
    is_through: bool,
    placing: JoinSet<ConversationId>,
    under_way: HashSet<ConversationId>,
}

/// Places conversations until `shutdown`.
pub(super) async fn keep_placing(shared: Arc<Shared>, shutdown: CancellationToken) {
    if !shared.front.store.keeps_servers() {
        return;
    }
    let mut search = Search::default();
    let mut again = tokio::time::interval(shared.workshop.options.poll_interval);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shutdown.is_cancelled() {
        // Armed before the look, so that no submit is missed.
        let changed = shared.front.queue_changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if let Err(error) = search.look(&shared).await {
            report(&shared, &error);
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = changed => {}
            // What waits for a server is looked at again.
            _ = again.tick() => search.begin_anew(),
            () = search.ended(), if search.is_full() => {}
        }
    }
}

impl Search {
    fn is_full(&self) -> bool {
        self.placing.len() >= AT_ONCE
    }

    fn begin_anew(&mut self) {
        if self.is_through {
            self.behind = None;
        }
    }

    /// Waits until one is placed, or waits.
    async fn ended(&mut self) {
        if let Some(Ok(placed)) = self.placing.join_next().await {
            self.under_way.remove(&placed);
        }
    }

    /// Begins to place what is not placed, oldest first, as far as there is room for it.
    async fn look(&mut self, shared: &Arc<Shared>) -> StoreResult<()> {
        while let Some(Ok(placed)) = self.placing.try_join_next() {
            self.under_way.remove(&placed);
        }
        if move_from_gone(shared).await? {
            // Their turns are older than others.
            self.behind = None;
        }
        for _ in 0..PAGES {
            let found = shared.front.store.unplaced(self.behind, PAGE).await?;
            self.is_through = found.len() < PAGE as usize;
            for unplaced in found {
                if self.is_full() {
                    self.is_through = false;
                    return Ok(());
                }
                self.behind = Some(unplaced.turn.id);
                let id = unplaced.conversation.id;
                if self.under_way.insert(id) {
                    let shared = Arc::clone(shared);
                    self.placing.spawn(async move {
                        place(&shared, unplaced).await;
                        id
                    });
                }
            }
            if self.is_through {
                break;
            }
        }
        Ok(())
    }
}

/// Answers whether there was one.
async fn move_from_gone(shared: &Shared) -> StoreResult<bool> {
    let mut any = false;
    loop {
        let moved = shared.front.store.move_from_gone(PAGE).await?;
        if moved.is_empty() {
            return Ok(any);
        }
        any = true;
        for (conversation, from) in moved {
            shared.front.telemetry.event(
                "conversation.moved",
                [
                    ("conversation", conversation.to_string().into()),
                    ("from", from.as_str().into()),
                ],
            );
        }
        shared.front.queue_changed.notify_waiters();
        shared.front.effect_noted.notify_waiters();
    }
}

/// Places one conversation, if a server fits.
pub(super) async fn place(shared: &Shared, unplaced: Unplaced) {
    let conversation = unplaced.conversation.id;
    if let Err(error) = try_to_place(shared, unplaced).await {
        shared.placer.forget_servers().await;
        let context = [
            ("action", "place".into()),
            ("conversation", conversation.to_string().into()),
        ];
        let telemetry = &shared.front.telemetry;
        telemetry.report(&error, Severity::Warning, context);
    }
}

async fn try_to_place(shared: &Shared, unplaced: Unplaced) -> StoreResult<()> {
    let Unplaced { conversation, turn } = unplaced;
    let (id, store) = (conversation.id, &shared.front.store);
    let waits_for = conversation.waits_for.clone();
    let context = TurnContext::new(conversation, &turn);
    let why = match placement(shared, &context).await {
        Err(why) => why,
        Ok(placement) => {
            let mut why = String::new();
            for _ in 0..TRIES {
                match choose(shared, &placement).await? {
                    Choice::On(server) if store.place(id, &server).await? => {
                        shared.placer.placed(id, &server).await;
                        shared.front.telemetry.event(
                            "conversation.placed",
                            [
                                ("conversation", id.to_string().into()),
                                ("server", server.as_str().into()),
                            ],
                        );
                        shared.front.queue_changed.notify_waiters();
                        return Ok(());
                    }
                    Choice::On(server) => {
                        let row = store.conversation(id).await?;
                        if row.is_none_or(|row| row.server.is_some()) {
                            return Ok(());
                        }
                        why = format!("the server {server}, which took nothing just now");
                    }
                    Choice::Wait(said) if why == said => break,
                    Choice::Wait(said) => why = said,
                }
                // It was not as it was known.
                shared.placer.forget_servers().await;
            }
            why
        }
    };
    if waits_for.as_deref() != Some(&*why) {
        store.note_waits_for(id, &why).await?;
    }
    Ok(())
}

/// What the product says of a turn's conversation; `Err` with why it is not known, for a person.
async fn placement(shared: &Shared, turn: &TurnContext) -> Result<Placement, String> {
    let id = turn.conversation.id;
    if let Some(placement) = shared.placer.said(id).await {
        return Ok(placement);
    }
    match shared.product.placement(turn).await {
        Ok(placement) => {
            shared.placer.says(id, placement.clone()).await;
            Ok(placement)
        }
        Err(error) => {
            let context = [
                ("action", "placement".into()),
                ("turn", turn.turn.to_string().into()),
            ];
            let telemetry = &shared.front.telemetry;
            telemetry.report(&error, Severity::Error, context);
            Err("the application, which could not say on which server it may run".to_owned())
        }
    }
}

async fn choose(shared: &Shared, placement: &Placement) -> StoreResult<Choice> {
    let silence = silence(shared.workshop.options.server_gone_after);
    let (store, own) = (&*shared.front.store, &shared.server.name);
    shared.placer.choose(store, placement, own, silence).await
}

fn report(shared: &Shared, error: &StoreError) {
    let context = [("action", "place".into())];
    let telemetry = &shared.front.telemetry;
    telemetry.report(error, Severity::Warning, context);
}
