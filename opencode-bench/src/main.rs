//! Measurements against any server that speaks OpenCode's protocol.
//!
//! Each command prints one JSON line, so that runs can be kept and compared.

mod cpu;
mod expect;
mod flood;
mod hosted;
mod live;
mod meter;
mod plot;
mod reference;
mod stream;
mod stream_args;
mod turns;

use clap::{Parser, Subcommand};

use flood::FloodArgs;
use stream_args::StreamArgs;
use turns::TurnsArgs;

/// Throughput and scale of opencode-host.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Run on this processor alone, counted from 0
    #[arg(long, global = true, value_name = "N")]
    cpu: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs turns at once through the event hub and the reply
    Stream(StreamArgs),
    /// How late watchers of a turn hear of each delta: the server's deltas must be paced and stamped
    Live(StreamArgs),
    /// Turns at once through the whole host, against a load server of its own: CPU a delta, lateness, memory
    Turns(TurnsArgs),
    /// A load server: paced and stamped answers of plain text, for hosts on this machine
    Flood(FloodArgs),
    /// The least that reading the same bytes can cost: read the socket, split frames, borrow the envelope
    Reference(StreamArgs),
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    let cli = Cli::parse();
    if let Some(number) = cli.cpu {
        cpu::pin(number)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = match cli.command {
        Command::Flood(args) => match runtime.block_on(flood::run(&args))? {},
        Command::Turns(args) => {
            let whole = runtime.block_on(turns::run(&args))?;
            return Ok(if whole {
                std::process::ExitCode::SUCCESS
            } else {
                std::process::ExitCode::FAILURE
            });
        }
        Command::Live(args) => {
            let report = runtime.block_on(live::run(&args))?;
            println!("{}", serde_json::to_string(&report)?);
            return Ok(
                if Some(report.completed) == args.sessions && report.lost == 0 {
                    std::process::ExitCode::SUCCESS
                } else {
                    std::process::ExitCode::FAILURE
                },
            );
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
