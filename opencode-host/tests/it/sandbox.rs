//! The sandbox: what goes in, what comes out, and what must not.

mod listing;
mod own_configuration;
mod reading;
mod root;
mod swapping;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use opencode_host::sandbox::{Refusal, Sandbox, SandboxError, SandboxPath, SandboxRoot};
use tempfile::TempDir;

/// What no test may ever read through a sandbox; as long as `inside`, so that the length does not tell.
const SECRET: &str = "secret";

/// A sandbox, and beside its root a folder with a secret.
struct Home {
    dir: TempDir,
    root: SandboxRoot,
    sandbox: Sandbox,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = SandboxRoot::open(dir.path().join("sandboxes")).unwrap();
        let sandbox = root.provision(&"c1".parse().unwrap()).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret.txt"), SECRET).unwrap();
        Self { dir, root, sandbox }
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// A path in the sandbox, to play the agent with.
    fn agent(&self, path: &str) -> PathBuf {
        self.sandbox.path().join(path)
    }

    /// What lies in the staging folder.
    fn staged(&self) -> usize {
        fs::read_dir(self.root.path().join(".staging"))
            .unwrap()
            .count()
    }
}

fn path(path: &str) -> SandboxPath {
    path.parse().unwrap()
}

fn refusal<T>(result: Result<T, SandboxError>) -> Option<Refusal> {
    match result.err()? {
        SandboxError::Refused { reason, .. } => Some(reason),
        _ => None,
    }
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Fails the test, rather than hang, when `work` blocks.
fn never_blocks<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    never_blocks_within(Duration::from_mins(1), work)
}

fn never_blocks_within<T: Send + 'static>(
    bound: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, result) = mpsc::channel();
    let worker = thread::spawn(move || done.send(work()));
    match result.recv_timeout(bound) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("blocked"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("the worker sends before it ends"),
        },
    }
}
