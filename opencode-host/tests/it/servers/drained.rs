//! A server that drains.

use opencode_host::store::StoreError;

use super::*;

#[tokio::test]
async fn a_drained_server_goes_on_with_what_it_has() {
    let on = Place::new();
    let a = on.node(echoing().await, named("a"));
    on.heard("a").await;
    let old = on.open("old").await;
    assert_completed(&on.turn(old, "one").await, "one");
    on.front.drain_server(&name("a")).await.unwrap();
    let state = on.load("a").await.unwrap().server.state();
    assert_eq!(state, ServerState::Draining);
    assert_completed(&on.turn(old, "two").await, "two");
    let new = on.open("new").await;
    let waits = on.submit(new, "three").await;
    until(async || on.row(new).await.waits_for.is_some()).await;
    let why = on.row(new).await.waits_for.unwrap();
    assert_eq!(why, "any server: none is ready (a: draining)");
    let b = on.node(echoing().await, named("b"));
    assert_completed(&on.result(waits).await, "three");
    assert_eq!(on.placed_on(new).await, Some(name("b")));
    assert_completed(&on.turn(old, "four").await, "four");
    assert_eq!(on.placed_on(old).await, Some(name("a")));
    on.front.drain_server(&name("b")).await.unwrap();
    on.front.undrain_server(&name("a")).await.unwrap();
    let newest = on.open("newest").await;
    assert_completed(&on.turn(newest, "five").await, "five");
    assert_eq!(on.placed_on(newest).await, Some(name("a")));
    let unknown = on.front.drain_server(&name("c")).await;
    assert!(
        matches!(unknown, Err(StoreError::NotFound { what: "server", .. })),
        "{unknown:?}"
    );
    for node in [a, b] {
        node.stop().await.assert_clean();
    }
}

/// One that was drained and is switched off loses its conversations like any other.
#[tokio::test]
async fn a_drained_server_that_is_switched_off_is_gone() {
    let on = Place::new();
    let (a, b) = (on.node(echoing().await, named("a")), echoing().await);
    on.heard("a").await;
    let old = on.open("old").await;
    assert_completed(&on.turn(old, "one").await, "one");
    let b = on.node(b, named("b"));
    on.heard("b").await;
    on.front.drain_server(&name("a")).await.unwrap();
    a.stop().await.kill().await;
    on.lose("a", "b").await;
    assert_completed(&on.turn(old, "two").await, "two");
    assert_eq!(on.placed_on(old).await, Some(name("b")));
    assert_eq!(b.recorder.count("session.carried_over"), 1);
    b.stop().await.assert_clean();
}
