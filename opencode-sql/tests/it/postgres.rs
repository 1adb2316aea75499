//! What is Postgres' own: its clock, its row locks, its connections.

use std::sync::Arc;
use std::time::Duration;

use opencode_host::clock::Timestamp;
use opencode_host::store::{
    CancelOutcome, Claim, SessionLock, Store, StoreError, Swapped, Tenant, conformance,
};
use opencode_sql::{Dialect, Options, connect, connect_with, describe};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::fixture::{PostgresDatabase, new_turn, on_postgres, postgres_on};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn locked<'a>(store: &'a Arc<dyn Store>, name: &str) -> Box<dyn SessionLock + 'a> {
    let conversation = store
        .open_conversation(&Tenant::default(), name)
        .await
        .unwrap();
    store.lock_session(conversation.id, PATIENCE).await.unwrap()
}

/// Ends the connections that are in a transaction and wait for its next statement.
async fn end_idle_transactions(database: &PostgresDatabase) -> usize {
    let mut beside = database.connection().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND state = 'idle in transaction'";
    let ended = sqlx::query(end).fetch_all(&mut beside).await.unwrap().len();
    beside.close().await.unwrap();
    ended
}

#[tokio::test]
async fn leases_expire_by_the_clock_of_the_server() {
    on_postgres(async |database| {
        let store = connect(&database.url()).await.unwrap();
        let mut beside = database.connection().await;
        let before = server_time(&mut beside).await;
        let now = store.now().await.unwrap();
        let after = server_time(&mut beside).await;
        assert!(
            before <= now && now <= after,
            "{before:?} {now:?} {after:?}"
        );
    })
    .await;
}

async fn server_time(on: &mut PgConnection) -> Timestamp {
    let now = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
    Timestamp(sqlx::query(now).fetch_one(on).await.unwrap().get(0))
}

#[tokio::test]
async fn a_lock_ends_with_its_connection() {
    on_postgres(async |database| {
        let (holder, other) = (
            connect(&database.url()).await.unwrap(),
            connect(&database.url()).await.unwrap(),
        );
        let held = locked(&holder, "garden").await;
        assert_eq!(end_idle_transactions(database).await, 1);
        let next = locked(&other, "garden").await;
        assert_eq!(next.current(), None);
        let minted = session("ses_late");
        let late = held.set(&minted).await;
        assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
        assert_eq!(next.set(&session("ses_1")).await.unwrap(), Swapped::Yes);
        let stored = holder
            .conversation_named(&Tenant::default(), "garden")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(stored.session, Some(session("ses_1")));
    })
    .await;
}

#[tokio::test]
async fn a_holder_that_hangs_loses_the_lock() {
    on_postgres(async |database| {
        let options = Options::default().session_lock_limit(Duration::from_millis(300));
        let holder = connect_with(&database.url(), options).await.unwrap();
        let other = connect(&database.url()).await.unwrap();
        let held = locked(&holder, "garden").await;
        let next = locked(&other, "garden").await;
        assert!(matches!(
            held.set(&session("ses_late")).await,
            Err(StoreError::Unavailable(_))
        ));
        assert_eq!(next.set(&session("ses_1")).await.unwrap(), Swapped::Yes);
    })
    .await;
}

fn session(id: &str) -> opencode_host::store::SessionRecord {
    opencode_host::store::SessionRecord::new(id, 0)
}

#[tokio::test]
async fn locks_leave_connections_for_the_rest() {
    on_postgres(async |database| {
        let options = Options::default()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(5));
        let store = connect_with(&database.url(), options).await.unwrap();
        let (one, two) = (locked(&store, "one").await, locked(&store, "two").await);
        let third = store
            .open_conversation(&Tenant::default(), "three")
            .await
            .unwrap();
        let refused = store
            .lock_session(third.id, Duration::from_millis(100))
            .await;
        assert!(matches!(refused, Err(StoreError::LockTimeout)));
        drop(one);
        drop(store.lock_session(third.id, PATIENCE).await.unwrap());
        drop(two);
    })
    .await;
}

#[tokio::test]
async fn ended_connections_are_replaced() {
    on_postgres(async |database| {
        let store = connect(&database.url()).await.unwrap();
        store
            .open_conversation(&Tenant::default(), "garden")
            .await
            .unwrap();
        let mut beside = database.connection().await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert!(
            !sqlx::query(end)
                .fetch_all(&mut beside)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(
            store
                .conversation_named(&Tenant::default(), "garden")
                .await
                .unwrap()
                .is_some()
        );
        store
            .open_conversation(&Tenant::default(), "orchard")
            .await
            .unwrap();
    })
    .await;
}

/// Promises about many at once hold whatever the server's settings say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_isolation_of_the_server_changes_nothing() {
    let stricter = async || {
        let database = PostgresDatabase::new().await;
        database
            .set("default_transaction_isolation TO serializable")
            .await;
        postgres_on(database).await
    };
    let finishers = conformance::endings::one_of_many_finishers_wins;
    conformance::run("finishers", stricter().await, finishers).await;
    let submits = conformance::submits::a_client_key_is_one_turn_for_50_at_once;
    conformance::run("submits", stricter().await, submits).await;
}

/// A claim does not wait for a turn that another claim is about to take.
#[tokio::test]
async fn a_claim_passes_over_what_another_has_in_its_hands() {
    on_postgres(async |database| {
        let store = connect(&database.url()).await.unwrap();
        let mut turns = Vec::new();
        for name in ["one", "two"] {
            let conversation = store
                .open_conversation(&Tenant::default(), name)
                .await
                .unwrap();
            turns.push(
                store
                    .submit(&new_turn(conversation.id))
                    .await
                    .unwrap()
                    .turn
                    .id,
            );
        }
        let mut beside = database.connection().await;
        let mut theirs = beside.begin().await.unwrap();
        let lock = sqlx::query("SELECT id FROM opencode_turns WHERE id = $1 FOR UPDATE")
            .bind(turns[0].to_string());
        lock.fetch_one(&mut *theirs).await.unwrap();
        let claim = Claim::new("a", PATIENCE);
        assert_eq!(
            store.claim(&claim).await.unwrap().unwrap().turn.id,
            turns[1]
        );
        assert!(store.claim(&claim).await.unwrap().is_none());
        theirs.rollback().await.unwrap();
        assert_eq!(
            store.claim(&claim).await.unwrap().unwrap().turn.id,
            turns[0]
        );
    })
    .await;
}

/// The store's transaction that the server picks as the victim of a deadlock is
/// run again, and comes about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_survived() {
    on_postgres(async |database| {
        // A server looks for deadlocks when somebody has waited for this long.
        database.set("deadlock_timeout TO '3s'").await;
        let store = connect(&database.url()).await.unwrap();
        let conversation = store.open_conversation(&Tenant::default(), "garden").await.unwrap();
        let turn = new_turn(conversation.id);
        store.submit(&turn).await.unwrap();
        let mut beside = database.connection().await;
        sqlx::raw_sql("SET deadlock_timeout = '600s'").execute(&mut beside).await.unwrap();
        let mut theirs = beside.begin().await.unwrap();
        let update = |table: &str, id: String| format!("UPDATE {table} SET created_at = created_at WHERE id = '{id}'");
        let message = AssertSqlSafe(update("opencode_messages", turn.message.to_string()));
        sqlx::raw_sql(message).execute(&mut *theirs).await.unwrap();
        // The cancel locks the turn and then wants the message.
        let cancel = tokio::spawn(async move { store.request_cancel(turn.id, None).await });
        let waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let mut watch = database.connection().await;
        while sqlx::query(waiting).fetch_optional(&mut watch).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        let row = AssertSqlSafe(update("opencode_turns", turn.id.to_string()));
        sqlx::raw_sql(row).execute(&mut *theirs).await.unwrap();
        theirs.commit().await.unwrap();
        assert_eq!(cancel.await.unwrap().unwrap(), CancelOutcome::Cancelled);
    })
    .await;
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    on_postgres(async |database| {
        assert_eq!(describe(&database.url()).await.unwrap().schema, None);
        drop(connect(&database.url()).await.unwrap());
        let described = describe(&database.url()).await.unwrap();
        assert_eq!(
            (described.dialect, described.schema),
            (Dialect::Postgres, Some(described.known_schema))
        );
        let newer = "INSERT INTO opencode_migrations (version, name) VALUES (99, 'newer')";
        let mut beside = database.connection().await;
        sqlx::query(newer).execute(&mut beside).await.unwrap();
        match connect(&database.url()).await {
            Err(StoreError::NewerSchema { found: 99, known }) => {
                assert_eq!(known, described.known_schema)
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_without_the_password() {
    let database = PostgresDatabase::new().await;
    database.remove().await;
    let mut url: url::Url = database.url().parse().unwrap();
    url.set_password(Some("hunter2")).unwrap();
    match connect(url.as_str()).await {
        Err(StoreError::Configuration(why)) => {
            assert!(
                why.contains("create the database") && !why.contains("hunter2"),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("postgres://me:hunter2@127.0.0.1:{port}/host");
    let options = Options::default().acquire_timeout(Duration::from_millis(300));
    match connect_with(&url, options).await {
        Err(error @ StoreError::Unavailable(_)) => {
            let why = error.to_string();
            assert!(
                why.contains(&format!("127.0.0.1:{port}/host")) && !why.contains("hunter2"),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
}
