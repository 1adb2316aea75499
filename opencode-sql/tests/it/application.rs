//! A store in an application's own database: beside its tables and migrations, and in its transactions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use opencode_client::wire::Prompt;
use opencode_host::client::Client;
use opencode_host::clock::ManualClock;
use opencode_host::id::TurnId;
use opencode_host::store::conformance::Fixture;
use opencode_host::store::{OnBusy, Queue as _, Store, StoreError, Tenant};
use opencode_host::{Host, SubmitOptions, Worker, WorkerOptions};
use opencode_impostor::{Impostor, Script, Step};
use opencode_sql::{Dialect, LeaseClock, Options, from_pool, migrations};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, PgPool, Row as _, SqlSafeStr as _, SqlStr, SqlitePool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::fixture::{PostgresDatabase, SqliteFile, clock, new_turn, on_postgres};

/// How long what is to come at once may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// An application's own migrations: tables, an index and a version that a store without a prefix would have, too.
fn desk() -> Migrator {
    let step = |version, name: &'static str, sql: &'static str| {
        let sql = sql.into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(vec![
        step(
            1,
            "tickets",
            "CREATE TABLE tickets (id TEXT PRIMARY KEY, turn TEXT)",
        ),
        step(
            20_260_101_000_000,
            "turns",
            "CREATE TABLE turns (id TEXT PRIMARY KEY); CREATE INDEX turns_open ON turns (id)",
        ),
    ])
}

async fn on_sqlite_pool(test: impl AsyncFnOnce(SqlitePool)) {
    let file = SqliteFile::new();
    let url = format!("{}?mode=rwc", file.url());
    let pool = SqlitePool::connect(&url);
    test(pool.await.unwrap()).await;
}

async fn on_postgres_pool(test: impl AsyncFnOnce(PgPool)) {
    on_postgres(async |database| test(PgPool::connect(&database.url()).await.unwrap()).await).await;
}

fn why<T: std::fmt::Debug>(refused: Result<T, StoreError>) -> String {
    match refused {
        Err(StoreError::Configuration(why)) => why,
        other => panic!("{other:?}"),
    }
}

macro_rules! on_both {
    ($module:ident, $on:ident, $dialect:expr) => {
        mod $module {
            use super::*;

            #[tokio::test]
            async fn either_order_of_migrations_and_again() {
                for store_first in [true, false] {
                    $on(async |pool| {
                        for _ in 0..2 {
                            if store_first {
                                from_pool(pool.clone(), Options::default()).await.unwrap();
                            }
                            desk().run(&pool).await.unwrap();
                            let store = from_pool(pool.clone(), Options::default()).await.unwrap();
                            let store: &dyn Store = &store;
                            store
                                .open_conversation(&Tenant::default(), "garden")
                                .await
                                .unwrap();
                        }
                        let noted =
                            sqlx::query("SELECT CAST(count(*) AS BIGINT) FROM _sqlx_migrations");
                        assert_eq!(noted.fetch_one(&pool).await.unwrap().get::<i64, _>(0), 2);
                    })
                    .await;
                }
            }

            #[tokio::test]
            async fn the_row_and_the_turn_are_committed_together_or_not_at_all() {
                $on(async |pool| {
                    desk().run(&pool).await.unwrap();
                    let store = from_pool(pool.clone(), Options::default()).await.unwrap();
                    let host = Host::builder(Arc::new(store.clone())).build();
                    let conversation = host
                        .open_conversation(&Tenant::default(), "garden")
                        .await
                        .unwrap()
                        .id;
                    for commits in [false, true] {
                        let options = SubmitOptions {
                            client_key: Some("once".to_owned()),
                            ..SubmitOptions::default()
                        };
                        let prepared = host.prepare(conversation, Prompt::text("Hello"), options);
                        let prepared = prepared.await.unwrap();
                        let mut transaction = pool.begin().await.unwrap();
                        let ticket = sqlx::query("INSERT INTO tickets (id, turn) VALUES ('1', $1)");
                        let ticket = ticket.bind(prepared.id.to_string());
                        ticket.execute(&mut *transaction).await.unwrap();
                        let submitted = store.submit_in(&mut transaction, &prepared).await.unwrap();
                        assert!(submitted.created);
                        if commits {
                            transaction.commit().await.unwrap();
                            prepared.committed(&submitted);
                            host.wake();
                        } else {
                            transaction.rollback().await.unwrap();
                            drop(prepared);
                        }
                        let tickets = sqlx::query("SELECT id FROM tickets").fetch_all(&pool);
                        let turn = host.store().turn(submitted.turn.id).await.unwrap();
                        assert_eq!(
                            (tickets.await.unwrap().len(), turn.is_some()),
                            (usize::from(commits), commits)
                        );
                    }
                })
                .await;
            }

            #[tokio::test]
            async fn what_is_refused_leaves_a_transaction_that_goes_on() {
                $on(async |pool| {
                    desk().run(&pool).await.unwrap();
                    let store = from_pool(pool.clone(), Options::default()).await.unwrap();
                    let conversation = {
                        let store: &dyn Store = &store;
                        store
                            .open_conversation(&Tenant::default(), "garden")
                            .await
                            .unwrap()
                            .id
                    };
                    store.submit(&new_turn(conversation)).await.unwrap();
                    let mut transaction = pool.begin().await.unwrap();
                    let mut refused = new_turn(conversation);
                    refused.on_busy = OnBusy::Reject;
                    let busy = store.submit_in(&mut transaction, &refused).await;
                    assert!(matches!(busy, Err(StoreError::Busy { .. })), "{busy:?}");
                    refused.client_key = Some("k".repeat(1000));
                    let long = store.submit_in(&mut transaction, &refused).await;
                    assert!(matches!(long, Err(StoreError::TooLong { .. })), "{long:?}");
                    let ticket = sqlx::query("INSERT INTO tickets (id) VALUES ('1')");
                    ticket.execute(&mut *transaction).await.unwrap();
                    transaction.commit().await.unwrap();
                })
                .await;
            }

            #[tokio::test]
            async fn two_prefixes_have_nothing_to_do_with_each_other() {
                $on(async |pool| {
                    let one = from_pool(pool.clone(), Options::default().prefix("one_"));
                    let two = from_pool(pool.clone(), Options::default().prefix("two_"));
                    let (one, two) = (one.await.unwrap(), two.await.unwrap());
                    let (one, two): (&dyn Store, &dyn Store) = (&one, &two);
                    one.open_conversation(&Tenant::default(), "garden")
                        .await
                        .unwrap();
                    assert_eq!(
                        two.conversation_named(&Tenant::default(), "garden")
                            .await
                            .unwrap(),
                        None
                    );
                })
                .await;
            }

            #[tokio::test]
            async fn migrations_may_be_run_by_the_application() {
                $on(async |pool| {
                    let options = Options::default().prefix("a_").migrate(false);
                    let behind = why(from_pool(pool.clone(), options.clone()).await);
                    assert!(behind.contains("at version 0"), "{behind}");
                    for step in migrations($dialect, &options).unwrap() {
                        let step = sqlx::raw_sql(AssertSqlSafe(step.sql));
                        step.execute(&pool).await.unwrap();
                    }
                    let store = from_pool(pool.clone(), options).await.unwrap();
                    store.now().await.unwrap();
                })
                .await;
            }

            #[tokio::test]
            async fn what_cannot_be_is_told() {
                $on(async |pool| {
                    let open =
                        |prefix: &str| from_pool(pool.clone(), Options::default().prefix(prefix));
                    let told = why(open("my-").await);
                    assert!(told.contains("\"my-\" is no identifier"), "{told}");
                    let run = async |sql: &'static str| {
                        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
                    };
                    run("CREATE TABLE b_turns (id TEXT)").await;
                    let told = why(open("b_").await);
                    assert!(told.contains("has b_turns already"), "{told}");
                    run("CREATE TABLE c_migrations (name TEXT)").await;
                    let told = why(open("c_").await);
                    assert!(
                        told.contains("c_migrations is no table of this store's"),
                        "{told}"
                    );
                    open("d_").await.unwrap();
                    run("INSERT INTO d_migrations (version, name) VALUES (99, 'newer')").await;
                    let newer = open("d_").await;
                    assert!(
                        matches!(newer, Err(StoreError::NewerSchema { found: 99, .. })),
                        "{newer:?}"
                    );
                })
                .await;
            }
        }
    };
}

on_both!(sqlite, on_sqlite_pool, Dialect::Sqlite);
on_both!(postgres, on_postgres_pool, Dialect::Postgres);

/// A transaction that has only begun waits for the lock; one that has read what is old by now is told to begin again.
#[tokio::test]
async fn a_transaction_that_began_as_a_reader_is_told_to_begin_again() {
    let file = SqliteFile::new();
    let options = SqliteConnectOptions::new()
        .filename(file.path())
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let store = from_pool(pool.clone(), Options::default()).await.unwrap();
    let shared: &dyn Store = &store;
    let conversation = shared
        .open_conversation(&Tenant::default(), "garden")
        .await
        .unwrap()
        .id;
    let mut transaction = pool.begin().await.unwrap();
    let read = sqlx::query("SELECT * FROM opencode_turns");
    read.fetch_all(&mut *transaction).await.unwrap();
    shared
        .open_conversation(&Tenant::default(), "meadow")
        .await
        .unwrap();
    let turn = new_turn(conversation);
    match store.submit_in(&mut transaction, &turn).await {
        Err(error @ StoreError::Unavailable(_)) => {
            assert!(
                error.is_transient() && error.to_string().contains("BEGIN IMMEDIATE"),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
    transaction.rollback().await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    store.submit_in(&mut transaction, &turn).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(shared.turn(turn.id).await.unwrap().is_some());
}

/// The settings of the application's connections are its own: the store does not stand on them.
#[tokio::test]
async fn the_settings_of_a_pool_do_not_matter_but_for_those_that_are_told() {
    let file = SqliteFile::new();
    let options = SqliteConnectOptions::new()
        .filename(file.path())
        .create_if_missing(true)
        .foreign_keys(false)
        .busy_timeout(Duration::ZERO);
    let pool = SqlitePool::connect_with(options.clone()).await.unwrap();
    let store = from_pool(pool.clone(), Options::default()).await.unwrap();
    let shared: &dyn Store = &store;
    let conversation = shared
        .open_conversation(&Tenant::default(), "garden")
        .await
        .unwrap()
        .id;
    let turn = shared
        .submit(&new_turn(conversation))
        .await
        .unwrap()
        .turn
        .id;
    shared
        .delete_conversation(conversation, None)
        .await
        .unwrap();
    assert_eq!(shared.turn(turn).await.unwrap(), None);
    let mode = sqlx::query("PRAGMA journal_mode")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(mode.get::<String, _>(0), "delete");
    pool.close().await;

    let exclusive = options.locking_mode(sqlx::sqlite::SqliteLockingMode::Exclusive);
    let pool = SqlitePool::connect_with(exclusive).await.unwrap();
    let told = why(from_pool(pool, Options::default()).await);
    assert!(told.contains("locking_mode"), "{told}");

    let memory = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let told = why(from_pool(memory, Options::default()).await);
    assert!(told.contains("max_connections(1)"), "{told}");
    let one = SqlitePoolOptions::new().max_connections(1);
    let memory = one.connect("sqlite::memory:").await.unwrap();
    from_pool(memory, Options::default()).await.unwrap();
}

#[tokio::test]
async fn a_schema_is_there_and_is_used_whatever_the_search_path() {
    on_postgres_pool(async |pool| {
        let options = Options::default().schema("The desk");
        let told = why(from_pool(pool.clone(), options.clone()).await);
        assert!(told.contains("CREATE SCHEMA \"The desk\""), "{told}");
        sqlx::raw_sql("CREATE SCHEMA \"The desk\"")
            .execute(&pool)
            .await
            .unwrap();
        let there = from_pool(pool.clone(), options).await.unwrap();
        let here = from_pool(pool.clone(), Options::default()).await.unwrap();
        let (there, here): (&dyn Store, &dyn Store) = (&there, &here);
        there
            .open_conversation(&Tenant::default(), "garden")
            .await
            .unwrap();
        assert_eq!(
            here.conversation_named(&Tenant::default(), "garden")
                .await
                .unwrap(),
            None
        );
        sqlx::raw_sql("SET search_path TO nowhere")
            .execute(&pool)
            .await
            .unwrap();
        here.open_conversation(&Tenant::default(), "meadow")
            .await
            .unwrap();
        assert!(
            there
                .conversation_named(&Tenant::default(), "garden")
                .await
                .unwrap()
                .is_some()
        );
    })
    .await;
}

/// Another node hears of a turn with the commit, and not before.
#[tokio::test]
async fn another_node_hears_of_a_turn_at_its_commit() {
    on_postgres(async |database| {
        let pool = PgPool::connect(&database.url()).await.unwrap();
        let store = from_pool(pool.clone(), Options::default()).await.unwrap();
        let node = PgPool::connect(&database.url()).await.unwrap();
        let node = from_pool(node, Options::default()).await.unwrap();
        let conversation = {
            let store: &dyn Store = &store;
            store
                .open_conversation(&Tenant::default(), "garden")
                .await
                .unwrap()
                .id
        };
        let heard = Arc::new(Notify::new());
        let listening = tokio::spawn({
            let heard = Arc::clone(&heard);
            async move { node.listen(&|| heard.notify_one()).await }
        });
        // It listens now.
        heard.notified().await;
        let mut transaction = pool.begin().await.unwrap();
        store
            .submit_in(&mut transaction, &new_turn(conversation))
            .await
            .unwrap();
        assert!(heard.notified().now_or_never().is_none());
        transaction.commit().await.unwrap();
        tokio::time::timeout(PATIENCE, heard.notified())
            .await
            .unwrap();
        listening.abort();
    })
    .await;
}

/// Nodes that look for turns once an hour: what one submits, the other runs, for it hears of it.
#[tokio::test]
async fn a_turn_runs_on_another_node_at_once() {
    on_postgres(async |database| {
        let impostor = Impostor::scripted(Script::always([Step::Echo]));
        let impostor = impostor.await.unwrap();
        let node = PgPool::connect(&database.url()).await.unwrap();
        let node = from_pool(node, Options::default()).await.unwrap();
        let node = Host::builder(Arc::new(node)).build();
        let client = Client::builder(impostor.url()).build().unwrap();
        let options = WorkerOptions {
            poll_interval: Duration::from_secs(3600),
            ..WorkerOptions::default()
        };
        let worker = Worker::builder(client).options(options).shared_folder();
        let worker = worker.build(&node).unwrap();
        let shutdown = CancellationToken::new();
        let working = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { worker.run(shutdown).await }
        });
        let mut beside = database.connection().await;
        let listening = async {
            let listeners = "SELECT 1 FROM pg_stat_activity \
                             WHERE datname = current_database() AND query LIKE 'LISTEN %'";
            let mut heard = false;
            while !heard {
                let listeners = sqlx::query(listeners).fetch_optional(&mut beside);
                heard = listeners.await.unwrap().is_some();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listening).await.unwrap();

        let store = PgPool::connect(&database.url()).await.unwrap();
        let store = from_pool(store, Options::default()).await.unwrap();
        let host = Host::builder(Arc::new(store)).build();
        let conversation = host
            .open_conversation(&Tenant::default(), "garden")
            .await
            .unwrap()
            .id;
        // The last of them comes when the worker has long been waiting.
        for said in ["one", "two", "three"] {
            let options = SubmitOptions::default();
            let submitted = host.submit(conversation, Prompt::text(said), options);
            let settled = host.settled(submitted.await.unwrap().turn.id);
            let result = tokio::time::timeout(PATIENCE, settled).await;
            let result = result.expect("the other node has not heard of it");
            assert_eq!(result.unwrap().answer.content, said);
        }
        shutdown.cancel();
        working.await.unwrap().unwrap();
    })
    .await;
}

/// A store beside an application's tables, with another prefix.
struct InApplication<D> {
    database: D,
    url: String,
    options: Options,
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    /// Makes a row unreadable.
    spoil: &'static str,
}

async fn opened(url: &str, options: &Options) -> Arc<dyn Store> {
    if url.starts_with("sqlite") {
        let pool = SqlitePool::connect(&format!("{url}?mode=rwc"))
            .await
            .unwrap();
        desk().run(&pool).await.unwrap();
        Arc::new(from_pool(pool, options.clone()).await.unwrap())
    } else {
        let pool = PgPool::connect(url).await.unwrap();
        desk().run(&pool).await.unwrap();
        Arc::new(from_pool(pool, options.clone()).await.unwrap())
    }
}

async fn in_application<D>(
    database: D,
    url: String,
    options: Options,
    spoil: &'static str,
) -> InApplication<D> {
    let clock = clock();
    let options = options.clock(LeaseClock::Given(clock.clone()));
    let store = opened(&url, &options).await;
    InApplication {
        database,
        url,
        options,
        clock,
        store,
        spoil,
    }
}

async fn desk_on_sqlite() -> InApplication<SqliteFile> {
    let file = SqliteFile::new();
    let url = file.url();
    let spoil = "UPDATE agents_turns SET version = 99 WHERE id = $1";
    in_application(file, url, Options::default().prefix("agents_"), spoil).await
}

async fn desk_on_postgres() -> InApplication<PostgresDatabase> {
    let database = PostgresDatabase::new().await;
    let url = database.url();
    let spoil = "UPDATE opencode_turns SET version = 99 WHERE id = $1";
    in_application(database, url, Options::default(), spoil).await
}

async fn schema_on_postgres() -> InApplication<PostgresDatabase> {
    let database = PostgresDatabase::new().await;
    let url = database.url();
    let mut beside = database.connection().await;
    sqlx::raw_sql("CREATE SCHEMA agents")
        .execute(&mut beside)
        .await
        .unwrap();
    let spoil = "UPDATE agents.a_turns SET version = 99 WHERE id = $1";
    let options = Options::default().prefix("a_").schema("agents");
    in_application(database, url, options, spoil).await
}

macro_rules! fixture {
    ($database:ty, |$self:ident| $close:expr) => {
        #[async_trait::async_trait]
        impl Fixture for InApplication<$database> {
            fn store(&self) -> Arc<dyn Store> {
                self.store.clone()
            }

            fn clock(&self) -> &ManualClock {
                &self.clock
            }

            async fn another(&self) -> Arc<dyn Store> {
                opened(&self.url, &self.options).await
            }

            async fn make_unreadable(&self, turn: TurnId) -> bool {
                let spoil: SqlStr = self.spoil.into_sql_str();
                let mut beside = self.database.connection().await;
                let spoil = sqlx::query(spoil).bind(turn.to_string());
                let done = spoil.execute(&mut beside).await.unwrap();
                assert_eq!(done.rows_affected(), 1);
                true
            }

            async fn close(&self) {
                let $self = self;
                $close
            }
        }
    };
}

fixture!(SqliteFile, |_on| {});
fixture!(PostgresDatabase, |on| on.database.remove().await);

mod desk_on_sqlite {
    use super::desk_on_sqlite;

    opencode_host::store_conformance!(desk_on_sqlite());
}

mod desk_on_postgres {
    use super::desk_on_postgres;

    opencode_host::store_conformance!(desk_on_postgres());
}

mod schema_on_postgres {
    use super::schema_on_postgres;

    opencode_host::store_conformance!(schema_on_postgres());
}
