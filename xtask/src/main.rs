//! The front door for developers of this workspace: `cargo xtask COMMAND`.
//!
//! | command | what it does |
//! | --- | --- |
//! | `test` | installs what is missing, then runs every test |
//! | `check` | format, lints, documentation, tidiness, dependencies, public surface, builds with fewer features, packages |
//! | `chaos` | turns on three workers that are killed all the time, and the proof that none was harmed |
//! | `setup` | only the installs of `test` |
//! | `tools` | prints where the programs are that the tests run |
//! | `pg` | a throwaway PostgreSQL, for as long as it is needed |
//! | `tidy` | the rules of this repository that no compiler checks |
//! | `public-api` | what the libraries offer, compared with `docs/public-api` |
//! | `dependencies` | licences, bans and sources of every dependency, by `deny.toml` |
//! | `mutants` | whether the tests notice when the code that decides is changed; takes hours |

mod apt;
mod cargo_tools;
mod chaos;
mod check;
mod clients;
mod guard;
mod mutants;
mod opencode;
mod pg;
mod postgres;
mod process;
mod public_api;
mod pypi;
mod signals;
mod stages;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::tools::{Install, Tools};

/// The front door for developers of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing, then run every test
    Test(test::Args),
    /// Check format, lints, documentation, tidiness, dependencies, public surface, builds with fewer features, and packages
    Check,
    /// Run turns on workers that are killed all the time, and prove that none was harmed
    Chaos(chaos::Args),
    /// Install the programs that the tests run
    Setup,
    /// Print where the programs are that the tests run; fails when one is missing
    Tools,
    /// Run a throwaway PostgreSQL until Ctrl-C, or while a command runs
    Pg(pg::Args),
    /// Check the rules of this repository that no compiler checks
    Tidy,
    /// Compare the public items of the libraries with docs/public-api
    PublicApi(public_api::Args),
    /// Check licences, bans and sources of every dependency by deny.toml, with cargo-deny
    Dependencies,
    /// Change the code that decides, in one place at a time, and tell what no test notices; takes hours
    Mutants(mutants::Args),
    /// Keep a throwaway PostgreSQL until standard input closes
    #[command(name = guard::COMMAND, hide = true)]
    GuardPostgres {
        /// Folder that holds `initdb` and `postgres`
        programs: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = signals::watch().and_then(|()| run(Cli::parse().command));
    // A signal explains any failure, so it decides the exit code.
    if let Some(signal) = signals::received() {
        eprintln!("xtask: stopped by signal {signal}");
        return ExitCode::from(128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)));
    }
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Test(args) => Ok(test::run(&args)),
        Command::Check => Ok(check::run()),
        Command::Chaos(args) => chaos::run(&args),
        Command::Setup => {
            let tools = Tools::find_or_install(Install::Allowed)?;
            eprint!("{tools}");
            Ok(ExitCode::SUCCESS)
        }
        Command::Tools => tools::print(),
        Command::Pg(args) => pg::run(&args),
        Command::Tidy => {
            check::tidy()?;
            println!("tidy");
            Ok(ExitCode::SUCCESS)
        }
        Command::PublicApi(args) => {
            public_api::run(&args)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Dependencies => {
            check::dependencies()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Mutants(args) => mutants::run(&args),
        Command::GuardPostgres { programs } => guard::stand(&programs),
    }
}
