//! Nodes on one Postgres, whose watchers follow turns of the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use opencode_client::Client;
use opencode_client::reply::{Change, PersistedPart};
use opencode_client::wire::Prompt;
use opencode_host::id::TurnId;
use opencode_host::live::{
    Cursor, Hint, Interest, LiveBus, LiveEvent, LiveMessage, MAX_LIVE_MESSAGE, MessagePlace,
    NodeId, Read,
};
use opencode_host::store::{Store, Tenant};
use opencode_host::{Host, SubmitOptions, Worker, WorkerOptions};
use opencode_impostor::{Impostor, Script, Step};
use opencode_sql::connect;
use sqlx::{Connection as _, Row as _};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::counted::Statements;
use crate::fixture::{PostgresDatabase, SqliteFile, clock, on_postgres, open};

const PATIENCE: Duration = Duration::from_secs(30);

fn turn() -> TurnId {
    TurnId::from_uuid(Uuid::new_v4())
}

fn at(generation: u64, number: u64) -> MessagePlace {
    MessagePlace { generation, number }
}

fn message(turn: TurnId, place: MessagePlace, text: &str) -> LiveMessage {
    LiveMessage::new(turn, place, text.to_owned())
}

fn bus(store: &Arc<dyn Store>) -> Arc<dyn LiveBus> {
    store.live_bus().unwrap()
}

#[tokio::test]
async fn messages_are_read_by_turn_from_where_a_node_was() {
    on_postgres(async |database| {
        let clock = clock();
        let (one, two) = (
            bus(&open(&database.url(), &clock).await),
            bus(&open(&database.url(), &clock).await),
        );
        let (a, b) = (turn(), turn());
        let sent = [
            message(a, at(1, 1), "a one"),
            message(b, at(3, 7), "b \u{1F600} \"x\"\\u0000"),
            message(a, at(1, 3), "a three"),
            message(a, at(2, 1), "a again"),
        ];
        one.publish(&sent).await.unwrap();
        // Who does not know whether it was sent sends it again.
        one.publish(&sent[..1]).await.unwrap();
        let read = async |turn, after| two.read(&[Read { turn, after }]).await.unwrap();
        let of_a = [&sent[0], &sent[2], &sent[3]].map(Clone::clone);
        assert_eq!(read(a, at(0, 0)).await, of_a);
        assert_eq!(read(a, at(1, 1)).await, of_a[1..]);
        assert_eq!(read(a, at(1, 9)).await, of_a[2..]);
        assert_eq!(read(a, at(2, 1)).await, []);
        let both = [a, b].map(|turn| Read {
            turn,
            after: at(1, 3),
        });
        assert_eq!(two.read(&both).await.unwrap().len(), 2);
        assert_eq!(two.read(&[]).await.unwrap(), []);
        clock.advance(Duration::from_secs(60));
        one.publish(&[message(a, at(2, 2), "a late")])
            .await
            .unwrap();
        two.sweep(Duration::from_secs(60)).await.unwrap();
        assert_eq!(read(a, at(0, 0)).await, [message(a, at(2, 2), "a late")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_keeps_every_promise() {
    on_postgres(async |database| {
        let one = bus(&connect(&database.url()).await.unwrap());
        let two = bus(&connect(&database.url()).await.unwrap());
        opencode_host::live::conformance::run(&*one, &*two).await;
    })
    .await;
}

#[tokio::test]
async fn who_watches_is_known_for_a_time() {
    on_postgres(async |database| {
        let clock = clock();
        let store = open(&database.url(), &clock).await;
        let bus = bus(&store);
        let (here, there) = (NodeId::random(), NodeId::random());
        let (a, b, c) = (turn(), turn(), turn());
        let of = |turn, asked| Interest { turn, asked };
        let minute = Duration::from_secs(60);
        bus.watch(there, &[of(a, 1), of(c, 1)], minute)
            .await
            .unwrap();
        bus.watch(here, &[of(a, 4)], minute).await.unwrap();
        let watched = async |turns: &[TurnId]| bus.watched(here, turns).await.unwrap();
        assert_eq!(watched(&[a, b]).await, [(there, of(a, 1))]);
        assert_eq!(bus.watched(there, &[a]).await.unwrap(), [(here, of(a, 4))]);
        clock.advance(minute / 2);
        bus.watch(there, &[of(a, 2)], minute).await.unwrap();
        clock.advance(minute / 2);
        assert_eq!(watched(&[a, b, c]).await, [(there, of(a, 2))]);
        clock.advance(minute / 2);
        assert_eq!(watched(&[a, b, c]).await, []);
        // It comes again.
        bus.watch(there, &[of(a, 3)], minute).await.unwrap();
        bus.sweep(minute).await.unwrap();
        assert_eq!(watched(&[a, b, c]).await, [(there, of(a, 3))]);
        let mut beside = database.connection().await;
        let rows = sqlx::query("SELECT count(*) FROM opencode_watched");
        let rows: i64 = rows.fetch_one(&mut beside).await.unwrap().get(0);
        assert_eq!(rows, 1);
        beside.close().await.unwrap();
    })
    .await;
}

/// Another program has written what no node writes.
#[tokio::test]
async fn a_message_that_is_too_large_stays_in_the_database() {
    on_postgres(async |database| {
        let store = connect(&database.url()).await.unwrap();
        let bus = bus(&store);
        let (a, b) = (turn(), turn());
        let mut beside = database.connection().await;
        for (place, bytes) in [(1, 10 << 20), (2, MAX_LIVE_MESSAGE as i64)] {
            let insert = "INSERT INTO opencode_live VALUES ($1, 1, $2, $3, repeat('x', $4))";
            sqlx::query(insert)
                .bind(a.to_string())
                .bind(place)
                .bind(i64::MAX)
                .bind(i32::try_from(bytes).unwrap())
                .execute(&mut beside)
                .await
                .unwrap();
        }
        beside.close().await.unwrap();
        bus.publish(&[message(b, at(1, 1), "unharmed")])
            .await
            .unwrap();
        let reads = [a, b].map(|turn| Read {
            turn,
            after: at(0, 0),
        });
        let mut found = bus.read(&reads).await.unwrap();
        found.sort_by_key(|message| (message.turn == b, message.place()));
        let sizes: Vec<_> = found
            .iter()
            .map(|message| message.text().map(str::len))
            .collect();
        assert_eq!(sizes, [Err(10 << 20), Ok(MAX_LIVE_MESSAGE), Ok(8)]);
    })
    .await;
}

#[tokio::test]
async fn a_node_hears_what_others_say() {
    on_postgres(async |database| {
        let store = connect(&database.url()).await.unwrap();
        let (listening, bus) = (bus(&store), bus(&store));
        let (sender, mut heard) = mpsc::unbounded_channel();
        let listening = tokio::spawn(async move {
            let heard = |hint| sender.send(hint).unwrap();
            listening.listen(&heard).await;
        });
        let mut next = async || timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
        // What came before may have been missed.
        assert_eq!(
            (next().await, next().await),
            (Hint::Published, Hint::Watched)
        );
        let a = turn();
        bus.publish(&[message(a, at(1, 1), "x")]).await.unwrap();
        assert_eq!(next().await, Hint::Published);
        let interest = Interest { turn: a, asked: 1 };
        bus.watch(NodeId::random(), &[interest], PATIENCE)
            .await
            .unwrap();
        assert_eq!(next().await, Hint::Watched);
        listening.abort();
    })
    .await;
}

/// A node with a worker, and one that watches.
struct Nodes {
    impostor: Impostor,
    worker: Worker,
    here: Host,
    there: Host,
}

impl Nodes {
    async fn new(database: &PostgresDatabase, steps: impl IntoIterator<Item = Step>) -> Self {
        let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
        let host = async || Host::builder(connect(&database.url()).await.unwrap()).build();
        let (here, there) = (host().await, host().await);
        let worker = Worker::builder(Client::builder(impostor.url()).build().unwrap())
            .options(WorkerOptions {
                // What comes elsewhere comes over the bus.
                snapshot_interval: Duration::from_secs(3600),
                ..WorkerOptions::default()
            })
            .shared_folder()
            .build(&here)
            .unwrap();
        Self {
            impostor,
            worker,
            here,
            there,
        }
    }

    async fn submit(&self) -> TurnId {
        let tenant = Tenant::default();
        let conversation = self
            .here
            .open_conversation(&tenant, "garden")
            .await
            .unwrap();
        let (prompt, options) = (Prompt::text("go"), SubmitOptions::default());
        let submitted = self.here.submit(conversation.id, prompt, options).await;
        submitted.unwrap().turn.id
    }
}

fn delta(event: Option<LiveEvent>) -> Option<String> {
    match event? {
        LiveEvent::Change { change, .. } => match &*change {
            Change::PartDelta { delta, .. } => Some(delta.to_string()),
            _ => Some(String::new()),
        },
        LiveEvent::Finished(_) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watcher_on_another_node_is_told_every_change() {
    on_postgres(async |database| {
        let chunks: Vec<_> = (0..300).map(|n| format!("{n} ")).collect();
        let steps = [
            Step::text("Begun. "),
            Step::gate("go"),
            Step::chunks(chunks.clone()),
        ];
        let nodes = Nodes::new(database, steps).await;
        let turn = nodes.submit().await;
        let shutdown = CancellationToken::new();
        let working = tokio::spawn({
            let (worker, shutdown) = (nodes.worker.clone(), shutdown.clone());
            async move { worker.run(shutdown).await }
        });
        let mut there = nodes.there.live(turn, Cursor::START).await.unwrap();
        let watching = async {
            let (mut text, mut deltas) = (String::new(), 0);
            while let Some(piece) = delta(there.try_next().await.unwrap()) {
                deltas += usize::from(!piece.is_empty());
                text.push_str(&piece);
                if text == "Begun. " {
                    nodes.impostor.gate("go").open();
                }
            }
            (text, deltas)
        };
        let (text, deltas) = timeout(PATIENCE, watching).await.unwrap();
        assert_eq!(text, format!("Begun. {}", chunks.concat()));
        assert_eq!(deltas, 301);
        shutdown.cancel();
        working.await.unwrap().unwrap();
    })
    .await;
}

/// What a view shows.
fn shown(view: &opencode_client::reply::View) -> String {
    let parts = view.parts().map(|part| match &part.part {
        PersistedPart::Text { content } => content.as_str(),
        _ => "",
    });
    parts.collect()
}

/// The database is gone for a while, with all that nodes have told each other.
#[tokio::test]
async fn a_database_that_forgets_what_nodes_said_costs_time_alone() {
    on_postgres(async |database| {
        let steps = [
            Step::text("One. "),
            Step::gate("two"),
            Step::text("Two. "),
            Step::gate("end"),
        ];
        let nodes = Nodes::new(database, steps).await;
        let turn = nodes.submit().await;
        let shutdown = CancellationToken::new();
        let working = tokio::spawn({
            let (worker, shutdown) = (nodes.worker.clone(), shutdown.clone());
            async move { worker.run(shutdown).await }
        });
        let mut views = nodes.there.views(turn, Cursor::START).await.unwrap();
        let mut until = async |text: &str| {
            let watching = async {
                loop {
                    let (_, view) = views.next().await.unwrap().unwrap();
                    if shown(&view) == text {
                        return;
                    }
                }
            };
            timeout(PATIENCE, watching).await.unwrap();
        };
        until("One. ").await;
        let mut beside = database.connection().await;
        let forget = "TRUNCATE opencode_live, opencode_watched";
        sqlx::query(forget).execute(&mut beside).await.unwrap();
        // Notifications do not come any more, on connections that were cut.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        sqlx::query(end).execute(&mut beside).await.unwrap();
        beside.close().await.unwrap();
        nodes.impostor.gate("two").open();
        until("One. Two. ").await;
        nodes.impostor.gate("end").open();
        shutdown.cancel();
        working.await.unwrap().unwrap();
    })
    .await;
}

/// 500 turns that another node runs, whose changes come as fast as a bus brings them.
#[tokio::test]
async fn five_hundred_watchers_cost_few_statements() {
    on_postgres(async |database| {
        let store = connect(&database.url()).await.unwrap();
        let mut turns = Vec::new();
        for number in 0..500 {
            let name = number.to_string();
            let conversation = store
                .open_conversation(&Tenant::default(), &name)
                .await
                .unwrap();
            let new = crate::fixture::new_turn(conversation.id);
            turns.push(store.submit(&new).await.unwrap().turn.id);
        }
        let host = Host::builder(connect(&database.url()).await.unwrap()).build();
        let mut watching = tokio::task::JoinSet::new();
        for turn in &turns {
            let mut live = host.live(*turn, Cursor::START).await.unwrap();
            watching.spawn(async move {
                let mut last = 0;
                while last < 100 {
                    match live.try_next().await.unwrap() {
                        Some(LiveEvent::Change { cursor, .. }) => {
                            assert_eq!(cursor.sequence, last + 1);
                            last += 1;
                        }
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        let ((statements, _counting), since) = (Statements::counted(), Instant::now());
        let bus = bus(&store);
        let mut pace = tokio::time::interval(Duration::from_millis(75));
        let change = r#"{"type":"part_delta","part_id":"p","kind":"text","delta":"some words "}"#;
        for number in 1..=100 {
            pace.tick().await;
            let text = format!(r#"1 {{"changes":{{"first":{number},"changes":[{change}]}}}}"#);
            let messages: Vec<_> = turns
                .iter()
                .map(|turn| message(*turn, at(1, number), &text))
                .collect();
            bus.publish(&messages).await.unwrap();
        }
        let all = async { while watching.join_next().await.transpose().unwrap().is_some() {} };
        timeout(PATIENCE, all).await.unwrap();
        let seconds = since.elapsed().as_secs_f64();
        let counts = statements.take();
        let statements = counts.values().sum::<usize>() as f64;
        assert!(statements > 100.0, "each publishing is one: {counts:?}");
        assert!(statements / seconds < 40.0, "{counts:?} in {seconds} s");
    })
    .await;
}

/// Without a bus it is a look for all, too.
#[tokio::test]
async fn processes_on_sqlite_look_for_all_their_watchers_at_once() {
    let file = SqliteFile::new();
    let store = connect(&file.url()).await.unwrap();
    assert!(store.live_bus().is_none());
    let conversation = store
        .open_conversation(&Tenant::default(), "garden")
        .await
        .unwrap();
    let turn = store
        .submit(&crate::fixture::new_turn(conversation.id))
        .await
        .unwrap()
        .turn
        .id;
    let host = Host::builder(connect(&file.url()).await.unwrap()).build();
    let mut live = host.live(turn, Cursor::START).await.unwrap();
    let claim = opencode_host::store::Claim::new("w", PATIENCE);
    let claimed = store.claim(&claim).await.unwrap().unwrap();
    let checkpoint: opencode_client::reply::Checkpoint = serde_json::from_value(
        serde_json::json!({"parts": [{"part": {"type": "text", "content": "Half"}}]}),
    )
    .unwrap();
    let progress = opencode_host::store::Progress {
        lease: &claimed.lease,
        streamed: opencode_host::store::Streamed::Whole(&checkpoint),
    };
    assert_eq!(store.save(&[progress]).await.unwrap(), []);
    let told = timeout(PATIENCE, live.try_next()).await.unwrap().unwrap();
    assert!(
        matches!(&told, Some(LiveEvent::Snapshot { view, .. }) if shown(view) == "Half"),
        "{told:?}"
    );
    store
        .delete_conversation(conversation.id, None)
        .await
        .unwrap();
    let told = timeout(PATIENCE, live.try_next()).await.unwrap().unwrap();
    assert!(matches!(told, Some(LiveEvent::Deleted)), "{told:?}");
}
