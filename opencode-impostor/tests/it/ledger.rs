//! The ledger and its checks.

use std::time::Duration;

use opencode_impostor::{Calls, Impostor, Outcome, Script, Step};
use serde_json::json;

use crate::http::{call, new_session, next_id, prompt, prompt_body, try_call};

#[tokio::test]
async fn a_careful_client_is_clean() {
    let impostor = Impostor::scripted(Script::always([Step::text("yes")]))
        .await
        .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let path = format!("/session/{session}/prompt_async");
    impostor.faults().lose_response(&path, Calls::Nth(1));
    let body = prompt_body(&next_id(port, &session).await, "one");
    assert!(
        try_call(port, "POST", &path, "", Some(&body))
            .await
            .is_err()
    );
    impostor
        .wait_for(|ledger| ledger.all_model_runs() == 1 && ledger.busy().is_empty())
        .await
        .unwrap();
    // The answer was lost, so it may ask again.
    call(port, "POST", &path, Some(&body)).await;
    call(port, "DELETE", &format!("/session/{session}"), None).await;
    call(port, "DELETE", &format!("/session/{session}"), None).await;
    impostor.assert_clean();
    let ledger = impostor.ledger();
    assert_eq!(ledger.prompts(&session).len(), 2);
    assert_eq!(ledger.requests_of(&path)[0].outcome, Outcome::ResponseLost);
    assert_eq!(ledger.requests_of(&path)[1].outcome, Outcome::Answered(204));
    assert_eq!(ledger.count("DELETE /session/:id"), 2);
    assert_eq!(
        (ledger.sessions_created(), ledger.sessions_alive().len()),
        (1, 0)
    );
}

#[tokio::test]
async fn a_careless_client_is_not() {
    let impostor = Impostor::scripted(Script::always([Step::gate("go")]))
        .await
        .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let path = format!("/session/{session}/prompt_async");
    call(port, "GET", "/session/ses_000000000000ffeneverthere0", None).await;
    call(
        port,
        "POST",
        &path,
        Some(&json!({"parts": [{"type": "text", "text": "no id"}]})),
    )
    .await;
    impostor.gate("go").reached().await.unwrap();
    call(
        port,
        "POST",
        &path,
        Some(&prompt_body("000000000001aaaaaaaaaaaaaa", "old, and busy")),
    )
    .await;
    let ledger = impostor.ledger();
    let violations = ledger.violations();
    let said = |words: &str| violations.iter().any(|violation| violation.contains(words));
    assert!(said("there never was a session"), "{violations:?}");
    assert!(said("a part has no id"), "{violations:?}");
    assert!(said("busy with another one"), "{violations:?}");
    assert!(said("sorts before the newest message"), "{violations:?}");
    assert_eq!(violations.len(), 4, "{violations:?}");
}

#[tokio::test]
async fn of_prompts_that_queue_up_the_newest_is_answered() {
    let impostor = Impostor::builder()
        .script(Script::always([Step::gate("go"), Step::text("yes")]))
        .allow_concurrent_prompts()
        .start()
        .await
        .unwrap();
    let port = impostor.port();
    let session = new_session(port).await;
    let first = prompt(port, &session, "one").await;
    impostor.gate("go").reached().await.unwrap();
    let second = prompt(port, &session, "two").await;
    let third = prompt(port, &session, "three").await;
    impostor.gate("go").open();
    impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
    let ledger = impostor.ledger();
    let runs: Vec<usize> = [&first, &second, &third]
        .iter()
        .map(|id| ledger.model_runs(id))
        .collect();
    assert_eq!(runs, [1, 0, 1]);
    impostor.assert_clean();
}

#[tokio::test]
async fn a_wait_tells_what_happened_instead() {
    let impostor = Impostor::builder()
        .patience(Duration::from_millis(1))
        .start()
        .await
        .unwrap();
    new_session(impostor.port()).await;
    let error = impostor
        .wait_for(|ledger| ledger.sessions_created() == 2)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("1 sessions created"), "{error}");
}
