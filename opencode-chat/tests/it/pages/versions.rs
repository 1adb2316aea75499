//! More than one answer: asked again, edited, gone through, gone on from elsewhere.

use axum::http::StatusCode;
use opencode_impostor::{Impostor, Script, Step};

use super::multipart_form::FileForm;
use super::site::Site;

/// A site that answers the first prompt three times, each time in other words.
async fn three() -> Site {
    let script = Script::new()
        .once("go", [Step::text("First.")])
        .once("go", [Step::text("Second.")])
        .once("go", [Step::text("Third.")])
        .otherwise([Step::Echo]);
    Site::on(Impostor::scripted(script).await.unwrap())
}

#[tokio::test]
async fn versions_stand_side_by_side() {
    let site = three().await;
    let (conversation, first) = site.begin("go").await;
    site.ended(conversation).await;
    let page = site.page(conversation).await;
    page.shows(&["First.", "Try again"]);
    page.lacks("class=\"versions\"");

    // Without a script: the page, with the other answer in the same place.
    let again = site
        .post(&format!("/turns/{first}/again"), &[("of", "1")])
        .await;
    assert_eq!(
        (again.status, again.header("location")),
        (
            StatusCode::SEE_OTHER,
            format!("/conversations/{conversation}#end").as_str()
        )
    );
    let second = site.ended(conversation).await.turn;
    assert_ne!(first, second);
    let page = site.page(conversation).await;
    page.shows(&[
        "Second.",
        &format!("formaction=\"/turns/{first}/choose\""),
        "2/2",
        "aria-label=\"Next version\" disabled",
    ]);
    page.lacks("First.");
    assert_eq!(
        page.text
            .matches("class=\"words\" dir=\"auto\">go<")
            .count(),
        1
    );

    // A script is told what goes, and what comes in its place.
    let (status, patches) = site.send(&format!("/turns/{first}/choose"), &[]).await;
    assert_eq!(status, StatusCode::OK, "{patches}");
    let said = page.between("<article class=\"message prompt\" id=\"", "\"");
    assert_eq!(
        (&patches[0][0], &patches[0][1]),
        (&"remove-from".into(), &said.into())
    );
    let html = patches[2][2].as_str().unwrap();
    assert!(html.contains("First.") && html.contains("1/2"), "{html}");

    // The first again, once more: another press of the same button is another turn.
    site.post(&format!("/turns/{first}/again"), &[("of", "2")])
        .await;
    site.ended(conversation).await;
    site.page(conversation).await.shows(&["Third.", "3/3"]);
}

#[tokio::test]
async fn an_edited_prompt_takes_the_place_of_the_other_with_its_files() {
    let site = Site::new([Step::Echo]).await;
    let form = FileForm::new("what is <this>?", "k").file("a.txt", "text/plain", "x");
    let conversation = site
        .request(form.request("/conversations", "text/html"))
        .await
        .conversation();
    let turn = site.ended(conversation).await.turn;
    let ask = format!("/turns/{turn}/edit");
    site.page(conversation)
        .await
        .shows(&[&format!("href=\"{ask}\"")]);
    let page = site.get(&ask).await;
    page.shows(&[
        &format!("action=\"{ask}\""),
        "what is &#60;this&#62;?</textarea>",
        "Its files go with it.",
    ]);
    let key = page.between("name=\"key\" value=\"", "\"");
    let fields = [("key", key.as_str()), ("prompt", "what is that?")];
    // Pressed twice, it is done once.
    for _ in 0..2 {
        let page = site.post(&ask, &fields).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
    }
    let answer = site.ended(conversation).await;
    let echoed = &answer.answer.content;
    assert!(
        echoed.contains("what is that?") && echoed.contains("`a.txt`"),
        "{echoed}"
    );
    let page = site.page(conversation).await;
    page.shows(&[
        "class=\"words\" dir=\"auto\">what is that?<",
        "a.txt",
        "2/2",
    ]);
    page.lacks("class=\"words\" dir=\"auto\">what is &#60;this");
}

#[tokio::test]
async fn while_an_answer_is_written_nothing_takes_its_place() {
    let site = Site::new([Step::text("Some"), Step::gate("hold")]).await;
    let (conversation, turn) = site.begin("go").await;
    let mut watch = site.watch(turn, None).await;
    watch.until("Some").await;
    let edit = [("key", "k"), ("prompt", "Another <prompt>")];
    for (way, fields) in [("again", &[][..]), ("fork", &[]), ("edit", &edit)] {
        let page = site.post(&format!("/turns/{turn}/{way}"), fields).await;
        assert_eq!(page.status, StatusCode::CONFLICT, "{way}: {}", page.text);
        page.shows(&["Not while an answer is being written"]);
        if way == "edit" {
            // What was written is given back.
            page.shows(&["Another &#60;prompt&#62;</textarea>"]);
        }
    }
    assert_eq!(site.messages(conversation).await.len(), 2);
}

#[tokio::test]
async fn a_fork_goes_on_by_itself() {
    let site = Site::new([Step::Echo]).await;
    let (conversation, turn) = site.begin("plan a garden").await;
    site.ended(conversation).await;
    let fork = format!("/turns/{turn}/fork");
    // Pressed twice, it is one.
    let one = site.post(&fork, &[]).await.conversation();
    let other = site.post(&fork, &[]).await.conversation();
    assert_eq!(one, other);
    assert_ne!(one, conversation);
    let page = site.page(one).await;
    page.shows(&[
        "<h1 id=\"title\">plan a garden</h1>",
        "class=\"words\" dir=\"auto\">plan a garden<",
    ]);
    let path = format!("/conversations/{one}/turns");
    site.post(&path, &[("prompt", "with roses")]).await;
    site.ended(one).await;
    site.page(conversation).await.lacks("with roses");
    // Once somebody has gone on in it, another one is made.
    let other = site.post(&fork, &[]).await.conversation();
    assert_ne!(one, other);
    site.page(other).await.lacks("with roses");
}

#[tokio::test]
async fn a_file_goes_without_words_and_words_that_are_missing_are_asked_for() {
    let site = Site::new([Step::Echo]).await;
    let form = FileForm::new(" ", "k").file("a.txt", "text/plain", "x");
    let conversation = site
        .request(form.request("/conversations", "text/html"))
        .await
        .conversation();
    site.ended(conversation).await;
    site.page(conversation).await.shows(&[
        "class=\"words\" dir=\"auto\">See the attached files.<",
        "a.txt",
    ]);
    // A form without a file has an empty one.
    let form = FileForm::new("", "l").file("", "application/octet-stream", "");
    let path = format!("/conversations/{conversation}/turns");
    let page = site.request(form.request(&path, "text/html")).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.shows(&["write what you want to ask"]);
}
