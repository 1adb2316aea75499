//! A server that is gone, and one that comes back.

use opencode_host::blobs::Blobs;
use opencode_host::live::Cursor;
use opencode_host::outcome::Reason;
use opencode_host::sandbox::SandboxRoot;
use opencode_impostor::Calls;

use super::*;

/// Shows this much and waits; what comes behind says back what it was asked.
async fn halting(text: &str) -> Impostor {
    let script = Script::new()
        .on(
            "hold",
            [
                Step::text(text),
                Step::gate("hold"),
                Step::text(" and more"),
            ],
        )
        .otherwise([Step::Echo]);
    Impostor::scripted(script).await.unwrap()
}

/// Waits until a turn's text is in its row.
async fn kept(on: &Place, turn: TurnId, text: &str) {
    until(async || {
        let row = on.store.turn(turn).await.unwrap().unwrap();
        format!("{:?}", row.checkpoint).contains(text)
    })
    .await;
}

/// What the fresh session of a conversation was told before.
fn transcript(node: &Node, result: &TurnResult) -> String {
    let ledger = node.impostor.ledger();
    let notes = ledger.notes(result.session.as_ref().unwrap().as_str());
    assert_eq!(notes.len(), 1, "{notes:?}");
    notes[0].text.clone()
}

/// The whole machine of a server dies, its worker with it: what ran there ends with what had come, what was queued there
/// goes on elsewhere, and nothing runs twice.
#[tokio::test]
async fn what_a_gone_server_had_to_do_is_done_elsewhere() {
    let on = Place::new();
    let a = on.node(halting("Half an answer").await, named("a"));
    on.heard("a").await;
    let (busy, queued, idle) = (
        on.open("busy").await,
        on.open("queued").await,
        on.open("idle").await,
    );
    for conversation in [busy, queued, idle] {
        assert_completed(
            &on.turn(conversation, "What is a marmot?").await,
            "What is a marmot?",
        );
    }
    let running = on.submit(busy, "hold").await;
    kept(&on, running, "Half an answer").await;
    let behind = on.submit(busy, "behind").await;
    let mut live = on.front.views(running, Cursor::START).await.unwrap();

    let b = on.node(echoing().await, named("b"));
    on.heard("b").await;
    let away = a.killed().await;
    away.kill().await;
    let waiting = on.submit(queued, "waiting").await;
    assert_eq!(
        on.placed_on(queued).await,
        Some(name("a")),
        "it is not gone yet"
    );
    on.lose("a", "b").await;

    let interrupted = on.result(running).await;
    assert_eq!(
        (
            interrupted.status,
            interrupted.answer.reason,
            &*interrupted.answer.content
        ),
        (
            TurnStatus::Error,
            Some(Reason::Interrupted),
            "Half an answer"
        )
    );
    // Who watched it is told so.
    let watching = async {
        use futures_util::StreamExt as _;
        while live.next().await.is_some() {}
    };
    tokio::time::timeout(PATIENCE, watching).await.unwrap();
    let after = on.result(behind).await;
    assert_completed(&after, "behind");
    let told = transcript(&b, &after);
    assert!(
        told.contains("What is a marmot?") && told.contains("Half an answer"),
        "{told}"
    );
    let next = on.result(waiting).await;
    assert_completed(&next, "waiting");
    assert!(transcript(&b, &next).contains("What is a marmot?"));
    assert_eq!(b.prompts("hold"), 0, "nothing runs twice");
    for conversation in [busy, queued] {
        assert_eq!(on.placed_on(conversation).await, Some(name("b")));
    }
    // One without anything to be done stays until there is.
    assert_eq!(on.placed_on(idle).await, Some(name("a")));
    let later = on.turn(idle, "And a badger?").await;
    assert_completed(&later, "And a badger?");
    assert!(transcript(&b, &later).contains("What is a marmot?"));

    let moved = b.recorder.named("conversation.moved");
    let ids: std::collections::BTreeSet<_> = moved
        .iter()
        .map(|moved| moved["conversation"].clone().to_string())
        .collect();
    let expected = [busy, queued, idle].map(|id| format!("\"{id}\""));
    assert_eq!(ids, expected.into_iter().collect());
    assert!(moved.iter().all(|moved| moved["from"] == "a"));
    let gone = b.recorder.named("server.gone");
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0]["server"], "a");
    let reports = b.recorder.named("reported");
    let said = |report: &serde_json::Map<_, serde_json::Value>| {
        report["error"]
            .as_str()
            .unwrap()
            .contains("the OpenCode server a has not answered")
    };
    assert_eq!(
        reports.iter().filter(|report| said(report)).count(),
        1,
        "{reports:?}"
    );
    b.stop().await.assert_clean();
}

/// The server dies and its worker does not, which writes nothing more then.
#[tokio::test]
async fn a_worker_whose_server_is_gone_writes_nothing_more() {
    let on = Place::new();
    let a = on.node(halting("Half").await, named("a"));
    on.heard("a").await;
    let busy = on.open("busy").await;
    let running = on.submit(busy, "hold").await;
    kept(&on, running, "Half").await;
    let b = on.node(echoing().await, named("b"));
    on.heard("b").await;
    // It sends no more, and answers nobody; the agent's work there goes on.
    let faults = a.impostor.faults();
    let silent = faults.lose_request("GET /global/health", Calls::All);
    on.lose("a", "b").await;
    let interrupted = on.result(running).await;
    assert_eq!(interrupted.answer.reason, Some(Reason::Interrupted));
    until(async || a.recorder.count("turn.finished") + b.recorder.count("turn.finished") > 0).await;
    assert_eq!(a.recorder.count("turn.finished"), 0);
    let session = interrupted.session.unwrap();
    assert!(a.impostor.ledger().is_busy(session.as_str()));
    assert_completed(&on.turn(busy, "on b").await, "on b");

    // It is back: what was left there is stopped and deleted, before it takes anything.
    let deleting = faults.lose_request("DELETE /session/:id", Calls::All);
    faults.remove(silent);
    until(async || a.impostor.ledger().count("DELETE /session/:id") > 0).await;
    assert_eq!(
        on.load("a").await.unwrap().server.state(),
        ServerState::Gone
    );
    assert!(
        !a.impostor.ledger().is_busy(session.as_str()),
        "it was aborted"
    );
    faults.remove(deleting);
    until(async || {
        // The pause before the next try goes by.
        on.clock.advance(Duration::from_millis(100));
        on.load("a").await.unwrap().server.state() == ServerState::Ready
    })
    .await;
    assert_eq!(a.sessions(), 0);
    assert_eq!(
        on.placed_on(busy).await,
        Some(name("b")),
        "it stays where it is now"
    );
    assert_eq!(a.recorder.count("server.returned"), 1);
    on.front.drain_server(&name("b")).await.unwrap();
    let new = on.open("new").await;
    assert_completed(&on.turn(new, "on a").await, "on a");
    assert_eq!(on.placed_on(new).await, Some(name("a")));
    for node in [a, b] {
        node.stop().await;
    }
}

/// A conversation that nobody had anything to do for meanwhile finds its server back, with its session.
#[tokio::test]
async fn an_idle_conversation_finds_its_server_back() {
    let on = Place::new();
    let a = on.node(echoing().await, named("a"));
    on.heard("a").await;
    let conversation = on.open("test").await;
    let first = on.turn(conversation, "one").await;
    let b = on.node(echoing().await, named("b"));
    on.heard("b").await;
    let silent = a
        .impostor
        .faults()
        .lose_request("GET /global/health", Calls::All);
    on.lose("a", "b").await;
    a.impostor.faults().remove(silent);
    until(async || on.load("a").await.unwrap().server.state() == ServerState::Ready).await;
    let second = on.turn(conversation, "two").await;
    assert_completed(&second, "two");
    assert_eq!(second.session, first.session);
    assert_eq!(on.placed_on(conversation).await, Some(name("a")));
    for node in [a, b] {
        assert_eq!(node.recorder.count("conversation.moved"), 0);
        node.stop().await.assert_clean();
    }
}

/// All servers are silent, as when the network or the machine was away: none is gone.
#[tokio::test]
async fn nobody_calls_another_gone_that_has_not_heard_from_its_own() {
    let on = Place::new();
    let a = on.node(echoing().await, named("a"));
    let b = on.node(echoing().await, named("b"));
    for server in ["a", "b"] {
        on.heard(server).await;
    }
    let nodes = [&a, &b];
    let silent = nodes.map(|node| {
        let faults = node.impostor.faults();
        faults.lose_request("GET /global/health", Calls::All)
    });
    let asked = nodes.map(|node| node.impostor.ledger().count("GET /global/health"));
    for (node, asked) in nodes.iter().zip(asked) {
        until(async || node.impostor.ledger().count("GET /global/health") > asked + 1).await;
    }
    on.clock.advance(10 * BOUND);
    // The first that answers again has heard nothing for as long.
    b.impostor.faults().remove(silent[1]);
    until(async || on.load("b").await.unwrap().server.heard_at == Some(on.clock.now())).await;
    a.impostor.faults().remove(silent[0]);
    until(async || on.load("a").await.unwrap().server.heard_at == Some(on.clock.now())).await;
    for node in [a, b] {
        assert_eq!(node.recorder.count("server.gone"), 0);
        node.stop().await;
    }
    for server in ["a", "b"] {
        assert_eq!(
            on.load(server).await.unwrap().server.state(),
            ServerState::Ready
        );
    }
}

/// The folder was on the other server's machine: the fresh session finds the conversation's files in a new one.
#[tokio::test]
async fn a_moved_conversation_finds_its_files() {
    let home = tempfile::tempdir().unwrap();
    let blobs = Blobs::in_folder(home.path().join("blobs")).unwrap();
    let root = |of: &str| SandboxRoot::open(home.path().join(of)).unwrap();
    let on_disk = |of: &str| {
        let (root, blobs) = (root(of), blobs.clone());
        |builder: Builder| builder.sandboxes(root).blobs(blobs)
    };
    let on = Place::new();
    let steps = [
        Step::write_file("src/plan.md", "# Plan"),
        Step::text("Done."),
    ];
    let writing = Impostor::scripted(Script::always(steps)).await.unwrap();
    let a = on.node_with(writing, named("a"), on_disk("a"));
    on.heard("a").await;
    let id = on.open("moved").await;
    assert_completed(&on.turn(id, "plan").await, "Done.");
    let b = on.node_with(echoing().await, named("b"), on_disk("b"));
    on.heard("b").await;
    a.killed().await.kill().await;
    let next = on.submit(id, "go on").await;
    on.lose("a", "b").await;
    assert_completed(&on.result(next).await, "go on");
    let plan = root("b").path().join(id.to_string()).join("src/plan.md");
    assert_eq!(std::fs::read_to_string(plan).unwrap(), "# Plan");
    assert_eq!(b.recorder.count("sandbox.restored"), 1);
}
