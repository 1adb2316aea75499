//! `cargo xtask chaos`: turns under chaos, on either database.
//!
//! The work is done by `opencode-chaos` of opencode-bench, with the workers of `opencode-chat` or its own. Here are the
//! builds, the database, and its restarts, which that program asks for.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::tools::{self, Install, Server};
use crate::{process, signals, workspace};

/// What `opencode-chaos` says when it wants Postgres restarted.
const RESTART_POSTGRES: &str = "@restart-postgres";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The database
    #[arg(long, value_name = "DATABASE", default_value = "sqlite")]
    store: Store,
    /// How many turns
    #[arg(long, value_name = "N", default_value_t = 200)]
    turns: usize,
    /// Decides what happens, as far as processes can be made to repeat themselves
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// How many workers run at once
    #[arg(long, value_name = "N", default_value_t = 3)]
    workers: u8,
    /// How many servers there are. One of several dies for good, one is away for long, and they are drained
    #[arg(long, value_name = "N", default_value_t = 1)]
    servers: u8,
    /// How long a turn belongs to a worker that says nothing, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    lease: f64,
    /// Restart Postgres twice in the middle
    #[arg(long)]
    restart_postgres: bool,
    /// Also hang workers for longer than their lease
    #[arg(long)]
    stop_workers: bool,
    /// With the workers of an application that has a tool, hooks and webhooks, instead of those of opencode-chat
    #[arg(long)]
    application: bool,
    /// Have a real OpenCode call that application's tool; only workers die
    #[arg(long, conflicts_with_all = ["application", "servers"])]
    opencode: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Store {
    /// One file
    Sqlite,
    /// A throwaway server
    Postgres,
}

/// Builds, runs, and tells whether everything held.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.restart_postgres && args.store == Store::Sqlite {
        bail!("--restart-postgres needs --store postgres");
    }
    eprintln!("==> building opencode-chat and opencode-chaos");
    process::run(workspace::cargo().args([
        "build",
        "--locked",
        "--package=opencode-chat",
        "--package=opencode-bench",
        "--bin=opencode-chat",
        "--bin=opencode-chaos",
    ]))?;
    let programs = programs()?;
    let folder = tempfile::tempdir()?;
    let mut server = match args.store {
        Store::Sqlite => None,
        Store::Postgres => Some(tools::postgres(Install::Allowed)?.serve()?),
    };
    let database = match &server {
        None => format!("sqlite://{}", folder.path().join("host.db").display()),
        Some(server) => server.url().to_owned(),
    };
    let mut command = Command::new(programs.join("opencode-chaos"));
    command
        .args(["run", "--database", &database])
        .args(["--turns", &args.turns.to_string()])
        .args(["--seed", &args.seed.to_string()])
        .args(["--workers", &args.workers.to_string()])
        .args(["--lease", &args.lease.to_string()]);
    if args.opencode {
        let opencode = tools::opencode(Install::Allowed)?;
        command.env(tools::OPENCODE_BIN, opencode);
    } else {
        command.args(["--servers", &args.servers.to_string()]);
        if !args.application {
            command.arg("--program").arg(programs.join("opencode-chat"));
        }
    }
    for (wanted, flag) in [
        (args.opencode, "--opencode"),
        (args.stop_workers, "--stop-workers"),
        (args.restart_postgres, "--restart-postgres"),
    ] {
        if wanted {
            command.arg(flag);
        }
    }
    eprintln!(
        "==> {} turns on {:?}, seed {}",
        args.turns, args.store, args.seed
    );
    signals::check()?;
    let mut chaos = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start opencode-chaos")?;
    let output = chaos.stdout.take().context("opencode-chaos says nothing")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line == RESTART_POSTGRES {
            restart(&mut server)?;
        } else {
            println!("{line}");
        }
    }
    let status = chaos.wait()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn restart(server: &mut Option<Server>) -> Result<()> {
    match server {
        Some(Server::Throwaway(throwaway)) => {
            eprintln!("==> restarting PostgreSQL");
            throwaway.restart()
        }
        Some(_) => bail!(
            "only a throwaway PostgreSQL is restarted: unset {}",
            tools::POSTGRES_URL
        ),
        None => Ok(()),
    }
}

/// The folder of the programs that were just built.
fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program")?;
    // xtask itself lies there.
    let folder = own.parent().context("this program lies nowhere")?;
    Ok(folder.to_owned())
}
