//! What a product's rules ask for is asked for, and of the right person.

use std::sync::Arc;

use async_trait::async_trait;
use opencode_client::PermissionId;
use opencode_client::wire::{PermissionAction, PermissionReply, PermissionRule};
use opencode_host::product::{HookError, Product, TurnContext};
use opencode_host::store::{Tenant, TurnStatus};
use opencode_host::sub_agents::SubAgents;
use opencode_host::{AnswerError, SubmitOptions};
use opencode_impostor::{Dialect, Impostor};
use serde_json::{Value, json};

use crate::hosting::{Hosting, quick};

#[derive(Debug)]
struct Ruled(Vec<PermissionRule>);

#[async_trait]
impl Product for Ruled {
    async fn permission_rules(&self, _: &TurnContext) -> Result<Vec<PermissionRule>, HookError> {
        Ok(self.0.clone())
    }
}

fn asks() -> Ruled {
    Ruled(vec![PermissionRule::all("bash", PermissionAction::Ask)])
}

async fn rules_of(hosting: &Hosting) -> Vec<Value> {
    let result = hosting.turn("please answer [[text]]").await;
    assert_eq!(
        result.status,
        TurnStatus::Completed,
        "{:?}",
        result.answer.error
    );
    let session = result.session.unwrap();
    let session = hosting.impostor.session(session.as_str()).unwrap();
    session["permission"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

#[tokio::test]
async fn sub_agents_are_off_where_something_is_asked_for() {
    let hosting = Hosting::with_product(Impostor::start().await.unwrap(), asks()).await;
    let off = json!({"permission": "task", "pattern": "*", "action": "deny"});
    assert_eq!(rules_of(&hosting).await.last(), Some(&off));
}

#[tokio::test]
async fn sub_agents_that_run_unasked_are_allowed_by_name_and_warned_of() {
    let impostor = Impostor::start().await.unwrap();
    let hosting = Hosting::with(impostor, quick(), |builder| {
        builder.product(asks()).sub_agents(SubAgents::Unasked)
    });
    let hosting = hosting.await;
    let rules = rules_of(&hosting).await;
    assert!(rules.iter().all(|rule| rule["permission"] != "task"));
    let reported = hosting.recorder.named("reported");
    let warned = |fields: &&serde_json::Map<String, Value>| {
        fields["error"]
            .as_str()
            .unwrap()
            .contains("ask for nothing")
    };
    assert_eq!(reported.iter().filter(warned).count(), 1, "{reported:?}");
}

#[tokio::test]
async fn a_conversation_whose_sub_agents_were_off_has_them_when_they_are_allowed() {
    let hosting = Hosting::with_product(Impostor::start().await.unwrap(), asks()).await;
    let denied = rules_of(&hosting).await;
    let store = Arc::clone(&hosting.store);
    let hosting = hosting.rebuilt(store, quick(), |builder| {
        builder.product(asks()).sub_agents(SubAgents::Unasked)
    });
    let rules = rules_of(&hosting).await;
    assert_eq!(rules[..denied.len()], denied, "the session is the same one");
    let of_task = rules.iter().rfind(|rule| rule["permission"] == "task");
    assert_eq!(of_task.unwrap()["action"], "allow", "{rules:?}");
    let reported = hosting.recorder.named("reported");
    let warned = |fields: &&serde_json::Map<String, Value>| {
        let error = fields["error"].as_str();
        error.unwrap().contains("ask for nothing")
    };
    assert_eq!(reported.iter().filter(warned).count(), 1, "{reported:?}");
}

async fn refused(hosting: &Hosting, told: &str) {
    let result = hosting.turn("please answer [[text]]").await;
    assert_eq!(result.status, TurnStatus::Error);
    assert_eq!(result.answer.reason.unwrap().as_str(), "unsafe_server");
    let message = result.answer.error.unwrap().message;
    assert!(
        message.contains(told) && message.contains("npm install"),
        "{message}"
    );
    assert!(hosting.impostor.ledger().prompt_posts().is_empty());
}

#[tokio::test]
async fn a_server_that_ignores_the_rules_is_not_prompted() {
    let dialect = Dialect {
        keeps_rules: false,
        ..Dialect::default()
    };
    let impostor = Impostor::builder().dialect(dialect).start().await.unwrap();
    let hosting = Hosting::with_product(impostor, asks()).await;
    refused(&hosting, "ignores permission rules").await;
    assert!(hosting.impostor.ledger().sessions_alive().is_empty());
}

#[tokio::test]
async fn a_server_below_the_lowest_version_is_not_prompted() {
    let dialect = Dialect {
        version: "1.1.15".into(),
        ..Dialect::default()
    };
    let impostor = Impostor::builder().dialect(dialect).start().await.unwrap();
    let hosting = Hosting::with_product(impostor, asks()).await;
    refused(&hosting, "1.1.15 is too old").await;
    assert!(hosting.impostor.ledger().sessions_alive().is_empty());
}

#[tokio::test]
async fn a_session_whose_rules_are_gone_is_not_prompted() {
    let hosting = Hosting::with_product(Impostor::start().await.unwrap(), asks()).await;
    // As a session that was minted on a server that ignored the rules.
    let bare = opencode_client::wire::NewSession::default();
    let session = hosting.worker.client().create_session(&bare).await.unwrap();
    let conversation = hosting.store.conversation(hosting.conversation).await;
    let conversation = conversation.unwrap().unwrap();
    let first = hosting.turn("please answer [[text]]").await;
    assert_eq!(first.status, TurnStatus::Completed);
    let record = hosting.store.conversation(conversation.id).await;
    let record = record.unwrap().unwrap().session.unwrap();
    let wait = std::time::Duration::from_secs(5);
    let lock = hosting.store.lock_session(conversation.id, wait).await;
    let mut swapped = record;
    swapped.id = session.id;
    let set = lock.unwrap().set(&swapped).await.unwrap();
    assert_eq!(set, opencode_host::store::Swapped::Yes);
    let posts = hosting.impostor.ledger().prompt_posts().len();
    let result = hosting.turn("and again [[text]]").await;
    assert_eq!(result.answer.reason.unwrap().as_str(), "unsafe_server");
    assert_eq!(hosting.impostor.ledger().prompt_posts().len(), posts);
}

#[tokio::test]
async fn a_request_is_answered_through_its_own_turn_only() {
    let hosting = Arc::new(Hosting::with_product(Impostor::start().await.unwrap(), asks()).await);
    let mine = hosting.submit("say hi [[bash]]").await;
    let working = hosting.work(mine);
    let asked = |ledger: &opencode_impostor::Ledger| {
        ledger.permissions().first().map(|id| (*id).to_owned())
    };
    let permission = PermissionId::from(hosting.impostor.wait_until(asked).await.unwrap());

    // Another conversation's turn, in the same folder, that runs.
    let other = hosting
        .store
        .open_conversation(&Tenant::default(), "other")
        .await
        .unwrap()
        .id;
    let prompt = opencode_client::wire::Prompt::text("ask me [[question]]");
    let theirs = hosting.host.submit(other, prompt, SubmitOptions::default());
    let theirs = theirs.await.unwrap().turn.id;
    // While it is queued it waits for nothing.
    let host = &hosting.host;
    let once = PermissionReply::Once;
    let queued = host.reply_permission(theirs, &permission, once, None).await;
    assert!(matches!(queued, Err(AnswerError::NotWaiting)), "{queued:?}");
    let their_work = hosting.work(theirs);
    let asked =
        |ledger: &opencode_impostor::Ledger| ledger.questions().first().map(|id| (*id).to_owned());
    let question =
        opencode_client::QuestionId::from(hosting.impostor.wait_until(asked).await.unwrap());

    let stolen = host.reply_permission(theirs, &permission, once, None).await;
    assert!(matches!(stolen, Err(AnswerError::NotWaiting)), "{stolen:?}");
    let answers = [vec!["Yes".to_owned()]];
    let stolen = host.answer_question(mine, &question, &answers).await;
    assert!(matches!(stolen, Err(AnswerError::NotWaiting)), "{stolen:?}");
    let stolen = host.reject_question(mine, &question).await;
    assert!(matches!(stolen, Err(AnswerError::NotWaiting)), "{stolen:?}");
    assert_eq!(hosting.impostor.ledger().permissions().len(), 1);

    host.reply_permission(mine, &permission, once, None)
        .await
        .unwrap();
    host.answer_question(theirs, &question, &answers)
        .await
        .unwrap();
    hosting.finished(mine, working).await;
    hosting.finished(theirs, their_work).await;
    // And what has ended waits for nothing either.
    let late = host.reply_permission(mine, &permission, once, None).await;
    assert!(matches!(late, Err(AnswerError::NotWaiting)), "{late:?}");
}
