//! On an impostor: everything goes wrong, and its ledger says what it was really asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opencode_impostor::Impostor;

use crate::crew::Crew;
use crate::crowd;
use crate::endpoint::Endpoint;
use crate::noted::Noted;
use crate::owed::settled;
use crate::proof::prove;
use crate::run::Run;
use crate::script::{MIX, script};
use crate::trouble::{Past, Trouble};

/// Answers whether everything held.
pub(crate) async fn make(run: &Run<'_>) -> anyhow::Result<bool> {
    let impostor = Impostor::builder()
        .script(script())
        .heartbeat(Duration::from_secs(2))
        .patience(Duration::from_secs(20))
        .start()
        .await?;
    let impostor = Arc::new(impostor);
    let mut programs = run.programs(impostor.url(), None)?;
    // Other programs have no hooks and tools that note what they do.
    let endpoint = match run.args.program {
        None => Some(Endpoint::start(run.dice(2)).await?),
        Some(_) => None,
    };
    programs.webhooks = endpoint.as_ref().map(|endpoint| endpoint.url.clone());
    let crew = Crew::start(programs.clone(), run.dice(3), run.args.workers.into(), 8)?;
    let (past, tally) = (Past::default(), crew.tally.clone());
    let over = Arc::new(AtomicBool::new(false));
    let trouble = Trouble::new(
        Arc::clone(&impostor),
        crew,
        run.dice(0),
        past.clone(),
        run.args.stop_workers,
    );
    let mut trouble = tokio::spawn(trouble.make(Arc::clone(&over), run.book.clone()));
    let answering = crowd::answer(Arc::clone(&impostor), run.dice(1), Arc::clone(&over));
    let answering = tokio::spawn(answering);
    let people = run.people(&programs, &MIX);

    let stuck = run.follow(people, &mut trouble, &tally).await?;
    over.store(true, Ordering::Relaxed);
    let mut crew = trouble.await??;
    answering.await?;
    let mut owed = Vec::new();
    if !stuck {
        // What was told to stop last may take a moment.
        let _ = impostor.wait_for(|ledger| ledger.busy().is_empty()).await;
        if endpoint.is_some() {
            owed = settled(&mut crew, &run.store).await?;
        }
    }
    crew.dismiss().await?;

    let all = run.book.all();
    let mut noted = match &endpoint {
        Some(endpoint) => Some(Noted::read(&programs.notes(), endpoint.heard())?),
        None => None,
    };
    let hung = run.args.stop_workers;
    let mut findings = prove(&all, &run.store, &impostor, &past, noted.as_mut(), hung).await?;
    findings.wrong.extend(owed);
    let told = match noted {
        Some(noted) => format!("{tally:?}; {noted}"),
        None => format!("{tally:?}"),
    };
    Ok(run.verdict(&all, &findings, stuck, told))
}
