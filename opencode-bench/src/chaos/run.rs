//! One run: people, workers, trouble, proof.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use opencode_host::Host;
use opencode_impostor::Impostor;
use tokio::task::JoinSet;

use crate::crowd::{self, Asked, Book, Person};
use crate::dice::Dice;
use crate::own_tool::{Runs, notes};
use crate::proof::{Findings, prove};
use crate::script::script;
use crate::trouble::Trouble;
use crate::worker::{Patient, Programs};

/// On standard output: Postgres is to be restarted by whoever started this.
const RESTART_POSTGRES: &str = "@restart-postgres";
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// The database: sqlite://PATH or postgres://…; its tables must be empty
    #[arg(long, value_name = "URL")]
    database: String,
    /// How many turns
    #[arg(long, value_name = "N", default_value_t = 200)]
    turns: usize,
    /// Decides what happens
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// How many workers run at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    workers: u8,
    /// How long a turn belongs to a worker that says nothing, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    lease: f64,
    /// The program whose `worker` and `cancel` are used, such as opencode-chat; this one by default
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// Also hang workers for longer than their lease
    #[arg(long)]
    stop_workers: bool,
    /// Ask for two restarts of Postgres: a line "@restart-postgres" on standard output each
    #[arg(long)]
    restart_postgres: bool,
    /// Give up after so many seconds; by default by the number of turns
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
}

/// Runs it all, and keeps the workers' logs unless everything held.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let folder = tempfile::Builder::new()
        .prefix("opencode-chaos-")
        .tempdir()?;
    let outcome = make(&args, folder.path()).await;
    if matches!(outcome, Ok(true)) {
        println!("seed {}: everything holds", args.seed);
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "seed {}: the workers' logs are in {}",
        args.seed,
        folder.keep().display()
    );
    outcome.map(|_| ExitCode::FAILURE)
}

/// Answers whether everything held.
async fn make(args: &RunArgs, folder: &Path) -> anyhow::Result<bool> {
    let impostor = Impostor::builder()
        .script(script())
        .heartbeat(Duration::from_secs(2))
        .patience(Duration::from_secs(20))
        .start()
        .await?;
    let impostor = Arc::new(impostor);
    let programs = Programs {
        program: match args.program.clone() {
            Some(program) => program,
            None => std::env::current_exe()?,
        },
        database: args.database.clone(),
        server: impostor.url(),
        folder: folder.to_owned(),
        lease: args.lease,
    };
    // Makes the tables, before several processes want to.
    let store = Patient(
        opencode_sql::connect(&args.database)
            .await
            .context("the database")?,
    );
    let began = Instant::now();
    let book = Book::default();
    let trouble = Trouble::start(
        Arc::clone(&impostor),
        programs.clone(),
        Dice::new(args.seed, 0),
        folder.to_owned(),
        args.stop_workers,
        args.workers.into(),
    )?;
    let (past, tally) = (trouble.past.clone(), Arc::clone(&trouble.tally));
    let over = Arc::new(AtomicBool::new(false));
    let mut trouble = tokio::spawn(trouble.make(Arc::clone(&over), book.clone()));
    let answering = tokio::spawn(crowd::answer(
        Arc::clone(&impostor),
        Dice::new(args.seed, 1),
        Arc::clone(&over),
    ));
    let host = Host::builder(Arc::clone(&store.0)).build();
    let mut people = people(args, &store, &host, &programs, &book);

    let limit = Duration::from_secs(args.limit.unwrap_or(120 + args.turns as u64 * 2));
    let mut restarts = if args.restart_postgres {
        vec![args.turns * 2 / 3, args.turns / 3]
    } else {
        Vec::new()
    };
    let mut told = Instant::now();
    let mut stuck = false;
    while !people.is_empty() {
        tokio::select! {
            ended = people.join_next() => {
                if let Some(ended) = ended { ended??; }
            }
            made = &mut trouble => {
                made??;
                anyhow::bail!("the trouble is over before the turns");
            }
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        let done = book.done();
        if restarts.last().is_some_and(|at| done >= *at) {
            restarts.pop();
            println!("{RESTART_POSTGRES}");
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
            println!(
                "{:>4} s: {done} of {} turns; {tally:?}",
                began.elapsed().as_secs(),
                args.turns
            );
        }
        if began.elapsed() > limit {
            stuck = true;
            people.abort_all();
            break;
        }
    }
    over.store(true, Ordering::Relaxed);
    trouble.await??;
    answering.await?;
    if !stuck {
        // What was told to stop last may take a moment.
        let _ = impostor.wait_for(|ledger| ledger.busy().is_empty()).await;
    }

    let all = book.all();
    let runs = Runs::read(&notes(&folder.join("sandboxes")))?;
    let own = args.program.is_none().then_some(&runs);
    let findings = prove(&all, &store, &impostor, &past, own, args.stop_workers).await?;
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
    println!(
        "{} turns in {:.1} s: {:?}; {tally:?}; {} runs of the tool",
        all.len(),
        began.elapsed().as_secs_f64(),
        findings.endings,
        runs.count()
    );
    Ok(verdict(args, &all, &findings, stuck))
}

fn people(
    args: &RunArgs,
    store: &Patient,
    host: &Host,
    programs: &Programs,
    book: &Book,
) -> JoinSet<anyhow::Result<()>> {
    let mut people = JoinSet::new();
    let count = (args.turns / 8).clamp(1, 48);
    for number in 0..count {
        let turns = args.turns / count + usize::from(number < args.turns % count);
        let person = Person {
            number,
            turns,
            dice: Dice::new(args.seed, 2 + number as u64),
            store: store.clone(),
            host: host.clone(),
            programs: programs.clone(),
            book: book.clone(),
        };
        people.spawn(person.talk());
    }
    people
}

fn verdict(args: &RunArgs, all: &[Asked], findings: &Findings, stuck: bool) -> bool {
    let missing = args.turns - all.len();
    if !stuck && findings.wrong.is_empty() && missing == 0 {
        return true;
    }
    for wrong in &findings.wrong {
        println!("  {wrong}");
    }
    if stuck {
        println!("  not all turns ended in time; {missing} were not even asked");
    }
    println!("  {} findings", findings.wrong.len() + usize::from(stuck));
    false
}
