//! A server that forgets sessions: a turn replaces one, and no more.

use opencode_client::wire::{PermissionAction, PermissionRule, Prompt};
use opencode_host::store::{Note, Store, Tenant};

use super::*;

/// Every look at a session's messages says that there is no such session.
fn forgets_each_session(impostor: &Impostor) {
    let unknown = Action::error(404, "NotFoundError", "Session not found: ses_gone");
    impostor
        .faults()
        .request("GET /session/:id/message", Calls::All, unknown);
}

fn assert_lost_twice(result: &TurnResult) {
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Error, "upstream")
    );
    let error = result.answer.error.as_ref().unwrap();
    assert!(error.message.contains("twice"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_forgets_each_session_is_asked_for_two() {
    let test = hosting([Step::text("no")]).await;
    forgets_each_session(&test.impostor);
    let result = test.turn("go").await;
    assert_lost_twice(&result);
    let ledger = test.impostor.ledger();
    assert_eq!(ledger.count("POST /session"), 2);
    // The one that was lost is deleted, should the server have it after all.
    let session = result_session(&*test.store, &test).await;
    assert_eq!(ledger.sessions_alive(), [session.as_str()]);
    // The next turn has one try of its own.
    assert_lost_twice(&test.turn("again").await);
    assert_eq!(test.impostor.ledger().count("POST /session"), 3);
}

async fn result_session(store: &dyn Store, test: &Hosting) -> String {
    let conversation = store.conversation(test.conversation).await.unwrap();
    conversation.unwrap().session.unwrap().id.to_string()
}

#[derive(Debug)]
struct Titled(Vec<PermissionRule>);

#[async_trait]
impl Product for Titled {
    async fn session_title(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        Ok(Some("Their title".to_owned()))
    }

    async fn permission_rules(&self, _: &TurnContext) -> Result<Vec<PermissionRule>, HookError> {
        Ok(self.0.clone())
    }
}

/// `metadata` is not kept up to 1.14.48.
#[tokio::test]
async fn a_session_whose_mint_was_not_answered_is_taken_up_on_every_version() {
    let ask = PermissionRule::all("edit", PermissionAction::Ask);
    for version in ["1.1.16", "1.2.27", "1.14.48", "1.18.33"] {
        for rules in [Vec::new(), vec![ask.clone()]] {
            for action in [
                Action::LoseResponse,
                Action::SwallowResponse,
                Action::html(502),
            ] {
                let script = Script::always([Step::text("Fine.")]);
                let impostor = Impostor::builder().script(script).version(version);
                let impostor = impostor.start().await.unwrap();
                let answer = match action.clone() {
                    Action::Answer {
                        status,
                        content_type,
                        body,
                    } => Action::AnswerAfter {
                        status,
                        content_type,
                        body,
                    },
                    action => action,
                };
                let faults = impostor.faults();
                faults.request("POST /session", Calls::Nth(1), answer);
                let test = Hosting::with_product(impostor, Titled(rules.clone())).await;
                let result = test.turn("go").await;
                let case = format!("{version} {action:?} {rules:?}");
                assert_ended(&result, TurnStatus::Completed, None, "Fine.");
                let ledger = test.impostor.ledger();
                assert_eq!(ledger.count("POST /session"), 1, "{case}");
                assert_eq!(ledger.sessions_alive().len(), 1, "{case}");
                let session = test.impostor.session(result.session.unwrap().as_str());
                let session = session.unwrap();
                assert_eq!(session["title"], "Their title", "{case}");
                let last = session["permission"].as_array().unwrap().last().unwrap();
                assert_eq!(
                    last["permission"] == "opencode-host",
                    rules.is_empty(),
                    "{case}"
                );
            }
        }
    }
}

/// Two conversations in one folder, one of which mints anew: each takes up its own session alone.
#[tokio::test]
async fn a_session_is_taken_up_by_its_own_conversation_alone() {
    for version in ["1.14.48", "1.18.33"] {
        let script = Script::always([Step::text("Fine.")]);
        let impostor = Impostor::builder().script(script).version(version);
        let test = Hosting::new(impostor.start().await.unwrap()).await;
        let mine = test.turn("go").await.session.unwrap();
        let other = test
            .store
            .open_conversation(&Tenant::default(), "other")
            .await
            .unwrap()
            .id;
        let submitting = test
            .host
            .submit(other, Prompt::text("go"), SubmitOptions::default());
        let turn = submitting.await.unwrap().turn.id;
        let theirs = test.finished(turn, test.work(turn)).await.session.unwrap();
        assert_ne!(mine, theirs);
        // The one that is put in a lost one's place is another again, and the lost one may still be listed.
        forgets_each_session(&test.impostor);
        assert_lost_twice(&test.turn("again").await);
        let row = test.store.conversation(test.conversation).await.unwrap();
        let fresh = row.unwrap().session.unwrap().id;
        assert!(fresh != mine && fresh != theirs);
        let ledger = test.impostor.ledger();
        let mut alive = ledger.sessions_alive();
        alive.sort_unstable();
        let mut expected = [fresh.as_str(), theirs.as_str()];
        expected.sort_unstable();
        assert_eq!(alive, expected, "{version}");
    }
}

#[tokio::test]
async fn the_next_worker_does_not_replace_a_session_again() {
    let mut options = quick();
    options.lease = Duration::from_millis(200);
    let impostor = Impostor::scripted(Script::always([Step::text("no")]))
        .await
        .unwrap();
    let test = Hosting::with(impostor, options, |builder| builder).await;
    // The first worker replaced the session, and died before it prompted.
    let lock = test.store.lock_session(test.conversation, PATIENCE).await;
    let lost = opencode_host::store::SessionRecord::new("ses_second", 1);
    let set = lock.unwrap().set(&lost).await.unwrap();
    assert_eq!(set, opencode_host::store::Swapped::Yes);
    let turn = test.submit("go").await;
    let claim = opencode_host::store::Claim::new("dead", Duration::from_millis(1)).only(turn);
    let dead = test.store.claim(&claim).await.unwrap().unwrap();
    let first = "ses_first".into();
    let noted = test
        .store
        .note(&dead.lease, Note::Replacement(&first))
        .await;
    noted.unwrap();
    let result = test.finished(turn, test.work(turn)).await;
    assert_lost_twice(&result);
    assert_eq!(test.impostor.ledger().count("POST /session"), 0);
}

#[tokio::test]
async fn a_worker_goes_on_with_the_replacement_that_another_began() {
    let test = hosting([Step::text("Fine.")]).await;
    let first = test.turn("one").await;
    let lost = first.session.unwrap();
    test.impostor.forget(lost.as_str());
    let turn = test.submit("two").await;
    let claim = opencode_host::store::Claim::new("dead", Duration::from_millis(1)).only(turn);
    // It noted the session that it was going to replace, and died.
    let dead = test.store.claim(&claim).await.unwrap().unwrap();
    test.store
        .note(&dead.lease, Note::Replacement(&lost))
        .await
        .unwrap();
    let second = test.finished(turn, test.work(turn)).await;
    assert_ended(&second, TurnStatus::Completed, None, "Fine.");
    assert_ne!(second.session, Some(lost));
}
