//! Measurements against any server that speaks OpenCode's protocol.
//!
//! Each command prints one JSON line, so that runs can be kept and compared.

mod expect;
mod hosted;
mod live;
mod meter;
mod reference;
mod stream;
mod stream_args;

use clap::{Parser, Subcommand};

use stream_args::StreamArgs;

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
