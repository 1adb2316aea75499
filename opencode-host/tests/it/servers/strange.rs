//! A server that is not the one that its name says.

use super::*;

/// Two conversations of the server `a`, and another server.
async fn used(on: &Place) -> (Node, [ConversationId; 2], Node) {
    let a = on.node(echoing().await, named("a"));
    on.heard("a").await;
    let conversations = [on.open("one").await, on.open("two").await];
    for conversation in conversations {
        assert_completed(
            &on.turn(conversation, "What is a marmot?").await,
            "What is a marmot?",
        );
    }
    let b = on.node(echoing().await, named("b"));
    on.heard("b").await;
    (a, conversations, b)
}

async fn problem(on: &Place, server: &str) -> Option<String> {
    let problem = on.load(server).await.unwrap().server.problem;
    problem.map(|problem| problem.message)
}

/// The address of one server is given to another, or its data folder is an older one.
#[tokio::test]
async fn a_server_that_knows_none_of_its_sessions_is_not_worked_on() {
    let on = Place::new();
    let (a, [one, two], b) = used(&on).await;
    let right = a.stop().await;
    assert!(on.front.delete_conversation(two).await.unwrap());
    assert!(on.store.conversation(one).await.unwrap().is_some());
    let three = on.open("three").await;
    on.store.place(three, &name("a")).await.unwrap();
    // One session that it does not know is nothing: a person may have deleted it.
    assert_eq!(on.store.sessions_on(&name("a"), 9).await.unwrap().len(), 1);
    let again = on.node(right, named("a"));
    assert_completed(&on.turn(three, "three").await, "three");
    until(async || on.store.effects(9).await.unwrap().is_empty()).await;
    let right = again.stop().await;

    let wrong = on.node(echoing().await, named("a"));
    let waits = on.submit(one, "And a badger?").await;
    until(async || problem(&on, "a").await.is_some()).await;
    let told = problem(&on, "a").await.unwrap();
    let expected = format!(
        "the OpenCode server at {} does not know the sessions of the server a",
        wrong.impostor.url()
    );
    assert!(told.starts_with(&expected), "{told}");
    assert!(on.front.delete_conversation(three).await.unwrap());
    let other = on.open("other").await;
    assert_completed(&on.turn(other, "on b").await, "on b");
    assert_eq!(on.placed_on(other).await, Some(name("b")));
    let ledger = wrong.impostor.ledger();
    assert_eq!(
        (
            ledger.sessions_created(),
            ledger.count("DELETE /session/:id")
        ),
        (0, 0)
    );
    let reports = wrong.recorder.named("reported");
    let said = reports.iter().filter(|report| report["error"] == *told);
    assert_eq!(said.count(), 1, "{reports:?}");
    assert!(
        on.store
            .turn(waits)
            .await
            .unwrap()
            .unwrap()
            .prompted
            .is_none()
    );
    // The deletion waits; the hooks of the other turn do not.
    until(async || on.store.effects(9).await.unwrap().len() == 1).await;
    wrong.stop().await;

    // The right one again.
    let a = on.node(right, named("a"));
    let result = on.result(waits).await;
    assert_completed(&result, "And a badger?");
    until(async || on.store.effects(9).await.unwrap().is_empty()).await;
    assert_eq!(a.sessions(), 1);
    assert_eq!(a.recorder.count("session.carried_over"), 0);
    // What the other has said is forgotten in time.
    on.clock.advance(BOUND * 2);
    until(async || problem(&on, "a").await.is_none()).await;
    for node in [a, b] {
        node.stop().await.assert_clean();
    }
}

/// An operator says that it is a new one.
#[tokio::test]
async fn a_new_server_of_an_old_name_is_told_the_conversations() {
    let on = Place::new();
    let (a, [one, two], b) = used(&on).await;
    a.stop().await.kill().await;
    on.front.drain_server(&name("b")).await.unwrap();
    let new = on.node(echoing().await, named("a"));
    until(async || problem(&on, "a").await.is_some()).await;
    assert!(on.front.delete_conversation(two).await.unwrap());
    assert_eq!(on.front.forget_sessions(&name("a")).await.unwrap(), 1);
    assert!(on.front.forget_sessions(&name("c")).await.is_err());
    let result = on.turn(one, "And a badger?").await;
    assert_completed(&result, "And a badger?");
    let ledger = new.impostor.ledger();
    let notes = ledger.notes(result.session.unwrap().as_str());
    assert!(notes[0].text.contains("What is a marmot?"));
    until(async || on.store.effects(9).await.unwrap().is_empty()).await;
    assert_eq!(problem(&on, "a").await, None);
    // It was asked for sessions that it never had.
    new.stop().await;
    b.stop().await.assert_clean();
}

/// Two of them on one database, and nobody has given them names.
#[tokio::test]
async fn of_two_servers_of_one_name_one_works() {
    let on = Place::new();
    let first = on.node(echoing().await, ServerOptions::default());
    on.heard("default").await;
    let conversation = on.open("test").await;
    assert_completed(&on.turn(conversation, "one").await, "one");
    // It waits until it hears again of the one that it may be mistaken for.
    let second = on.node(echoing().await, ServerOptions::default());
    until(async || {
        on.clock.advance(Duration::from_millis(1));
        problem(&on, "default").await.is_some()
    })
    .await;
    let told = problem(&on, "default").await.unwrap();
    let (theirs, own) = (first.impostor.url(), second.impostor.url());
    let expected = format!(
        "two OpenCode servers answer to the name default: the one at {theirs}, and the one at {own},"
    );
    assert!(told.starts_with(&expected), "{told}");
    for number in 0..5 {
        let other = on.open(&number.to_string()).await;
        for conversation in [conversation, other] {
            let text = number.to_string();
            assert_completed(&on.turn(conversation, &text).await, &text);
        }
    }
    assert_eq!(second.impostor.ledger().sessions_created(), 0);
    assert_eq!(first.recorder.count("session.carried_over"), 0);
    second.stop().await;
    first.stop().await.assert_clean();
}

/// One server that two workers reach at two addresses is one.
#[tokio::test]
async fn one_server_may_have_two_addresses() {
    let on = Place::new();
    let impostor = echoing().await;
    let (one, two) = (Recorder::default(), Recorder::default());
    let (_, first) = on.build(&impostor, named("a"), &one, |builder| builder);
    let client = Client::builder(format!("http://localhost:{}", impostor.port()))
        .build()
        .unwrap();
    let second = Builder::new(client, Arc::clone(&on.store))
        .recorder(&two)
        .options(options())
        .worker(|worker| worker.server(named("a")))
        .shared_folder();
    let (_, second) = second.build().unwrap();
    let conversation = on.open("test").await;
    for (number, worker) in [&first, &second, &first, &second].into_iter().enumerate() {
        let turn = on.submit(conversation, &number.to_string()).await;
        let running = worker.run_turn(turn, CancellationToken::new());
        tokio::time::timeout(PATIENCE, running)
            .await
            .unwrap()
            .unwrap();
        assert_completed(&on.result(turn).await, &number.to_string());
    }
    assert_eq!(impostor.ledger().sessions_created(), 1);
    for recorder in [one, two] {
        let reports = recorder.named("reported");
        assert!(reports.is_empty(), "{reports:?}");
    }
    impostor.assert_clean();
}

/// The worker before has died, and its server with it: what is there now does not know the sessions, and is the only one.
#[tokio::test]
async fn a_server_that_has_lost_everything_goes_on_where_there_is_no_other() {
    let on = Place::new();
    let first = on.node(echoing().await, ServerOptions::default());
    on.heard("default").await;
    let conversation = on.open("test").await;
    assert_completed(
        &on.turn(conversation, "What is a marmot?").await,
        "What is a marmot?",
    );
    first.killed().await.kill().await;
    let second = on.node(echoing().await, ServerOptions::default());
    let turn = on.submit(conversation, "And a badger?").await;
    let ledger = |node: &Node| node.impostor.ledger().count("GET /session/:id");
    until(async || ledger(&second) > 1).await;
    assert_eq!(
        second.impostor.ledger().sessions_created(),
        0,
        "the other may be at work"
    );
    on.clock.advance(BOUND);
    assert_completed(&on.result(turn).await, "And a badger?");
    assert_eq!(second.recorder.count("session.carried_over"), 1);
    assert_eq!(problem(&on, "default").await, None);
    second.stop().await;
}
