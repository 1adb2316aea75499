//! How failed answers look, and how they go on.

use axum::http::StatusCode;
use opencode_host::outcome::Reason;
use opencode_host::store::{MessageRole, MessageStatus};
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
    let retry = format!("/turns/{turn}/retry");
    site.page(conversation).await.shows(&[
        "refused the credentials",
        "<code>APIError 401</code> upstream &#60;says&#62; no",
        "<code>opencode auth login</code>",
        &format!("action=\"{retry}\""),
        "Try again",
    ]);
    // Pressed twice, it is done once.
    for _ in 0..2 {
        let page = site.post(&retry, &[]).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER);
    }
    let answer = site.ended(conversation).await;
    assert_eq!(answer.answer.content, "Now it works.");
    let prompts = site
        .messages(conversation)
        .await
        .into_iter()
        .filter(|message| message.role == MessageRole::User);
    assert_eq!(
        prompts
            .map(|message| message.answer.content)
            .collect::<Vec<_>>(),
        ["go", "go"]
    );
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
    ]);
    let (_, patches) = site.send(&format!("/turns/{turn}/retry"), &[]).await;
    assert!(
        patches[0][2].as_str().unwrap().contains("Continue."),
        "{patches}"
    );
    site.ended(conversation).await;
    site.page(conversation)
        .await
        .shows(&["The half", "class=\"words\">Continue.<", "The rest."]);
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
    site.page(conversation)
        .await
        .shows(&["cut in the mid", "the text is cut here"]);
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
