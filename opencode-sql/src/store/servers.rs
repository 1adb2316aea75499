//! [`Servers`] on either database.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::store::{
    Server, ServerLoad, ServerName, ServerReport, Servers, SessionRecord, StoreResult, Unplaced,
    WorkerId,
};

use crate::engine::{Engine, Handle as _};
use crate::failure::{Failure, SqlResult};
use crate::store::{SqlStore, TRIES};
use crate::tables::{claims, servers};

#[async_trait]
impl<E: Engine> Servers for SqlStore<E> {
    fn keeps_servers(&self) -> bool {
        true
    }

    async fn report_server(&self, report: &ServerReport) -> StoreResult<Server> {
        statement!(self.writer, "report_server", |on| servers::report(
            &mut on, report
        ))
    }

    async fn leave_server(&self, server: &ServerName, worker: &WorkerId) -> StoreResult<()> {
        statement!(self.writer, "leave_server", |on| servers::leave(
            &mut on, server, worker
        ))
    }

    async fn note_server_problem(
        &self,
        server: &ServerName,
        problem: Option<&str>,
    ) -> StoreResult<()> {
        statement!(self.writer, "note_server_problem", |on| {
            servers::set_problem(&mut on, server, problem)
        })
    }

    async fn servers(&self) -> StoreResult<Vec<ServerLoad>> {
        statement!(self.reader, "servers", |on| servers::all(&mut on))
    }

    async fn set_draining(&self, server: &ServerName, draining: bool) -> StoreResult<bool> {
        transaction!(self, "set_draining", |on| servers::set_draining(
            &mut on, server, draining
        ))
    }

    async fn lose_silent_servers(
        &self,
        heard: &ServerName,
        silent: Duration,
    ) -> StoreResult<Vec<ServerName>> {
        statement!(self.writer, "lose_silent_servers", |on| {
            servers::lose_silent(&mut on, heard, silent)
        })
    }

    async fn server_returned(&self, server: &ServerName) -> StoreResult<()> {
        transaction!(self, "server_returned", |on| servers::returned(
            &mut on, server
        ))
    }

    async fn move_from_gone(&self, limit: u32) -> StoreResult<Vec<(ConversationId, ServerName)>> {
        let found = statement!(self.reader, "on_gone", |on| servers::on_gone(
            &mut on, limit
        ));
        let mut moved = Vec::new();
        for (id, from) in found? {
            let done = transaction!(self, "move_from_gone", |on| servers::move_from_gone(
                &mut on, id, &from
            ));
            if done? {
                moved.push((id, from));
            }
        }
        Ok(moved)
    }

    async fn forget_sessions(&self, server: &ServerName, limit: u32) -> StoreResult<u32> {
        transaction!(self, "forget_sessions", |on| servers::forget_sessions(
            &mut on, server, limit
        ))
    }

    async fn sessions_on(
        &self,
        server: &ServerName,
        limit: u32,
    ) -> StoreResult<Vec<SessionRecord>> {
        statement!(self.reader, "sessions_on", |on| servers::sessions(
            &mut on, server, limit
        ))
    }

    async fn unplaced(&self, after: Option<TurnId>, limit: u32) -> StoreResult<Vec<Unplaced>> {
        let found = statement!(self.reader, "unplaced", |on| servers::unplaced(
            &mut on, after, limit
        ));
        match found? {
            Ok(unplaced) => Ok(unplaced),
            // Told once, as a claim tells it, and passed over from then on.
            Err((turn, error)) => {
                statement!(self.writer, "pass_over", |on| claims::pass_over(
                    &mut on, &turn
                ))?;
                Err(error)
            }
        }
    }

    async fn place(&self, conversation: ConversationId, server: &ServerName) -> StoreResult<bool> {
        transaction!(self, "place", |on| servers::place(
            &mut on,
            conversation,
            server
        ))
    }

    async fn note_waits_for(&self, conversation: ConversationId, why: &str) -> StoreResult<()> {
        statement!(self.writer, "note_waits_for", |on| {
            servers::note_waits_for(&mut on, conversation, why)
        })
    }
}
