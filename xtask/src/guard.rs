//! A second process that answers for the throwaway PostgreSQL: it stops the server when the first one is
//! gone, however it went, `kill -9` included. What ties them is a pipe: the kernel closes it with the first.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::postgres::Cluster;
use crate::{process, signals, workspace};

/// The hidden command that runs the guard.
pub(crate) const COMMAND: &str = "guard-postgres";

/// On the guard's standard input: restart the server.
const RESTART: &str = "restart";
/// On its standard output: that is done.
const RESTARTED: &str = "restarted";

/// A throwaway server with its guard. Dropping it stops both.
#[derive(Debug)]
pub(crate) struct Guarded {
    guard: Child,
    answers: Option<BufReader<ChildStdout>>,
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
            answers: None,
            url: String::new(),
        };
        guarded.answers = guarded.guard.stdout.take().map(BufReader::new);
        guarded.url = guarded
            .answer()?
            .context("no throwaway PostgreSQL; the reason is above")?;
        Ok(guarded)
    }

    /// The next line the guard says; `None` when it has ended.
    fn answer(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        if let Some(answers) = &mut self.answers {
            answers.read_line(&mut line)?;
        }
        Ok((line.pop() == Some('\n')).then_some(line))
    }

    /// Restarts the server on its port, with its data.
    pub(crate) fn restart(&mut self) -> Result<()> {
        if let Some(input) = &mut self.guard.stdin {
            writeln!(input, "{RESTART}")?;
        }
        match self.answer()?.as_deref() {
            Some(RESTARTED) => Ok(()),
            _ => bail!("PostgreSQL did not come back; the reason is above"),
        }
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

    let (orders, wait) = channel::<String>();
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if orders.send(line).is_err() {
                return;
            }
        }
    });
    while signals::received().is_none() {
        match wait.recv_timeout(process::POLL) {
            Err(RecvTimeoutError::Timeout) => cluster.check()?,
            Ok(order) if order == RESTART => {
                cluster.restart()?;
                writeln!(std::io::stdout(), "{RESTARTED}")?;
            }
            Ok(_) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(ExitCode::SUCCESS)
}
