//! The servers of a [`RowStore`], and what is placed on them.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::row_placed::{load, server};
use super::servers::no_servers;
use super::{
    ConversationRow, Effect, RowStore, Rows, Server, ServerLoad, ServerName, ServerProblem,
    ServerReport, ServerState, Servers, SessionRecord, StoreResult, Tables, Unplaced, WorkerId,
};
use crate::id::{ConversationId, EffectId, TurnId};

/// Takes a conversation from its server, with its turns. Answers the session that it leaves there.
async fn displace(
    on: &mut impl Rows,
    mut row: ConversationRow,
    from: &ServerName,
) -> StoreResult<Option<SessionRecord>> {
    for turn in on.unsettled(row.conversation.id).await? {
        if let Some(mut turn) = on.turn(turn).await? {
            turn.displace();
            on.put_turn(turn).await?;
        }
    }
    let conversation = &mut row.conversation;
    conversation.server = None;
    let left = conversation
        .session
        .take()
        .map(|session| session.left_on(from));
    conversation.session = left.clone().map(SessionRecord::to_be_replaced);
    on.put_conversation(row).await?;
    Ok(left)
}

#[async_trait]
impl<T: Tables> Servers for RowStore<T> {
    fn keeps_servers(&self) -> bool {
        self.tables.keeps_servers()
    }

    async fn report_server(&self, report: &ServerReport) -> StoreResult<Server> {
        let (mut on, now) = self.begin().await?;
        let mut known = match server(&mut on, &report.name).await? {
            Some(known) => known,
            None => Server::new(report, now),
        };
        known.take(report, now);
        on.put_server(known.clone()).await?;
        on.commit().await?;
        Ok(known)
    }

    async fn leave_server(&self, name: &ServerName, worker: &WorkerId) -> StoreResult<()> {
        let (mut on, _) = self.begin().await?;
        let server = server(&mut on, name).await?;
        if let Some(mut server) = server.filter(|known| known.heard_by.as_ref() == Some(worker)) {
            server.heard_by = None;
            on.put_server(server).await?;
        }
        on.commit().await
    }

    async fn note_server_problem(
        &self,
        name: &ServerName,
        problem: Option<&str>,
    ) -> StoreResult<()> {
        let (mut on, now) = self.begin().await?;
        if let Some(mut server) = server(&mut on, name).await? {
            server.problem = problem.map(|problem| ServerProblem::new(problem, now));
            on.put_server(server).await?;
        }
        on.commit().await
    }

    async fn servers(&self) -> StoreResult<Vec<ServerLoad>> {
        let mut on = self.tables.begin_reading().await?;
        let mut loads = Vec::new();
        for server in on.servers().await? {
            let (running, queued) = load(&mut on, &server.name).await?;
            loads.push(ServerLoad::new(server, running, queued));
        }
        Ok(loads)
    }

    async fn set_draining(&self, name: &ServerName, draining: bool) -> StoreResult<bool> {
        let (mut on, _) = self.begin().await?;
        let Some(mut server) = server(&mut on, name).await? else {
            return Ok(false);
        };
        server.draining = draining;
        on.put_server(server).await?;
        on.commit().await?;
        Ok(true)
    }

    async fn lose_silent_servers(
        &self,
        heard: &ServerName,
        silent: Duration,
    ) -> StoreResult<Vec<ServerName>> {
        let (mut on, now) = self.begin().await?;
        let mut lost = Vec::new();
        for mut server in on.servers().await? {
            if server.name != *heard && server.gone_at.is_none() && server.silence(now) >= silent {
                lost.push(server.name.clone());
                server.gone_at = Some(now);
                on.put_server(server).await?;
            }
        }
        on.commit().await?;
        Ok(lost)
    }

    async fn server_returned(&self, name: &ServerName) -> StoreResult<()> {
        let (mut on, now) = self.begin().await?;
        if let Some(mut server) = server(&mut on, name).await? {
            server.gone_at = None;
            server.heard_at = Some(now);
            on.put_server(server).await?;
        }
        on.commit().await
    }

    async fn move_from_gone(&self, limit: u32) -> StoreResult<Vec<(ConversationId, ServerName)>> {
        let mut on = self.tables.begin_reading().await?;
        let mut found = BTreeSet::new();
        for server in on.servers().await? {
            if server.state() != ServerState::Gone {
                continue;
            }
            for turn in on.turns_on(Some(&server.name)).await? {
                if let Some(row) = on.turn(turn).await?
                    && found.len() < limit as usize
                {
                    found.insert((row.turn.conversation, server.name.clone()));
                }
            }
        }
        drop(on);
        let mut moved = Vec::new();
        for (id, from) in found {
            let (mut on, now) = self.begin().await?;
            let (row, server) = (on.conversation(id).await?, server(&mut on, &from).await?);
            let is_gone = server.is_some_and(|server| server.state() == ServerState::Gone);
            let on_it = |row: &ConversationRow| row.conversation.server.as_ref() == Some(&from);
            let Some(row) = row.filter(|row| is_gone && on_it(row)) else {
                continue;
            };
            let tenant = row.conversation.tenant.clone();
            if let Some(session) = displace(&mut on, row, &from).await? {
                let effect = Effect::of_left_session(id, session, &from, &tenant, now);
                on.set_effect(effect.id, Some(effect)).await?;
            }
            on.commit().await?;
            moved.push((id, from));
        }
        Ok(moved)
    }

    async fn forget_sessions(&self, name: &ServerName, limit: u32) -> StoreResult<u32> {
        let (mut on, now) = self.begin().await?;
        let Some(mut server) = server(&mut on, name).await? else {
            return Err(no_such(name));
        };
        server.problem = None;
        on.put_server(server).await?;
        let (mut forgotten, lane) = (0, super::Lane::of_deletions_on(name));
        for effect in on.effects().await? {
            if effect.kind.lane() == lane {
                let id: EffectId = effect.id;
                on.set_effect(id, effect.without_session(now)).await?;
            }
        }
        for row in on.conversations_on(name, limit).await? {
            displace(&mut on, row, name).await?;
            forgotten += 1;
        }
        on.commit().await?;
        Ok(forgotten)
    }

    async fn sessions_on(&self, name: &ServerName, limit: u32) -> StoreResult<Vec<SessionRecord>> {
        let mut on = self.tables.begin_reading().await?;
        let rows = on.conversations_on(name, u32::MAX).await?.into_iter();
        let sessions = rows.filter_map(|row| row.conversation.session);
        Ok(sessions.take(limit as usize).collect())
    }

    async fn unplaced(&self, after: Option<TurnId>, limit: u32) -> StoreResult<Vec<Unplaced>> {
        let mut on = self.tables.begin_reading().await?;
        let turns = on.turns_on(None).await?;
        let behind = after.and_then(|after| turns.iter().position(|turn| *turn == after));
        let (mut seen, mut unplaced) = (BTreeSet::new(), Vec::new());
        for (place, turn) in turns.into_iter().enumerate() {
            let Some(row) = on.turn(turn).await? else {
                continue;
            };
            let is_first = seen.insert(row.turn.conversation);
            let is_behind = behind.is_none_or(|behind| place > behind);
            if !is_first || !is_behind || row.needs_no_server() {
                continue;
            }
            if let Some(conversation) = on.conversation(row.turn.conversation).await? {
                unplaced.push(Unplaced::new(conversation.conversation, row.turn));
            }
            if unplaced.len() >= limit as usize {
                break;
            }
        }
        Ok(unplaced)
    }

    async fn place(&self, id: ConversationId, name: &ServerName) -> StoreResult<bool> {
        if !self.tables.keeps_servers() {
            return Err(no_servers());
        }
        let (mut on, _) = self.begin().await?;
        let Some(server) = server(&mut on, name).await? else {
            return Ok(false);
        };
        let (running, queued) = load(&mut on, name).await?;
        let load = ServerLoad::new(server, running, queued);
        let row = on.conversation(id).await?;
        let row = row.filter(|row| row.conversation.server.is_none());
        let (Some(mut row), ServerState::Ready, true) = (row, load.server.state(), load.has_room())
        else {
            return Ok(false);
        };
        row.conversation.server = Some(name.clone());
        row.conversation.waits_for = None;
        on.put_conversation(row).await?;
        on.commit().await?;
        Ok(true)
    }

    async fn note_waits_for(&self, id: ConversationId, why: &str) -> StoreResult<()> {
        let (mut on, _) = self.begin().await?;
        let row = on.conversation(id).await?;
        if let Some(mut row) = row.filter(|row| row.conversation.server.is_none()) {
            row.conversation.waits_for = Some(why.to_owned());
            on.put_conversation(row).await?;
        }
        on.commit().await
    }
}

fn no_such(name: &ServerName) -> super::StoreError {
    super::StoreError::not_found("server", name)
}
