//! What the agent asks, and who answers it.

use opencode_impostor::{Impostor, Script, Step};
use serde_json::{Value, json};

use crate::support::Chat;

async fn asking_to_run() -> Impostor {
    let steps = [Step::ask_bash("make all", "built"), Step::text("Done.")];
    Impostor::scripted(Script::always(steps)).await.unwrap()
}

async fn asking_a_question() -> Impostor {
    let steps = [
        Step::question("Which one?", ["Red", "Blue"]),
        Step::text("Thank you."),
    ];
    Impostor::scripted(Script::always(steps)).await.unwrap()
}

/// The bodies that were sent to an endpoint.
fn sent(impostor: &Impostor, endpoint: &str) -> Vec<Value> {
    let ledger = impostor.ledger();
    ledger
        .requests_of(endpoint)
        .iter()
        .map(|request| request.body.clone())
        .collect()
}

const PERMISSION: &str = "POST /permission/:id/reply";

#[tokio::test]
async fn permissions_are_given_as_told() {
    for reply in ["once", "always"] {
        let impostor = asking_to_run().await;
        let ran = Chat::with(&impostor)
            .turn("build it", &["--permission", reply])
            .await;
        let result = ran.ended(0, "completed");
        assert_eq!(result["content"], "Done.");
        assert_eq!(result["tool_calls"][0]["status"], "completed");
        let asked = ran.of_type("permission");
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0]["request"]["permission"], "bash");
        assert_eq!(ran.of_type("permission_replied")[0]["reply"], reply);
        assert_eq!(sent(&impostor, PERMISSION), [json!({"reply": reply})]);
        impostor.assert_clean();
    }
}

#[tokio::test]
async fn a_permission_is_rejected_when_told_so() {
    let impostor = asking_to_run().await;
    let ran = Chat::with(&impostor)
        .turn("build it", &["--permission", "reject"])
        .await;
    let replies = sent(&impostor, PERMISSION);
    assert_eq!(replies.len(), 1, "{ran:?}");
    assert_eq!(replies[0]["reply"], "reject");
    let tools = ran.result()["tool_calls"].clone();
    assert_eq!(
        (&tools[0]["tool"], &tools[0]["status"]),
        (&json!("bash"), &json!("error"))
    );
    impostor.assert_clean();
}

#[tokio::test]
async fn with_nobody_there_a_permission_is_rejected_and_the_turn_goes_on() {
    for json in [true, false] {
        let impostor = asking_to_run().await;
        let chat = Chat::with(&impostor);
        let args: &[&str] = if json {
            &["turn", "--json", "build it"]
        } else {
            &["turn", "build it"]
        };
        let ran = chat.run(args).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.contains("Done."), "{ran:?}");
        let replies = sent(&impostor, PERMISSION);
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0]["reply"], "reject");
        assert!(
            replies[0]["message"].is_string(),
            "the agent is not told why: {replies:?}"
        );
    }
}

#[tokio::test]
async fn a_question_is_answered_with_the_label() {
    let impostor = asking_a_question().await;
    let ran = Chat::with(&impostor)
        .turn("paint it", &["--answer", "Blue"])
        .await;
    let result = ran.ended(0, "completed");
    assert_eq!(result["content"], "Thank you.");
    let asked = ran.of_type("question");
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0]["request"]["questions"][0]["question"],
        "Which one?"
    );
    assert_eq!(
        ran.of_type("question_replied")[0]["answers"],
        json!([["Blue"]])
    );
    assert_eq!(
        sent(&impostor, "POST /question/:id/reply"),
        [json!({"answers": [["Blue"]]})]
    );
    impostor.assert_clean();
}

#[tokio::test]
async fn with_nobody_there_a_question_is_declined_within_two_seconds() {
    let impostor = asking_a_question().await;
    let ran = Chat::with(&impostor).turn("paint it", &[]).await;
    let result = ran.ended(3, "cancelled");
    assert_eq!(result["reason"], "declined");
    assert!(result["duration_ms"].as_u64().unwrap() < 2000, "{result}");
    assert_eq!(impostor.ledger().count("POST /question/:id/reject"), 1);
    assert_eq!(ran.of_type("question_rejected").len(), 1);
    impostor.assert_clean();
}
