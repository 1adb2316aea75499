//! Whether the server can be reached, and how long each call may find out.
//!
//! A call that is not answered in seconds is made again: looks change nothing, and a prompt's ids make its post the
//! same post. Each time it gets twice as long, so that a slow server is not given up for a silent one.

use std::time::Duration;

use opencode_client::Client;
use tokio::time::{Instant, timeout};

use super::driver::Driver;
use super::plan::Failure;
use crate::session::Session;
use crate::store::Note;

/// How often the time of a call is doubled at most.
const DOUBLINGS: u32 = 6;

/// How long failing calls are nobody's business: most things pass.
const PASSING: Duration = Duration::from_secs(1);

/// How long the note for watchers of other processes may take.
const NOTING: Duration = Duration::from_secs(1);

impl Driver {
    /// How long a look may be without an answer.
    pub(super) fn patience(&self) -> Duration {
        let pace = &self.host.options.limits.pace;
        if self.is_stopping() {
            // So that a word to stop can be lost, and said again.
            return pace.abort / 3;
        }
        pace.answer
            .saturating_mul(1 << self.unanswered.min(DOUBLINGS))
    }

    /// The client, in the session's folder.
    pub(super) fn client(&self) -> Client {
        match &self.session {
            Some(session) => session.client(&self.server),
            None => self.server.clone(),
        }
    }

    pub(super) fn sessions(&self) -> Session<'_> {
        Session {
            client: &self.server,
            store: &*self.host.store,
            product: &*self.product,
            sub_agents: &self.host.sub_agents,
            telemetry: &self.host.telemetry,
        }
    }

    /// Waits for a call. Watchers are told where it takes longer than a look may.
    pub(super) async fn telling<T>(&mut self, call: impl Future<Output = T>) -> T {
        tokio::pin!(call);
        match timeout(self.patience(), &mut call).await {
            Ok(done) => done,
            Err(_) => {
                self.tell_unreachable(true).await;
                call.await
            }
        }
    }

    /// Tells watchers of what keeps failing since then, unless it may yet pass.
    pub(super) async fn tell_of(&mut self, failure: &Failure, since: Instant) {
        let told = match failure {
            Failure::Unanswered(_) => true,
            Failure::Unreachable(_) => since.elapsed() >= PASSING,
            _ => false,
        };
        if told {
            self.tell_unreachable(true).await;
        }
    }

    /// Tells watchers what the silence of the stream means. Where calls fail, they know better when that is over.
    pub(super) async fn tell_reached(&mut self, reached: bool) {
        if !(reached && self.is_failing()) {
            self.tell_unreachable(!reached).await;
        }
    }

    /// Tells watchers whether the server can be reached.
    pub(super) async fn tell_unreachable(&mut self, unreachable: bool) {
        if self.unreachable == unreachable {
            return;
        }
        self.unreachable = unreachable;
        self.live.set_unreachable(unreachable);
        let noting = self
            .host
            .store
            .note(&self.lease, Note::Unreachable(unreachable));
        // Who has lost the turn learns it with the next write that matters.
        if let Ok(Err(error)) = timeout(NOTING, noting).await {
            self.report(&error);
        }
    }
}
