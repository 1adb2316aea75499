//! A page of assistant-ui's in a real Chromium, over the router: what it shows is what is kept.
//!
//! The page is `tests/clients/assistant_ui.jsx`, bundled by esbuild with the packages that the other clients use.

use std::process::Stdio;

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use opencode_chromium::Chromium;
use opencode_impostor::{Script, Step};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::clients::{asking, packages, seeing, was_taken_over};
use crate::processes::{WorkerProcess, take_over};
use crate::site::Site;

const PAGE: &str = r#"<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,">
<title>Garden</title><div id="root"></div><script type="module" src="/page.js"></script></html>"#;

/// The page's program, as a browser runs it.
async fn bundle() -> String {
    let packages = packages();
    let mut esbuild = Command::new(packages.join("node_modules/.bin/esbuild"))
        .current_dir(&packages)
        .args([
            "--bundle",
            "--format=esm",
            "--loader=jsx",
            "--jsx=automatic",
            "--log-level=error",
        ])
        .arg(r#"--define:process.env.NODE_ENV="production""#)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let source = include_str!("../clients/assistant_ui.jsx");
    let mut stdin = esbuild.stdin.take().unwrap();
    stdin.write_all(source.as_bytes()).await.unwrap();
    drop(stdin);
    let made = esbuild.wait_with_output().await.unwrap();
    assert!(made.status.success(), "esbuild does not take the page");
    String::from_utf8(made.stdout).unwrap()
}

/// The page on a site, in a browser.
struct Page {
    browser: Chromium,
    url: String,
}

impl Page {
    async fn on(site: &Site) -> Self {
        let program = bundle().await;
        let script = [(header::CONTENT_TYPE, "text/javascript")];
        let more = Router::new()
            .route("/", get(Html(PAGE)))
            .route("/page.js", get(move || async move { (script, program) }));
        let address = site.serve_with(more).await;
        let url = format!("http://{address}/#garden:acme");
        let mut browser = Chromium::start().await;
        browser.open(&url).await;
        let mut page = Self { browser, url };
        page.rests().await;
        page
    }

    /// Nothing runs.
    async fn rests(&mut self) {
        let rests = "document.querySelector('output')?.innerText === 'ready'";
        self.browser.until(rests).await;
    }

    /// Types words and sends them by Enter, as a person does.
    async fn sends(&mut self, words: &str) {
        self.browser
            .evaluate("document.querySelector('textarea').focus()")
            .await;
        self.browser.types(words).await;
        let typed = format!(
            "document.querySelector('textarea').value === {}",
            json!(words)
        );
        self.browser.until(&typed).await;
        self.browser.press("Enter").await;
    }

    async fn clicks(&mut self, button: &str) {
        let named = format!(
            "[...document.querySelectorAll('button')].find(one => one.innerText === {} && !one.disabled)",
            json!(button)
        );
        self.browser.until(&format!("!!{named}")).await;
        self.browser.evaluate(&format!("{named}.click()")).await;
    }

    /// What is shown of the conversation.
    async fn shown(&mut self) -> String {
        let text = self
            .browser
            .evaluate("document.querySelector('main').innerText")
            .await;
        text.as_str().unwrap().to_owned()
    }
}

/// The words of the answer that is kept, and its turn.
async fn kept(site: &Site) -> (String, Value) {
    let conversation = site.conversation().await;
    let path = format!("/conversations/{conversation}/messages");
    let messages = site.get(&path).await.ok();
    let mut messages = messages["messages"].as_array().unwrap().iter();
    let answer = messages
        .find(|message| message["role"] == "assistant")
        .unwrap();
    let parts = answer["parts"].as_array().unwrap().iter();
    let words = parts
        .map(|part| part["content"].as_str().unwrap())
        .collect();
    (words, answer["turn"].clone())
}

#[tokio::test]
async fn a_page_shows_an_answer_with_its_tools_and_files() {
    let site = Site::new([
        Step::tool("read", json!({"path": "a.txt"}), "alpha"),
        Step::tool_error("read", json!({"path": "b.txt"}), "no such file"),
        seeing(),
        Step::write_file("out.txt", "done"),
        Step::text("It grows."),
    ])
    .await;
    let mut page = Page::on(&site).await;
    page.sends("What grows?").await;
    page.browser.shows("It grows.").await;
    page.rests().await;
    let shown = page.shown().await;
    for part in [
        "What grows?",
        r#"read {"path":"a.txt"} gave "alpha""#,
        r#"read {"path":"b.txt"} failed"#,
        "no such file",
        "out.txt",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let drawn = "document.querySelector('main img')?.naturalWidth === 1";
    page.browser.until(drawn).await;
    // Another message: another turn, and the first is still shown.
    page.sends("And now?").await;
    page.browser
        .until("document.querySelector('main').innerText.split('It grows.').length === 3")
        .await;
    page.rests().await;
    page.browser.assert_content();
}

#[tokio::test]
async fn a_page_answers_a_question_and_gives_a_permission() {
    let site = Site::new(asking()).await;
    let mut page = Page::on(&site).await;
    page.sends("Go").await;
    page.clicks("Go on? Yes").await;
    page.clicks("Allow bash").await;
    page.browser.shows("Done.").await;
    page.rests().await;
    assert!(page.shown().await.contains("answered"));
    page.browser.assert_content();
}

#[tokio::test]
async fn a_page_sends_a_file() {
    let site = Site::new([Step::text("It says alpha.")]).await;
    let mut page = Page::on(&site).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.txt");
    std::fs::write(&file, "alpha").unwrap();
    page.browser.choose("input[type=file]", &[&file]).await;
    page.browser.shows("a.txt").await;
    page.sends("Read").await;
    page.browser.shows("It says alpha.").await;
    page.rests().await;
    let sent = site.sent_files().await;
    assert_eq!(sent, [("a.txt".to_owned(), b"alpha".to_vec())]);
    page.browser.assert_content();
}

#[tokio::test]
async fn a_page_stops_an_answer_and_its_half_is_kept() {
    let site = Site::new([Step::text("Half"), Step::gate("never"), Step::text("whole")]).await;
    let mut page = Page::on(&site).await;
    page.sends("Go").await;
    page.browser.shows("Half").await;
    page.clicks("Stop").await;
    page.rests().await;
    assert_eq!(kept(&site).await.0, "Half");
    assert!(!page.shown().await.contains("whole"));
}

#[tokio::test]
async fn a_page_that_is_loaded_anew_goes_on_with_the_answer() {
    let site = Site::new([Step::text("One. "), Step::gate("two"), Step::text("Two.")]).await;
    let mut page = Page::on(&site).await;
    page.sends("Count").await;
    page.browser.shows("One.").await;
    page.browser.reload().await;
    page.browser.shows("One.").await;
    site.impostor.gate("two").open();
    page.browser.shows("Two.").await;
    page.rests().await;
    assert_eq!(kept(&site).await.0, "One. Two.");
    // Nothing runs any more, and a page that is loaded then shows nothing of its own.
    page.browser.open("about:blank").await;
    let url = page.url.clone();
    page.browser.open(&url).await;
    page.rests().await;
    page.browser.assert_content();
}

#[tokio::test]
async fn a_page_shows_the_text_once_after_kill_9_of_the_worker() {
    let steps = [Step::text("One. "), Step::gate("two"), Step::text("Two.")];
    let site = Site::shared(Script::always(steps)).await;
    let mut page = Page::on(&site).await;
    let dying = WorkerProcess::start(&site);
    page.sends("Count").await;
    page.browser.shows("One.").await;
    dying.kill().await;
    let _successor = take_over(&site, "two");
    page.browser.shows("Two.").await;
    page.rests().await;
    let (text, turn) = kept(&site).await;
    assert_eq!(text, "One. Two.");
    let shown = page.shown().await;
    for word in ["One.", "Two."] {
        assert_eq!(shown.matches(word).count(), 1, "{shown}");
    }
    was_taken_over(&site, &json!({"turn": turn})).await;
    page.browser.assert_content();
}
