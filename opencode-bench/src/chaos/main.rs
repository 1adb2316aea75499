//! Proves that turns survive: workers on one database, a server that counts,
//! and trouble from a seed.
//!
//! The workers are processes of `opencode-chat` (or of this program) that are
//! killed, stopped and replaced all the time. The servers are impostors in this
//! process, whose ledgers say what they were really asked, or a real OpenCode. This
//! program's own workers are those of an application with a tool, hooks and
//! webhooks, which note that they run. In the end the rows, the ledger and the
//! notes are compared; a run that finds something wrong prints its seed and the
//! rows, and exits with 1.

mod crew;
mod crowd;
mod dice;
mod endpoint;
mod fleet;
mod noted;
mod notes;
mod odd;
mod on_double;
mod on_opencode;
mod owed;
mod own_hooks;
mod own_tool;
mod proof;
mod run;
mod script;
mod trouble;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Turns under chaos.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make trouble, then prove that every turn ended as it must
    Run(run::RunArgs),
    /// A worker like `opencode-chat worker`
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
    /// A cancel like `opencode-chat cancel`
    #[command(hide = true)]
    Cancel(worker::CancelArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(args).await,
            Command::Worker(args) => worker::work(args).await.map(|()| ExitCode::SUCCESS),
            Command::Cancel(args) => worker::cancel(args).await.map(|()| ExitCode::SUCCESS),
        }
    })
}
