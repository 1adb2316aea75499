//! Running other programs.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::signals;

/// How often a running child is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// How many of the last lines of a failed program's output an error shows.
const TAIL_LINES: usize = 40;

/// Runs `command` with the output of this process, and fails unless it exits with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}`: {status}", line(command));
    }
    Ok(())
}

/// Runs `command` with the output of this process to its end. Signals that reach this process are passed on.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    signals::check()?;
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", program(command)))?;
    let mut passed_on = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let received = signals::received();
        if received != passed_on {
            passed_on = received;
            pass_on(received, &child);
        }
        sleep(POLL);
    }
}

/// Sends `signal` to `child`, unless the terminal has already done so: Ctrl-C reaches every process in front.
fn pass_on(signal: Option<i32>, child: &Child) {
    let Some(signal) = signal.and_then(Signal::from_named_raw) else {
        return;
    };
    if signal == Signal::INT && std::io::stdin().is_terminal() {
        return;
    }
    kill(child, signal);
}

/// Sends `signal` to a child of this process.
pub(crate) fn kill(child: &Child, signal: Signal) {
    // A child that has ended but was not waited for still owns its id, so this never meets a stranger.
    let _ = kill_process(Pid::from_child(child), signal);
}

/// Waits until `child` ends, for `limit` at most. True when it has ended.
pub(crate) fn ended_within(child: &mut Child, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL);
    }
}

/// Runs `command` without input and returns what it wrote to standard output. The error of a failed program
/// holds the end of all it wrote.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    signals::check()?;
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program(command)))?;
    signals::check()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}`: {}\n{}",
            line(command),
            output.status,
            tail(&format!("{stdout}{stderr}"))
        );
    }
    Ok(stdout.into_owned())
}

/// The last lines of `text`.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn program(command: &Command) -> String {
    Path::new(command.get_program()).display().to_string()
}

/// The command as a person would type it, without the folder of the program.
fn line(command: &Command) -> String {
    let program = command.get_program();
    std::iter::once(Path::new(program).file_name().unwrap_or(program))
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The first folder on `PATH` that holds all of `programs`.
pub(crate) fn folder_on_path(programs: &[&str]) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .find(|folder| folder.is_absolute() && holds(folder, programs))
}

/// Where `PATH` finds `program`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    folder_on_path(&[program]).map(|folder| folder.join(program))
}

/// True when `folder` holds a file for each of `programs`.
pub(crate) fn holds(folder: &Path, programs: &[&str]) -> bool {
    programs.iter().all(|name| folder.join(name).is_file())
}

/// True for the administrator.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_named_with_the_end_of_its_output() {
        let script = "for i in $(seq 100); do echo out$i; done; echo last >&2; exit 3";
        let error = output(Command::new("sh").args(["-c", script])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(text.contains("out100\nlast"), "{text}");
        assert!(!text.contains("out50\n"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(format!("{error:#}").contains("cannot start no-such-program-here"));
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(on_path("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(on_path("no-such-program-here"), None);
        assert_eq!(folder_on_path(&["sh", "no-such-program-here"]), None);
    }

    #[test]
    fn a_child_that_does_not_end_is_noticed() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        assert!(!ended_within(&mut child, Duration::ZERO));
        kill(&child, Signal::KILL);
        assert!(ended_within(&mut child, Duration::from_secs(30)));
    }
}
