//! The lock under which a conversation's session is minted.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::Fixture;
use super::sample::{prompt, session};
use crate::clock::Clock as _;
use crate::id::ConversationId;
use crate::store::{Owed, SessionRecord, StoreError, Swapped, Tenant};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// While one holds the lock, no other of this process gets it; another
/// conversation's lock is free.
pub async fn one_holder_at_a_time(on: &dyn Fixture) {
    let store = on.store();
    let (one, two) = (on.open("one").await, on.open("two").await);
    let held = store.lock_session(one.id, PATIENCE).await.unwrap();
    assert_eq!(held.current(), None);
    let refused = store.lock_session(one.id, Duration::from_millis(50)).await;
    assert!(matches!(refused, Err(StoreError::LockTimeout)));
    drop(store.lock_session(two.id, PATIENCE).await.unwrap());
    // A submit does not wait for the mint.
    on.submit(&one, "Hello").await;
    drop(held);
}

/// Nobody waits for the lock longer than they said.
pub async fn the_wait_is_bounded(on: &dyn Fixture) {
    let store = on.store();
    let conversation = on.open("garden").await;
    let held = store.lock_session(conversation.id, PATIENCE).await.unwrap();
    let started = Instant::now();
    let wait = Duration::from_millis(200);
    let waiters = join_all((0..10).map(|_| {
        let store = &store;
        async move { store.lock_session(conversation.id, wait).await.err() }
    }));
    for refused in waiters.await {
        assert!(
            matches!(refused, Some(StoreError::LockTimeout)),
            "{refused:?}"
        );
    }
    let waited = started.elapsed();
    assert!(waited >= wait, "{waited:?}");
    assert!(waited < PATIENCE, "{waited:?}");
    drop(held);
}

/// A lock that is dropped, used or not, is free for whoever waits.
pub async fn dropping_the_lock_releases_it(on: &dyn Fixture) {
    let store = on.store();
    let conversation = on.open("garden").await;
    let held = store.lock_session(conversation.id, PATIENCE).await.unwrap();
    let waiting = on.store();
    let waiter = tokio::spawn(async move {
        waiting
            .lock_session(conversation.id, PATIENCE)
            .await
            .map(drop)
    });
    drop(held);
    waiter.await.unwrap().unwrap();
    let other = on.another().await;
    drop(other.lock_session(conversation.id, PATIENCE).await.unwrap());
}

/// A session that was set is there for everyone, and can be replaced.
pub async fn a_set_session_is_kept(on: &dyn Fixture) {
    let store = on.store();
    let conversation = on.open("garden").await;
    let first = SessionRecord {
        directory: Some("/tmp/\u{1F33B}\0\\".to_owned()),
        created_ms: 1_795_342_992_792,
        policy: Some("f00".to_owned()),
        ..session("ses_1")
    };
    let lock = store.lock_session(conversation.id, PATIENCE).await.unwrap();
    assert_eq!(lock.set(&first).await.unwrap(), Swapped::Yes);
    let other = on.another().await;
    let stored = other.conversation(conversation.id).await.unwrap().unwrap();
    assert_eq!(stored.session.as_ref(), Some(&first));
    let lock = other.lock_session(conversation.id, PATIENCE).await.unwrap();
    assert_eq!(lock.current(), Some(&first));
    assert_eq!(lock.set(&session("ses_2")).await.unwrap(), Swapped::Yes);
    let stored = on
        .store()
        .conversation_named(&Tenant::default(), "garden")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.session, Some(session("ses_2")));
    let ids = prompt("1", false).ids;
    let owing = [
        Owed::Transcript {
            ids: None,
            files: true,
        },
        Owed::Transcript {
            ids: Some(ids),
            files: false,
        },
        Owed::Replacement,
    ];
    for owed in owing.map(Some).into_iter().chain([None]) {
        let record = SessionRecord {
            owed,
            ..session("ses_2")
        };
        let lock = store.lock_session(conversation.id, PATIENCE).await;
        assert_eq!(lock.unwrap().set(&record).await.unwrap(), Swapped::Yes);
        let stored = other.conversation(conversation.id).await.unwrap().unwrap();
        assert_eq!(stored.session, Some(record));
    }
    let turn = on.submit(&conversation, "Hello").await;
    assert_eq!(
        on.claim_only(turn.id).await.unwrap().conversation.session,
        Some(session("ses_2"))
    );
}

/// Another process waits for the lock, or its [`set`](crate::store::SessionLock::set) loses: it learns the session
/// that is there and overwrites nothing.
pub async fn another_process_never_overwrites(on: &dyn Fixture) {
    let store = on.store();
    let conversation = on.open("garden").await;
    let other = on.another().await;
    let held = store.lock_session(conversation.id, PATIENCE).await.unwrap();
    let theirs = other
        .lock_session(conversation.id, Duration::from_millis(50))
        .await;
    assert_eq!(held.set(&session("ses_1")).await.unwrap(), Swapped::Yes);
    match theirs {
        Ok(theirs) => {
            assert_eq!(theirs.current(), None);
            let lost = theirs.set(&session("ses_2")).await.unwrap();
            assert_eq!(lost, Swapped::No(Some(Box::new(session("ses_1")))));
        }
        Err(StoreError::LockTimeout) => {
            let theirs = other.lock_session(conversation.id, PATIENCE).await.unwrap();
            assert_eq!(theirs.current(), Some(&session("ses_1")));
        }
        Err(error) => panic!("{error}"),
    }
    let stored = on
        .store()
        .conversation(conversation.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.session, Some(session("ses_1")));
}

/// Of 40 in two processes who mint at once, one puts its session into the row.
pub async fn many_mint_once(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let (here, there) = (on.store(), on.another().await);
    let minters = join_all((0..40).map(|number| {
        let store = if number % 2 == 0 {
            here.clone()
        } else {
            there.clone()
        };
        tokio::spawn(async move {
            let lock = store.lock_session(conversation.id, PATIENCE).await.unwrap();
            if lock.current().is_some() {
                return None;
            }
            let minted = session(&format!("ses_{number}"));
            let swapped = lock.set(&minted).await.unwrap();
            (swapped == Swapped::Yes).then_some(minted)
        })
    }));
    let won: Vec<_> = minters
        .await
        .into_iter()
        .filter_map(|minter| minter.unwrap())
        .collect();
    assert_eq!(won.len(), 1, "{won:?}");
    let stored = on
        .store()
        .conversation(conversation.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.session.as_ref(), won.first());
}

/// There is no session where there is no conversation, and none outlives it.
pub async fn a_deleted_conversation_has_no_session(on: &dyn Fixture) {
    let store = on.store();
    let unknown = ConversationId::from_uuid(on.clock().new_uuid());
    let refused = store.lock_session(unknown, PATIENCE).await.err();
    assert!(
        matches!(
            refused,
            Some(StoreError::NotFound {
                what: "conversation",
                ..
            })
        ),
        "{refused:?}"
    );

    let conversation = on.open("garden").await;
    let lock = store.lock_session(conversation.id, PATIENCE).await.unwrap();
    // The deletion may have to wait for the lock.
    let delete = async {
        store
            .delete_conversation(conversation.id, None)
            .await
            .unwrap()
    };
    let minted = session("ses_1");
    let (deleted, set) = tokio::join!(delete, lock.set(&minted));
    assert!(deleted.is_some());
    let as_agreed = matches!(
        set,
        Ok(Swapped::Yes)
            | Err(StoreError::NotFound {
                what: "conversation",
                ..
            })
    );
    assert!(as_agreed, "{set:?}");
    assert_eq!(store.conversation(conversation.id).await.unwrap(), None);
}
