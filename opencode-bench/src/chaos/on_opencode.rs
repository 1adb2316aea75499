//! On a real OpenCode, whose model calls the application's tool in every answer: workers die, and nothing else goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opencode_impostor::ModelServer;
use opencode_impostor::real::RealServer;

use crate::crew::Crew;
use crate::dice::Dice;
use crate::endpoint::Endpoint;
use crate::noted::Noted;
use crate::owed::settled;
use crate::proof::prove_rows;
use crate::run::Run;
use crate::script::{Kind, model_script};

/// Answers whether everything held.
pub(crate) async fn make(run: &Run<'_>) -> anyhow::Result<bool> {
    let model = ModelServer::scripted(model_script()).await?;
    let server = RealServer::start(&model.opencode_config()).await?;
    let endpoint = Endpoint::start(run.dice(2)).await?;
    let mut programs = run.programs(server.url(), Some(server.password()))?;
    programs.webhooks = Some(endpoint.url.clone());
    let crew = Crew::start(
        vec![programs.clone()],
        run.dice(3),
        run.args.workers.into(),
        3,
    )?;
    let tally = crew.tally.clone();
    let over = Arc::new(AtomicBool::new(false));
    let hang = run.args.stop_workers;
    let mut trouble = tokio::spawn(trouble(crew, run.dice(0), hang, Arc::clone(&over)));
    let people = run.people(&programs, &[Kind::Own]);

    let stuck = run.follow(people, &mut trouble, &tally).await?;
    over.store(true, Ordering::Relaxed);
    let mut crew = trouble.await??;
    let mut owed = Vec::new();
    if !stuck {
        owed = settled(&mut crew, &run.store, |_| true).await?;
    }
    crew.dismiss().await?;

    let all = run.book.all();
    let mut noted = Noted::read(&programs.notes(), endpoint.heard())?;
    let mut findings = prove_rows(&all, &run.store, &mut noted).await?;
    findings.wrong.extend(owed);
    let (ran, cut_off) = noted.runs();
    if !stuck && (ran == 0 || cut_off == 0) {
        let nothing = format!("it proves nothing: {ran} calls ran, {cut_off} were cut off");
        findings.wrong.push(nothing);
    }
    Ok(run.verdict(&all, &findings, stuck, format!("{tally:?}; {noted}")))
}

/// Workers die until `over`: mostly where they have begun something, else seldom, as a turn takes seconds of a busy machine and
/// is given up where it is interrupted again and again. Answers those that are left.
async fn trouble(
    mut crew: Crew,
    mut dice: Dice,
    hang: bool,
    over: Arc<AtomicBool>,
) -> anyhow::Result<Crew> {
    while !over.load(Ordering::Relaxed) {
        for _ in 0..5 + dice.below(6) {
            crew.rest(Duration::from_secs(1)).await?;
            crew.bury()?;
            if over.load(Ordering::Relaxed) {
                return Ok(crew);
            }
        }
        match dice.below(10) {
            0..5 => crew.kill().await?,
            5 if hang => crew.hang(),
            6 => crew.ask_to_stop(),
            _ => {}
        }
    }
    Ok(crew)
}
