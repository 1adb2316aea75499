//! What the agent asks, answered in the page.

use axum::http::StatusCode;
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::outcome::Reason;
use opencode_host::store::MessageStatus;
use opencode_impostor::{Question, Step};

use super::site::Site;

/// A site whose agent asks, the turn, and where the form that it asks with goes.
async fn asked(
    steps: impl IntoIterator<Item = Step>,
    marker: &str,
) -> (Site, ConversationId, TurnId, String) {
    let site = Site::new(steps).await;
    let (conversation, turn) = site.begin("go").await;
    site.watch(turn, None)
        .await
        .until("class=\"request\"")
        .await;
    let page = site.page(conversation).await;
    let action = page.between(&format!("action=\"/turns/{turn}/{marker}/"), "\"");
    (
        site,
        conversation,
        turn,
        format!("/turns/{turn}/{marker}/{action}"),
    )
}

fn question() -> [Step; 3] {
    [
        Step::question("Which <colour>?", ["Red", "Blue"]),
        Step::gate("hold"),
        Step::text("Thanks."),
    ]
}

#[tokio::test]
async fn a_question_is_a_form_and_its_answer_arrives() {
    let (site, conversation, turn, action) = asked(question(), "questions").await;
    site.page(conversation).await.shows(&[
        "Which &#60;colour&#62;?",
        "<button name=\"a0\" value=\"Red\">",
        "<button name=\"a0\" value=\"Blue\">",
        "name=\"t0\"",
    ]);
    let mut watch = site.watch(turn, None).await;
    watch.until("class=\"request\"").await;
    let request = action.rsplit('/').next().unwrap();
    let (status, patches) = site
        .send(&action, &[("count", "1"), ("a0", "Blue"), ("t0", " ")])
        .await;
    assert_eq!((status, patches), (StatusCode::OK, serde_json::json!([])));
    let removed = vec!["remove".to_owned(), format!("request-{request}")];
    while !watch
        .next()
        .await
        .expect("the form goes away")
        .patches
        .contains(&removed)
    {}
    site.impostor.gate("hold").open();
    watch.until_done().await;
    site.page(conversation)
        .await
        .shows(&["Asked", "Which &#60;colour&#62;?", "Blue", "Thanks."]);
    site.impostor.assert_clean();
}

#[tokio::test]
async fn own_words_are_an_answer_too_and_none_is_missed() {
    let both = Question {
        question: "Which?".to_owned(),
        options: vec!["A".to_owned(), "B".to_owned()],
        multiple: true,
        ..Question::default()
    };
    let (site, conversation, _, action) =
        asked([Step::Question(both), Step::text("Thanks.")], "questions").await;
    site.page(conversation)
        .await
        .shows(&["type=\"checkbox\" name=\"a0\" value=\"A\""]);
    let page = site.post(&action, &[("count", "1"), ("t0", "")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.shows(&["An answer is missing"]);
    let page = site
        .post(
            &action,
            &[("count", "1"), ("a0", "A"), ("a0", "B"), ("t0", "and C")],
        )
        .await;
    assert_eq!(
        (page.status, page.header("location")),
        (
            StatusCode::SEE_OTHER,
            format!("/conversations/{conversation}#end").as_str()
        )
    );
    let answer = site.ended(conversation).await;
    let output = serde_json::to_string(&answer.parts).unwrap();
    assert!(output.contains('A') && output.contains("and C"), "{output}");
    let (status, problem) = site.send(&action, &[("count", "1"), ("a0", "A")]).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
}

#[tokio::test]
async fn a_question_is_declined() {
    let (site, conversation, _, action) = asked(question(), "questions").await;
    site.post(&format!("{action}/reject"), &[]).await;
    let answer = site.ended(conversation).await;
    assert_eq!(
        (answer.status, answer.reason),
        (MessageStatus::Cancelled, Some(Reason::Declined))
    );
    site.page(conversation).await.shows(&["You declined"]);
}

#[tokio::test]
async fn a_permission_is_given_once() {
    let (site, conversation, _, action) = asked(
        [Step::ask_bash("ls -la", "total 0"), Step::text("Ran.")],
        "permissions",
    )
    .await;
    let page = site.page(conversation).await;
    page.shows(&[
        "wants to run a command",
        "<pre tabindex=\"0\">ls -la</pre>",
        "value=\"once\"",
        "value=\"always\"",
    ]);
    let (status, _) = site.send(&action, &[("reply", "perhaps")]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    site.post(&action, &[("reply", "once"), ("message", "")])
        .await;
    site.ended(conversation).await;
    site.page(conversation)
        .await
        .shows(&["Ran", "ls -la", "total 0", "<p>Ran.</p>"]);
    site.impostor.assert_clean();
}

#[tokio::test]
async fn the_enter_key_rejects_a_permission_rather_than_giving_it() {
    let (site, conversation, ..) = asked([Step::ask_bash("ls", "x")], "permissions").await;
    let form = site
        .page(conversation)
        .await
        .between("class=\"request\"", "</form>");
    let first = form.split("<button").nth(1).unwrap();
    assert!(
        first.contains("value=\"reject\""),
        "the first button of a form is what Enter presses: {first}"
    );
}

#[tokio::test]
async fn a_permission_is_rejected_with_a_word() {
    let (site, conversation, _, action) = asked(
        [Step::ask_bash("rm -rf /", "x"), Step::text("Fine, not.")],
        "permissions",
    )
    .await;
    site.post(
        &action,
        &[("message", "Only list them"), ("reply", "reject")],
    )
    .await;
    let answer = site.ended(conversation).await;
    assert!(
        serde_json::to_string(&answer.parts)
            .unwrap()
            .contains("Only list them"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn ids_that_are_none_reach_nobody() {
    let (site, _, turn, _) = asked(question(), "questions").await;
    for path in [
        "questions/..%2Fx",
        "questions/a%20b/reject",
        "permissions/..%2F..%2Fsession",
    ] {
        let page = site
            .post(
                &format!("/turns/{turn}/{path}"),
                &[("a0", "x"), ("reply", "once")],
            )
            .await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
    }
    site.impostor.assert_clean();
}

#[tokio::test]
async fn an_answer_is_stopped() {
    let site = Site::new([Step::text("Some words"), Step::gate("hold")]).await;
    let (conversation, turn) = site.begin("go").await;
    let mut watch = site.watch(turn, None).await;
    watch.until("Some words").await;
    let (status, _) = site.send(&format!("/turns/{turn}/cancel"), &[]).await;
    assert_eq!(status, StatusCode::OK);
    let last = watch.until_done().await.pop().unwrap().html();
    assert!(
        last.contains("Some words") && last.contains("You stopped this answer."),
        "{last}"
    );
    assert_eq!(
        site.answer(conversation).await.status,
        MessageStatus::Cancelled
    );
    // Once more is no error.
    assert_eq!(
        site.post(&format!("/turns/{turn}/cancel"), &[])
            .await
            .status,
        StatusCode::SEE_OTHER
    );
}
