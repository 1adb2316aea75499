//! A second process that answers for a supervised server: it stops the server, and what that has started, when the
//! first process is gone, however it went, `kill -9` included. What ties them is a pipe: the kernel closes it with
//! the first. Should the guard be killed itself, the first process stops the server.
//!
//! The guard is this program under a hidden command. It reads the pipe on standard input, of which the first line has
//! its [`Orders`] with the server's password (an environment or an argument would show it to every program of this user),
//! says on standard output what becomes of the server (`started PID`, `ended STATUS`), and gives its standard error to the
//! server for both of its own.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use super::orphans;
use super::seal::{self, Orders};
use crate::cli::GuardArgs;
use crate::exit::Failure;

/// The hidden command.
pub(super) const COMMAND: &str = "guard-opencode";
/// The word before the server's process id.
pub(super) const STARTED: &str = "started ";
/// The word before how it ended.
pub(super) const ENDED: &str = "ended ";

/// How long a server may take to end when asked to. 1.18.33 takes up to 2 s.
pub(super) const GRACE: Duration = Duration::from_secs(4);

/// The command that guards `program`.
pub(super) fn command(program: &std::path::Path, args: &[OsString]) -> std::io::Result<Command> {
    let mut command = std::process::Command::new(this_program()?);
    command
        .arg0("opencode-guard")
        .arg(COMMAND)
        .arg(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for the first process, which still needs the server then.
        .process_group(0);
    Ok(command.into())
}

/// This very program, also when a newer build was put in its place.
fn this_program() -> std::io::Result<PathBuf> {
    let linux = PathBuf::from("/proc/self/exe");
    if linux.exists() {
        Ok(linux)
    } else {
        std::env::current_exe()
    }
}

/// Ends every process of the group that `leader` led.
pub(super) fn kill_group(leader: u32, signal: Signal) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // There may be none left.
        let _ = kill_process_group(group, signal);
    }
}

/// The guard: runs a program until it ends or standard input does.
pub(crate) async fn run(args: GuardArgs) -> Result<ExitCode, Failure> {
    let failed =
        |what: &str, error: std::io::Error| Failure::configuration(format!("{what}: {error}"));
    // The first process hears these too, and closes the pipe when it is done with the server.
    let _ignored = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ]
    .map(signal);
    let orders = orders().await?;
    // A folder of its own: a server takes the Git worktree it is started in for its own, and writes to it.
    let folder = tempfile::Builder::new()
        .prefix("opencode-chat-")
        .tempdir()
        .map_err(|error| failed("cannot make a folder for OpenCode to start in", error))?;
    seal::install(folder.path(), &orders.sandboxes)
        .map_err(|error| failed("cannot write to the folder for OpenCode to start in", error))?;
    let output = || {
        std::io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .map(Stdio::from)
    };
    let duplicated = |error| failed("cannot share standard error", error);
    let mut command = Command::new(&args.program);
    command
        .args(&args.args)
        .env(seal::PASSWORD, &orders.password)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(output().map_err(duplicated)?)
        .stderr(output().map_err(duplicated)?)
        // A group of its own, so that a launcher and what it launched are stopped together.
        .process_group(0);
    orphans::adopt();
    let mut child_ended =
        signal(SignalKind::child()).map_err(|error| failed("cannot watch processes", error))?;
    let mut server = command
        .spawn()
        .map_err(|error| failed(&args.program.display().to_string(), error))?;
    let leader = server.id().unwrap_or_default();
    say(&format!("{STARTED}{leader}"));
    let ended = tokio::select! {
        () = end_of_input() => None,
        ended = server.wait() => Some(ended),
        () = bury_orphans(&mut child_ended, leader) => None,
    };
    if ended.is_none() {
        stop(&mut server, leader).await;
    }
    // What the server has left behind.
    kill_group(leader, Signal::KILL);
    orphans::end_all().await;
    if let Some(ended) = ended {
        say(&match ended {
            Ok(status) => format!("{ENDED}{status}"),
            Err(error) => format!("{ENDED}{error}"),
        });
    }
    Ok(ExitCode::SUCCESS)
}

async fn bury_orphans(child_ended: &mut SignalStream, server: u32) {
    while child_ended.recv().await.is_some() {
        orphans::bury(Some(server));
    }
}

async fn stop(server: &mut Child, leader: u32) {
    kill_group(leader, Signal::TERM);
    if tokio::time::timeout(GRACE, server.wait()).await.is_err() {
        kill_group(leader, Signal::KILL);
        let _ = server.wait().await;
    }
}

/// The first line of standard input.
async fn orders() -> Result<Orders, Failure> {
    let read = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    };
    let line = tokio::task::spawn_blocking(read).await;
    let line = line.ok().and_then(Result::ok).unwrap_or_default();
    // Without a whole line whoever started this is gone already.
    serde_json::from_str(&line)
        .map_err(|_| Failure::configuration("this command is for opencode-chat itself"))
}

async fn end_of_input() {
    let read = || std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    let _ = tokio::task::spawn_blocking(read).await;
}

/// Tells the first process, if it is still there.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
