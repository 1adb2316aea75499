//! One prompt driven to its end, for a program without a store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::exchange::Exchange;
use crate::http::Client;
use crate::hub::{EventHub, Signal, Subscription};
use crate::id::{MintBasis, PromptIds, SessionId};
use crate::reply::{Change, Observer, ObserverError, Reply, ReplyResult};
use crate::wire::{Prompt, SessionStatus};

/// How long nothing may come of a session before the server is asked instead.
const POLL_AFTER: Duration = Duration::from_secs(10);
/// How often it is then asked.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// How far back a message is looked for that the next prompt's id can follow.
const MINT_FROM: usize = 20;

/// What a stream gives.
#[derive(Clone, Debug)]
pub enum Update {
    /// The reply changed.
    Changed(Change<'static>),
    /// The reply is whole: what it came to, and the messages it came from.
    Finished(Box<(ReplyResult, Exchange)>),
}

/// The updates of one prompt. Dropping it leaves the server at work:
/// [`Client::abort`] stops it.
#[derive(Debug)]
pub struct PromptStream {
    client: Client,
    session: SessionId,
    ids: PromptIds,
    subscription: Subscription,
    reply: Reply,
    changes: Changes,
    polling: bool,
    done: bool,
}

#[derive(Clone, Debug, Default)]
struct Changes(Arc<Mutex<VecDeque<Change<'static>>>>);

impl Observer for Changes {
    fn changed(&mut self, change: &Change<'_>) -> Result<(), ObserverError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(change.clone().into_owned());
        Ok(())
    }
}

impl Client {
    /// Asks `prompt` of `session` and streams the answer. Subscribes before it
    /// prompts, and finishes from the exchange. A process that must not lose
    /// the turn when it dies uses `opencode-host` instead.
    ///
    /// `entropy` is 128 random bits for the prompt's id.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stream(
        &self,
        hub: &EventHub,
        session: &SessionId,
        prompt: &Prompt,
        entropy: u128,
    ) -> Result<PromptStream, Error> {
        let subscription = hub.subscribe(session, self.directory()).await?;
        let ids = self.mint_prompt_ids(session, entropy).await?;
        self.prompt_async(session, &ids, prompt).await?;
        let mut reply = Reply::new(session.clone(), ids.message.clone());
        let changes = Changes::default();
        reply.observe(changes.clone());
        Ok(PromptStream {
            client: self.clone(),
            session: session.clone(),
            ids,
            subscription,
            reply,
            changes,
            polling: false,
            done: false,
        })
    }

    /// Ids for the session's next prompt, from what the server says about the
    /// session: see [`PromptIds::mint`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mint_prompt_ids(
        &self,
        session: &SessionId,
        entropy: u128,
    ) -> Result<PromptIds, Error> {
        let mut page = self.messages(session, 1, None).await?;
        if page.messages.is_empty() && page.records > 0 {
            // The newest cannot be read: the newest that can is the best there is.
            page = self.messages(session, MINT_FROM, None).await?;
        }
        let newest = page.messages.pop();
        let (basis, fallback) = match newest {
            Some(newest) => (MintBasis::After(newest.info.id), newest.info.time.created),
            None => {
                let created_ms = self.session(session).await?.time.created;
                (MintBasis::EmptySession { created_ms }, created_ms)
            }
        };
        Ok(PromptIds::mint(&basis, fallback, entropy))
    }
}

impl PromptStream {
    /// The next update; `None` behind [`Update::Finished`].
    ///
    /// # Errors
    /// See [`Error`]. The stream can be read on after a transient one.
    pub async fn next(&mut self) -> Result<Option<Update>, Error> {
        loop {
            if let Some(change) = self
                .changes
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front()
            {
                return Ok(Some(Update::Changed(change)));
            }
            if self.done {
                return Ok(None);
            }
            if self.signal().await
                && let Some(exchange) = self.ended().await?
            {
                self.done = true;
                return Ok(Some(Update::Finished(Box::new((
                    self.reply.result(),
                    exchange,
                )))));
            }
        }
    }

    /// Waits for the next signal; true when it is time to look at the exchange.
    async fn signal(&mut self) -> bool {
        let wait = if self.polling { POLL_EVERY } else { POLL_AFTER };
        match tokio::time::timeout(wait, self.subscription.next()).await {
            Ok(Signal::Event(event)) => {
                self.polling = false;
                self.reply.apply(&event);
                for child in self.reply.children() {
                    self.subscription.follow(child);
                }
                self.reply.take_idle()
            }
            Ok(Signal::Gap(_) | Signal::Disconnected) => {
                self.reply.gap();
                true
            }
            Ok(
                Signal::Heartbeat | Signal::Malformed(_) | Signal::Unreachable | Signal::Reachable,
            ) => false,
            Err(_) => {
                self.polling = true;
                true
            }
        }
    }

    /// The exchange, when the turn is over.
    async fn ended(&mut self) -> Result<Option<Exchange>, Error> {
        let exchange = self
            .client
            .exchange(&self.session, &self.ids.message, self.reply.message_count())
            .await?;
        self.reply.reconcile(&exchange);
        if exchange.is_complete() {
            return Ok(Some(exchange));
        }
        let idle = self.client.status(&self.session).await? == SessionStatus::Idle;
        let over = idle && (exchange.prompt_seen || self.reply.error().is_some());
        self.polling |= !over;
        Ok(over.then_some(exchange))
    }
}
