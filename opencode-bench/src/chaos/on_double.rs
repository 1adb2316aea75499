//! On impostors: everything goes wrong, and their ledgers say what they were really asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use opencode_host::store::{Effect, EffectKind};

use crate::crew::Crew;
use crate::crowd;
use crate::endpoint::Endpoint;
use crate::fleet::{Fleet, Ledgers, Site};
use crate::noted::Noted;
use crate::owed::settled;
use crate::proof::{conversations, owned, prove};
use crate::run::Run;
use crate::script::MIX;
use crate::trouble::Trouble;

/// How long it may take until no session is left of conversations that have gone on elsewhere.
const CLEARED: Duration = Duration::from_secs(60);

/// Answers whether everything held.
pub(crate) async fn make(run: &Run<'_>) -> anyhow::Result<bool> {
    let fleet = Fleet::start(run.args.servers).await?;
    // Other programs have no hooks and tools that note what they do.
    let endpoint = match run.args.program {
        None => Some(Endpoint::start(run.dice(2)).await?),
        Some(_) => None,
    };
    let mut programs = Vec::new();
    for site in fleet.sites() {
        let mut at_site = run.programs(site.impostor.url(), None)?;
        at_site.webhooks = endpoint.as_ref().map(|endpoint| endpoint.url.clone());
        at_site.server_name = (run.args.servers > 1).then(|| site.name.clone());
        programs.push(at_site);
    }
    // For what has nothing to do with servers.
    let program = programs[0].clone();
    let crew = Crew::start(programs, run.dice(3), run.args.workers.into(), 8)?;
    let tally = crew.tally.clone();
    let over = Arc::new(AtomicBool::new(false));
    let trouble = Trouble::new(
        fleet.clone(),
        run.host(),
        crew,
        run.dice(0),
        run.args.turns,
        run.args.stop_workers,
    );
    let mut trouble = tokio::spawn(trouble.make(Arc::clone(&over), run.book.clone()));
    let mut answering = Vec::new();
    for (number, site) in (1..).zip(fleet.sites()) {
        let (impostor, dice) = (Arc::clone(&site.impostor), run.dice(100 * number + 1));
        answering.push(tokio::spawn(crowd::answer(
            impostor,
            dice,
            Arc::clone(&over),
        )));
    }
    let people = run.people(&program, &MIX);

    let stuck = run.follow(people, &mut trouble, &tally).await?;
    over.store(true, Ordering::Relaxed);
    let mut crew = trouble.await??;
    for answering in answering {
        answering.await?;
    }
    let mut owed = Vec::new();
    if !stuck {
        // What was told to stop last may take a moment.
        for site in fleet.alive() {
            let _ = site
                .impostor
                .wait_for(|ledger| ledger.busy().is_empty())
                .await;
        }
        if endpoint.is_some() {
            owed = settled(&mut crew, &run.store, |effect| can_be_done(effect, &fleet)).await?;
        }
        cleared(run, &mut crew, &fleet).await?;
    }
    crew.dismiss().await?;

    let all = run.book.all();
    let mut noted = match &endpoint {
        Some(endpoint) => Some(Noted::read(&program.notes(), endpoint.heard())?),
        None => None,
    };
    let (ledgers, hung) = (fleet.ledgers(), run.args.stop_workers);
    let mut findings = prove(&all, &run.store, &ledgers, noted.as_mut(), hung).await?;
    findings.wrong.extend(owed);
    let told = match noted {
        Some(noted) => format!("{tally:?}; {noted}"),
        None => format!("{tally:?}"),
    };
    Ok(run.verdict(&all, &findings, stuck, told))
}

/// Nobody can delete a session on a server that is dead for good.
fn can_be_done(effect: &Effect, fleet: &Fleet) -> bool {
    let is_dead = |site: &Site| site.is_dead();
    match &effect.kind {
        EffectKind::LeftSession { server, .. } => {
            let mut sites = fleet.sites().iter();
            !sites.any(|site| site.name == *server && is_dead(site))
        }
        _ => true,
    }
}

/// Waits until no session is left that no conversation names. What is left behind a while is found by the proof.
async fn cleared(run: &Run<'_>, crew: &mut Crew, fleet: &Fleet) -> anyhow::Result<()> {
    let until = Instant::now() + CLEARED;
    let left_over = |ledgers: &Ledgers, rows: &[_]| {
        let owned = owned(rows);
        let mut alive = ledgers.each().filter(|site| !site.dead);
        alive.any(|site| !site.left_over(&owned).is_empty())
    };
    loop {
        crew.bury()?;
        let rows = conversations(&run.book.all(), &run.store).await?;
        if Instant::now() > until || !left_over(&fleet.ledgers(), &rows) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
