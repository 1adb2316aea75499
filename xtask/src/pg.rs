//! `cargo xtask pg`: a throwaway PostgreSQL for developing.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::thread::sleep;

use anyhow::{Result, bail};

use crate::tools::{self, Install, Server};
use crate::{process, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run this command with the environment of the tests, then stop; the exit code is the command's
    #[arg(long, num_args = 1.., allow_hyphen_values = true, value_name = "CMD")]
    run: Option<Vec<String>>,
    /// Fail where PostgreSQL is missing instead of installing it
    #[arg(long)]
    no_install: bool,
}

/// Runs the server until a signal comes, or while a command runs.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let postgres = tools::postgres(Install::unless(args.no_install))?;
    let mut server = postgres.serve()?;
    let Some((program, arguments)) = args.run.as_ref().and_then(|run| run.split_first()) else {
        println!("{}", server.url());
        if let Server::Throwaway(throwaway) = &mut server {
            eprintln!("running until Ctrl-C");
            while signals::received().is_none() {
                if !throwaway.is_running()? {
                    bail!("PostgreSQL ended; the reason is above");
                }
                sleep(process::POLL);
            }
        }
        return Ok(ExitCode::SUCCESS);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let (opencode, chromium) = (tools::find_opencode()?, tools::find_chromium()?);
    tools::set_env(
        &mut command,
        server.url(),
        opencode.as_deref(),
        chromium.as_deref(),
    );
    Ok(exit_code(process::status(&mut command)?))
}

/// The exit code of a program as a shell tells it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_passed_on() {
        for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
            let status = Command::new("sh").args(["-c", script]).status().unwrap();
            assert_eq!(exit_code(status), ExitCode::from(expected), "{script}");
        }
    }
}
