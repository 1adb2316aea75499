//! What becomes of a turn when its conversation, its server's memory or its own end is lost.

use opencode_host::store::Tenant;
use opencode_impostor::{Dialect, Subtask};

use super::*;
use crate::faulty_store::{Fault, FaultyStore};

fn nested() -> Step {
    Step::Subtask(Subtask {
        description: "outer".to_owned(),
        prompt: "outer".to_owned(),
        steps: vec![Step::Subtask(Subtask {
            description: "inner".to_owned(),
            prompt: "inner".to_owned(),
            steps: vec![Step::text("Deep"), Step::gate("deep")],
            ..Subtask::default()
        })],
        ..Subtask::default()
    })
}

#[tokio::test]
async fn a_cancel_reaches_the_sub_agents_of_sub_agents() {
    let test = hosting([nested(), Step::text("never said")]).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.impostor.gate("deep").reached().await.unwrap();
    test.host.cancel(turn, None).await.unwrap();
    let result = test.finished(turn, working).await;
    assert_eq!(result.status, TurnStatus::Cancelled);
    let ledger = test.impostor.ledger();
    let aborted: std::collections::BTreeSet<_> = ledger
        .requests()
        .iter()
        .filter(|request| request.path.ends_with("/abort"))
        .map(|request| request.path.clone())
        .collect();
    assert_eq!(aborted.len(), 3, "{aborted:?}");
    assert!(ledger.busy().is_empty());
}

#[derive(Debug)]
struct Elsewhere;

#[async_trait]
impl Product for Elsewhere {
    async fn directory(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        Ok(Some("/workspace/theirs".to_owned()))
    }
}

/// Up to 1.15.4 an abort that does not name the session's folder is answered and stops nothing.
#[tokio::test]
async fn a_cancel_stops_the_model_and_its_sub_agents_on_every_version() {
    for version in [
        "1.1.16", "1.2.20", "1.2.27", "1.14.48", "1.15.4", "1.15.13", "1.18.33",
    ] {
        let script = Script::always([nested(), Step::text("never said")]);
        let impostor = Impostor::builder().script(script).version(version);
        let impostor = impostor.start().await.unwrap();
        let url = impostor.url();
        let test = Hosting::with_product(impostor, Elsewhere).await;
        let turn = test.submit("go").await;
        let working = test.work(turn);
        test.impostor.gate("deep").reached().await.unwrap();
        if Dialect::of(version).abort_needs_directory {
            let client = opencode_client::Client::builder(url).build().unwrap();
            let ledger = test.impostor.ledger();
            for session in ledger.sessions_alive() {
                client.abort(&session.into()).await.unwrap();
            }
            let after = test.impostor.ledger();
            assert_eq!(
                (after.busy(), after.waiting_at("deep")),
                (ledger.busy(), 1),
                "{version}"
            );
        }
        test.host.cancel(turn, None).await.unwrap();
        let result = test.finished(turn, working).await;
        assert_eq!(result.status, TurnStatus::Cancelled, "{version}");
        let ledger = test.impostor.ledger();
        assert!(ledger.busy().is_empty(), "{version}: {:?}", ledger.busy());
        assert_eq!(ledger.waiting_at("deep"), 0, "{version}");
        test.impostor.assert_clean();
    }
}

#[tokio::test]
async fn a_conversation_deleted_under_a_running_turn_stops_it() {
    let test = hosting([Step::text("Half"), Step::gate("hold"), Step::text(" more")]).await;
    let other = test
        .store
        .open_conversation(&Tenant::default(), "other")
        .await
        .unwrap();
    let prompt = opencode_client::wire::Prompt::text("go");
    let beside = test.host.submit(other.id, prompt, SubmitOptions::default());
    let beside = beside.await.unwrap().turn.id;
    let turn = test.submit("go").await;
    let (working, unharmed) = (test.work(turn), test.work(beside));
    test.shown(turn, "Half").await;
    test.shown(beside, "Half").await;
    // As another application on the same tables does it.
    let deleted = test
        .store
        .delete_conversation(test.conversation, None)
        .await;
    let session = deleted.unwrap().unwrap().session.unwrap().id;

    let outcome = tokio::time::timeout(PATIENCE, working).await.unwrap();
    let error = outcome.unwrap_err();
    assert!(error.is_panic(), "the turn that is waited for is not found");
    let reports = test.recorder.named("reported");
    let told = |report: &&serde_json::Map<_, _>| {
        let error: &serde_json::Value = &report["error"];
        error
            .as_str()
            .unwrap()
            .contains("was deleted while a turn of it ran")
    };
    assert_eq!(reports.iter().filter(told).count(), 1, "{reports:?}");
    let ledger = test.impostor.ledger();
    assert!(!ledger.sessions_alive().contains(&session.as_str()));
    assert_eq!(ledger.busy().len(), 1, "the other one works on");

    test.impostor.gate("hold").open();
    let result = test.finished(beside, unharmed).await;
    assert_ended(&result, TurnStatus::Completed, None, "Half\n\n more");
    test.impostor.assert_clean();
}

#[tokio::test]
async fn deleting_a_conversation_leaves_nothing_upstream_and_no_folder() {
    let home = tempfile::tempdir().unwrap();
    let root = opencode_host::sandbox::SandboxRoot::open(home.path().join("sandboxes")).unwrap();
    let impostor = Impostor::scripted(Script::always([Step::text("Half"), Step::gate("hold")]));
    let test = Hosting::with(impostor.await.unwrap(), quick(), |builder| {
        builder.sandboxes(root.clone())
    })
    .await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "Half").await;
    let folder = root.path().join(test.conversation.to_string());
    assert!(folder.exists());
    assert!(
        test.host
            .delete_conversation(test.conversation)
            .await
            .unwrap()
    );
    assert!(
        !test
            .host
            .delete_conversation(test.conversation)
            .await
            .unwrap()
    );
    let _ = tokio::time::timeout(PATIENCE, working).await.unwrap();
    assert!(!folder.exists());
    assert!(test.impostor.ledger().sessions_alive().is_empty());
    assert!(test.impostor.ledger().busy().is_empty());
}

#[tokio::test]
async fn a_prompt_that_died_with_its_server_is_posted_once_more() {
    let test = hosting([Step::text("Fine.")]).await;
    let held = test.impostor.faults().hold_prompts("late");
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.impostor.gate("late").reached().await.unwrap();
    // It said 204, and had written nothing down yet.
    test.impostor.kill().await;
    test.impostor.faults().remove(held);
    test.impostor.restart().await.unwrap();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "Fine.");
    let ledger = test.impostor.ledger();
    assert_eq!(
        ledger.model_runs(result.prompt.as_ref().unwrap().as_str()),
        1
    );
    test.impostor.assert_clean();
}

#[tokio::test]
async fn a_slow_server_is_waited_for() {
    let options = |unseen| {
        let mut options: WorkerOptions = quick();
        options.limits.pace.unseen = unseen;
        options.limits.pace.lost = Duration::from_millis(1);
        options
    };
    let impostor = Impostor::scripted(Script::always([Step::text("At last.")]));
    let impostor = impostor.await.unwrap();
    impostor.faults().hold_prompts("late");
    let test = Hosting::with(impostor, options(PATIENCE), |builder| builder).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    let looks = async {
        while test.impostor.ledger().count("GET /session/status") < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.unwrap();
    test.impostor.gate("late").open();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "At last.");
    test.assert_prompted_once(&result);
}

#[tokio::test]
async fn a_lost_word_to_stop_is_said_again() {
    let script = Script::new()
        .once("one", [Step::text("Half"), Step::gate("hold")])
        .otherwise([Step::text("Next.")]);
    let test = Hosting::new(Impostor::scripted(script).await.unwrap()).await;
    let lost = test
        .impostor
        .faults()
        .lose_request("POST /session/:id/abort", Calls::Nth(1));
    let turn = test.submit("one").await;
    let working = test.work(turn);
    test.shown(turn, "Half").await;
    test.host.cancel(turn, None).await.unwrap();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Cancelled, Some("cancelled"), "Half");
    assert!(test.impostor.ledger().busy().is_empty());
    assert_eq!(test.impostor.ledger().count("POST /session/:id/abort"), 2);
    test.impostor.faults().remove(lost);
}

#[tokio::test]
async fn what_an_earlier_turn_left_at_work_is_stopped_before_the_next_prompt() {
    let script = Script::new()
        .once("one", [Step::text("Half"), Step::gate("hold")])
        .otherwise([Step::text("Next.")]);
    let test = Hosting::new(Impostor::scripted(script).await.unwrap()).await;
    let deaf = test
        .impostor
        .faults()
        .lose_request("POST /session/:id/abort", Calls::All);
    let turn = test.submit("one").await;
    let working = test.work(turn);
    test.shown(turn, "Half").await;
    test.host.cancel(turn, None).await.unwrap();
    let result = test.finished(turn, working).await;
    assert_eq!(result.status, TurnStatus::Cancelled);
    assert_eq!(test.impostor.ledger().busy().len(), 1, "nothing reached it");

    test.impostor.faults().remove(deaf);
    let next = test.turn("two").await;
    assert_ended(&next, TurnStatus::Completed, None, "Next.");
    // It would tell of a prompt that came while the session was busy.
    test.impostor.assert_clean();
}

#[tokio::test]
async fn a_process_that_was_suspended_looks_again_before_it_prompts() {
    let mut options: WorkerOptions = quick();
    options.lease = Duration::from_secs(1);
    let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]));
    let test = Hosting::with(impostor.await.unwrap(), options.clone(), |builder| builder).await;
    // Between the word of the store that the turn is ours and the post.
    let store = FaultyStore {
        below: Arc::clone(&test.store),
        fault: Fault::suspends_at("prompt", 700),
    };
    let test = test.rebuilt(Arc::new(store), options, |builder| builder);
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Completed, None, "Fine.");
    test.assert_prompted_once(&result);
    let ledger = test.impostor.ledger();
    let looks = ledger.count("GET /session/:id/message/:messageID");
    assert_eq!((looks, ledger.prompt_posts().len()), (1, 1));
}

/// Up to 1.15.4 a call that does not name the session's folder is about another session of the same name, as it were:
/// an abort answers `true` and stops nothing.
#[tokio::test]
async fn every_call_about_a_session_names_its_folder() {
    let test = hosting([nested(), Step::text("never said")]).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.impostor.gate("deep").reached().await.unwrap();
    test.host.cancel(turn, None).await.unwrap();
    test.finished(turn, working).await;
    // A lost session is replaced and deleted, another policy is told, and in the end all is removed.
    let conversation = test.store.conversation(test.conversation).await.unwrap();
    let lost = conversation.unwrap().session.unwrap();
    let unknown = Action::error(404, "NotFoundError", "Session not found: ses_gone");
    let looks = "GET /session/:id/message";
    test.impostor
        .faults()
        .request(looks, Calls::First(1), unknown);
    let lock = test.store.lock_session(test.conversation, PATIENCE).await;
    let mut outdated = lost;
    outdated.policy = Some("old".to_owned());
    let set = lock.unwrap().set(&outdated).await.unwrap();
    assert_eq!(set, opencode_host::store::Swapped::Yes);
    let second = test.submit("go").await;
    let working = test.work(second);
    test.impostor.gate("deep").reached().await.unwrap();
    test.host
        .delete_conversation(test.conversation)
        .await
        .unwrap();
    tokio::time::timeout(PATIENCE, working)
        .await
        .expect("the turn did not end")
        .unwrap_err();
    let ledger = test.impostor.ledger();
    let mut kinds = std::collections::BTreeSet::new();
    for request in ledger.requests() {
        let Some(rest) = request.path.strip_prefix("/session/ses_") else {
            continue;
        };
        let kind = rest.split_once('/').map_or("", |(_, kind)| kind);
        kinds.insert(format!(
            "{} {}",
            request.method,
            kind.split('/').next().unwrap()
        ));
        assert!(request.query.contains("directory="), "{request:?}");
    }
    let expected = [
        "DELETE ",
        "GET ",
        "GET children",
        "GET message",
        "PATCH ",
        "POST abort",
        "POST message",
        "POST prompt_async",
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
}
