//! What a product has a say in: the system text, and whether a turn begins at all.

use std::sync::Mutex;

use opencode_client::wire::{Prompt, System};
use opencode_host::SubmitError;
use opencode_host::outcome::Reason;
use opencode_host::product::Verdict;
use opencode_host::store::{MAX_CANCEL_REASON, StoreError};
use opencode_host::turn::Deadlines;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::*;

/// What it says of a prompt of these words.
#[derive(Default)]
struct Gatekeeper {
    system: Option<&'static str>,
    /// The prompts that it was asked about.
    asked: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Product for Gatekeeper {
    async fn system_context(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        Ok(self.system.map(str::to_owned))
    }

    async fn before_turn(&self, turn: &TurnContext) -> Result<Verdict, HookError> {
        self.asked.lock().unwrap().push(turn.prompt.text.clone());
        Ok(match turn.prompt.text.as_str() {
            "Is 555-0100 hers?" => Verdict::Change(Prompt {
                system: Some(System::Replace("Numbers are hidden.".to_owned())),
                ..Prompt::text("Is [number] hers?")
            }),
            "Hack the bank." => Verdict::Refuse("We do not help with that.".to_owned()),
            "Nothing, please." => Verdict::Change(Prompt::text(" \n")),
            "Wait for ever." => std::future::pending().await,
            _ => Verdict::Go,
        })
    }
}

/// The person's messages, as the server has them.
fn prompted(test: &Hosting, result: &TurnResult) -> Vec<Value> {
    let session = result.session.as_ref().unwrap();
    let mut messages = test.impostor.messages(session.as_str());
    messages.retain(|message| message["info"]["role"] == "user");
    messages
}

async fn echoing(product: Gatekeeper) -> Hosting {
    let impostor = Impostor::scripted(Script::always([Step::Echo]));
    Hosting::with_product(impostor.await.unwrap(), product).await
}

#[tokio::test]
async fn a_prompts_system_text_stands_behind_the_products_or_in_its_place() {
    let append = |text: &str| Some(System::Append(text.to_owned()));
    let replace = |text: &str| Some(System::Replace(text.to_owned()));
    for (product, prompt, got) in [
        (None, None, None),
        (Some("Be brief."), None, Some("Be brief.")),
        (
            Some("Be brief."),
            append("Today is Monday."),
            Some("Be brief.\n\nToday is Monday."),
        ),
        (
            Some("Be brief."),
            replace("Today is Monday."),
            Some("Today is Monday."),
        ),
        (Some("Be brief."), append(""), Some("Be brief.")),
        (Some("Be brief."), replace(""), None),
        (
            Some(" "),
            append("Today is Monday."),
            Some("Today is Monday."),
        ),
        (None, append("Today is Monday."), Some("Today is Monday.")),
        (Some(" "), None, None),
    ] {
        let test = echoing(Gatekeeper {
            system: product,
            ..Gatekeeper::default()
        });
        let test = test.await;
        let case = format!("{product:?} {prompt:?}");
        let prompt = Prompt {
            system: prompt,
            ..Prompt::text("go")
        };
        let submitted = test
            .host
            .submit(test.conversation, prompt, SubmitOptions::default());
        let turn = submitted.await.unwrap().turn.id;
        let result = test.finished(turn, test.work(turn)).await;
        let prompted = prompted(&test, &result);
        assert_eq!(prompted[0]["info"]["system"].as_str(), got, "{case}");
    }
}

#[tokio::test]
async fn a_refused_turn_says_why_and_nothing_of_it_reaches_a_server() {
    let test = echoing(Gatekeeper::default()).await;
    let result = test.turn("Hack the bank.").await;
    let told = "This was not passed on to the agent.";
    assert_ended(&result, TurnStatus::Error, Some("refused"), told);
    let error = result.answer.error.unwrap();
    assert_eq!(error.message, "We do not help with that.");
    assert_eq!(test.impostor.ledger().sessions_created(), 0);
    assert_eq!((result.session, result.prompt), (None, None));
    let turn = test.store.turn(result.turn).await.unwrap().unwrap();
    let said = test.store.message(turn.user_message).await.unwrap();
    assert_eq!(said.unwrap().answer.content, "Hack the bank.");
    // The conversation goes on.
    let result = test.turn("Then hello.").await;
    assert_ended(&result, TurnStatus::Completed, None, "Then hello.");
}

#[tokio::test]
async fn a_changed_prompt_is_what_the_model_ever_gets_and_the_persons_message_stays() {
    let test = echoing(Gatekeeper {
        system: Some("Be brief."),
        ..Gatekeeper::default()
    });
    let test = test.await;
    test.turn("Hack the bank.").await;
    let result = test.turn("Is 555-0100 hers?").await;
    assert_ended(&result, TurnStatus::Completed, None, "Is [number] hers?");
    let got = prompted(&test, &result);
    assert_eq!(got[0]["info"]["system"], "Numbers are hidden.");
    let turn = test.store.turn(result.turn).await.unwrap().unwrap();
    let said = test.store.message(turn.user_message).await.unwrap();
    assert_eq!(said.unwrap().answer.content, "Is 555-0100 hers?");
    // A later session is told what this one was, and nothing of what was refused.
    test.impostor
        .forget(result.session.as_ref().unwrap().as_str());
    let result = test.turn("Sure?").await;
    let transcript = prompted(&test, &result)[0].to_string();
    assert!(transcript.contains("> Is [number] hers?"), "{transcript}");
    for kept in ["555", "Hack", "not passed on"] {
        assert!(!transcript.contains(kept), "{kept}: {transcript}");
    }
}

#[tokio::test]
async fn a_turn_that_was_prompted_is_not_asked_about_again_and_posts_what_was_said() {
    let product = Gatekeeper::default();
    let asked = Arc::clone(&product.asked);
    let test = echoing(product).await;
    // The ids are recorded, and the worker leaves before the server has the prompt.
    let post = "POST /session/:id/prompt_async";
    let faults = test.impostor.faults();
    let fault = faults.request(post, Calls::All, Action::Swallow);
    let turn = test.submit("Is 555-0100 hers?").await;
    let shutdown = CancellationToken::new();
    let leaving = tokio::spawn({
        let (worker, shutdown) = (test.worker.clone(), shutdown.clone());
        async move { worker.run_turn(turn, shutdown).await }
    });
    let recorded = async {
        while test
            .store
            .turn(turn)
            .await
            .unwrap()
            .unwrap()
            .prompted
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, recorded).await.unwrap();
    shutdown.cancel();
    leaving.await.unwrap().unwrap();
    test.impostor.faults().remove(fault);
    let result = test.finished(turn, test.work(turn)).await;
    assert_ended(&result, TurnStatus::Completed, None, "Is [number] hers?");
    test.assert_prompted_once(&result);
    assert_eq!(*asked.lock().unwrap(), ["Is 555-0100 hers?"]);
    // Nor when the session is lost, and a fresh one is prompted.
    test.impostor
        .forget(result.session.as_ref().unwrap().as_str());
    let result = test.turn("Is 555-0100 hers?").await;
    assert_ended(&result, TurnStatus::Completed, None, "Is [number] hers?");
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_prompt_that_is_changed_to_nothing_fails_and_says_so() {
    let test = echoing(Gatekeeper::default()).await;
    let result = test.turn("Nothing, please.").await;
    assert_eq!(result.status, TurnStatus::Failed);
    let error = result.answer.error.unwrap();
    assert!(error.message.contains("Product::before_turn"), "{error:?}");
    assert!(error.message.contains("empty prompt"), "{error:?}");
    assert_eq!(test.impostor.ledger().sessions_created(), 0);
}

/// The call may take 30 s.
#[tokio::test]
async fn a_cancel_does_not_wait_for_the_products_word() {
    let product = Gatekeeper::default();
    let asked = Arc::clone(&product.asked);
    let test = echoing(product).await;
    let turn = test.submit("Wait for ever.").await;
    let working = test.work(turn);
    let reached = async {
        while asked.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
    test.host.cancel(turn, None).await.unwrap();
    let result = test.finished(turn, working).await;
    assert_eq!(result.status, TurnStatus::Cancelled);
    assert_eq!(test.impostor.ledger().sessions_created(), 0);
}

/// A turn with a deadline of its own ends there, and the next one has its worker's again.
#[tokio::test]
async fn a_turn_has_deadlines_of_its_own() {
    let script = Script::new()
        .once("one", [Step::text("Half"), Step::gate("hold")])
        .otherwise([Step::text("Fine.")]);
    let test = Hosting::new(Impostor::scripted(script).await.unwrap()).await;
    let deadlines = |millis| SubmitOptions {
        deadlines: Deadlines {
            turn: Some(Duration::from_millis(millis)),
            ..Deadlines::default()
        },
        ..SubmitOptions::default()
    };
    let submit = async |text: &str, millis| {
        let prompt = Prompt::text(text);
        let submitted = test
            .host
            .submit(test.conversation, prompt, deadlines(millis));
        submitted.await.map(|submitted| submitted.turn)
    };
    let refused = submit("none", 0).await;
    assert!(
        matches!(refused, Err(SubmitError::NoTime { deadline: "turn" })),
        "{refused:?}"
    );
    let turn = submit("one", 700).await.unwrap();
    let result = test.finished(turn.id, test.work(turn.id)).await;
    // How much had come by then is not the matter here.
    assert_eq!(result.answer.reason, Some(Reason::Timeout));
    let next = test.turn("two").await;
    assert_ended(&next, TurnStatus::Completed, None, "Fine.");
}

#[tokio::test]
async fn why_a_turn_was_cancelled_is_in_its_result_and_its_event() {
    let script = Script::always([Step::text("Half"), Step::gate("hold")]);
    let test = Hosting::new(Impostor::scripted(script).await.unwrap()).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "Half").await;
    test.host.cancel(turn, Some("closed by ada")).await.unwrap();
    test.host.cancel(turn, Some("later")).await.unwrap();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Cancelled, Some("cancelled"), "Half");
    assert_eq!(result.cancel_reason.as_deref(), Some("closed by ada"));
    let ended = test.recorder.named("turn.finished").remove(0);
    assert_eq!(ended["cancel_reason"], "closed by ada");
    let long = "x".repeat(MAX_CANCEL_REASON + 1);
    let refused = test.host.cancel(turn, Some(&long)).await;
    assert!(
        matches!(refused, Err(StoreError::TooLong { .. })),
        "{refused:?}"
    );
}
