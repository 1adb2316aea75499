//! How failed answers look, and how they go on.

use axum::http::StatusCode;
use opencode_host::outcome::Reason;
use opencode_host::store::MessageStatus;
use opencode_impostor::{Impostor, ProviderError, Script, Step};

use super::site::Site;

#[tokio::test]
async fn refused_credentials_say_how_to_sign_in_and_are_tried_again() {
    let script = Script::new()
        .once("go", [Step::provider_error(401, "upstream <says> no")])
        .otherwise([Step::text("Now it works.")]);
    let site = Site::on(Impostor::scripted(script).await.unwrap());
    let (conversation, turn) = site.begin("go").await;
    site.ended(conversation).await;
    let again = format!("/turns/{turn}/again");
    site.page(conversation).await.shows(&[
        "refused the credentials",
        "<code>APIError 401</code> upstream &#60;says&#62; no",
        "<code>opencode auth login</code>",
        &format!("action=\"{again}\""),
        "Try again",
    ]);
    // Pressed twice, it is done once.
    for _ in 0..2 {
        let page = site.post(&again, &[("of", "1")]).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
    }
    let answer = site.ended(conversation).await;
    assert_eq!(answer.answer.content, "Now it works.");
    let page = site.page(conversation).await;
    page.shows(&["class=\"words\" dir=\"auto\">go<", "Now it works.", "2/2"]);
    assert_eq!(
        page.text.matches("class=\"words\" dir=\"auto\">").count(),
        1
    );
    page.lacks("refused the credentials");
}

#[tokio::test]
async fn an_interrupted_answer_keeps_its_half_and_goes_on() {
    let script = Script::new()
        .on("Continue.", [Step::text("The rest.")])
        .otherwise([Step::text("The half"), Step::gate("hold")]);
    let site = Site::on(Impostor::scripted(script).await.unwrap());
    let (conversation, turn) = site.begin("go").await;
    site.watch(turn, None).await.until("The half").await;
    site.impostor.kill().await;
    site.impostor.restart().await.unwrap();
    let answer = site.ended(conversation).await;
    assert_eq!(
        (answer.status, answer.answer.reason),
        (MessageStatus::Error, Some(Reason::Interrupted))
    );
    site.page(conversation).await.shows(&[
        "The half",
        "The answer was interrupted",
        "<button>Continue</button>",
        "Try again",
    ]);
    let (_, patches) = site.send(&format!("/turns/{turn}/continue"), &[]).await;
    assert!(
        patches[0][2].as_str().unwrap().contains("Continue."),
        "{patches}"
    );
    site.ended(conversation).await;
    site.page(conversation).await.shows(&[
        "The half",
        "class=\"words\" dir=\"auto\">Continue.<",
        "The rest.",
    ]);
}

#[tokio::test]
async fn a_stopped_answer_goes_on_or_is_tried_again() {
    let script = Script::new()
        .on("Continue.", [Step::text("The rest.")])
        .otherwise([Step::text("The half"), Step::gate("hold")]);
    let site = Site::on(Impostor::scripted(script).await.unwrap());
    let (conversation, turn) = site.begin("go").await;
    site.watch(turn, None).await.until("The half").await;
    site.post(&format!("/turns/{turn}/cancel"), &[]).await;
    site.ended(conversation).await;
    site.page(conversation).await.shows(&[
        "You stopped this answer.",
        &format!("action=\"/turns/{turn}/continue\""),
        &format!("action=\"/turns/{turn}/again\""),
    ]);
    // Pressed twice, it is done once.
    for _ in 0..2 {
        site.post(&format!("/turns/{turn}/continue"), &[]).await;
    }
    site.ended(conversation).await;
    let page = site.page(conversation).await;
    page.shows(&[
        "The half",
        "class=\"words\" dir=\"auto\">Continue.<",
        "The rest.",
    ]);
    assert_eq!(page.text.matches("Continue.<").count(), 1);
}

#[tokio::test]
async fn an_answer_that_was_stopped_before_its_first_word_has_nothing_to_go_on_from() {
    let site = Site::new([Step::gate("hold")]).await;
    let (conversation, turn) = site.begin("go").await;
    site.post(&format!("/turns/{turn}/cancel"), &[]).await;
    site.ended(conversation).await;
    let page = site.page(conversation).await;
    page.shows(&["Try again"]);
    page.lacks("<button>Continue</button>");
}

#[tokio::test]
async fn a_cut_answer_is_marked() {
    let site = Site::new([
        Step::text("This text is cut in the mid"),
        Step::finish("length"),
    ])
    .await;
    let (conversation, _) = site.begin("go").await;
    site.ended(conversation).await;
    site.page(conversation).await.shows(&[
        "cut in the mid",
        "the text is cut here",
        "<button>Continue</button>",
    ]);
}

#[tokio::test]
async fn a_busy_provider_and_an_empty_reply_say_what_to_do() {
    for (steps, wanted) in [
        (
            vec![Step::text("Half"), Step::provider_error(429, "slow down")],
            ["Half", "provider is busy", "Wait a minute"],
        ),
        (
            vec![Step::Empty],
            ["said nothing", "empty_reply", "Try again"],
        ),
        (
            vec![Step::provider_error(500, "oops")],
            ["has a problem", "APIError 500", "Wait a little"],
        ),
    ] {
        let site = Site::new(steps).await;
        let (conversation, _) = site.begin("go").await;
        assert_eq!(site.ended(conversation).await.status, MessageStatus::Error);
        site.page(conversation).await.shows(&wanted);
    }
}

#[tokio::test]
async fn a_refused_prompt_says_why() {
    let site = Site::new([Step::Echo]).await;
    let (conversation, _) = site.begin("draw the secret plan").await;
    let answer = site.ended(conversation).await;
    assert_eq!(answer.answer.reason, Some(Reason::Refused));
    site.page(conversation).await.shows(&[
        "draw the secret plan",
        "not passed on to the agent",
        "Secrets are &#60;not&#62; drawn.",
    ]);
}

#[tokio::test]
async fn an_unknown_model_is_told_with_those_that_there_are() {
    let script = Script::always([Step::ProviderError(ProviderError {
        name: "ProviderModelNotFoundError".to_owned(),
        message: "Model not found: local/gone.".to_owned(),
        status_code: None,
        url: None,
    })]);
    let impostor = Impostor::builder().script(script).models(["local/one"]);
    let site = Site::on(impostor.start().await.unwrap());
    let (conversation, _) = site.begin("go").await;
    let answer = site.ended(conversation).await;
    assert_eq!(answer.answer.reason, Some(Reason::UnknownName));
    site.page(conversation).await.shows(&[
        "knows no agent or model of that name",
        "Model not found: local/gone. It knows local/one.",
        "<code>opencode models</code>",
    ]);
}
