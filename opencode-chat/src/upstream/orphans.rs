//! Processes that a server has started and not stopped: a shell of an agent has a session of its own and outlives a
//! server that is told to stop (seen on 1.18.33).
//!
//! On Linux the guard adopts them: when their parent ends they become its own children, so that it can stop them
//! all and never meets a stranger. Those of a guard that was killed become children of the first process, which has none
//! but its guard. Elsewhere they are left to themselves.

use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};

/// How long they may take to end when asked to.
const GRACE: Duration = Duration::from_secs(1);
/// How long all of them together may take when they are not asked.
const LIMIT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(10);

/// From now on processes whose parents end become children of this one.
pub(super) fn adopt() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Forgets those that have ended, so that they do not pile up. Children of other kinds must be named in `except`.
pub(super) fn bury(except: Option<u32>) {
    for child in
        children().filter(|child| Some(child.as_raw_nonzero().get().cast_unsigned()) != except)
    {
        let _ = waitpid(Some(child), WaitOptions::NOHANG);
    }
}

/// Ends all of them. There must be no children of other kinds.
pub(super) async fn end_all() {
    signal_all(Signal::TERM);
    if !gone_within(GRACE, || {}).await {
        // Children of those that end become children too, until there are none.
        gone_within(LIMIT, || signal_all(Signal::KILL)).await;
    }
}

async fn gone_within(limit: Duration, each_time: impl Fn()) -> bool {
    let gone = async {
        loop {
            each_time();
            bury(None);
            if children().next().is_none() {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(limit, gone).await.is_ok()
}

fn signal_all(signal: Signal) {
    for child in children() {
        // The commands of a shell are in its group.
        let _ = kill_process_group(child, signal);
        let _ = kill_process(child, signal);
    }
}

/// The children of this process, ended ones too, as far as the system tells.
fn children() -> impl Iterator<Item = Pid> {
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        (parent(&stat)? == own)
            .then(|| Pid::from_raw(pid))
            .flatten()
    })
}

/// The parent in a line of `/proc/PID/stat`: `PID (NAME) STATE PARENT …`, where the name may hold anything.
fn parent(stat: &str) -> Option<u32> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (sh) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent("12 (a) b) (c 3) R 8 12"), Some(8));
        assert_eq!(parent("12 (sh"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn children_are_listed_until_they_are_buried() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(children().any(|listed| listed == pid));
        child.wait().unwrap();
        assert!(!children().any(|listed| listed == pid));
    }
}
