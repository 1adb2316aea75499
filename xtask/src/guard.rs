//! A second process that answers for the throwaway PostgreSQL: it stops the server when the first one is
//! gone, however it went, `kill -9` included. What ties them is a pipe: the kernel closes it with the first.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::postgres::Cluster;
use crate::{process, signals, workspace};

/// The hidden command that runs the guard.
pub(crate) const COMMAND: &str = "guard-postgres";

/// A throwaway server with its guard. Dropping it stops both.
#[derive(Debug)]
pub(crate) struct Guarded {
    guard: Child,
    url: String,
}

impl Guarded {
    /// Starts a guard, which starts a server with the programs in `programs`.
    pub(crate) fn start(programs: &Path) -> Result<Self> {
        signals::check()?;
        let guard = Command::new(this_program()?)
            .arg0("xtask")
            .arg(COMMAND)
            .arg(programs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the programs that use the server; the guard stops it after them.
            .process_group(0)
            .spawn()
            .context("cannot start the guard of PostgreSQL")?;
        let mut guarded = Self {
            guard,
            url: String::new(),
        };
        if let Some(output) = guarded.guard.stdout.take() {
            BufReader::new(output).read_line(&mut guarded.url)?;
        }
        if guarded.url.pop() != Some('\n') {
            bail!("no throwaway PostgreSQL; the reason is above");
        }
        Ok(guarded)
    }

    /// Where the server answers, as a connection URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// True until the server or its guard ends.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.guard.try_wait()?.is_none())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // `wait` closes the guard's standard input first: the sign to stop.
        let _ = self.guard.wait();
    }
}

/// This very program, also when cargo has put a newer build in its place.
fn this_program() -> Result<PathBuf> {
    let linux = PathBuf::from("/proc/self/exe");
    if linux.exists() {
        return Ok(linux);
    }
    std::env::current_exe().context("cannot find this program")
}

/// The guard: runs a server, prints its URL, and stops it when standard input closes.
pub(crate) fn stand(programs: &Path) -> Result<ExitCode> {
    let records = workspace::target_folder("xtask/postgres")?;
    let mut cluster = Cluster::start(programs, &records)?;
    writeln!(std::io::stdout(), "{}", cluster.url())?;

    let (closed, wait) = channel::<()>();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(closed);
    });
    while signals::received().is_none() {
        match wait.recv_timeout(process::POLL) {
            Err(RecvTimeoutError::Timeout) => cluster.check()?,
            _ => break,
        }
    }
    Ok(ExitCode::SUCCESS)
}
