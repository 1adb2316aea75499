//! The reference chat application: conversations with an OpenCode agent in the
//! browser and in the terminal, kept in a database.
//!
//! This is a program. What of it is public is so for its own tests.

// All that is printed goes through `terminal`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod assembly;
mod attached;
#[doc(hidden)]
pub mod chart;
mod cli;
mod commands;
mod data_folder;
mod descriptors;
mod exit;
mod local_files;
mod ndjson;
mod permission;
mod product;
mod terminal;
mod upstream;
#[doc(hidden)]
pub mod web;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use exit::Failure;

/// Runs the program with this process's arguments.
pub fn run() -> ExitCode {
    data_folder::make_private_files();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // It repeats the arguments, which may come from anywhere.
        Err(error) if error.use_stderr() => {
            terminal::put(&error.render().to_string());
            return ExitCode::from(2);
        }
        // Help, on standard output.
        Err(error) => error.exit(),
    };
    init_logging(&cli);
    #[cfg(target_os = "linux")]
    {
        // Passwords are in this process's environment and memory: other programs of this user, such as the agent's
        // shell, do not read them in /proc.
        let _ =
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Failure::configuration(format!("cannot start: {error}")).tell(),
    };
    let outcome = runtime.block_on(perform(cli));
    // A reader of the terminal may still block a thread: it must not keep the process.
    runtime.shutdown_background();
    outcome.unwrap_or_else(Failure::tell)
}

async fn perform(cli: Cli) -> Result<ExitCode, Failure> {
    let command = cli.command.unwrap_or_default();
    if command.store().is_some() {
        for told in cli::exposed(std::env::args_os()) {
            terminal::tell(format!("warning: {told}"));
        }
    }
    for problem in command
        .store()
        .map(data_folder::tighten)
        .unwrap_or_default()
    {
        tracing::warn!("{problem}");
    }
    match command {
        Command::Serve(args) => commands::serve::run(args).await,
        Command::Turn(args) => commands::turn::run(args).await,
        Command::Worker(args) => commands::worker::run(args).await,
        Command::Submit(args) => commands::submit::run(args).await,
        Command::Watch(args) => commands::watch::run(args).await,
        Command::Show(args) => commands::show::run(args).await,
        Command::Cancel(args) => commands::cancel::run(args).await,
        Command::Retry(args) => commands::retry::run(args).await,
        Command::Servers(args) => commands::servers::run(args).await,
        Command::Doctor(args) => commands::doctor::run(args).await,
        Command::Guard(args) => upstream::guard(args).await,
    }
}

/// Logs go to stderr; `RUST_LOG` says which.
fn init_logging(cli: &Cli) {
    let default = match cli.command {
        None | Some(Command::Serve(_) | Command::Worker(_)) => "info",
        _ => "error",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| terminal::Stderr)
        .fmt_fields(terminal::log_fields())
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
