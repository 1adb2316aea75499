//! Many at once, on one database.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use opencode_host::store::{ConversationFilter, Page, SessionRecord, Store, Tenant};
use opencode_sql::connect;

use crate::fixture::{SqliteFile, on_postgres};

/// Four stores, each as a process has its own, with 50 who want a session each:
/// one session is in the row in the end, and everybody knows it.
async fn two_hundred_mint_one_session(url: &str) {
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..4 {
        stores.push(connect(url).await.unwrap());
    }
    let conversation = stores[0]
        .open_conversation(&Tenant::default(), "garden")
        .await
        .unwrap()
        .id;
    let ensured = join_all((0..200).map(|number| {
        let store = stores[number % 4].clone();
        tokio::spawn(async move {
            let lock = store
                .lock_session(conversation, Duration::from_secs(60))
                .await
                .unwrap();
            if let Some(record) = lock.current() {
                return (false, record.clone());
            }
            let minted = SessionRecord::new(format!("ses_{number}"), 0);
            match lock.set(&minted).await.unwrap().other().unwrap() {
                None => (true, minted),
                Some(theirs) => (false, theirs),
            }
        })
    }));
    let ensured: Vec<_> = ensured.await.into_iter().map(|one| one.unwrap()).collect();
    assert_eq!(ensured.iter().filter(|(won, _)| *won).count(), 1);
    let stored = stores[0]
        .conversation(conversation)
        .await
        .unwrap()
        .unwrap()
        .session
        .unwrap();
    assert!(ensured.iter().all(|(_, session)| *session == stored));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_mint_one_session_on_sqlite() {
    let file = SqliteFile::new();
    two_hundred_mint_one_session(&file.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_mint_one_session_on_postgres() {
    on_postgres(async |database| two_hundred_mint_one_session(&database.url()).await).await;
}

/// Ten that start at once on an empty database all find its schema whole.
async fn ten_start_at_once(url: &str) {
    let stores = join_all((0..10).map(|number| {
        let url = url.to_owned();
        tokio::spawn(async move {
            let store = connect(&url).await.unwrap();
            store
                .open_conversation(&Tenant::default(), &number.to_string())
                .await
                .unwrap();
            store
        })
    }));
    for store in stores.await {
        assert!(
            store
                .unwrap()
                .conversation_named(&Tenant::default(), "0")
                .await
                .is_ok()
        );
    }
    assert_eq!(
        connect(url)
            .await
            .unwrap()
            .conversations(&ConversationFilter::default(), &Page::newest(20))
            .await
            .unwrap()
            .len(),
        10
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_start_at_once_on_sqlite() {
    let file = SqliteFile::new();
    ten_start_at_once(&file.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_start_at_once_on_postgres() {
    on_postgres(async |database| ten_start_at_once(&database.url()).await).await;
}
