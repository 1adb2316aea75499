//! A session whose history cannot be read.
//!
//! A server that has stored one number that is none answers each read of the session with 500
//! (anomalyco/opencode#38703); a history can also be too large to be read, or stuck behind a proxy. It still tells
//! what the session does, and streams. So what streamed and finished is the answer then, and the session is replaced
//! before the conversation's next prompt: not before the end of this turn, because whoever takes the turn over must
//! find the session that was prompted.

use std::time::Duration;

use opencode_client::{Client, Error as ClientError, Exchange, MessageId, Reply, SessionId};
use tokio::time::{Instant, timeout};

use super::driver::{Driver, Trouble};
use crate::store::{Owed, Turn};
use crate::worker::REMOVING;

/// A run of reads that failed while the server told what the session does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    /// The first of them.
    since: Instant,
    /// They are not held for something that passes any more.
    pub(super) believed: bool,
    /// No further read will do better.
    hopeless: bool,
}

/// Whether an error is about what was asked for, and not about the way there.
fn is_of_history(error: &ClientError) -> bool {
    match error {
        ClientError::Server { status, .. } => !matches!(status, 502..=504),
        ClientError::TooLarge { .. } | ClientError::BadRequest { .. } => true,
        _ => false,
    }
}

impl Driver {
    /// The turn's exchange; `None` where the server is believed not to give it any more.
    pub(super) async fn read_exchange(
        &mut self,
        client: &Client,
        session: &SessionId,
        prompt: &MessageId,
    ) -> Result<Option<Exchange>, Trouble> {
        if self.unread.is_some_and(|unread| unread.hopeless) {
            return Ok(None);
        }
        let known = self.reply.as_ref().map_or(0, Reply::message_count);
        match client.exchange(session, prompt, known).await {
            Ok(exchange) => {
                self.unread = None;
                Ok(Some(exchange))
            }
            Err(error) => self.history_failed(error).map(|()| None),
        }
    }

    /// Notes that the history could not be read, while the server told what the session does. `Ok` once that is
    /// believed to stay so.
    ///
    /// # Errors
    /// It may pass, or it is another kind of failure.
    pub(super) fn history_failed(&mut self, error: ClientError) -> Result<(), Trouble> {
        if matches!(
            error,
            ClientError::SessionNotFound { .. } | ClientError::Unauthorized { .. }
        ) {
            return Err(error.into());
        }
        let limits = &self.host.options.limits;
        let hopeless = matches!(error, ClientError::TooLarge { .. });
        let bound = if hopeless {
            Duration::ZERO
        } else if !is_of_history(&error) {
            limits.unreachable
        } else if self.is_stopping() {
            limits.pace.abort / 3
        } else {
            limits.pace.confirm * 2
        };
        let mut unread = self.unread.unwrap_or_else(|| Unread {
            since: Instant::now(),
            believed: false,
            hopeless,
        });
        let told = unread.believed;
        unread.believed |= unread.since.elapsed() >= bound;
        unread.hopeless |= hopeless;
        self.unread = Some(unread);
        if !unread.believed {
            return Err(Trouble::Unread(error));
        }
        if !told {
            self.report(&error);
            self.host.telemetry.event(
                "session.unreadable",
                [
                    ("turn", self.turn.id.to_string().into()),
                    (
                        "session",
                        self.session
                            .as_ref()
                            .map(|session| session.id.to_string())
                            .into(),
                    ),
                    ("error", error.name().into()),
                ],
            );
        }
        Ok(())
    }

    /// What it means that no ids could be minted from the session's history.
    pub(super) fn not_minted(&mut self, error: ClientError) -> Trouble {
        if !is_of_history(&error) {
            return error.into();
        }
        match self.history_failed(error.clone()) {
            Ok(()) => Trouble::Unreadable(error),
            Err(trouble) => trouble,
        }
    }

    /// Has the conversation's next prompt go to a fresh session, where this one's history cannot be read, or an unknown
    /// model stands. The turn has ended. Where this fails, the next turn finds out by itself.
    pub(super) async fn give_session_up(&self) {
        let Some(session) = self.session.as_ref().or(self.conversation.session.as_ref()) else {
            return;
        };
        let sessions = self.sessions();
        let replaced = |_| Some(Owed::Replacement);
        let noting = sessions.note_owed(self.conversation.id, &session.id, replaced);
        if let Ok(Err(error)) = timeout(REMOVING, noting).await {
            self.report(&error);
        }
    }

    /// The exchange of a turn that ended, as the checkpoint has it.
    pub(super) fn exchange_of_checkpoint(turn: &Turn) -> Option<Exchange> {
        let prompted = turn.prompted.as_ref()?;
        let (session, prompt) = (prompted.session.clone(), prompted.ids.message.clone());
        let checkpoint = turn.checkpoint.clone();
        let is_ours = checkpoint.is_of(&prompt);
        is_ours.then(|| Reply::restore(session, prompt, checkpoint).as_exchange())
    }
}
