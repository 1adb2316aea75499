//! One run: people, workers, trouble, proof.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use opencode_host::Host;
use tokio::task::{JoinHandle, JoinSet};

use crate::crew::{Crew, Tally};
use crate::crowd::{Asked, Book, Person};
use crate::dice::Dice;
use crate::proof::Findings;
use crate::script::Kind;
use crate::worker::{Patient, Programs};
use crate::{on_double, on_opencode};

/// On standard output: Postgres is to be restarted by whoever started this.
const RESTART_POSTGRES: &str = "@restart-postgres";
/// People there are at least, so that a short run does not take long.
const FEWEST: usize = 5;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// The database: sqlite://PATH or postgres://…; its tables must be empty
    #[arg(long, value_name = "URL")]
    database: String,
    /// How many turns
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) turns: usize,
    /// Decides what happens
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many workers run at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) workers: u8,
    /// How many servers there are. One of several dies for good, one is away for long, and they are drained
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) servers: u8,
    /// How long a turn belongs to a worker that says nothing, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    lease: f64,
    /// The program whose `worker` and `cancel` are used, such as opencode-chat; this one by default
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) program: Option<PathBuf>,
    /// Also hang workers for longer than their lease
    #[arg(long)]
    pub(crate) stop_workers: bool,
    /// Ask for two restarts of Postgres: a line "@restart-postgres" on standard output each
    #[arg(long)]
    restart_postgres: bool,
    /// Have a real OpenCode call the application's tool. Nothing befalls it: only workers die
    #[arg(long, conflicts_with_all = ["program", "servers"])]
    opencode: bool,
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
    let run = Run::on(args, folder).await?;
    if args.opencode {
        on_opencode::make(&run).await
    } else {
        on_double::make(&run).await
    }
}

/// A run, whatever its server is.
pub(crate) struct Run<'a> {
    pub(crate) args: &'a RunArgs,
    pub(crate) store: Patient,
    pub(crate) book: Book,
    folder: &'a Path,
    began: Instant,
}

impl<'a> Run<'a> {
    async fn on(args: &'a RunArgs, folder: &'a Path) -> anyhow::Result<Self> {
        // Makes the tables, before several processes want to.
        let store = opencode_sql::connect(&args.database)
            .await
            .context("the database")?;
        Ok(Self {
            args,
            store: Patient(store),
            book: Book::default(),
            folder,
            began: Instant::now(),
        })
    }

    /// One stream of decisions.
    pub(crate) fn dice(&self, stream: u64) -> Dice {
        Dice::new(self.args.seed, stream)
    }

    /// The programs under test, at this server.
    pub(crate) fn programs(
        &self,
        server: String,
        password: Option<&str>,
    ) -> anyhow::Result<Programs> {
        Ok(Programs {
            program: match self.args.program.clone() {
                Some(program) => program,
                None => std::env::current_exe()?,
            },
            database: self.args.database.clone(),
            server,
            password: password.map(str::to_owned),
            webhooks: None,
            server_name: None,
            folder: self.folder.to_owned(),
            lease: self.args.lease,
        })
    }

    /// A host that works on nothing.
    pub(crate) fn host(&self) -> Host {
        Host::builder(self.store.0.clone()).build()
    }

    /// People who ask such things.
    pub(crate) fn people(
        &self,
        programs: &Programs,
        kinds: &'static [Kind],
    ) -> JoinSet<anyhow::Result<()>> {
        let host = self.host();
        let all = self.args.turns;
        let mut people = JoinSet::new();
        let count = (all / 8).clamp(FEWEST.min(all.max(1)), 48);
        for number in 0..count {
            let turns = all / count + usize::from(number < all % count);
            let person = Person {
                number,
                turns,
                dice: self.dice(10 + number as u64),
                store: self.store.clone(),
                host: host.clone(),
                programs: programs.clone(),
                book: self.book.clone(),
                kinds,
            };
            people.spawn(person.talk());
        }
        people
    }

    /// Waits until all is asked and answered, or it has taken too long: answers whether it has.
    pub(crate) async fn follow(
        &self,
        mut people: JoinSet<anyhow::Result<()>>,
        trouble: &mut JoinHandle<anyhow::Result<Crew>>,
        tally: &Tally,
    ) -> anyhow::Result<bool> {
        let all = self.args.turns;
        let limit = Duration::from_secs(self.args.limit.unwrap_or(120 + all as u64 * 2));
        let mut restarts = if self.args.restart_postgres {
            vec![all * 2 / 3, all / 3]
        } else {
            Vec::new()
        };
        let mut told = Instant::now();
        while !people.is_empty() {
            tokio::select! {
                ended = people.join_next() => {
                    if let Some(ended) = ended { ended??; }
                }
                made = &mut *trouble => {
                    made??;
                    anyhow::bail!("the trouble is over before the turns");
                }
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
            let done = self.book.done();
            if restarts.last().is_some_and(|at| done >= *at) {
                restarts.pop();
                println!("{RESTART_POSTGRES}");
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let seconds = self.began.elapsed().as_secs();
                println!("{seconds:>4} s: {done} of {all} turns; {tally:?}");
            }
            if self.began.elapsed() > limit {
                people.abort_all();
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells what came of it. Answers whether everything held.
    pub(crate) fn verdict(
        &self,
        all: &[Asked],
        findings: &Findings,
        stuck: bool,
        told: impl fmt::Display,
    ) -> bool {
        println!(
            "{} turns in {:.1} s: {:?}; {told}",
            all.len(),
            self.began.elapsed().as_secs_f64(),
            findings.endings,
        );
        let missing = self.args.turns - all.len();
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
}
