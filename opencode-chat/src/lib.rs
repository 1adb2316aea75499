//! The reference chat application: conversations with an OpenCode agent in the
//! browser and in the terminal, kept in a database.
//!
//! This is a program. What of it is public is so for its own tests.

// All that is printed goes through `terminal`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod assembly;
mod attached;
mod backup;
#[doc(hidden)]
pub mod chart;
mod cli;
mod commands;
mod configuration;
mod data_folder;
mod descriptors;
mod exit;
mod local_files;
mod ndjson;
#[doc(hidden)]
pub mod people;
mod permission;
mod product;
mod terminal;
mod upstream;
#[doc(hidden)]
pub mod web;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use cli::Command;
use configuration::{Configured, Refused};
use exit::Failure;

/// Runs the program with this process's arguments.
pub fn run() -> ExitCode {
    data_folder::make_private_files();
    let configured = match configuration::read(std::env::args_os().collect()) {
        Ok(configured) => configured,
        // It repeats the arguments, which may come from anywhere.
        Err(Refused::Usage(error)) if error.use_stderr() => {
            terminal::put(&error.render().to_string());
            return ExitCode::from(2);
        }
        // Help, on standard output.
        Err(Refused::Usage(error)) => error.exit(),
        Err(Refused::Configuration(why)) => return Failure::configuration(why).tell(),
    };
    let set_filter = init_logging(&configured);
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
    let outcome = runtime.block_on(perform(configured, set_filter));
    // A reader of the terminal may still block a thread: it must not keep the process.
    runtime.shutdown_background();
    outcome.unwrap_or_else(Failure::tell)
}

async fn perform(configured: Configured, set_filter: SetFilter) -> Result<ExitCode, Failure> {
    let Configured {
        command, settings, ..
    } = configured;
    for warning in configured.warnings {
        terminal::tell(format_args!("warning: {warning}"));
    }
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
    if matches!(command, Command::Serve(_) | Command::Worker(_)) {
        configuration::reload(std::env::args_os().collect(), settings.clone(), set_filter);
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
        Command::Schedule(args) => commands::schedules::add(args).await,
        Command::Schedules(args) => commands::schedules::list(args).await,
        Command::Servers(args) => commands::servers::run(args).await,
        Command::Backup(args) => commands::backup::run(args).await,
        Command::Restore(args) => commands::restore::run(args).await,
        Command::User(args) => commands::user::run(args).await,
        Command::Doctor(args) => commands::doctor::run(args).await,
        Command::Config(_) => Ok(commands::config::run(&settings)),
        Command::Completions(args) => Ok(commands::install::completions(&args)),
        Command::Man(args) => commands::install::man(&args),
        Command::Guard(args) => upstream::guard(args).await,
    }
}

/// Changes what is logged.
type SetFilter = Box<dyn Fn(Option<String>) -> Result<(), String> + Send>;

/// Logs go to stderr; `--log` says which.
fn init_logging(configured: &Configured) -> SetFilter {
    let default = match configured.command {
        Command::Serve(_) | Command::Worker(_) => "info",
        _ => "error",
    };
    let filter = move |log: Option<String>| {
        let log = log.unwrap_or_else(|| default.to_owned());
        EnvFilter::try_new(log).map_err(|error| error.to_string())
    };
    let first = filter(configured.log.clone()).unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_writer(|| terminal::Stderr)
        .fmt_fields(terminal::log_fields())
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_env_filter(first)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    builder.init();
    Box::new(move |log| {
        let filter = filter(log)?;
        handle.reload(filter).map_err(|error| error.to_string())
    })
}
