//! Real processes on one database.

use std::process::{Command, Stdio};
use std::time::Duration;

use opencode_host::id::TurnId;
use opencode_host::store::{Claim, SessionRecord, Store, Swapped, Tenant};
use opencode_sql::connect;

use crate::fixture::{SqliteFile, new_turn, on_postgres};

/// Where a child process of these tests finds its database.
const CHILD: &str = "OPENCODE_SQL_TEST_CHILD";
const SHARED: &str = "shared";

async fn submit(store: &dyn Store, turns: usize) -> Vec<TurnId> {
    let mut submitted = Vec::new();
    for number in 0..turns {
        let conversation = store
            .open_conversation(&Tenant::default(), &number.to_string())
            .await
            .unwrap();
        let turn = new_turn(conversation.id);
        submitted.push(store.submit(&turn).await.unwrap().turn.id);
    }
    submitted
}

/// Mints the shared session if nobody has, and claims every turn it can get.
async fn work(store: &dyn Store) -> (bool, Vec<TurnId>) {
    let shared = store
        .open_conversation(&Tenant::default(), SHARED)
        .await
        .unwrap()
        .id;
    let lock = store
        .lock_session(shared, Duration::from_secs(60))
        .await
        .unwrap();
    let minted = if lock.current().is_some() {
        false
    } else {
        let record = SessionRecord::new(format!("ses_{}", std::process::id()), 0);
        lock.set(&record).await.unwrap() == Swapped::Yes
    };
    let claim = Claim::new(std::process::id().to_string(), Duration::from_secs(600));
    let mut claimed = Vec::new();
    while let Some(turn) = store.claim(&claim).await.unwrap() {
        claimed.push(turn.turn.id);
    }
    (minted, claimed)
}

/// The part of one process: of a child on its parent's database, else on one of its own.
#[tokio::test]
async fn one_process() {
    if let Ok(url) = std::env::var(CHILD) {
        let (minted, claimed) = work(&*connect(&url).await.unwrap()).await;
        println!("\nminted {minted}");
        claimed.iter().for_each(|turn| println!("\nclaimed {turn}"));
        return;
    }
    let file = SqliteFile::new();
    let store = connect(&file.url()).await.unwrap();
    let submitted = submit(&*store, 5).await;
    assert_eq!(work(&*store).await, (true, submitted));
}

/// Three processes claim 60 turns, each turn once, and mint one session.
async fn three_processes(url: &str) {
    let store = connect(url).await.unwrap();
    store
        .open_conversation(&Tenant::default(), SHARED)
        .await
        .unwrap();
    let mut submitted = submit(&*store, 60).await;
    let children: Vec<_> = (0..3)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["processes::one_process", "--exact", "--nocapture"])
                .env(CHILD, url)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut lines = String::new();
    for child in children {
        let output = tokio::task::spawn_blocking(|| child.wait_with_output())
            .await
            .unwrap()
            .unwrap();
        assert!(output.status.success());
        lines.push_str(&String::from_utf8(output.stdout).unwrap());
    }
    let claimed = lines
        .lines()
        .filter_map(|line| line.strip_prefix("claimed "));
    let mut claimed: Vec<TurnId> = claimed.map(|turn| turn.parse().unwrap()).collect();
    claimed.sort_unstable();
    submitted.sort_unstable();
    assert_eq!(claimed, submitted);
    assert_eq!(lines.matches("minted true").count(), 1, "{lines}");
}

#[tokio::test]
async fn three_processes_on_sqlite() {
    let file = SqliteFile::new();
    three_processes(&file.url()).await;
}

#[tokio::test]
async fn three_processes_on_postgres() {
    on_postgres(async |database| three_processes(&database.url()).await).await;
}
