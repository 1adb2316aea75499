//! Hooks, workers, sessions, recordings.

use std::sync::Mutex;

use opencode_client::wire::Prompt;
use opencode_host::blobs::Blobs;
use opencode_host::clock::{SystemClock, Timestamp};
use opencode_host::id::TurnId;
use opencode_host::live::LiveEvent;
use opencode_host::sandbox::SandboxRoot;
use opencode_host::store::NewTurn;

use super::*;
use opencode_host::store::Tenant;

#[derive(Debug)]
struct FailingHooks;

#[async_trait]
impl Product for FailingHooks {
    async fn on_finalized(
        &self,
        message: &Message,
        exchange: &Exchange,
        _: &Delivery,
    ) -> Result<(), HookError> {
        assert_eq!(
            message.status,
            MessageStatus::Completed,
            "the row is durable by now"
        );
        assert_eq!(exchange.messages.len(), 1);
        Err("no disk".into())
    }

    async fn on_turn_finished(&self, _: &TurnResult, _: &Delivery) -> Result<(), HookError> {
        panic!("a hook of the host's")
    }
}

#[tokio::test]
async fn hooks_that_fail_change_nothing() {
    let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]))
        .await
        .unwrap();
    let test = Hosting::with_product(impostor, FailingHooks).await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Completed, None, "Fine.");
    let errors = test.recorder.named("callback.error");
    let callbacks: Vec<_> = errors
        .iter()
        .map(|fields| fields["callback"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(callbacks, ["on_finalized", "on_turn_finished"]);
}

/// Writes down which turns its hooks were told of.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<(TurnId, TurnStatus)>>>);

#[async_trait]
impl Product for Told {
    async fn on_turn_finished(&self, result: &TurnResult, _: &Delivery) -> Result<(), HookError> {
        let told = (result.turn, result.status);
        self.0.lock().unwrap().push(told);
        Ok(())
    }
}

#[tokio::test]
async fn a_turn_cancelled_in_the_queue_has_its_hooks_run_once_by_a_worker() {
    let impostor = Impostor::scripted(Script::always([Step::Echo]))
        .await
        .unwrap();
    let product = Told::default();
    let test = Hosting::with_product(impostor, product.clone()).await;
    let turn = test.submit("never asked").await;
    let next = test.submit("go on").await;
    // As another process has it: no worker.
    let elsewhere = opencode_host::Host::builder(Arc::clone(&test.store)).build();
    let cancelled = elsewhere.cancel(turn, None).await.unwrap();
    assert_eq!(cancelled, CancelOutcome::Cancelled);
    let result = elsewhere.result(turn).await.unwrap().unwrap();
    assert_eq!(result.answer.content, "Cancelled before it started.");
    // Whoever watches it is told at once, and so is who watches from elsewhere.
    for host in [&elsewhere, &test.host] {
        let mut live = host.live(turn, Cursor::START).await.unwrap();
        let told = live.try_next().await.unwrap();
        assert!(matches!(told, Some(LiveEvent::Finished(_))), "{told:?}");
    }
    assert_eq!(product.0.lock().unwrap()[..], []);
    let settled = tokio::spawn({
        let elsewhere = elsewhere.clone();
        async move { elsewhere.settled(turn).await.unwrap() }
    });
    // The worker that is to run the next one settles it first.
    let working = test.work(next);
    test.finished(next, working).await;
    let result = tokio::time::timeout(PATIENCE, settled)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(result.duration, Duration::ZERO);
    let (ended, completed) = (TurnStatus::Cancelled, TurnStatus::Completed);
    let told = [(turn, ended), (next, completed)];
    assert_eq!(product.0.lock().unwrap()[..], told);
    assert_eq!(test.recorder.count("turn.finished"), 2);
    assert_eq!(test.impostor.ledger().prompt_posts().len(), 1);
    test.impostor.assert_clean();
}

#[tokio::test]
async fn a_turn_cancelled_in_the_queue_takes_no_file_of_another() {
    let home = tempfile::tempdir().unwrap();
    let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
    let blobs = Blobs::in_folder(home.path().join("blobs")).unwrap();
    let impostor = Impostor::start().await.unwrap();
    let test = Hosting::with(impostor, quick(), |builder| {
        builder.sandboxes(root.clone()).blobs(blobs)
    })
    .await;
    let turn = test.submit("never").await;
    test.host.cancel(turn, None).await.unwrap();
    let sandbox = root.provision(&test.conversation.to_string().parse().unwrap());
    std::fs::write(sandbox.unwrap().path().join("late.md"), "# Another turn's").unwrap();
    let result = test.finished(turn, test.work(turn)).await;
    assert_eq!(result.artifacts, []);
}

#[tokio::test]
async fn a_page_opened_in_the_middle_has_the_half() {
    let test = hosting([
        Step::text("Half an answer"),
        Step::gate("hold"),
        Step::text(" and more"),
    ])
    .await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "Half an answer").await;
    let written = async {
        loop {
            let message = test.store.turn(turn).await.unwrap().unwrap().message;
            let message = test.store.message(message).await.unwrap().unwrap();
            if serde_json::to_string(&message.answer.parts)
                .unwrap()
                .contains("Half an answer")
            {
                assert_eq!(message.status, MessageStatus::Pending);
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written)
        .await
        .expect("the half was not written down");
    test.impostor.gate("hold").open();
    test.finished(turn, working).await;
}

#[tokio::test]
async fn a_conversations_turns_run_in_order_one_at_a_time() {
    let test = hosting([Step::Echo]).await;
    let turns = [
        test.submit("one").await,
        test.submit("two").await,
        test.submit("three").await,
    ];
    // Asked for the last, the worker runs those before it first.
    let working = test.work(turns[2]);
    test.finished(turns[2], working).await;
    let prompts: Vec<_> = test
        .impostor
        .ledger()
        .prompt_posts()
        .iter()
        .map(|post| post.text.clone())
        .collect();
    assert_eq!(prompts, ["one", "two", "three"]);
    test.impostor.assert_clean();
}

#[tokio::test]
async fn bad_prompts_are_refused_before_anything_is_written() {
    let test = hosting([Step::text("no")]).await;
    for (text, refused) in [
        ("", "empty"),
        (" \n\t", "empty"),
        (&"x".repeat((1 << 20) + 1), "long"),
    ] {
        let error = test
            .host
            .submit(
                test.conversation,
                opencode_client::wire::Prompt::text(text),
                SubmitOptions::default(),
            )
            .await
            .unwrap_err();
        assert!(matches!(
            (&error, refused),
            (SubmitError::Empty, "empty") | (SubmitError::TooLong { .. }, "long")
        ));
    }
    assert!(
        test.store
            .messages(None, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_worker_runs_what_is_submitted_and_stops_when_told() {
    let test = hosting([Step::Echo]).await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let worker = tokio::spawn({
        let (worker, shutdown) = (test.worker.clone(), shutdown.clone());
        async move { worker.run(shutdown).await }
    });
    let turn = test.submit("hello").await;
    let mut live = test.host.live(turn, Cursor::START).await.unwrap();
    let watching = async { while live.try_next().await.unwrap().is_some() {} };
    tokio::time::timeout(PATIENCE, watching)
        .await
        .expect("the turn did not end");
    assert_eq!(
        test.host
            .result(turn)
            .await
            .unwrap()
            .unwrap()
            .answer
            .content,
        "hello"
    );
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, worker)
        .await
        .expect("the worker did not stop")
        .unwrap()
        .unwrap();
}

/// What the application submits in a transaction of its own reaches the store behind the host's back.
#[tokio::test]
async fn a_turn_submitted_behind_the_host_runs_once_a_worker_is_woken() {
    let impostor = Impostor::scripted(Script::always([Step::Echo]));
    let mut options = quick();
    options.poll_interval = Duration::from_secs(3600);
    let test = Hosting::with(impostor.await.unwrap(), options, |builder| builder).await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let worker = tokio::spawn({
        let (worker, shutdown) = (test.worker.clone(), shutdown.clone());
        async move { worker.run(shutdown).await }
    });
    for is_told_of_the_commit in [false, true] {
        // The worker has looked and found nothing: nothing it does until then waits for anything but its turn to run.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let prepared = test.host.prepare(
            test.conversation,
            Prompt::text("hello"),
            SubmitOptions::default(),
        );
        let prepared = prepared.await.unwrap();
        let submitted = test.store.submit(&prepared).await.unwrap();
        if is_told_of_the_commit {
            prepared.committed(&submitted);
        } else {
            test.host.wake();
        }
        let settled = test.host.settled(submitted.turn.id);
        let result = tokio::time::timeout(PATIENCE, settled).await;
        let result = result.expect("no worker has looked").unwrap();
        assert_eq!(result.answer.content, "hello");
    }
    shutdown.cancel();
    worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stopped_worker_gives_its_turn_to_the_next() {
    let test = hosting([Step::text("One. "), Step::gate("two"), Step::text("Two.")]).await;
    let turn = test.submit("go").await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let worker = tokio::spawn({
        let (worker, shutdown) = (test.worker.clone(), shutdown.clone());
        async move { worker.run(shutdown).await }
    });
    test.shown(turn, "One. ").await;
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, worker)
        .await
        .expect("the worker did not stop")
        .unwrap()
        .unwrap();
    let working = test.work(turn);
    test.shown(turn, "One. ").await;
    test.impostor.gate("two").open();
    let result = test.finished(turn, working).await;
    assert_eq!(result.answer.content.replace("\n\n", ""), "One. Two.");
    test.assert_prompted_once(&result);
}

#[tokio::test]
async fn who_stops_working_gives_back_only_what_is_his() {
    let test = hosting([Step::text("One. "), Step::gate("two"), Step::text("Two.")]).await;
    let stays = test.submit("go").await;
    let working = test.work(stays);
    let other = test
        .store
        .open_conversation(&Tenant::default(), "other")
        .await
        .unwrap()
        .id;
    let submitted = test.host.submit(
        other,
        opencode_client::wire::Prompt::text("go"),
        SubmitOptions::default(),
    );
    let leaves = submitted.await.unwrap().turn.id;
    let stop = tokio_util::sync::CancellationToken::new();
    let leaving = tokio::spawn({
        let (worker, stop) = (test.worker.clone(), stop.clone());
        async move { worker.run_turn(leaves, stop).await }
    });
    test.shown(stays, "One. ").await;
    test.shown(leaves, "One. ").await;
    stop.cancel();
    leaving.await.unwrap().unwrap();
    let row = test.store.turn(leaves).await.unwrap().unwrap();
    assert!(
        matches!(row.phase(), opencode_host::store::Phase::Queued),
        "{:?}",
        row.phase()
    );
    test.impostor.gate("two").open();
    test.finished(stays, working).await;
    let row = test.store.turn(stays).await.unwrap().unwrap();
    assert_eq!(row.generation, 1, "it was claimed once");
}

#[tokio::test]
async fn fifty_ensures_at_once_make_one_session() {
    let test = hosting([Step::Echo]).await;
    let conversation = test
        .store
        .conversation(test.conversation)
        .await
        .unwrap()
        .unwrap();
    let turn = NewTurn::new(conversation.id, Prompt::text("go"), &SystemClock);
    let turn = turn.turn(Timestamp(0));
    let context = TurnContext::new(conversation, &turn);
    let telemetry = opencode_host::telemetry::Telemetry::default();
    let session = opencode_host::session::Session {
        client: test.worker.client(),
        server: &opencode_host::store::ServerName::default(),
        store: &*test.store,
        product: &opencode_host::product::PlainProduct,
        sub_agents: &opencode_host::sub_agents::SubAgents::Off,
        telemetry: &telemetry,
    };
    let ensured = futures_util::future::join_all((0..50).map(|_| session.ensure(&context))).await;
    let created = ensured
        .iter()
        .filter(|ensured| ensured.as_ref().unwrap().just_created)
        .count();
    assert_eq!(created, 1);
    let ids: std::collections::HashSet<_> = ensured
        .into_iter()
        .map(|ensured| ensured.unwrap().record.id)
        .collect();
    assert_eq!(
        (ids.len(), test.impostor.ledger().sessions_alive().len()),
        (1, 1)
    );
    let lost = ids.into_iter().next().unwrap();
    let recreated =
        futures_util::future::join_all((0..10).map(|_| session.recreate(&context, &lost))).await;
    let fresh: std::collections::HashSet<_> = recreated
        .into_iter()
        .map(|ensured| ensured.unwrap().record.id)
        .collect();
    assert_eq!((fresh.len(), fresh.contains(&lost)), (1, false));
    assert_eq!(test.impostor.ledger().sessions_created(), 2);
}

#[tokio::test]
async fn an_answer_that_goes_on_behind_a_summary_is_whole() {
    let test = Hosting::new(Impostor::tape("compaction").await.unwrap()).await;
    let result = test.turn("go through it").await;
    assert_ended(
        &result,
        TurnStatus::Completed,
        None,
        "The first part.\n\nAnd the second part, after the summary.",
    );
    assert_eq!(result.answer.tool_calls().len(), 1);
}

#[tokio::test]
async fn every_recording_replayed_ends_as_it_did() {
    let expected = [
        ("text", TurnStatus::Completed, None),
        ("compaction", TurnStatus::Completed, None),
        ("reasoning", TurnStatus::Completed, None),
        ("write-file", TurnStatus::Completed, None),
        ("todos", TurnStatus::Completed, None),
        ("parallel-tools", TurnStatus::Completed, None),
        ("subtask", TurnStatus::Completed, None),
        ("tool-error", TurnStatus::Completed, None),
        ("unknown-tool", TurnStatus::Completed, None),
        ("apply-patch", TurnStatus::Completed, None),
        ("hostile-html", TurnStatus::Completed, None),
        ("long-text", TurnStatus::Completed, None),
        ("length-cutoff", TurnStatus::Completed, Some("length")),
        ("provider-401", TurnStatus::Error, Some("upstream")),
        ("provider-429-retry", TurnStatus::Completed, None),
        ("empty-reply", TurnStatus::Error, Some("empty_reply")),
    ];
    for (name, status, reason) in expected {
        let test = Hosting::with(
            Impostor::tape(name).await.unwrap(),
            WorkerOptions { ..quick() },
            |builder| builder,
        )
        .await;
        let result = test.turn("the prompt of the recording").await;
        let got = result.answer.reason.map(|reason| reason.as_str());
        assert_eq!(
            (result.status, got),
            (status, reason),
            "{name}: {:?}",
            result.answer.error
        );
    }
}
