//! OpenCode servers, and which conversation is placed on which.
//!
//! A conversation's session and what its agent knows live on one server. So a conversation is placed once, and from then
//! on only workers of that server claim its turns ([`Claim::on`](super::Claim::on)). It loses its place where the server
//! is gone, or is said to have lost its sessions; its next turn is then placed anew, in a fresh session that gets a
//! transcript.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Server, ServerLoad, ServerName, ServerReport, SessionRecord, StoreError, StoreResult, Unplaced,
    WorkerId,
};
use crate::id::{ConversationId, TurnId};

/// OpenCode servers, and which conversation is placed on which.
///
/// A store that keeps none ([`keeps_servers`](Self::keeps_servers)) is for one server: all its turns are claimed by the
/// workers of that. The defaults of the other methods are for such a store: those that write refuse.
///
/// # Errors
///
/// What every method of a store may answer is said in the [module](super): only what else it answers is said at the
/// method.
#[async_trait]
pub trait Servers: Send + Sync {
    /// Whether servers are kept. Not by default.
    fn keeps_servers(&self) -> bool {
        false
    }

    /// Takes down what a worker says of its server, which is added where it is not known. Answers how it stands. One that
    /// is gone stays so until [`server_returned`](Self::server_returned).
    async fn report_server(&self, report: &ServerReport) -> StoreResult<Server> {
        let _ = report;
        Err(no_servers())
    }

    /// Takes down that a worker works there no more, where it was the last that has heard from the server.
    async fn leave_server(&self, server: &ServerName, worker: &WorkerId) -> StoreResult<()> {
        let _ = (server, worker);
        Err(no_servers())
    }

    /// Notes what keeps a worker from working on its server; `None` where nothing does any more. Nothing for a server that
    /// is not known.
    async fn note_server_problem(
        &self,
        server: &ServerName,
        problem: Option<&str>,
    ) -> StoreResult<()> {
        let _ = (server, problem);
        Err(no_servers())
    }

    /// All servers with what is placed there, by name.
    async fn servers(&self) -> StoreResult<Vec<ServerLoad>> {
        Ok(Vec::new())
    }

    /// Has a server take no new conversations, or take them again. Answers whether it is known.
    async fn set_draining(&self, server: &ServerName, draining: bool) -> StoreResult<bool> {
        let _ = (server, draining);
        Err(no_servers())
    }

    /// Calls those servers gone that have been silent for so long, but for `heard`, from which the caller has heard
    /// throughout. Answers which of them were not before.
    async fn lose_silent_servers(
        &self,
        heard: &ServerName,
        silent: Duration,
    ) -> StoreResult<Vec<ServerName>> {
        let _ = (heard, silent);
        Ok(Vec::new())
    }

    /// A server that was gone takes conversations again. Its worker has seen to what it had left behind.
    async fn server_returned(&self, server: &ServerName) -> StoreResult<()> {
        let _ = server;
        Err(no_servers())
    }

    /// Takes conversations that have turns to be done from servers that are gone, `limit` at most, and answers which, with
    /// the server each was on. In one transaction for each: no worker has a lease on a turn of it any more; it is not
    /// placed; its session is [to be replaced](SessionRecord::to_be_replaced), and what is left of that is
    /// noted as an effect for the server's own workers
    /// ([`EffectKind::LeftSession`](super::EffectKind::LeftSession)). A turn that was prompted, or has
    /// ended, can then be claimed by any worker; one that was not has to be [placed](Self::place).
    async fn move_from_gone(&self, limit: u32) -> StoreResult<Vec<(ConversationId, ServerName)>> {
        let _ = limit;
        Ok(Vec::new())
    }

    /// Takes conversations from a server that has lost all sessions, `limit` at most, and answers how many it were. As
    /// [`move_from_gone`](Self::move_from_gone), of conversations without turns to be done too, and nothing is noted: there
    /// is nothing left. What deletions were to do there is done: any worker may remove the rest.
    async fn forget_sessions(&self, server: &ServerName, limit: u32) -> StoreResult<u32> {
        let _ = (server, limit);
        Err(no_servers())
    }

    /// The sessions of the conversations placed on a server, by when those were used, newest first, `limit` at most.
    async fn sessions_on(
        &self,
        server: &ServerName,
        limit: u32,
    ) -> StoreResult<Vec<SessionRecord>> {
        let _ = (server, limit);
        Ok(Vec::new())
    }

    /// Conversations that are not placed and whose first turn that is not settled was neither prompted nor has ended, by
    /// the age of the turn, `limit` at most, of those behind the turn `after`.
    async fn unplaced(&self, after: Option<TurnId>, limit: u32) -> StoreResult<Vec<Unplaced>> {
        let _ = (after, limit);
        Ok(Vec::new())
    }

    /// Places a conversation that is not placed, with its turns. False where it is placed by now or gone, and where the
    /// server is not [ready](super::ServerState::Ready), or has no room: its running and queued turns are as many as
    /// its capacity.
    async fn place(&self, conversation: ConversationId, server: &ServerName) -> StoreResult<bool> {
        let _ = (conversation, server);
        Err(no_servers())
    }

    /// Notes why a conversation is not placed ([`waits_for`](super::Conversation::waits_for)), if it is not.
    async fn note_waits_for(&self, conversation: ConversationId, why: &str) -> StoreResult<()> {
        let _ = (conversation, why);
        Err(no_servers())
    }
}

/// What a store says that keeps no servers.
pub(super) fn no_servers() -> StoreError {
    let why = "this store keeps no servers: implement the servers' methods of `Rows`, or have all workers serve one \
               OpenCode server, which they give no name";
    StoreError::Configuration(why.to_owned())
}
