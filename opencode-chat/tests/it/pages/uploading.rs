//! Prompts that bring files: taken, refused, cut off, sent again.

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::{StreamExt as _, stream};
use opencode_host::id::ConversationId;
use opencode_host::store::{AttachmentSource, MessageRole};
use opencode_host::uploads::MAX_FILES;
use opencode_impostor::{Impostor, Script, Step};
use serde_json::Value;

use super::multipart_form::{FileForm, request};
use super::site::{MAX_UPLOAD, Page, Site};

const HTML: &str = "text/html,*/*;q=0.8";

async fn echoing() -> Site {
    Site::new([Step::Echo]).await
}

/// Names, sizes and types of the files of the person's messages.
async fn given(site: &Site, conversation: ConversationId) -> Vec<(String, u64, String)> {
    let mut given = Vec::new();
    for message in site.messages(conversation).await {
        if message.role == MessageRole::User {
            let files = site.host.store().attachments(message.id).await.unwrap();
            assert!(
                files
                    .iter()
                    .all(|file| file.source == AttachmentSource::Upload)
            );
            given.extend(
                files
                    .into_iter()
                    .map(|file| (file.name, file.size, file.mime_type)),
            );
        }
    }
    given
}

fn error_of(page: &Page) -> (StatusCode, String, Value) {
    let answer: Value = serde_json::from_str(&page.text).unwrap();
    (
        page.status,
        answer["error"].as_str().unwrap().to_owned(),
        answer["file"].clone(),
    )
}

#[tokio::test]
async fn files_go_to_the_agent_and_show_on_the_message() {
    let site = echoing().await;
    let form = FileForm::new("What sold\r\nbest?", "k")
        .file("Übersicht <b>\"%22.csv", "text/csv", "item,sold\n")
        .file("notes", "application/octet-stream", "")
        .file("x\"; name=\"prompt", "nonsense; a=b", "y");
    let page = site.request(form.request("/conversations", HTML)).await;
    let conversation = page.conversation();
    let answer = site.ended(conversation).await;
    assert!(
        answer
            .answer
            .content
            .contains("What sold\nbest?\n\n3 files were uploaded."),
        "{}",
        answer.answer.content
    );
    let given = given(&site, conversation).await;
    assert_eq!(
        given[0],
        ("Übersicht <b>".to_owned(), 10, "text/csv".to_owned())
    );
    assert_eq!(
        given[1],
        ("notes".to_owned(), 0, "application/octet-stream".to_owned())
    );
    let page = site.page(conversation).await;
    page.shows(&[
        "class=\"words\" dir=\"auto\">What sold\nbest?</div>",
        "<ul class=\"files\" aria-label=\"Your files\">",
        "Übersicht &#60;b&#62;",
        "CSV · 10 bytes",
        "Preview",
        "notes",
        "File · 0 bytes",
    ]);
    page.lacks("3 files were uploaded.</div>");
    page.lacks("Übersicht <b>");
}

#[tokio::test]
async fn a_name_is_whatever_the_browser_says_and_never_markup() {
    let site = echoing().await;
    let evil = "<img src=x onerror=alert(1)>%22' .txt";
    let form = FileForm::new("hi", "k").file(evil, "text/plain", "x");
    let conversation = site
        .request(form.request("/conversations", HTML))
        .await
        .conversation();
    let name = &given(&site, conversation).await[0].0;
    assert_eq!(name, "<img src=x onerror=alert(1)>\"' .txt");
    let page = site.page(conversation).await;
    page.lacks("<img src=x");
    page.shows(&[
        "/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%22%27%20.txt\"",
        "&#60;img src=x",
    ]);
}

#[tokio::test]
async fn a_form_without_a_file_is_a_prompt() {
    let site = echoing().await;
    // What a browser sends when no file was chosen.
    let form = FileForm::new("hi", "a").file("", "application/octet-stream", "");
    let conversation = site
        .request(form.request("/conversations", HTML))
        .await
        .conversation();
    assert!(given(&site, conversation).await.is_empty());
    // Bytes without a name are a file.
    let form = FileForm::new("hi", "b").file("", "text/plain", "x");
    let path = format!("/conversations/{conversation}/turns");
    site.request(form.request(&path, HTML)).await;
    assert_eq!(given(&site, conversation).await[0].0, "file");
}

#[tokio::test]
async fn a_file_that_is_too_large_is_named_and_nothing_is_sent() {
    let site = echoing().await;
    let (conversation, _) = site.begin("first").await;
    site.ended(conversation).await;
    let turns = format!("/conversations/{conversation}/turns");
    let most = vec![b'x'; MAX_UPLOAD as usize];
    let more = vec![b'x'; MAX_UPLOAD as usize + 1];
    let form = FileForm::new("look", "k")
        .file("fine.txt", "text/plain", &most)
        .file("big \u{1f}.txt", "text/plain", &more)
        .file("never.txt", "text/plain", "x");
    for path in ["/conversations", &turns] {
        let page = site.request(form.request(path, "application/json")).await;
        let (status, error, file) = error_of(&page);
        assert_eq!((status, file), (StatusCode::PAYLOAD_TOO_LARGE, 1.into()));
        assert!(
            error.contains("“big") && error.contains("1000 bytes"),
            "{error}"
        );
        assert!(
            error.contains("Nothing was sent") && error.contains("--max-upload"),
            "{error}"
        );
        let page = site.request(form.request(path, HTML)).await;
        page.shows(&[
            "A file is too large",
            &format!("action=\"{path}\""),
            "look</textarea>",
        ]);
    }
    assert_eq!(site.messages(conversation).await.len(), 2);
    let all = site.conversations().await;
    assert_eq!(
        all.len(),
        1,
        "no conversation is left in which nothing was said"
    );
    let form = FileForm::new("look", "k").file("fine.txt", "text/plain", &most);
    site.request(form.request(&turns, HTML)).await;
    assert_eq!(given(&site, conversation).await[0].1, MAX_UPLOAD);
}

#[tokio::test]
async fn a_conversation_takes_so_much_and_no_more() {
    let site = echoing().await;
    let full = vec![b'x'; MAX_UPLOAD as usize];
    let three = |prompt: &str| {
        let other = vec![prompt.as_bytes()[0]; MAX_UPLOAD as usize];
        FileForm::new(prompt, prompt)
            .file("a.bin", "application/x-thing", &full)
            .file("b.bin", "application/x-thing", other)
    };
    let page = site
        .request(three("one").request("/conversations", HTML))
        .await;
    let conversation = page.conversation();
    let path = format!("/conversations/{conversation}/turns");
    let page = site
        .request(three("two").request(&path, "application/json"))
        .await;
    let (status, error, file) = error_of(&page);
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{error}");
    assert!(
        file.is_number() && error.contains("--upload-quota"),
        "{error}"
    );
    assert!(error.contains("another conversation"), "{error}");
    assert_eq!(given(&site, conversation).await.len(), 2);
    let page = site
        .request(three("three").request("/conversations", HTML))
        .await;
    assert_ne!(page.conversation(), conversation);
}

#[tokio::test]
async fn too_many_files_are_refused() {
    let site = echoing().await;
    let mut form = FileForm::new("look", "k");
    for number in 0..=MAX_FILES {
        form = form.file(&format!("{number}.txt"), "text/plain", "x");
    }
    let page = site
        .request(form.request("/conversations", "application/json"))
        .await;
    let (status, error, file) = error_of(&page);
    assert_eq!(
        (status, file),
        (StatusCode::UNPROCESSABLE_ENTITY, MAX_FILES.into())
    );
    assert!(
        error.contains("50 files") && error.contains("“50.txt”"),
        "{error}"
    );
    site.has_no_conversation().await;
}

#[tokio::test]
async fn a_body_that_is_cut_off_sends_nothing() {
    let site = echoing().await;
    let whole = FileForm::new("look", "k")
        .file("a.txt", "text/plain", "0123456789")
        .bytes();
    let broken = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    for end in [0, 20, 100, whole.len() - 30, whole.len() - 3] {
        let cut = whole[..end].to_vec();
        for failing in [false, true] {
            let chunks = [Ok(cut.clone())]
                .into_iter()
                .chain(failing.then(|| Err(broken())));
            let body = Body::from_stream(stream::iter(chunks.collect::<Vec<_>>()));
            let page = site
                .request(request("/conversations", "application/json", body))
                .await;
            let (status, error, _) = error_of(&page);
            assert_eq!(status, StatusCode::BAD_REQUEST, "{end}");
            assert!(error.contains("cut off"), "{end}: {error}");
        }
    }
    site.has_no_conversation().await;
    assert_eq!(
        std::fs::read_dir(site.folder.path().join("sandboxes/.staging"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn files_come_last() {
    let site = echoing().await;
    let early = FileForm::default()
        .file("a.txt", "text/plain", "x")
        .field("prompt", "hi");
    let page = site
        .request(early.request("/conversations", "application/json"))
        .await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(error_of(&page).1.contains("could not be read"));
    let late = FileForm::new("hi", "k")
        .file("a.txt", "text/plain", "x")
        .field("more", "y");
    let page = site
        .request(late.request("/conversations", "application/json"))
        .await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(error_of(&page).1.contains("could not be read"));
    let long = FileForm::new(&"x".repeat(3 << 20), "k");
    let page = site
        .request(long.request("/conversations", "application/json"))
        .await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
    site.has_no_conversation().await;
}

#[tokio::test]
async fn a_form_with_files_sent_twice_is_one_prompt() {
    let site = echoing().await;
    let form = |content: &str| FileForm::new("look", "k").file("a.txt", "text/plain", content);
    let first = site
        .request(form("one").request("/conversations", HTML))
        .await
        .conversation();
    let again = site
        .request(form("one").request("/conversations", HTML))
        .await
        .conversation();
    assert_eq!(first, again);
    assert_eq!(given(&site, first).await.len(), 1);
    // The same page once more, with another file.
    site.request(form("another").request("/conversations", HTML))
        .await;
    assert_eq!(given(&site, first).await.len(), 2);
}

#[tokio::test]
async fn a_script_sees_the_files_at_once() {
    let site = echoing().await;
    let form = FileForm::new("look", "k").file("a.txt", "text/plain", "x");
    let page = site
        .request(form.request("/conversations", "application/json"))
        .await;
    let patches: Value = serde_json::from_str(&page.text).unwrap();
    let page = patches[0][1].as_str().unwrap();
    let form = FileForm::new("more", "l").file("b.txt", "text/plain", "y");
    let page = site
        .request(form.request(&format!("{page}/turns"), "application/json"))
        .await;
    let patches: Value = serde_json::from_str(&page.text).unwrap();
    let html = patches[0][2].as_str().unwrap();
    assert!(
        html.contains("class=\"words\" dir=\"auto\">more</div>") && html.contains(">b.txt</span>"),
        "{html}"
    );
}

#[tokio::test]
async fn a_failed_prompt_is_tried_again_with_its_files() {
    let script = Script::new()
        .once("look", [Step::provider_error(500, "oops")])
        .otherwise([Step::Echo]);
    let site = Site::on(Impostor::scripted(script).await.unwrap());
    let form = FileForm::new("look", "k").file("a.txt", "text/plain", "x");
    let conversation = site
        .request(form.request("/conversations", HTML))
        .await
        .conversation();
    let turn = site.ended(conversation).await.turn;
    let page = site.post(&format!("/turns/{turn}/again"), &[]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
    let answer = site.ended(conversation).await;
    assert!(
        answer.answer.content.contains("1 file was uploaded")
            && answer.answer.content.contains("`a.txt`"),
        "{}",
        answer.answer.content
    );
    // The prompt is there once, with its file.
    let page = site.page(conversation).await;
    assert_eq!(
        page.text
            .matches("class=\"words\" dir=\"auto\">look<")
            .count(),
        1
    );
    assert_eq!(page.text.matches(">a.txt</span>").count(), 1);
}

#[tokio::test]
async fn a_deleted_conversation_takes_its_folder_with_it() {
    let site = echoing().await;
    let form = FileForm::new("look", "k").file("a.txt", "text/plain", "x");
    let conversation = site
        .request(form.request("/conversations", HTML))
        .await
        .conversation();
    site.ended(conversation).await;
    let folder = site.folder.path().join(format!("sandboxes/{conversation}"));
    assert!(folder.join("a.txt").exists());
    site.post(&format!("/conversations/{conversation}/delete"), &[])
        .await;
    assert!(!folder.exists());
    let gone = site
        .impostor
        .wait_for(|ledger| ledger.sessions_alive().is_empty());
    gone.await.unwrap();
}

#[tokio::test]
async fn an_application_that_stops_waits_for_no_upload() {
    let whole = FileForm::new("look", "k")
        .file("a.txt", "text/plain", "x")
        .bytes();
    // In a field, in the head of a file, in the file.
    for end in [100, whole.len() - 40, whole.len() - 30] {
        let site = echoing().await;
        let begun = stream::iter([Ok::<_, std::io::Error>(whole[..end].to_vec())]);
        let never = futures_util::StreamExt::chain(begun, stream::pending());
        let never = Body::from_stream(never);
        let upload = site.request(request("/conversations", "application/json", never));
        let stop = async { site.shutdown.cancel() };
        let (page, ()) = tokio::join!(upload, stop);
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{end}");
    }
}

#[tokio::test]
async fn a_form_that_goes_on_for_ever_is_refused_while_it_comes() {
    let site = echoing().await;
    let head = "------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"\"";
    let endless = [
        format!("{head}\r\n\r\n\r\n"),
        format!("{head}; filename=\"\"\r\n\r\n\r\n"),
        format!("{head}; filename=\"a\"\r\n\r\n\r\n"),
        "a preamble".to_owned(),
    ];
    for part in endless {
        let parts = stream::iter(std::iter::repeat_with(move || {
            Ok::<_, std::io::Error>(part.clone())
        }));
        let page = site
            .request(request("/conversations", HTML, Body::from_stream(parts)))
            .await;
        assert!(page.status.is_client_error(), "{}", page.status);
    }
    assert!(site.conversations().await.is_empty());
}

#[tokio::test]
async fn a_form_of_countless_fields_is_refused() {
    let site = echoing().await;
    let page = site.post("/conversations", &vec![("", ""); 5000]).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
    let form = (0..5000).fold(FileForm::new("hi", "k"), |form, _| form.field("", ""));
    let page = site.request(form.request("/conversations", HTML)).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// The files below the site's folder.
fn kept(site: &Site) -> Vec<std::path::PathBuf> {
    let mut folders = vec![site.folder.path().to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files
}

#[tokio::test]
async fn a_form_that_is_refused_leaves_nothing() {
    let site = echoing().await;
    let (conversation, _) = site.begin("hi").await;
    site.ended(conversation).await;
    let full = vec![b'f'; 1000];
    let small = || FileForm::new("look", "k").file("a.txt", "text/plain", "small");
    let too_large = small().file("b.txt", "text/plain", vec![b'x'; 1001]);
    let too_much = small()
        .file("b.txt", "text/plain", &full)
        .file("c.txt", "text/plain", &full)
        .file("d.txt", "text/plain", &full);
    let behind = small().field("prompt", "other words");
    let long = "x".repeat(opencode_host::DEFAULT_MAX_PROMPT + 1);
    let long = FileForm::new(&long, "k").file("a.txt", "text/plain", "small");
    let many = (0..=MAX_FILES).fold(FileForm::new("look", "k"), |form, number| {
        form.file(&format!("{number}.txt"), "text/plain", number.to_string())
    });
    for path in [
        "/conversations".to_owned(),
        format!("/conversations/{conversation}/turns"),
    ] {
        for form in [&too_large, &too_much, &behind, &long, &many] {
            let page = site.request(form.request(&path, HTML)).await;
            assert!(page.status.is_client_error(), "{}", page.status);
            assert_eq!(kept(&site), [] as [std::path::PathBuf; 0], "{path}");
        }
        let mut cut = small().bytes();
        cut.truncate(cut.len() - 5);
        let page = site.request(request(&path, HTML, Body::from(cut))).await;
        assert!(page.status.is_client_error(), "{}", page.status);
        assert_eq!(kept(&site), [] as [std::path::PathBuf; 0], "{path}");
    }
    // The same that was refused, and what is wrong with it mended.
    let page = site
        .request(small().request(&format!("/conversations/{conversation}/turns"), HTML))
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert_eq!(kept(&site).len(), 2, "a blob and a copy: {:?}", kept(&site));
}

#[tokio::test]
async fn a_form_that_is_sent_twice_leaves_one_copy() {
    let site = echoing().await;
    let form = FileForm::new("look", "k").file("a.txt", "text/plain", "small");
    for _ in 0..3 {
        let page = site.request(form.request("/conversations", HTML)).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER);
    }
    assert_eq!(kept(&site).len(), 2, "{:?}", kept(&site));
    // Other words and another file in a page that the browser kept.
    let page = site.request(form.request("/conversations", HTML)).await;
    let turns = format!("/conversations/{}/turns", page.conversation());
    let other = FileForm::new("look", "k").file("a.txt", "text/plain", "other");
    let page = site.request(other.request(&turns, HTML)).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let given = given(&site, page.conversation()).await;
    assert_eq!(given.len(), 2, "{given:?}");
    assert_eq!(kept(&site).len(), 4, "{:?}", kept(&site));
}

#[tokio::test]
async fn a_form_that_stalls_keeps_no_other_waiting() {
    let site = echoing().await;
    let form = FileForm::new("look", "k").file("a.txt", "text/plain", "small");
    let whole = form.bytes();
    let half = whole[..whole.len() - 20].to_vec();
    let (heard, hears) = tokio::sync::oneshot::channel();
    let stalls = stream::once(async { Ok::<_, std::io::Error>(half) }).chain(stream::once(async {
        // Asked for more: what came was taken.
        let _ = heard.send(());
        std::future::pending().await
    }));
    let stalled = request("/conversations", HTML, Body::from_stream(stalls));
    let stalled = site.request(stalled);
    tokio::pin!(stalled);
    tokio::select! {
        page = &mut stalled => panic!("{page:?}"),
        taken = hears => taken.unwrap(),
    }
    let page = site.request(form.request("/conversations", HTML)).await;
    let conversation = page.conversation();
    assert_eq!(given(&site, conversation).await.len(), 1);
}
