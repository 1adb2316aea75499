//! Workers in processes of their own, which share a database with the router and are killed as by `kill -9`.

use std::path::PathBuf;
use std::process::Stdio;

use opencode_impostor::{Script, Step};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::site::{Site, database_in, other_worker};

/// Tells a child process of these tests what it works on.
const CHILD: &str = "OPENCODE_AXUM_TEST_WORKER";

/// A process that works on the turns of a site, until it is killed.
pub(crate) struct WorkerProcess(Child);

impl WorkerProcess {
    /// Starts one for a [shared](Site::shared) site.
    pub(crate) fn start(site: &Site) -> Self {
        let told = json!({"server": site.impostor.url(), "folder": site.folder.path()});
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["processes::a_worker_in_another_process_answers", "--exact"])
            .env(CHILD, told.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        Self(child.unwrap())
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        assert_eq!(self.0.try_wait().unwrap(), None, "it has ended by itself");
        self.0.kill().await.unwrap();
    }
}

/// Works for a site of another process.
async fn work(told: &Value) {
    let folder = PathBuf::from(told["folder"].as_str().unwrap());
    let store = opencode_sql::connect(&database_in(&folder)).await.unwrap();
    let worker = other_worker(told["server"].as_str().unwrap(), store, &folder);
    worker.run(CancellationToken::new()).await.unwrap();
}

/// Another process goes on with the turn of one that was killed, and the answer goes on behind this gate.
pub(crate) fn take_over(site: &Site, gate: &str) -> WorkerProcess {
    let worker = WorkerProcess::start(site);
    site.impostor.gate(gate).open();
    worker
}

/// Also the part of a child process: it works until it is killed.
#[tokio::test]
async fn a_worker_in_another_process_answers() {
    if let Ok(told) = std::env::var(CHILD) {
        return work(&serde_json::from_str(&told).unwrap()).await;
    }
    let site = Site::shared(Script::always([Step::text("It grows.")])).await;
    let worker = WorkerProcess::start(&site);
    let turn = site.turn("What grows?").await;
    let result = site.host.settled(turn).await.unwrap();
    assert_eq!(result.answer.content, "It grows.");
    worker.kill().await;
}
