//! A disk that fills up while turns run.

use std::sync::Mutex;

use opencode_host::client::{Client, wire::Prompt};
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::reporter::{ErrorReporter, Severity};
use opencode_host::store::{MessageStatus, Tenant, TurnStatus};
use opencode_host::{Host, SubmitError, SubmitOptions, Worker, WorkerOptions};
use opencode_impostor::{Impostor, Script, Step};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Default)]
struct Reports(Arc<Mutex<Vec<String>>>);

impl Reports {
    fn of_a_full_disk(&self) -> usize {
        let reports = self.0.lock().unwrap();
        let full = reports
            .iter()
            .filter(|report| report.contains("the disk is full"));
        full.count()
    }
}

impl ErrorReporter for Reports {
    fn report(
        &self,
        error: &(dyn std::error::Error + 'static),
        _: bool,
        _: Severity,
        _: &Map<String, Value>,
    ) {
        self.0.lock().unwrap().push(error.to_string());
    }
}

impl SqliteEngine {
    /// Leaves so many pages of the disk, for the one connection that writes.
    async fn leave(&self, pages: i64) {
        let mut connection = self.writer.acquire().await.unwrap();
        let row = connection.fetch_one("PRAGMA page_count").await.unwrap();
        let most = row.get::<i64, _>(0) + pages;
        let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {most}"));
        connection.execute(limit).await.unwrap();
    }
}

async fn submit(
    host: &Host,
    conversation: ConversationId,
    text: &str,
) -> Result<TurnId, SubmitError> {
    let submitted = host.submit(conversation, Prompt::text(text), SubmitOptions::default());
    Ok(submitted.await?.turn.id)
}

#[tokio::test]
async fn a_full_disk_costs_time_and_nothing_else() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("host.db");
    let engine = SqliteEngine::open(Some(&path), &Options::default())
        .await
        .unwrap();
    let store: Arc<dyn Store> = Arc::new(SqlStore(engine.clone()));
    let long = "So many words. ".repeat(20_000);
    let script = Script::new()
        .on("long", [Step::gate("full"), Step::text(long.clone())])
        .otherwise([Step::text("Short.")]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let client = Client::builder(impostor.url()).build().unwrap();
    let reports = Reports::default();
    let options = WorkerOptions {
        snapshot_interval: Duration::from_millis(20),
        ..WorkerOptions::default()
    };
    let host = Host::builder(Arc::clone(&store))
        .error_reporter(reports.clone())
        .build();
    let worker = Worker::builder(client)
        .options(options)
        .shared_folder()
        .build(&host)
        .unwrap();
    let tenant = Tenant::default();
    let [one, two] = ["one", "two"].map(|name| store.open_conversation(&tenant, name));
    let (one, two) = (one.await.unwrap().id, two.await.unwrap().id);
    let turn = submit(&host, one, "long").await.unwrap();
    let beside = submit(&host, two, "short").await.unwrap();
    let work = |turn| {
        let worker = worker.clone();
        tokio::spawn(async move { worker.run_turn(turn, CancellationToken::new()).await })
    };
    let working = work(turn);
    impostor.gate("full").reached().await.unwrap();
    engine.leave(8).await;

    // What needs no space goes on.
    tokio::time::timeout(PATIENCE, work(beside))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let unharmed = host.result(beside).await.unwrap().unwrap();
    assert_eq!(unharmed.status, TurnStatus::Completed);

    // What does is told, and nothing is half written.
    let before = store.messages(Some(one), None, 10).await.unwrap();
    let refused = submit(&host, one, &long).await.unwrap_err();
    let told = format!("the disk is full: free some space for {}", path.display());
    assert!(refused.to_string().contains(&told), "{refused}");
    assert_eq!(store.messages(Some(one), None, 10).await.unwrap(), before);

    impostor.gate("full").open();
    let full = async {
        // A snapshot, then the end itself, again and again.
        while reports.of_a_full_disk() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, full).await.unwrap();
    let row = store.turn(turn).await.unwrap().unwrap();
    let message = store.message(row.message).await.unwrap().unwrap();
    assert_eq!(message.status, MessageStatus::Pending);
    assert!(!working.is_finished());

    engine.leave(1_000_000).await;
    tokio::time::timeout(PATIENCE, working)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let result = host.result(turn).await.unwrap().unwrap();
    assert_eq!(
        (result.status, result.answer.content == long),
        (TurnStatus::Completed, true)
    );
    let events = store.turn_events(turn).await.unwrap();
    assert_eq!(
        events
            .iter()
            .filter(|event| event.name == "turn.finished")
            .count(),
        1
    );
    assert_eq!(
        impostor
            .ledger()
            .model_runs(result.prompt.unwrap().as_str()),
        1
    );
}
