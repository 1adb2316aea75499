//! Files in a real browser: in with a prompt, out with an answer.

use std::path::Path;

use opencode_chromium::Chromium;
use opencode_impostor::{Impostor, Script, Step};
use serde_json::json;
use tempfile::TempDir;

use super::serve;
use crate::support::{Chat, PATIENCE, Running};

/// One pixel.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\x0f\
    \0\x01\x01\x01\0\x1b\xb6\xeeV\0\0\0\0IEND\xaeB`\x82";

struct Stage {
    impostor: Impostor,
    _running: Running,
    browser: Chromium,
    url: String,
    folder: TempDir,
    _chat: Chat,
}

impl Stage {
    async fn new(script: Script, more: &[&str]) -> Self {
        let impostor = Impostor::scripted(script).await.unwrap();
        let chat = Chat::with(&impostor);
        let (running, url) = serve(&chat, more).await;
        let mut browser = Chromium::start().await;
        browser.open(&format!("{url}/")).await;
        Self {
            impostor,
            _running: running,
            browser,
            url,
            folder: tempfile::tempdir().unwrap(),
            _chat: chat,
        }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    async fn choose(&mut self, files: &[&Path]) {
        self.browser.choose("#files", files).await;
    }

    async fn send(&mut self, prompt: &str) {
        self.browser
            .evaluate("document.querySelector('#prompt').focus()")
            .await;
        self.browser.types(prompt).await;
        self.browser.press("Enter").await;
    }

    /// How many elements there are.
    async fn count(&mut self, selector: &str) -> u64 {
        let expression = format!("document.querySelectorAll({}).length", json!(selector));
        self.browser.evaluate(&expression).await.as_u64().unwrap()
    }

    async fn text(&mut self, selector: &str) -> String {
        let expression = format!("document.querySelector({}).textContent", json!(selector));
        let text = self.browser.evaluate(&expression).await;
        text.as_str().unwrap_or_default().to_owned()
    }
}

/// Dispatches an event that carries files, named and with these words in them.
fn carrying(event: &str, class: &str, field: &str, files: &[(&str, &str)], more: &str) -> String {
    let files = json!(files);
    format!(
        "(() => {{ const data = new DataTransfer();
          for (const [name, words] of {files}) data.items.add(new File([words], name, {{ type: 'text/plain' }}));
          {more}
          const event = new {class}('{event}', {{ bubbles: true, cancelable: true, {field}: data }});
          document.querySelector('main').dispatchEvent(event);
          return event.defaultPrevented; }})()"
    )
}

#[tokio::test]
async fn files_are_chosen_sent_and_shown() {
    let script = Script::always([Step::Echo]);
    let mut stage = Stage::new(script, &["--max-upload", "1K"]).await;
    let (large, notes) = (
        stage.file("large.txt", [b'x'; 1025]),
        stage.file("notes <b>.txt", "My notes\n"),
    );
    let picture = stage.file("dot.png", PNG);
    stage.choose(&[&large, &notes]).await;
    stage.choose(&[&picture]).await;
    assert_eq!(stage.count(".chip").await, 3);
    let chip = stage.text(".chip:nth-child(2)").await;
    assert!(
        chip.contains("notes <b>.txt") && chip.contains("9 bytes"),
        "{chip}"
    );
    // The browser knows the limit: nothing is sent, and nothing lost.
    stage.send("Read them").await;
    stage
        .browser
        .shows("“large.txt” cannot be sent. Remove it")
        .await;
    assert!(stage.text(".chip.bad").await.contains("1 KB is the most"));
    assert_eq!(stage.impostor.ledger().prompt_posts().len(), 0);
    // Removed with the keyboard, which goes on to the next one.
    stage
        .browser
        .evaluate("document.querySelector('.chip.bad button').focus()")
        .await;
    stage.browser.press("Enter").await;
    stage
        .browser
        .until("document.activeElement.ariaLabel === 'Remove notes <b>.txt'")
        .await;
    stage
        .browser
        .evaluate("document.querySelector('#prompt').focus()")
        .await;
    stage.browser.press("Enter").await;

    stage
        .browser
        .until("document.querySelectorAll('.prompt .file').length === 2")
        .await;
    stage.browser.shows("2 files were uploaded").await;
    stage
        .browser
        .until("document.querySelector('.prompt .picture img')?.naturalWidth === 1")
        .await;
    assert_eq!(stage.text(".prompt .words").await, "Read them");
    assert_eq!(stage.count(".prompt b, .chip").await, 0);
    // The beginning of a text comes when it is unfolded.
    stage
        .browser
        .evaluate("document.querySelector('.prompt .peek summary').click()")
        .await;
    stage
        .browser
        .until("document.querySelector('.prompt .peek pre')?.textContent === 'My notes\\n'")
        .await;
    stage.browser.reload().await;
    assert_eq!(stage.count(".prompt .file").await, 2);
    stage.browser.assert_content();
}

#[tokio::test]
async fn files_are_dropped_and_pasted_anywhere() {
    let mut stage = Stage::new(Script::always([Step::Echo]), &[]).await;
    let over = carrying(
        "dragenter",
        "DragEvent",
        "dataTransfer",
        &[("a.txt", "A")],
        "",
    );
    assert_eq!(stage.browser.evaluate(&over).await, true);
    stage.browser.shows("Drop files to send them").await;
    let drop = carrying(
        "drop",
        "DragEvent",
        "dataTransfer",
        &[("a.txt", "A"), ("b.txt", "B")],
        "",
    );
    assert_eq!(stage.browser.evaluate(&drop).await, true);
    stage
        .browser
        .until("document.querySelector('.drop').hidden")
        .await;
    let paste = carrying(
        "paste",
        "ClipboardEvent",
        "clipboardData",
        &[("image.png", "C")],
        "",
    );
    assert_eq!(stage.browser.evaluate(&paste).await, true);
    assert_eq!(stage.count(".chip").await, 3);
    // Text is pasted as text, whatever picture of it is there too.
    let text = "data.setData('text/plain', 'words');";
    let paste = carrying(
        "paste",
        "ClipboardEvent",
        "clipboardData",
        &[("words.png", "D")],
        text,
    );
    assert_eq!(stage.browser.evaluate(&paste).await, false);
    // Nor is a dragged word a file.
    let over = carrying("dragenter", "DragEvent", "dataTransfer", &[], text);
    assert_eq!(stage.browser.evaluate(&over).await, false);
    assert_eq!(stage.count(".chip").await, 3);
    stage.send("Take these").await;
    stage.browser.shows("3 files were uploaded").await;
    let names = "[...document.querySelectorAll('.prompt .file .name')].map((name) => name.textContent).join()";
    assert_eq!(stage.browser.evaluate(names).await, "a.txt,b.txt,image.png");
    stage.browser.assert_content();
}

#[tokio::test]
async fn an_upload_shows_how_far_it_is_and_can_be_stopped() {
    let mut stage = Stage::new(Script::always([Step::Echo]), &[]).await;
    let (small, large) = (
        stage.file("small.txt", "x"),
        stage.file("large.bin", vec![0; 4 << 20]),
    );
    stage.choose(&[&small, &large]).await;
    stage.browser.sends(1 << 20).await;
    stage.send("Look").await;
    let bars = "[...document.querySelectorAll('.chip progress')].map((bar) => bar.value)";
    stage
        .browser
        .until(&format!(
            "(([small, large]) => small === 1 && large > 0 && large < 1)({bars})"
        ))
        .await;
    stage.browser.until("document.querySelector('.composer.uploading [role=status]').textContent === 'Sending 2 files'").await;
    assert_eq!(
        stage
            .browser
            .evaluate("document.querySelector('.halt').hidden")
            .await,
        false
    );
    stage.browser.press("Escape").await;
    stage
        .browser
        .shows("The upload was stopped. Nothing was sent.")
        .await;
    assert_eq!(
        stage
            .browser
            .evaluate("document.querySelector('#prompt').value")
            .await,
        "Look"
    );
    assert_eq!(stage.count(".chip").await, 2);
    assert_eq!(stage.impostor.ledger().prompt_posts().len(), 0);
    stage.browser.sends(-1).await;
    stage.browser.press("Enter").await;
    stage.browser.shows("2 files were uploaded").await;
    assert!(
        stage
            .text(".prompt .file:nth-child(2)")
            .await
            .contains("4 MB")
    );
}

#[tokio::test]
async fn what_the_server_refuses_is_marked_and_stays() {
    let mut stage = Stage::new(Script::always([Step::Echo]), &["--max-upload", "1M"]).await;
    // A page whose limit is out of date.
    stage
        .browser
        .evaluate("document.querySelector('.composer').dataset.maxUpload = 1e9")
        .await;
    let (fine, large) = (
        stage.file("fine.txt", "x"),
        stage.file("large.bin", vec![0; 24 << 20]),
    );
    stage.choose(&[&fine, &large]).await;
    stage.send("Look").await;
    stage.browser.shows("“large.bin” has more than 1 MB").await;
    assert!(stage.text(".chip.bad").await.contains("large.bin"));
    assert_eq!(stage.count(".chip").await, 2);
    assert_eq!(
        stage
            .browser
            .evaluate("document.querySelector('#prompt').value")
            .await,
        "Look"
    );
    assert_eq!(stage.impostor.ledger().prompt_posts().len(), 0);
}

#[tokio::test]
async fn what_the_agent_made_comes_with_the_end_and_runs_nothing() {
    let evil = "<!doctype html><script>top.document.title = 'owned'; document.title = 'owned'</script>Hello";
    let chart = r#"{"title": "Sales", "labels": ["Q1", "Q2"], "series": [{"name": "North", "values": [3, 4]}]}"#;
    let script = Script::always([
        Step::write_file(
            "report.md",
            "# Report <script>document.title = 'owned'</script>\n",
        ),
        Step::write_file("picture.png", evil),
        Step::write_file(
            "drawing.svg",
            "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"document.title = 'owned'\"/>",
        ),
        Step::write_file("chart.html", evil),
        Step::write_file("chart.json", chart),
        Step::text("Here they are."),
    ]);
    let mut stage = Stage::new(script, &[]).await;
    stage.send("Make files").await;
    stage
        .browser
        .until("document.querySelectorAll('.answer .file').length === 5")
        .await;
    let names = "[...document.querySelectorAll('.answer .file .name')].map((name) => name.textContent).sort().join()";
    assert_eq!(
        stage.browser.evaluate(names).await,
        "chart.html,chart.json,drawing.svg,picture.png,report.md"
    );
    assert_eq!(stage.count(".answer img, .answer svg svg").await, 0);
    stage.browser.shows("This is not a PNG").await;
    for at in 0..4 {
        let unfold = format!("document.querySelectorAll('.answer .peek summary')[{at}].click()");
        stage.browser.evaluate(&unfold).await;
    }
    stage
        .browser
        .until("document.querySelectorAll('.answer .peek pre').length === 4")
        .await;

    // The chart is drawn in its frame, which this page cannot look into.
    assert_eq!(
        stage
            .browser
            .evaluate("document.querySelector('.made').contentDocument")
            .await,
        json!(null)
    );
    let frame = stage
        .browser
        .evaluate("document.querySelector('.made').src")
        .await;
    let frame = frame.as_str().unwrap().to_owned();
    assert!(frame.ends_with("/chart.html?inline"), "{frame}");
    stage
        .browser
        .evaluate("document.querySelector('.made').scrollIntoView()")
        .await;
    stage.browser.frame_shows(&frame, "Sales").await;
    assert_eq!(
        stage.browser.evaluate("document.title").await,
        "Make files · OpenCode Chat"
    );
    stage.browser.assert_content();

    // Nothing of it runs in a window of its own either.
    let picture = "[...document.querySelectorAll('.act')].find((link) => link.href.includes('picture.png')).href";
    let picture = stage.browser.evaluate(picture).await;
    let folder = stage.folder.path().to_owned();
    stage.browser.downloads_to(&folder).await;
    stage
        .browser
        .evaluate("document.querySelector('.act[aria-label=\"Download report.md\"]').click()")
        .await;
    is_there(&folder.join("report.md")).await;
    let go = format!("location.assign({picture} + '?inline')");
    stage.browser.evaluate(&go).await;
    is_there(&folder.join("picture.png")).await;
    assert_eq!(
        std::fs::read_to_string(folder.join("picture.png")).unwrap(),
        evil
    );
    stage
        .browser
        .open(&format!("{}?preview", picture.as_str().unwrap()))
        .await;
    stage.browser.shows("<script>top.document.title").await;
    assert_eq!(
        stage.browser.evaluate("document.title").await,
        "picture.png · OpenCode Chat"
    );
    assert!(stage.url.starts_with("http://127.0.0.1:"));
}

/// Waits for a file that a browser saves; it gets its name when it is whole.
async fn is_there(path: &Path) {
    let there = async {
        while !path.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let there = tokio::time::timeout(PATIENCE, there).await;
    there.unwrap_or_else(|_| panic!("{} was not saved", path.display()));
}

#[tokio::test]
async fn another_tab_learns_of_a_prompt() {
    let mut stage = Stage::new(Script::always([Step::Echo]), &[]).await;
    stage.send("The first").await;
    stage
        .browser
        .until("document.querySelectorAll('.answer:not(.pending)').length === 1")
        .await;
    // Another tab of this conversation, as it were: the page hears of it on the same channel.
    let send = "fetch(document.querySelector('.composer').action, { method: 'POST', body: new URLSearchParams(
        { prompt: 'From elsewhere', key: 'other' }) })
        .then(() => new BroadcastChannel('conversations').postMessage(location.pathname))";
    stage.browser.evaluate(send).await;
    stage
        .browser
        .until("document.querySelectorAll('.answer:not(.pending)').length === 2")
        .await;
    stage.browser.shows("From elsewhere").await;
    stage.browser.assert_content();
}

#[tokio::test]
async fn a_file_goes_without_a_word() {
    let mut stage = Stage::new(Script::always([Step::Echo]), &[]).await;
    // Neither words nor files: that is said, by the page itself.
    stage.send("").await;
    stage
        .browser
        .shows("Write what you want to ask, or attach a file.")
        .await;
    let notes = stage.file("notes.txt", "My notes\n");
    stage.choose(&[&notes]).await;
    stage.send("").await;
    stage.browser.shows("See the attached files.").await;
    stage.browser.shows("1 file was uploaded").await;
    stage.browser.assert_content();
}
