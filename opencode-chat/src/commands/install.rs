//! `completions` and `man`: what a package puts beside the program, made of the command line's own definition.

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::exit::Failure;
use crate::terminal;

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "opencode-chat", &mut out);
    terminal::write(&String::from_utf8_lossy(&out));
    ExitCode::SUCCESS
}

/// Writes a manual page for the program and for each command.
pub(crate) fn man(args: &ManArgs) -> Result<ExitCode, Failure> {
    let written = std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.folder));
    written.map_err(|error| {
        let folder = args.folder.display();
        Failure::configuration(format!("cannot write manual pages into {folder}: {error}"))
    })?;
    Ok(ExitCode::SUCCESS)
}
