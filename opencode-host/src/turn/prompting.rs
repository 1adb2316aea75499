//! Prompting exactly once.

use opencode_client::wire::Prompt;
use opencode_client::{Error as ClientError, PromptIds, SessionId};
use tokio::time::{Instant, sleep_until};

use super::driver::{Driver, Trouble};
use super::names;
use super::plan::Names;
use crate::sandbox::OwnConfiguration;
use crate::store::{Note, PromptRecord};

impl Driver {
    pub(super) async fn mint(&mut self) -> Result<(), Trouble> {
        let Some(session) = &self.session else {
            return Ok(());
        };
        let session = session.id.clone();
        self.guard_prompt().await?;
        let client = self.client();
        let mint = || client.mint_prompt_ids(&session, self.host.clock.entropy());
        self.check(&session).await?;
        let (mut minted, status) = tokio::join!(mint(), client.status(&session));
        if status?.is_busy() {
            self.stop_leftover().await?;
            minted = mint().await;
        }
        let ids = match minted {
            Ok(ids) => ids,
            Err(error) => return Err(self.not_minted(error)),
        };
        self.unread = None;
        let record = PromptRecord {
            session,
            ids,
            resend: self.resent,
        };
        let fenced = Instant::now();
        // Durable before the first post: whoever goes on posts the same message.
        self.host
            .store
            .note(&self.lease, Note::Prompt(&record))
            .await?;
        self.prompted = Some(record);
        self.take_up_reply();
        self.post(fenced).await
    }

    pub(super) async fn look(&mut self) -> Result<(), Trouble> {
        self.guard().await?;
        let (Some(session), Some(prompted)) = (self.session.clone(), self.prompted.clone()) else {
            return Ok(());
        };
        let client = self.client();
        let look = || async {
            let message = client.message(&session.id, &prompted.ids.message).await?;
            Ok::<_, ClientError>(message.is_some())
        };
        let mut found = look().await;
        if let (Ok(false), Some(sent)) = (&found, self.in_flight) {
            // What was on its way may arrive yet. 1.15.13 runs it twice if it is posted meanwhile.
            sleep_until(sent + self.host.options.limits.pace.confirm).await;
            found = look().await;
        }
        let found = match found {
            Ok(found) => Some(found),
            Err(error) => {
                self.history_failed(error)?;
                None
            }
        };
        self.reposted = self.posted.is_some();
        self.found |= found == Some(true);
        match found {
            Some(true) | None => {
                self.was_posted();
                // Somebody else's post, or one that nobody can see any more: what came of it is upstream.
                self.look_due = true;
                Ok(())
            }
            // Given up: what never arrived is not begun any more.
            Some(false) if self.turn.attempts > self.host.options.limits.attempts => {
                self.was_posted();
                self.look_due = true;
                Ok(())
            }
            Some(false) => {
                self.guard_prompt().await?;
                self.check(&session.id).await?;
                let fenced = Instant::now();
                // Still ours? Whoever else has it may have posted it meanwhile.
                self.host
                    .store
                    .note(&self.lease, Note::Prompt(&prompted))
                    .await?;
                self.post(fenced).await
            }
        }
    }

    /// Posts the recorded prompt. The turn was ours at `fenced`; a process that was suspended since may have lost it.
    async fn post(&mut self, fenced: Instant) -> Result<(), Trouble> {
        let (Some(session), Some(prompted)) = (self.session.clone(), self.prompted.clone()) else {
            return Ok(());
        };
        let prompt = self.prompt();
        self.unbroken = self.stream_live;
        let not_after = fenced + self.host.options.lease / 2;
        // A post that is made again costs more than a look.
        let client = self.client().with_patience(self.patience() * 2);
        let (ids, not_after) = (&prompted.ids, not_after.into());
        self.in_flight = Some(Instant::now());
        let posting = client.prompt_async_before(&session.id, ids, &prompt, not_after);
        match self.telling(posting).await {
            Ok(()) => {
                self.was_posted();
                Ok(())
            }
            Err(error) if names::refuses(&error) => {
                self.in_flight = None;
                self.names = self.names_known(Some(&error.to_string())).await?;
                Ok(())
            }
            Err(error) => {
                // Given up before it was sent, it is nowhere.
                let unsent = matches!(error, ClientError::Timeout { seconds: 0, .. });
                self.in_flight = (!unsent).then(Instant::now);
                tracing::debug!(%error, "the prompt's answer is missing: looking before it is posted again");
                Err(error.into())
            }
        }
    }

    /// Before a prompt: the server, maybe another than before, still does as the session's rules say.
    async fn check(&self, session: &SessionId) -> Result<(), Trouble> {
        let (sessions, client) = (self.sessions(), self.client());
        let checked = sessions.check(&client, &self.conversation, session);
        Ok(checked.await?)
    }

    /// What becomes of configuration that is found in the folder.
    pub(super) fn own_configuration(&self) -> OwnConfiguration {
        self.product.own_configuration(&self.conversation)
    }

    /// Before the server reads the folder: nothing in it may configure the server.
    pub(super) async fn guard(&mut self) -> Result<(), Trouble> {
        let guarded = self
            .host
            .guard(&self.conversation, self.own_configuration())
            .await;
        let moved = guarded.map_err(|unguarded| Trouble::Product(unguarded.to_string()))?;
        self.look_again |= !moved.is_empty();
        Ok(())
    }

    /// The same before a prompt, which has the server read the folder for a while.
    async fn guard_prompt(&mut self) -> Result<(), Trouble> {
        self.guard().await?;
        if self.look_again {
            let own = self.own_configuration();
            let guarded = self.host.guard_again(&self.conversation, own).await;
            guarded.map_err(|unguarded| Trouble::Product(unguarded.to_string()))?;
            self.look_again = false;
        }
        Ok(())
    }

    pub(super) fn was_posted(&mut self) {
        self.posted = Some(Instant::now());
        self.names = match self.named() {
            (None, None) => Names::Known,
            _ => Names::Unasked,
        };
        self.in_flight = None;
        self.heard = None;
        self.inspection = None;
    }

    /// The ids of the prompt, once they are recorded.
    pub(super) fn prompted_ids(&self) -> Option<&PromptIds> {
        self.prompted.as_ref().map(|prompted| &prompted.ids)
    }

    /// The turn's prompt, with what the product adds.
    pub(super) fn prompt(&self) -> Prompt {
        let mut prompt = self.turn.prompt.clone();
        let product = &self.product;
        (prompt.agent, prompt.model) = self.named();
        prompt.system = prompt
            .system
            .or_else(|| product.system_context(&self.conversation));
        prompt
    }
}
