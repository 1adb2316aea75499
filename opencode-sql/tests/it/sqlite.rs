//! What is SQLite's own: its file, and what can be wrong with it.

use std::time::Duration;

use futures_util::StreamExt as _;
use opencode_client::wire::Prompt;
use opencode_host::store::conformance::Fixture as _;
use opencode_host::store::{ConversationFilter, Lane, Page, Store, StoreError, Take, Tenant};
use opencode_host::{Exported, Host, SubmitOptions};
use opencode_sql::{Dialect, connect, damage, describe};
use sqlx::Connection as _;

use crate::fixture::{SqliteFile, sqlite};

#[tokio::test]
async fn a_file_is_made_with_its_folder_and_found_again() {
    let file = SqliteFile::new();
    let path = file.path().parent().unwrap().join("a/b/host.db");
    let bare = path.to_str().unwrap();
    let made = connect(bare)
        .await
        .unwrap()
        .open_conversation(&Tenant::default(), "garden")
        .await
        .unwrap();
    let again = connect(&format!("sqlite://{bare}")).await.unwrap();
    assert_eq!(
        again
            .conversation_named(&Tenant::default(), "garden")
            .await
            .unwrap(),
        Some(made)
    );
}

#[tokio::test]
async fn databases_in_memory_are_separate() {
    let (one, two) = (
        connect("sqlite::memory:").await.unwrap(),
        connect("sqlite::memory:").await.unwrap(),
    );
    let here = one
        .open_conversation(&Tenant::default(), "garden")
        .await
        .unwrap();
    assert_eq!(
        two.conversation_named(&Tenant::default(), "garden")
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        one.conversation_named(&Tenant::default(), "garden")
            .await
            .unwrap(),
        Some(here)
    );
}

#[tokio::test]
async fn a_description_changes_nothing() {
    let file = SqliteFile::new();
    let before = describe(&file.url()).await.unwrap();
    assert_eq!(
        (before.dialect, before.schema, before.journal_mode),
        (Dialect::Sqlite, None, None)
    );
    assert!(
        before.engine_version.starts_with("3."),
        "{}",
        before.engine_version
    );
    assert!(!file.path().exists());
    let store = connect(&file.url()).await.unwrap();
    let after = describe(&file.url()).await.unwrap();
    assert_eq!(after.schema, Some(after.known_schema));
    assert_eq!(after.journal_mode.as_deref(), Some("wal"));
    assert_eq!(after.place, file.path().display().to_string());
    drop(store);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let file = SqliteFile::new();
    drop(connect(&file.url()).await.unwrap());
    let mut beside = file.connection().await;
    let newer = "INSERT INTO opencode_migrations (version, name) VALUES (99, 'newer')";
    sqlx::query(newer).execute(&mut beside).await.unwrap();
    beside.close().await.unwrap();
    let known = describe(&file.url()).await.unwrap().known_schema;
    match connect(&file.url()).await {
        Err(StoreError::NewerSchema {
            found: 99,
            known: told,
        }) => assert_eq!(told, known),
        other => panic!("{other:?}"),
    }
    assert_eq!(describe(&file.url()).await.unwrap().schema, Some(99));
}

async fn refused(url: &str) -> String {
    match connect(url).await {
        Err(StoreError::Configuration(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_database_is_told_as_such() {
    let file = SqliteFile::new();
    std::fs::write(
        file.path(),
        "Dear diary, today I was mistaken for a database. ".repeat(100),
    )
    .unwrap();
    let why = refused(&file.url()).await;
    assert!(
        why.contains("no SQLite database") && why.contains("host.db"),
        "{why}"
    );
    let below = format!("{}/host.db", file.url());
    let why = refused(&below).await;
    assert!(
        why.contains("folder") && why.contains("cannot be made"),
        "{why}"
    );
    let folder = file.path().parent().unwrap().display().to_string();
    let why = refused(&folder).await;
    assert!(why.contains("cannot be opened"), "{why}");
}

#[tokio::test]
async fn another_process_that_never_stops_writing_is_told_as_such() {
    let on = sqlite().await;
    let mut beside = on.database.connection().await;
    let writing = beside.begin_with("BEGIN IMMEDIATE").await.unwrap();
    match on
        .store()
        .open_conversation(&Tenant::default(), "garden")
        .await
    {
        Err(error @ StoreError::Unavailable(_)) => {
            assert!(error.is_transient());
            assert!(error.to_string().contains("another process"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    // Reading goes on meanwhile.
    assert_eq!(
        on.store()
            .conversation_named(&Tenant::default(), "garden")
            .await
            .unwrap(),
        None
    );
    writing.rollback().await.unwrap();
    on.store()
        .open_conversation(&Tenant::default(), "garden")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_broken_column_is_told_with_its_name() {
    let on = sqlite().await;
    let store = on.store();
    let conversation = store
        .open_conversation(&Tenant::default(), "garden")
        .await
        .unwrap();
    let mut beside = on.database.connection().await;
    let id = conversation.id.to_string();
    let broken = "UPDATE opencode_sessions SET session = '{\"id\": 7}' WHERE conversation = $1";
    sqlx::query(broken)
        .bind(&id)
        .execute(&mut beside)
        .await
        .unwrap();
    match store.conversation(conversation.id).await {
        Err(StoreError::Corrupt {
            table: "conversations",
            id: told,
            detail,
        }) => {
            assert_eq!(told, id);
            assert!(detail.starts_with("column session: "), "{detail}");
        }
        other => panic!("{other:?}"),
    }
}

/// Whether nothing is read from the store, nor written to it, and what is said about it.
async fn is_closed(store: &dyn Store, why: &str) {
    let told = [
        store.now().await.unwrap_err(),
        store
            .conversations(&ConversationFilter::default(), &Page::newest(1))
            .await
            .unwrap_err(),
        store
            .open_conversation(&Tenant::default(), "garden")
            .await
            .unwrap_err(),
        store
            .open_conversation(&Tenant::default(), "meadow")
            .await
            .unwrap_err(),
    ];
    for error in told {
        let StoreError::Unavailable(said) = error else {
            panic!("{error:?}")
        };
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn a_file_that_was_taken_away_is_not_written_to() {
    let file = SqliteFile::new();
    let store = connect(&file.url()).await.unwrap();
    store
        .open_conversation(&Tenant::default(), "garden")
        .await
        .unwrap();
    let (path, aside) = (file.path(), file.path().with_extension("aside"));
    std::fs::rename(&path, &aside).unwrap();
    is_closed(&*store, "was removed").await;
    assert!(!path.exists(), "no other one was made in its place");
    std::fs::copy(&aside, &path).unwrap();
    is_closed(&*store, "was replaced").await;
    std::fs::write(&path, "").unwrap();
    is_closed(&*store, "was replaced").await;
    // Back where it was, it goes on.
    std::fs::rename(&aside, &path).unwrap();
    store
        .open_conversation(&Tenant::default(), "meadow")
        .await
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    is_closed(&*store, "was removed").await;
}

#[tokio::test]
async fn damage_is_found_and_nothing_is_changed() {
    let file = SqliteFile::new();
    assert_eq!(damage(&file.url()).await.unwrap(), [""; 0]);
    assert!(!file.path().exists());
    let store = connect(&file.url()).await.unwrap();
    for name in 0..500 {
        store
            .open_conversation(&Tenant::default(), &format!("a name {name}"))
            .await
            .unwrap();
    }
    drop(store);
    let mut beside = file.connection().await;
    let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
    checkpoint.execute(&mut beside).await.unwrap();
    beside.close().await.unwrap();
    assert_eq!(damage(&file.url()).await.unwrap(), [""; 0]);

    let sound = std::fs::read(file.path()).unwrap();
    let pages = sound.len() / 4096;
    let mut spoilt = sound.clone();
    spoilt[4096 * (pages - 1)..].fill(0xA5);
    let mut beginning = sound.clone();
    beginning[100..4096].fill(0xA5);
    let cut = sound[..4096 * (pages / 2)].to_vec();
    let other = b"a letter, and not a database at all".repeat(200);
    for (what, bytes) in [
        ("end", spoilt),
        ("beginning", beginning),
        ("half", cut),
        ("letter", other),
    ] {
        std::fs::write(file.path(), &bytes).unwrap();
        match damage(&file.url()).await {
            Ok(found) => assert!(!found.is_empty(), "{what}"),
            Err(StoreError::Unexpected(why) | StoreError::Configuration(why)) => {
                assert!(
                    why.contains("damaged") || why.contains("no SQLite"),
                    "{what}: {why}"
                );
            }
            Err(error) => panic!("{what}: {error:?}"),
        }
        assert!(std::fs::read(file.path()).unwrap() == bytes, "{what}");
    }
}

#[tokio::test]
async fn a_new_database_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/host.db");
    let store = connect(path.to_str().unwrap()).await.unwrap();
    store
        .open_conversation(&Tenant::default(), "c")
        .await
        .unwrap();
    for beside in ["host.db", "host.db-wal", "host.db-shm"] {
        assert_eq!(mode(&path.with_file_name(beside)), 0o600, "{beside}");
    }
    for made in ["a", "a/b"] {
        assert_eq!(mode(&folder.path().join(made)), 0o700, "{made}");
    }
    drop(store);
    // Whoever shares a database on purpose has said so.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).unwrap();
    connect(path.to_str().unwrap()).await.unwrap();
    assert_eq!(mode(&path), 0o660);
}

#[tokio::test]
async fn an_export_tells_what_cannot_be_read_and_goes_on() {
    let file = SqliteFile::new();
    let store = connect(&file.url()).await.unwrap();
    let host = Host::builder(store).build();
    let tenant = Tenant::default();
    let conversation = host.open_conversation(&tenant, "garden").await.unwrap().id;
    let mut turns = Vec::new();
    for text in ["one", "two", "three"] {
        let prompt = Prompt::text(text);
        let submitted = host.submit(conversation, prompt, SubmitOptions::default());
        turns.push(submitted.await.unwrap().turn);
    }
    let mut beside = file.connection().await;
    for (damage, id) in [
        (
            "UPDATE opencode_messages SET parts = '{' WHERE id = ",
            turns[0].user_message.to_string(),
        ),
        (
            "UPDATE opencode_turns SET prompt = '{' WHERE id = ",
            turns[1].id.to_string(),
        ),
    ] {
        let damage = sqlx::AssertSqlSafe(format!("{damage}'{id}'"));
        sqlx::raw_sql(damage).execute(&mut beside).await.unwrap();
    }
    let export = host.export(conversation).await.unwrap().unwrap();
    let told: Vec<_> = export
        .map(|record| match record {
            Ok(Exported::Conversation { .. }) => "conversation".to_owned(),
            Ok(Exported::Turn { .. }) => "turn".to_owned(),
            Ok(Exported::Message { message }) => message.role.to_string(),
            Ok(other) => panic!("{other:?}"),
            Err(StoreError::Corrupt { table, .. }) => format!("unreadable: {table}"),
            Err(error) => panic!("{error:?}"),
        })
        .collect()
        .await;
    let expected = [
        "conversation",
        "unreadable: messages",
        "turn",
        "assistant",
        "unreadable: turns",
        "user",
        "assistant",
        "turn",
        "user",
        "assistant",
    ];
    assert_eq!(told, expected);
}

/// As one that a newer version has noted.
#[tokio::test]
async fn an_effect_that_cannot_be_read_is_told_and_holds_up_no_other() {
    let file = SqliteFile::new();
    let store = connect(&file.url()).await.unwrap();
    let (any, lease) = (Take::Due(&Lane::DELETIONS), Duration::from_secs(60));
    assert_eq!(store.take_effect(any, lease).await.unwrap(), None);
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let made = store.open_conversation(&Tenant::default(), name).await;
        let id = made.unwrap().id;
        store.delete_conversation(id, None).await.unwrap().unwrap();
        ids.push(id.to_string());
    }
    let odd = "UPDATE opencode_effects SET kind = '{\"kind\":\"bill\"}', due_at = 1 WHERE id = ";
    let odd = sqlx::AssertSqlSafe(format!("{odd}'{}'", ids[0]));
    let mut beside = file.connection().await;
    sqlx::raw_sql(odd).execute(&mut beside).await.unwrap();
    let told = store.take_effect(any, lease).await.unwrap_err();
    assert!(
        matches!(&told, StoreError::Corrupt { table: "effects", id, .. } if *id == ids[0]),
        "{told:?}"
    );
    let taken = store.take_effect(any, lease).await.unwrap().unwrap();
    assert_eq!(taken.id.to_string(), ids[1]);
    assert_eq!(store.take_effect(any, lease).await.unwrap(), None);
}
