//! All rows of a store, copied while it is written to, and a store made of them on either database.

use std::collections::BTreeMap;

use opencode_host::store::{StoreError, StoreResult, Tenant};
use opencode_sql::{Dialect, Dump, Options, Restore, describe, migrations};
use sqlx::Connection as _;

use crate::earlier::{self, SCHEMA_4, goes_on, is_read};
use crate::fixture::{SqliteFile, new_turn, on_postgres, open};

type Tables = BTreeMap<&'static str, Vec<String>>;

async fn read(mut dump: Dump) -> Tables {
    let mut tables = Tables::new();
    for table in Dump::tables() {
        let mut rows = Vec::new();
        let read = dump.rows::<StoreError>(table, |row| {
            rows.push(row);
            Ok(())
        });
        assert_eq!(read.await.unwrap() as usize, rows.len());
        rows.sort();
        tables.insert(table, rows);
    }
    tables
}

async fn dumped(url: &str) -> Tables {
    read(Dump::begin(url, &Options::default()).await.unwrap()).await
}

async fn begun(url: &str, schema: i64) -> StoreResult<Restore> {
    Restore::begin(url, &Options::default(), schema).await
}

async fn restored(url: &str, schema: i64, tables: &Tables) {
    let mut restore = begun(url, schema).await.unwrap();
    for table in Dump::tables() {
        for some in tables[table].chunks(3) {
            restore.insert(table, some).await.unwrap();
        }
    }
    restore.commit().await.unwrap();
}

fn refused<T: std::fmt::Debug>(outcome: StoreResult<T>) -> String {
    match outcome {
        Err(StoreError::Configuration(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A file of many kinds of rows, with what is hard to copy among them.
async fn source() -> SqliteFile {
    let file = SqliteFile::new();
    earlier::made(&file, SCHEMA_4).await;
    open(&file.url(), &earlier::clock()).await;
    let mut beside = file.connection().await;
    let odd = "UPDATE opencode_messages SET cost = 0.1 + 0.2, reasoning = 'ä \\0 \u{1}\"\u{2028}\n' \
               WHERE seq = (SELECT max(seq) FROM opencode_messages)";
    let odd = sqlx::raw_sql(odd).execute(&mut beside).await.unwrap();
    assert_eq!(odd.rows_affected(), 1);
    beside.close().await.unwrap();
    file
}

fn newest() -> i64 {
    let all = migrations(Dialect::Sqlite, &Options::default()).unwrap();
    all.last().unwrap().version
}

#[tokio::test]
async fn rows_are_the_same_on_the_other_database_and_back() {
    let file = source().await;
    let tables = dumped(&file.url()).await;
    let some = ["conversations", "turns", "messages", "answers", "servers"];
    assert!(some.iter().all(|table| !tables[table].is_empty()));
    let cost = |row: &String| row.contains(r#""cost":"0.30000000000000004""#);
    assert!(tables["messages"].iter().any(cost), "{tables:?}");
    on_postgres(async |database| {
        restored(&database.url(), newest(), &tables).await;
        assert_eq!(dumped(&database.url()).await, tables);
        let back = SqliteFile::new();
        restored(&back.url(), newest(), &dumped(&database.url()).await).await;
        assert_eq!(dumped(&back.url()).await, tables);
    })
    .await;
}

/// Its turns are read, taken over and ended, and new rows get numbers behind the old ones.
#[tokio::test]
async fn a_restored_store_goes_on() {
    let file = SqliteFile::new();
    earlier::made(&file, SCHEMA_4).await;
    open(&file.url(), &earlier::clock()).await;
    let tables = dumped(&file.url()).await;
    let elsewhere = SqliteFile::new();
    restored(&elsewhere.url(), newest(), &tables).await;
    let clock = earlier::clock();
    let store = open(&elsewhere.url(), &clock).await;
    is_read(&*store, SCHEMA_4).await;
    goes_on(&*store, &clock).await;
    on_postgres(async |database| {
        restored(&database.url(), newest(), &tables).await;
        let clock = earlier::clock();
        let store = open(&database.url(), &clock).await;
        is_read(&*store, SCHEMA_4).await;
        goes_on(&*store, &clock).await;
    })
    .await;
}

/// What is written while the rows are read is not among them: no table is of another moment than the others.
async fn is_of_one_moment(url: &str) {
    let store = open(url, &crate::fixture::clock()).await;
    let tenant = Tenant::default();
    let before = store.open_conversation(&tenant, "before").await.unwrap();
    store.submit(&new_turn(before.id)).await.unwrap();
    let dump = Dump::begin(url, &Options::default()).await.unwrap();
    let after = store.open_conversation(&tenant, "after").await.unwrap();
    store.submit(&new_turn(after.id)).await.unwrap();
    store.submit(&new_turn(before.id)).await.unwrap();
    let tables = read(dump).await;
    let counts = ["conversations", "turns", "messages"].map(|table| tables[table].len());
    assert_eq!(counts, [1, 1, 2]);
    let later = dumped(url).await;
    let counts = ["conversations", "turns", "messages"].map(|table| later[table].len());
    assert_eq!(counts, [2, 3, 6]);
}

#[tokio::test]
async fn rows_are_those_of_one_moment() {
    is_of_one_moment(&SqliteFile::new().url()).await;
    on_postgres(async |database| is_of_one_moment(&database.url()).await).await;
}

/// Rows of an earlier version come into the schema that they had, which is then brought up to date.
#[tokio::test]
async fn rows_of_an_earlier_schema_are_brought_up_to_date() {
    let file = SqliteFile::new();
    let mut connection = sqlx::SqliteConnection::connect(&format!("{}?mode=rwc", file.url()))
        .await
        .unwrap();
    for step in migrations(Dialect::Sqlite, &Options::default()).unwrap() {
        if step.version <= 9 {
            let step = sqlx::raw_sql(sqlx::AssertSqlSafe(step.sql));
            step.execute(&mut connection).await.unwrap();
        }
    }
    let rows = "INSERT INTO opencode_conversations (id, former_name, tenant, name, created_at, used_at) \
                VALUES ('01a0c450-0000-7000-8000-000000000001', 'x', 'acme', 'one', 5, 6); \
                INSERT INTO opencode_sessions VALUES ('01a0c450-0000-7000-8000-000000000001', '{\"id\":\"ses_1\"}');";
    sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let dump = Dump::begin(&file.url(), &Options::default()).await.unwrap();
    assert_eq!(dump.schema(), 9);
    let tables = read(dump).await;
    let elsewhere = SqliteFile::new();
    restored(&elsewhere.url(), 9, &tables).await;
    // Step 12 gives a conversation with a session a server: the rows were there by then.
    let (there, rows) = (
        describe(&elsewhere.url()).await.unwrap(),
        dumped(&elsewhere.url()).await,
    );
    assert_eq!(there.schema, Some(newest()));
    assert!(
        rows["conversations"][0].contains(r#""server":"default""#),
        "{rows:?}"
    );
    assert_eq!(rows["servers"].len(), 1);
    on_postgres(async |database| {
        restored(&database.url(), 9, &tables).await;
        let there = dumped(&database.url()).await;
        assert_eq!(there["conversations"], rows["conversations"]);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_overwritten_and_half_a_restore_is_none() {
    let file = source().await;
    let tables = dumped(&file.url()).await;
    let told = refused(begun(&file.url(), newest()).await);
    assert!(told.contains("has tables of this store already"), "{told}");
    let newer = begun(&SqliteFile::new().url(), newest() + 1).await;
    assert!(
        matches!(newer, Err(StoreError::NewerSchema { .. })),
        "{newer:?}"
    );

    let fresh = SqliteFile::new();
    let half = async |url: &str| {
        let mut restore = begun(url, newest()).await.unwrap();
        restore
            .insert("conversations", &tables["conversations"])
            .await
            .unwrap();
        let told = refused(restore.insert("conversations", &["{}".to_owned()]).await);
        assert!(
            told.contains("a row of conversations has 0 columns"),
            "{told}"
        );
        let told = refused(restore.insert("passwd", &[]).await);
        assert!(told.contains("no table \"passwd\""), "{told}");
    };
    half(&fresh.url()).await;
    let told = refused(Dump::begin(&fresh.url(), &Options::default()).await);
    assert!(told.contains("there is nothing to copy"), "{told}");
    restored(&fresh.url(), newest(), &tables).await;
    on_postgres(async |database| {
        half(&database.url()).await;
        restored(&database.url(), newest(), &tables).await;
        let told = refused(begun(&database.url(), newest()).await);
        assert!(told.contains("has tables of this store already"), "{told}");
    })
    .await;
    let nowhere = Dump::begin("sqlite:///nowhere/host.db", &Options::default()).await;
    let told = refused(nowhere);
    assert!(
        told.contains("there is no database /nowhere/host.db"),
        "{told}"
    );
}
