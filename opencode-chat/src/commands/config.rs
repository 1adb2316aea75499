//! `config`: the settings that are in effect.

use std::process::ExitCode;

use crate::configuration::Setting;
use crate::terminal;

/// Prints a configuration file of what is in effect, without its secrets.
pub(crate) fn run(settings: &[Setting]) -> ExitCode {
    for setting in settings {
        terminal::say(setting);
    }
    ExitCode::SUCCESS
}
