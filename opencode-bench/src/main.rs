//! Measurements against any server that speaks OpenCode's protocol.
//!
//! Each command prints one JSON line, so that runs can be kept and compared.

mod expect;
mod hosted;
mod live;
mod meter;
mod reference;
mod stream;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Throughput and scale of opencode-host.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs turns at once through the event hub and the reply
    Stream(StreamArgs),
    /// How late watchers of a turn hear of each delta: the server's deltas must be paced and stamped
    Live(StreamArgs),
    /// The least that reading the same bytes can cost: read the socket, split frames, borrow the envelope
    Reference(StreamArgs),
}

#[derive(Clone, Debug, Args)]
struct StreamArgs {
    /// The server
    #[arg(long, value_name = "URL")]
    base: String,
    /// The server's password
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "OPENCODE_SERVER_PASSWORD",
        hide_env_values = true
    )]
    password: Option<String>,
    /// Use these sessions and prompts, and check each text: {"S","D","sessions":[{"sid","prompt","text"}]}
    #[arg(long, value_name = "FILE", required_unless_present = "sessions")]
    expect: Option<PathBuf>,
    /// Make so many sessions, and check each text against the server's own messages
    #[arg(long, value_name = "S", conflicts_with = "expect")]
    sessions: Option<usize>,
    /// What to ask in each session
    #[arg(long, value_name = "TEXT", default_value = "stream")]
    prompt: String,
    /// One connection for all turns, or one for each
    #[arg(long, value_name = "HOW", default_value = "shared")]
    subs: Subs,
    /// Run the turns through the whole host, kept here: memory, sqlite://PATH or postgres://URL
    #[arg(long, value_name = "none|URL", default_value = "none")]
    store: String,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    limit: u64,
}

/// Who has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subs {
    /// All turns one.
    Shared,
    /// Each turn its own.
    PerTurn,
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = match cli.command {
        Command::Live(args) => {
            let report = runtime.block_on(live::run(&args))?;
            println!("{}", serde_json::to_string(&report)?);
            return Ok(if Some(report.completed) == args.sessions {
                std::process::ExitCode::SUCCESS
            } else {
                std::process::ExitCode::FAILURE
            });
        }
        Command::Stream(args) if args.store == "none" => runtime.block_on(stream::run(&args))?,
        Command::Stream(args) => runtime.block_on(hosted::run(&args, &args.store))?,
        Command::Reference(args) => runtime.block_on(reference::run(&args))?,
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(if report.bad == 0 {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    })
}
