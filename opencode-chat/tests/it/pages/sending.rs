//! Prompts: sent, sent twice, refused.

use axum::http::StatusCode;
use opencode_host::budget::{Allowance, Budget};
use opencode_host::store::MessageRole;
use opencode_impostor::{Impostor, Script, Step};
use serde_json::Value;

use super::site::{Page, Site};

async fn prompts(site: &Site, conversation: opencode_host::id::ConversationId) -> Vec<String> {
    let mut messages = site.messages(conversation).await;
    messages.retain(|message| message.role == MessageRole::User);
    messages
        .into_iter()
        .map(|message| message.answer.content)
        .collect()
}

#[tokio::test]
async fn a_form_sent_twice_is_one_prompt() {
    let site = Site::new([Step::text("Yes.")]).await;
    let (first, _) = site.begin("hello there").await;
    let (second, _) = site.begin("hello there").await;
    assert_eq!(first, second);
    let path = format!("/conversations/{first}/turns");
    for _ in 0..2 {
        let page = site
            .post(&path, &[("prompt", "more\r\nwords"), ("key", "k")])
            .await;
        assert_eq!(
            (page.status, page.header("location")),
            (
                StatusCode::SEE_OTHER,
                format!("/conversations/{first}#end").as_str()
            )
        );
    }
    assert_eq!(prompts(&site, first).await, ["hello there", "more\nwords"]);
    // A page that a browser kept, and other words in it.
    site.post(&path, &[("prompt", "other words"), ("key", "k")])
        .await;
    assert_eq!(prompts(&site, first).await.len(), 3);
    // The same words in another form are another conversation.
    site.post(
        "/conversations",
        &[("prompt", "hello there"), ("key", "another")],
    )
    .await;
    assert_eq!(site.conversations().await.len(), 2);
}

#[tokio::test]
async fn a_script_gets_what_to_change() {
    let site = Site::new([Step::text("Yes.")]).await;
    let (status, patches) = site
        .send("/conversations", &[("prompt", "hi"), ("key", "a")])
        .await;
    assert_eq!(status, StatusCode::OK);
    let page = patches[0][1].as_str().unwrap();
    assert_eq!(patches[0][0], "visit");
    let (_, patches) = site
        .send(
            &format!("{page}/turns"),
            &[("prompt", "more <b>"), ("key", "b")],
        )
        .await;
    let operation = |at: usize| {
        (
            patches[at][0].as_str().unwrap(),
            patches[at][1].as_str().unwrap(),
        )
    };
    assert_eq!(
        [operation(0), operation(1), operation(2)],
        [
            ("append", "messages"),
            ("append", "messages"),
            ("replace", "key")
        ]
    );
    assert!(patches[0][2].as_str().unwrap().contains("more &#60;b&#62;"));
    assert!(
        patches[1][2]
            .as_str()
            .unwrap()
            .contains("data-events=\"/turns/")
    );
    let key = patches[2][2].as_str().unwrap();
    assert!(
        !key.contains("value=\"b\"") && key.contains("id=\"key\""),
        "{key}"
    );
}

#[tokio::test]
async fn a_refused_prompt_is_given_back() {
    let site = Site::new([Step::text("Yes.")]).await;
    let (conversation, _) = site.begin("hi").await;
    let long = "é<".repeat(400_000);
    for path in [
        "/conversations".to_owned(),
        format!("/conversations/{conversation}/turns"),
    ] {
        let (status, answer) = site.send(&path, &[("prompt", " \n ")]).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(
            answer["error"]
                .as_str()
                .unwrap()
                .contains("The prompt is empty"),
            "{answer}"
        );
        let page = site.post(&path, &[("prompt", &long)]).await;
        // 3.6 MB as a form: more than a request may hold. Said, and nothing is read further.
        assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
        page.shows(&["2 MiB"]);
        let long = "a".repeat((1 << 20) + 1);
        let page = site.post(&path, &[("prompt", &long)]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        page.shows(&[
            "1048577 bytes",
            &format!("action=\"{path}\""),
            "<textarea",
            "aaaaaaaa",
        ]);
    }
    assert_eq!(site.messages(conversation).await.len(), 2);
}

#[tokio::test]
async fn queued_prompts_wait_and_can_be_taken_back() {
    let site = Site::new([
        Step::text("Half"),
        Step::gate("hold"),
        Step::text(" and half."),
    ])
    .await;
    let (conversation, first) = site.begin("one").await;
    site.watch(first, None).await.until("Half").await;
    site.post(
        &format!("/conversations/{conversation}/turns"),
        &[("prompt", "two")],
    )
    .await;
    let page = site.page(conversation).await;
    page.shows(&[
        "Half",
        "class=\"words\" dir=\"auto\">two<",
        "Waiting for the answer above",
    ]);
    let second = site.answer(conversation).await.turn;
    site.post(&format!("/turns/{second}/cancel"), &[]).await;
    site.page(conversation).await.shows(&[
        "Half",
        "class=\"words\" dir=\"auto\">two<",
        "Cancelled before it started.",
    ]);
    site.impostor.gate("hold").open();
    site.watch(first, None).await.until_done().await;
    site.page(conversation).await.shows(&[
        "<p>Half</p>",
        "<p>and half.</p>",
        "Cancelled before it started.",
    ]);
}

fn fields_of(page: &Page) -> Value {
    serde_json::from_str(&page.text).unwrap_or(Value::Null)
}

#[tokio::test]
async fn a_form_that_cannot_be_read_is_refused_in_words() {
    let site = Site::on(Impostor::scripted(Script::new()).await.unwrap());
    let mut request = super::site::form("/conversations", &[("prompt", "x")], "application/json");
    request
        .headers_mut()
        .insert("content-type", "text/plain".parse().unwrap());
    let page = site.request(request).await;
    assert_eq!(page.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(
        fields_of(&page)["error"]
            .as_str()
            .unwrap()
            .contains("could not be read")
    );
}

#[tokio::test]
async fn a_prompt_that_no_budget_is_left_for_is_given_back_with_why() {
    let nothing = Budget::default().turn(Allowance::UNLIMITED.tokens(0));
    let site = Site::new([Step::text("Yes.")]).await.within(nothing);
    let fields = [("prompt", "hello there"), ("key", "a")];
    let page = site.post("/conversations", &fields).await;
    assert_eq!(page.status, StatusCode::PAYMENT_REQUIRED);
    page.shows(&[
        "The budget is used up",
        "0 tokens are allowed",
        "hello there",
    ]);
    assert_eq!(site.impostor.ledger().prompt_posts().len(), 0);
}
