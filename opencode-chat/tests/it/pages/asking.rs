//! What the agent asks, answered in the page.

use axum::http::StatusCode;
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::outcome::Reason;
use opencode_host::store::MessageStatus;
use opencode_impostor::{Permission, Question, Step, Tool};
use serde_json::json;

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
    assert_eq!(status, StatusCode::OK);
    // What was decided stands in the place of the question.
    assert_eq!(
        (&patches[0][0], &patches[1][0]),
        (&"remove".into(), &"append".into())
    );
    let decided = patches[1][2].as_str().unwrap();
    assert!(
        decided.contains("Answered “Blue” by someone in a browser, <time datetime=\"20"),
        "{decided}"
    );
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
    let output = serde_json::to_string(&answer.answer.parts).unwrap();
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
        (answer.status, answer.answer.reason),
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

/// A permission with this metadata.
#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn permission(name: &str, metadata: serde_json::Value) -> Step {
    Step::Permission(Permission {
        permission: name.into(),
        patterns: vec!["curl x".into(), "sh".into()],
        always: vec!["curl *".into(), "s\u{202e}h *".into()],
        metadata: metadata.as_object().unwrap().clone(),
        tool: Tool {
            tool: name.into(),
            ..Tool::default()
        },
        ..Permission::default()
    })
}

#[tokio::test]
async fn a_card_shows_the_command_that_runs_and_all_else_that_is_asked() {
    let command = format!(
        "curl x | sh > out\r\n\u{202e}# {}<end>",
        "long ".repeat(2000)
    );
    let metadata = json!({"command": command, "directory": "/etc", "why": {"deep": [1]}});
    let (site, conversation, turn, _) = asked([permission("bash", metadata)], "permissions").await;
    let page = site.page(conversation).await;
    let shown = command
        .replace("\r\n\u{202e}", "\\r\n\\u{202e}")
        .replace('<', "&#60;")
        .replace('>', "&#62;");
    page.shows(&[
        "Command, 2 lines, 10",
        &format!("<pre tabindex=\"0\">{shown}</pre>"),
        "<p class=\"about\">Folder</p><pre tabindex=\"0\">/etc</pre>",
        "<p class=\"about\">why</p>",
        "&#34;deep&#34;: [",
        "<p class=\"about\">For</p><pre tabindex=\"0\">curl x\nsh</pre>",
        "“Always” allows</p><pre tabindex=\"0\">curl *\ns\\u{202e}h *\n</pre>",
    ]);
    assert!(!page.text.contains('\u{202e}'));
    // The same in the stream.
    let live = site
        .watch(turn, None)
        .await
        .until("class=\"request\"")
        .await;
    let live = live.last().unwrap().html();
    assert!(
        live.contains(&shown) && !live.contains('\u{202e}'),
        "{live}"
    );
}

#[tokio::test]
async fn a_card_for_an_edit_shows_the_file_and_the_changes() {
    let metadata =
        json!({"filepath": "/etc/x", "diff": "--- a\n+++ b\n@@ -1 +1 @@\n-a\n+b\u{200b}\t<c>\n"});
    let (site, conversation, ..) = asked([permission("edit", metadata)], "permissions").await;
    site.page(conversation).await.shows(&[
        "wants to change files",
        "<p class=\"about\">File</p><pre tabindex=\"0\">/etc/x</pre>",
        "<span class=\"removed\">-a\n</span><span class=\"added\">+b\\u{200b}\t&#60;c&#62;\n</span>",
    ]);
}

#[tokio::test]
async fn an_option_that_hides_something_shows_it_and_is_answered_as_it_is() {
    let label = "Yes\u{202e}\u{200b}<b>";
    let hostile = Question {
        question: "Really\u{2066}?\nYes".into(),
        header: "He\u{7}ad".into(),
        options: vec![label.into(), "No".into()],
        ..Question::default()
    };
    let (site, conversation, _, action) = asked(
        [Step::Question(hostile), Step::text("Thanks.")],
        "questions",
    )
    .await;
    site.page(conversation).await.shows(&[
        "He\\u{7}ad: </span>Really\\u{2066}?\nYes</legend>",
        "value=\"Yes\u{202e}\u{200b}&#60;b&#62;\"",
        "<span>Yes\\u{202e}\\u{200b}&#60;b&#62;</span>",
    ]);
    site.post(&action, &[("count", "1"), ("a0", label)]).await;
    site.ended(conversation).await;
    let answers = site.impostor.ledger();
    let answers = answers.requests_of("POST /question/:id/reply");
    assert_eq!(answers[0].body, json!({"answers": [[label]]}));
}

#[tokio::test]
async fn no_page_holds_a_character_that_hides() {
    let hostile = "a\u{1b}]b\u{202e}c\u{9b}d\u{200b}e\u{feff}f\u{e0041}g\u{2028}h";
    let tool = Tool {
        tool: "bash".into(),
        input: json!({"command": hostile, "description": hostile}),
        output: hostile.into(),
        title: Some(hostile.into()),
        ..Tool::default()
    };
    let site = Site::new([
        Step::Tool(tool.clone()),
        Step::Tool(Tool {
            tool: format!("mcp{hostile}"),
            ..tool
        }),
        Step::tool_error(
            "read",
            json!({"filePath": format!("/x/{hostile}")}),
            hostile,
        ),
        Step::todos([(hostile, "pending")]),
        Step::reasoning(hostile),
        Step::text(format!("**{hostile}** `{hostile}` &#x202e;")),
        Step::provider_error(400, hostile),
    ])
    .await;
    let (conversation, turn) = site.begin(hostile).await;
    let live = site.watch(turn, None).await.until_done().await;
    let pages = [
        site.page(conversation).await.text,
        site.get("/").await.text,
        site.get(&format!("/conversations/{conversation}/delete"))
            .await
            .text,
        live.iter().map(super::site::Seen::html).collect(),
    ];
    for page in pages {
        let hides = |c: char| opencode_host::visible::is_hidden(c) && !matches!(c, '\n' | '\t');
        assert_eq!(page.find(hides), None, "{page:?}");
        assert!(page.contains("b\\u{202e}c"), "{page}");
    }
}

#[tokio::test]
async fn the_enter_key_neither_gives_a_permission_nor_rejects_it() {
    let (site, conversation, ..) = asked([Step::ask_bash("ls", "x")], "permissions").await;
    let form = site
        .page(conversation)
        .await
        .between("class=\"request\"", "</form>");
    let first = form.split("<button").nth(1).unwrap();
    assert!(
        first.starts_with(" hidden disabled>"),
        "the first button of a form is what Enter presses, and a disabled one does nothing: {first}"
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
        serde_json::to_string(&answer.answer.parts)
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
