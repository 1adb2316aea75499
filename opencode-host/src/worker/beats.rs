//! A server's heartbeat: a worker says in the store that its server answers, as long as it does.
//!
//! It is the server's, not the worker's: one whose server is silent says nothing, however alive it is. What a server is
//! silent for too long is gone, which only workers of other servers say, and only once their own has answered throughout that
//! time: where there is one server, or a machine was suspended, nothing is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::effects;
use super::identity::{self, NotSeen};
use super::shared::Shared;
use super::standing::Standing;
use crate::clock::Timestamp;
use crate::reporter::Severity;
use crate::store::{
    Lane, ServerName, ServerProblem, ServerReport, ServerState, StoreError, StoreResult, Take,
};

/// The longest pause between two beats.
const LONGEST: Duration = Duration::from_secs(10);

/// How many beats a server may miss before it is gone, about.
const BEATS: u32 = 8;

/// A server gets no new conversations that has missed so many beats.
const MISSED: u32 = 3;

/// How long a worker that begins waits for its server to say whether it is the one of its name.
const LOOKING: Duration = Duration::from_secs(5);

/// The longest pause before it is looked again whether the server is the one of its name.
const DOUBTING: Duration = Duration::from_millis(500);

/// A server that was silent for too long.
#[derive(Debug, thiserror::Error)]
#[error(
    "the OpenCode server {server} has not answered for {seconds} s: what is queued there goes on on other servers. If it comes back, \
     it takes conversations again",
    server = self.0,
    seconds = self.1.as_secs_f64()
)]
struct Gone(ServerName, Duration);

fn pause(gone_after: Duration) -> Duration {
    (gone_after / BEATS).min(LONGEST)
}

/// How long a server may be silent that gets new conversations.
pub(super) fn silence(gone_after: Duration) -> Duration {
    pause(gone_after) * MISSED
}

/// For how long, without a pause, the worker has heard from its server: by the store's clock, so that a machine that was
/// suspended has heard nothing.
#[derive(Debug, Default)]
struct Witness {
    since: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Witness {
    /// It answered. Answers whether it has throughout `bound`.
    fn hears(&mut self, now: Timestamp, bound: Duration) -> bool {
        let went_on = |last: Timestamp| last <= now && now.since(last) <= bound / 2;
        let since = self.since.filter(|_| self.last.is_some_and(went_on));
        let since = since.unwrap_or(now);
        (self.since, self.last) = (Some(since), Some(now));
        now.since(since) >= bound
    }
}

/// Names the server in the store, so that conversations can be placed on it, and looks whether it is that one, so that nothing
/// is claimed before.
///
/// # Errors
/// See [`StoreError`]; [`StoreError::Configuration`] where the store keeps no servers, and the worker has given its own a
/// name.
pub(super) async fn introduce(shared: &Shared) -> StoreResult<()> {
    let store = &shared.front.store;
    if !store.keeps_servers() {
        if shared.server != super::ServerOptions::default() {
            store.report_server(&report(shared, false)).await?;
        }
        return Ok(());
    }
    store.report_server(&report(shared, false)).await?;
    match tokio::time::timeout(LOOKING, look(shared)).await {
        // It is looked again once it answers; until then turns say what is wrong with it.
        Ok(Ok(()) | Err(NotSeen::Server(_))) | Err(_) => Ok(()),
        Ok(Err(NotSeen::Store(error))) => Err(error),
    }
}

/// Looks whether the server is the one of its name, and takes that down.
async fn look(shared: &Shared) -> Result<(), NotSeen> {
    let (store, name) = (&shared.front.store, &shared.server.name);
    let recent = pause(shared.workshop.options.server_gone_after) * MISSED;
    let was = shared.standing();
    let standing = identity::look(shared, &was, recent).await?;
    shared.set_standing(standing.clone());
    if let Standing::Strange(strange) = &standing {
        // Again with each beat, as long as it is so.
        let noting = strange.to_string();
        store.note_server_problem(name, Some(&noting)).await?;
        if was != standing {
            let context = [("server", name.as_str().into())];
            let telemetry = &shared.front.telemetry;
            telemetry.report(strange, Severity::Error, context);
        }
    } else if matches!(was, Standing::Strange(_)) {
        store.note_server_problem(name, None).await?;
    }
    if standing.may_claim() && !was.may_claim() {
        shared.front.queue_changed.notify_waiters();
        shared.front.effect_noted.notify_waiters();
    }
    Ok(())
}

/// The worker works there no more: another one has the server to itself.
pub(super) async fn leave(shared: &Shared) {
    let store = &shared.front.store;
    if store.keeps_servers()
        && let Err(error) = store.leave_server(&shared.server.name, &shared.id).await
    {
        let context = [("action", "server.leave".into())];
        let telemetry = &shared.front.telemetry;
        telemetry.report(&error, Severity::Warning, context);
    }
}

fn report(shared: &Shared, answers: bool) -> ServerReport {
    let server = &shared.server;
    let address = shared.workshop.client.server();
    let mut report = ServerReport::new(server.name.clone(), address);
    report.labels = server.labels.iter().cloned().collect();
    report.capacity = server.capacity;
    report.heard_by = answers.then(|| shared.id.clone());
    report
}

/// Beats, again and again.
pub(super) async fn keep_beating(shared: Arc<Shared>) {
    if !shared.front.store.keeps_servers() {
        return;
    }
    let mut witness = Witness::default();
    let pause = pause(shared.workshop.options.server_gone_after);
    loop {
        let beaten = match shared.workshop.client.health().await {
            Ok(_) => beat(&shared, &mut witness).await,
            Err(error) => Err(error.into()),
        };
        if let Err(NotSeen::Server(_)) = beaten {
            shared.set_standing(Standing::New);
        }
        let may_claim = shared.standing().may_claim();
        shared.hears.store(beaten.is_ok(), Ordering::Relaxed);
        if let Err(NotSeen::Store(error)) = beaten {
            let context = [("action", "server.beat".into())];
            let telemetry = &shared.front.telemetry;
            telemetry.report(&error, Severity::Warning, context);
        }
        let longest = if may_claim { pause } else { DOUBTING };
        tokio::time::sleep(pause.min(longest)).await;
    }
}

async fn beat(shared: &Shared, witness: &mut Witness) -> Result<(), NotSeen> {
    let (store, name) = (&shared.front.store, &shared.server.name);
    look(shared).await?;
    if !shared.standing().may_claim() {
        // Of the server of this name nothing was heard.
        return Ok(());
    }
    let gone_after = shared.workshop.options.server_gone_after;
    let server = store.report_server(&report(shared, true)).await?;
    if server.state() == ServerState::Gone && !come_back(shared).await? {
        return Ok(());
    }
    let now = server.heard_at.unwrap_or_default();
    let is_old = |problem: ServerProblem| now.since(problem.at) > gone_after;
    if server.problem.is_some_and(is_old) {
        // Another worker's, which says it no more.
        store.note_server_problem(name, None).await?;
    }
    if witness.hears(now, gone_after) {
        for lost in store.lose_silent_servers(name, gone_after).await? {
            let telemetry = &shared.front.telemetry;
            telemetry.event("server.gone", [("server", lost.as_str().into())]);
            let context = [("server", lost.as_str().into())];
            telemetry.report(&Gone(lost.clone(), gone_after), Severity::Error, context);
            shared.front.queue_changed.notify_waiters();
        }
    }
    Ok(())
}

/// The server was gone, and answers again: first what conversations have left there is stopped and deleted. Answers whether
/// it takes conversations again.
async fn come_back(shared: &Shared) -> Result<bool, StoreError> {
    let (store, name) = (&shared.front.store, &shared.server.name);
    let lane = Lane::of_deletions_on(name);
    let never = CancellationToken::new();
    while let Some(effect) = effects::take(shared, Take::Due(&lane)).await {
        effects::try_taken(shared, effect, &never).await;
    }
    // What has failed, or is being done, is looked for with the next beat.
    if store.lanes().await?.contains(&lane) {
        return Ok(false);
    }
    store.server_returned(name).await?;
    let telemetry = &shared.front.telemetry;
    telemetry.event("server.returned", [("server", name.as_str().into())]);
    shared.front.queue_changed.notify_waiters();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_a_witness_of_what_it_has_heard_throughout() {
        let (bound, at) = (Duration::from_secs(60), |s: i64| Timestamp(s * 1000));
        let mut witness = Witness::default();
        assert!(!witness.hears(at(0), bound));
        assert!(!witness.hears(at(30), bound));
        assert!(!witness.hears(at(59), bound));
        assert!(witness.hears(at(60), bound));
        // Suspended, or without an answer, for longer than half the bound.
        assert!(!witness.hears(at(91), bound));
        assert!(!witness.hears(at(121), bound));
        assert!(witness.hears(at(151), bound));
        // The clock was put back.
        assert!(!witness.hears(at(100), bound));
        assert!(!witness.hears(at(130), bound));
    }
}
