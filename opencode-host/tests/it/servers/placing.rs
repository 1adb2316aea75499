//! Where conversations are placed, and that their turns run there and nowhere else.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use opencode_host::placement::Placement;
use opencode_host::product::{HookError, Product, TurnContext};

use super::*;

/// Says where conversations go, as their names say.
struct ByName;

#[async_trait]
impl Product for ByName {
    async fn placement(&self, turn: &TurnContext) -> Result<Placement, HookError> {
        match turn.conversation.name.split_once(' ') {
            Some(("label", label)) => Ok(Placement::Label(label.parse()?)),
            Some(("server", name)) => Ok(Placement::Server(name.parse()?)),
            _ => Ok(Placement::Any),
        }
    }
}

#[tokio::test]
async fn a_conversation_is_answered_by_the_server_that_knows_it() {
    let on = Place::new();
    let a = on.node(echoing().await, named("a"));
    let b = on.node(echoing().await, named("b"));
    on.heard("a").await;
    on.heard("b").await;
    let mut conversations = Vec::new();
    for number in 0..6 {
        conversations.push(on.open(&number.to_string()).await);
    }
    for round in 0..3 {
        let mut turns = Vec::new();
        for (number, conversation) in conversations.iter().enumerate() {
            let text = format!("{number}, {round}");
            turns.push((on.submit(*conversation, &text).await, text));
        }
        for (turn, text) in turns {
            assert_completed(&on.result(turn).await, &text);
        }
    }
    for (number, conversation) in conversations.iter().enumerate() {
        let row = on.row(*conversation).await;
        let placed = row.server.clone().unwrap();
        assert_eq!(row.server_of_session(), Some(&placed));
        let session = row.session.unwrap().id;
        let (its, other) = if placed == name("a") {
            (&a, &b)
        } else {
            (&b, &a)
        };
        for round in 0..3 {
            let text = format!("{number}, {round}");
            assert_eq!((its.prompts(&text), other.prompts(&text)), (1, 0));
        }
        assert_eq!(its.impostor.messages(session.as_str()).len(), 6);
    }
    // Six that come at the same time are shared out.
    assert_eq!((a.sessions(), b.sessions()), (3, 3));
    for node in [a, b] {
        assert_eq!(node.recorder.count("session.carried_over"), 0);
        node.stop().await.assert_clean();
    }
}

#[tokio::test]
async fn a_product_says_where() {
    let on = Place::new();
    let with_product = |builder: Builder| builder.product(ByName);
    let gpu = named("a").labels(["gpu"]).unwrap();
    let a = on.node_with(echoing().await, gpu, with_product);
    let b = on.node_with(echoing().await, named("b"), with_product);
    for (conversation, server) in [("label gpu", "a"), ("server b", "b"), ("server a", "a")] {
        on.heard(server).await;
        let id = on.open(conversation).await;
        assert_completed(&on.turn(id, conversation).await, conversation);
        assert_eq!(on.placed_on(id).await, Some(name(server)));
    }
    // There is none yet.
    let waits = on.open("label eu").await;
    let turn = on.submit(waits, "eu").await;
    until(async || on.row(waits).await.waits_for.is_some()).await;
    let why = on.row(waits).await.waits_for.unwrap();
    assert_eq!(why, "a server with the label eu: there is none");
    // It holds up no other, whoever has asked.
    let other = on.open("other").await;
    assert_completed(&on.turn(other, "other").await, "other");
    let eu = named("c").labels(["eu"]).unwrap();
    let c = on.node_with(echoing().await, eu, with_product);
    assert_completed(&on.result(turn).await, "eu");
    let row = on.row(waits).await;
    assert_eq!((row.server, row.waits_for), (Some(name("c")), None));
    for node in [a, b, c] {
        node.stop().await.assert_clean();
    }
}

/// Fails the first times that it is asked.
struct Failing(AtomicUsize);

#[async_trait]
impl Product for Failing {
    async fn placement(&self, _: &TurnContext) -> Result<Placement, HookError> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Err("no database".into()),
            1 => panic!("a product's"),
            _ => Ok(Placement::Any),
        }
    }
}

#[tokio::test]
async fn a_product_that_fails_to_say_is_asked_again() {
    let on = Place::new();
    let failing = Failing(AtomicUsize::new(0));
    let node = on.node_with(echoing().await, named("a"), |builder| {
        builder.product(failing)
    });
    let conversation = on.open("test").await;
    let turn = on.submit(conversation, "go").await;
    until(async || !node.recorder.named("reported").is_empty()).await;
    assert_completed(&on.result(turn).await, "go");
    let reports = node.recorder.named("reported");
    let told = reports
        .iter()
        .filter(|report| report["action"] == "placement");
    assert_eq!(told.count(), 2, "{reports:?}");
    assert_eq!(on.row(conversation).await.waits_for, None);
    node.stop().await;
}

/// Keeps which attempt each question was of.
#[derive(Clone, Default)]
struct Recording(Arc<Mutex<Vec<u32>>>);

#[async_trait]
impl Product for Recording {
    async fn placement(&self, turn: &TurnContext) -> Result<Placement, HookError> {
        self.0.lock().unwrap().push(turn.attempt);
        Ok(Placement::Any)
    }
}

/// A host with one server, which it gives no name.
#[tokio::test]
async fn one_server_has_everything() {
    let on = Place::new();
    let recording = Recording::default();
    let product = recording.clone();
    let node = on.node_with(echoing().await, ServerOptions::default(), |builder| {
        builder.product(product)
    });
    let conversation = on.open("test").await;
    for text in ["one", "two"] {
        assert_completed(&on.turn(conversation, text).await, text);
    }
    assert_eq!(
        on.placed_on(conversation).await,
        Some(ServerName::default())
    );
    // Asked once, before the first turn was claimed.
    assert_eq!(*recording.0.lock().unwrap(), [0]);
    let load = on.load("default").await.unwrap();
    assert_eq!(load.server.address, node.impostor.url());
    // Nobody says that it is gone.
    let impostor = node.impostor.url();
    assert!(impostor.starts_with("http://"));
    node.impostor.kill().await;
    for _ in 0..20 {
        on.clock.advance(BOUND);
    }
    assert_eq!(
        on.load("default").await.unwrap().server.state(),
        ServerState::Ready
    );
    node.stop().await;
}

/// What is deleted is deleted on its own server, whoever has the deletion noted.
#[tokio::test]
async fn a_deletion_is_done_on_the_conversations_server() {
    let on = Place::new();
    let with_product = |builder: Builder| builder.product(ByName);
    let a = on.node_with(echoing().await, named("a"), with_product);
    let b = on.node_with(echoing().await, named("b"), with_product);
    on.heard("a").await;
    on.heard("b").await;
    let mut ids = Vec::new();
    for server in ["server a", "server b"] {
        let id = on.open(server).await;
        on.turn(id, "go").await;
        ids.push(id);
    }
    assert_eq!((a.sessions(), b.sessions()), (1, 1));
    assert!(b.host.delete_conversation(ids[0]).await.unwrap());
    until(async || a.sessions() == 0).await;
    assert_eq!(b.impostor.ledger().count("DELETE /session/:id"), 0);
    // That server is away: the other's worker does not take it for done.
    b.shutdown.cancel();
    let faults = b.impostor.faults();
    faults.lose_request("DELETE /session/:id", opencode_impostor::Calls::All);
    let b = b.stop().await;
    assert!(a.host.delete_conversation(ids[1]).await.unwrap());
    // The first one of this name was deleted.
    let id = on.open("server a").await;
    assert_completed(&on.turn(id, "on a").await, "on a");
    assert!(a.host.delete_conversation(id).await.unwrap());
    until(async || a.sessions() == 0).await;
    until(async || on.store.effects(9).await.unwrap().len() == 1).await;
    b.faults().clear();
    let b = on.node_with(b, named("b"), with_product);
    until(async || on.store.effects(9).await.unwrap().is_empty()).await;
    assert_eq!(b.sessions(), 0);
    assert_eq!(a.impostor.ledger().count("DELETE /session/:id"), 2);
    a.stop().await.assert_clean();
    b.stop().await.assert_clean();
}

/// A turn that somebody runs by itself, without a worker that goes on.
#[tokio::test]
async fn a_turn_that_is_run_by_itself_is_placed_too() {
    let on = Place::new();
    let impostor = echoing().await;
    let recorder = Recorder::default();
    let (_, worker) = on.build(&impostor, named("a"), &recorder, |builder| builder);
    let conversation = on.open("test").await;
    for text in ["one", "two"] {
        let turn = on.submit(conversation, text).await;
        let running = worker.run_turn(turn, CancellationToken::new());
        tokio::time::timeout(PATIENCE, running)
            .await
            .unwrap()
            .unwrap();
        assert_completed(&on.result(turn).await, text);
    }
    assert_eq!(on.placed_on(conversation).await, Some(name("a")));
    assert_eq!(recorder.count("conversation.placed"), 1);
    impostor.assert_clean();
}

/// Of two turns that a server has room for, the third waits for it.
#[tokio::test]
async fn a_server_has_as_many_turns_as_it_has_room_for() {
    let on = Place::new();
    let steps = [Step::gate("hold"), Step::text("Done.")];
    let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
    let two = named("a").capacity(std::num::NonZeroU32::new(2).unwrap());
    let node = on.node(impostor, two);
    on.heard("a").await;
    let mut turns = Vec::new();
    for number in 0..3 {
        // Two are placed before the third comes.
        until(async || on.load("a").await.unwrap().turns() == number).await;
        let id = on.open(&number.to_string()).await;
        turns.push((on.submit(id, "go").await, id));
    }
    until(async || on.row(turns[2].1).await.waits_for.is_some()).await;
    let why = on.row(turns[2].1).await.waits_for.unwrap();
    assert_eq!(why, "any server: none has room (a: ready, 2 of 2)");
    let load = on.load("a").await.unwrap();
    assert!(!load.has_room() && load.turns() == 2);
    node.impostor.gate("hold").open();
    for (turn, _) in turns {
        assert_completed(&on.result(turn).await, "Done.");
    }
    node.stop().await.assert_clean();
}
