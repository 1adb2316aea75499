//! Packages of a Debian system.

use std::io::IsTerminal;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Installs `package` with `apt-get`, and says so.
///
/// # Errors
/// Where there is no `apt-get`, or neither root nor `sudo`; the message names the package to install by hand.
pub(crate) fn install(package: &str) -> Result<()> {
    if process::on_path("apt-get").is_none() {
        bail!(
            "`{package}` is missing and there is no apt-get: install it with the system's package manager"
        );
    }
    if !process::is_root() && process::on_path("sudo").is_none() {
        bail!("`{package}` is missing: install it as root, with `apt-get install {package}`");
    }
    eprintln!("installing {package} with apt-get ...");
    process::output(apt_get().args(["-qq", "update"]))
        .and_then(|_| {
            let install = ["-qq", "install", "-y", "--no-install-recommends", package];
            process::output(apt_get().args(install))
        })
        .with_context(|| format!("cannot install `{package}`: install it by hand"))?;
    eprintln!("installed {package}");
    Ok(())
}

fn apt_get() -> Command {
    let mut command;
    if process::is_root() {
        command = Command::new("env");
    } else {
        command = Command::new("sudo");
        if !std::io::stdin().is_terminal() {
            // Nobody is there to type a password.
            command.arg("-n");
        }
        command.arg("env");
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command.args(["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]);
    command
}
