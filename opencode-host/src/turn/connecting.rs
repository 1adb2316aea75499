//! The turn's session: found or minted, listened to, replaced, stopped.

use std::sync::Arc;

use opencode_client::Error as ClientError;
use opencode_client::reply::{ProblemSink, Reply};
use tokio::time::{Instant, sleep};

use super::driver::{Driver, Trouble};
use super::observing::Feed;
use crate::reporter::Severity;
use crate::store::{Note, SessionRecord};

impl Driver {
    pub(super) async fn connect(&mut self) -> Result<(), Trouble> {
        self.guard().await?;
        // A session that was prompted is looked at, whatever the next prompt goes to.
        let prompted = self.prompted.as_ref().map(|prompted| &prompted.session);
        let sessions = self.sessions();
        let ensured = sessions.ensure_for(&self.conversation, prompted).await?;
        if ensured.just_created {
            self.host.telemetry.event(
                "session.created",
                [
                    ("session", ensured.record.id.to_string().into()),
                    ("conversation", self.conversation.id.to_string().into()),
                ],
            );
        }
        // A prompt of a session that was replaced meanwhile is not upstream any more.
        if self
            .prompted
            .as_ref()
            .is_some_and(|prompted| prompted.session != ensured.record.id)
        {
            self.prompted = None;
            self.resent = true;
            self.salvage = std::mem::take(&mut self.turn.checkpoint);
        }
        self.listen(ensured.record).await
    }

    /// Takes the session as the row has it, to stop what it does. Nothing is asked of the server for that.
    pub(super) fn take_up(&mut self) {
        let session = self.conversation.session.as_ref();
        let prompted = self.prompted.as_ref();
        if session.map(|session| &session.id) == prompted.map(|prompted| &prompted.session) {
            self.session = session.cloned();
            self.take_up_unheard();
        } else {
            // The session was replaced: its prompt runs nowhere any more.
            self.prompted = None;
        }
    }

    async fn listen(&mut self, record: SessionRecord) -> Result<(), Trouble> {
        let host = Arc::clone(&self.host);
        let subscribing = host.hub.subscribe(&record.id, record.directory.as_deref());
        self.subscription = match self.telling(subscribing).await {
            Ok(subscription) => Some(subscription),
            Err(error @ (ClientError::Unauthorized { .. } | ClientError::Connection { .. })) => {
                return Err(error.into());
            }
            // A server without a working stream can still be asked.
            Err(error) => {
                self.report(&error);
                None
            }
        };
        self.stream_live = self.subscription.is_some();
        self.stream_whole = self.stream_live;
        self.conversation.session = Some(record.clone());
        self.session = Some(record);
        self.take_up_unheard();
        Ok(())
    }

    /// Goes on from the checkpoint of the prompt that is recorded, or from nothing.
    pub(super) fn take_up_reply(&mut self) {
        let (Some(prompted), Some(session)) = (&self.prompted, &self.session) else {
            return;
        };
        let mut checkpoint = std::mem::take(&mut self.turn.checkpoint);
        if !checkpoint.is_of(&prompted.ids.message) {
            // What the lost session said is no part of the fresh one's answer.
            self.salvage = std::mem::take(&mut checkpoint);
        }
        let mut reply =
            Reply::restore(session.id.clone(), prompted.ids.message.clone(), checkpoint);
        self.begun |= reply.has_begun();
        self.live.reset(&reply);
        reply.observe(self.live.observer());
        let telemetry = self.host.telemetry.clone();
        reply.report_problems_to(ProblemSink::new(move |error| {
            telemetry.report(
                error.as_ref(),
                Severity::Warning,
                [("action", "observer".into())],
            );
        }));
        for make in &self.host.observers {
            reply.observe(Feed::start(make, &self.turn, &self.host.telemetry));
        }
        self.reply = Some(reply);
    }

    /// A prompt that was recorded before may have been answered unheard.
    fn take_up_unheard(&mut self) {
        self.take_up_reply();
        if let Some(reply) = &mut self.reply {
            reply.gap();
        }
    }

    pub(super) async fn recreate(&mut self) -> Result<(), Trouble> {
        let lost = match (&self.session, &self.conversation.session) {
            (Some(session), _) | (None, Some(session)) => session.id.clone(),
            (None, None) => return Ok(()),
        };
        // Durable before the mint: a turn replaces one session, however many workers take it up.
        let noting = Note::Replacement(&lost);
        self.host.store.note(&self.lease, noting).await?;
        // The claim told what earlier workers had noted, and nobody else notes anything now.
        let is_first = *self.turn.replaced.get_or_insert_with(|| lost.clone()) == lost;
        if !is_first {
            return Err(ClientError::SessionNotFound { session: lost }.into());
        }
        let ensured = self.sessions().recreate(&self.conversation, &lost).await?;
        if self.prompted.take().is_some() {
            self.resent = true;
            self.host.telemetry.event(
                "session.recreated_with_resend",
                [
                    ("session", ensured.record.id.to_string().into()),
                    ("lost", lost.to_string().into()),
                    ("conversation", self.conversation.id.to_string().into()),
                ],
            );
        }
        (
            self.posted,
            self.heard,
            self.looked,
            self.inspection,
            self.aborted,
        ) = (None, None, None, None, None);
        (
            self.exchange,
            self.look_due,
            self.orderly_idle,
            self.followed,
        ) = (None, false, false, 0);
        (self.unread, self.found) = (None, false);
        if let Some(reply) = self.reply.take() {
            self.salvage = reply.checkpoint();
        }
        self.listen(ensured.record).await
    }

    pub(super) async fn abort(&mut self) -> Result<(), Trouble> {
        let now = Instant::now();
        self.aborted = Some((self.aborted.map_or(now, |(first, _)| first), now));
        (self.abort_heard, self.look_due) = (false, true);
        if let Some(session) = &self.session {
            let sessions = self.sessions();
            sessions.abort(self.conversation.id, session).await?;
        }
        self.abort_heard = true;
        Ok(())
    }

    /// Sees to it that nothing of an earlier turn works in the session any more: a turn can end while the server is
    /// out of reach, or deaf.
    pub(super) async fn stop_leftover(&self) -> Result<(), Trouble> {
        let Some(session) = self.session.clone() else {
            return Ok(());
        };
        let pace = self.host.options.limits.pace;
        let began = Instant::now();
        let mut told = false;
        while self.client().status(&session.id).await?.is_busy() && began.elapsed() < pace.abort {
            // What has just ended may show as busy for a moment.
            if !told && began.elapsed() >= pace.abort / 5 {
                let sessions = self.sessions();
                let aborted = sessions.abort(self.conversation.id, &session).await;
                told = aborted.is_ok();
            }
            sleep(pace.abort / 20).await;
        }
        Ok(())
    }
}
