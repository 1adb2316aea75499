//! The application in a real browser, as a person uses it.

mod asking;
mod files;
mod finding;
mod reading;
mod typing;
mod versions;

use opencode_chromium::Chromium;
use opencode_impostor::{Impostor, Script, Step, Streamed};

use crate::support::{Chat, Running};

/// The application, and its address.
async fn serve(chat: &Chat, more: &[&str]) -> (Running, String) {
    let mut running = chat.start(&[&["serve", "--listen", "127.0.0.1:0"], more].concat());
    let line = running.logs("open http://").await;
    let url = &line[line.find("http://").unwrap()..];
    let end = url.find(|c: char| !c.is_ascii_alphanumeric() && !":/.".contains(c));
    (running, url[..end.unwrap_or(url.len())].to_owned())
}

/// A text that stops at a gate after so many deltas of eight characters.
fn gated(text: &str, gate: &str, deltas: usize) -> Step {
    Step::Text(Streamed::new(text).gate(gate).gate_after(deltas))
}

#[tokio::test]
async fn a_conversation_streams_survives_a_reload_and_is_stopped() {
    let script = Script::new()
        .on(
            "first",
            [
                gated("Hello **you**.\n\nThis is the first answer.", "first", 3),
                Step::text("All of it."),
            ],
        )
        .on(
            "second",
            [
                gated("One half. The other half.", "second", 1),
                Step::gate("never"),
                Step::text("Never said."),
            ],
        );
    let impostor = Impostor::scripted(script).await.unwrap();
    let chat = Chat::with(&impostor);
    let (_running, url) = serve(&chat, &[]).await;
    let mut browser = Chromium::start().await;

    // The box to write in has the focus; Enter sends.
    browser.open(&format!("{url}/")).await;
    browser.shows("What shall we work on?").await;
    browser.types("The first prompt").await;
    browser.press("Enter").await;
    browser
        .until("location.pathname.startsWith('/conversations/')")
        .await;
    browser
        .until("document.title === 'The first prompt · OpenCode Chat'")
        .await;

    // The answer streams in, rendered, while the agent still writes.
    browser
        .until("document.querySelector('[aria-busy] strong')?.textContent === 'you'")
        .await;
    assert_eq!(
        browser
            .evaluate("document.body.innerText.includes('first answer')")
            .await,
        false
    );
    impostor.gate("first").open();
    browser.shows("This is the first answer.").await;
    browser
        .until("!document.querySelector('[aria-busy]')")
        .await;
    browser.shows("All of it.").await;
    browser
        .until("document.activeElement.id === 'prompt'")
        .await;

    // A second prompt, without a reload; the page is opened anew in the middle of its answer.
    browser.evaluate("window.isTheSame = true").await;
    browser.types("The second prompt").await;
    browser.press("Enter").await;
    browser.shows("One half").await;
    assert_eq!(browser.evaluate("window.isTheSame").await, true);
    assert_eq!(
        browser
            .evaluate("document.querySelector('#prompt').value")
            .await,
        ""
    );
    browser.reload().await;
    let half = "[...document.querySelectorAll('[aria-busy] .block')].map((block) => block.textContent.trim()).join()";
    assert_eq!(browser.evaluate(half).await, "One half");
    browser
        .until("!document.querySelector('.halt').hidden")
        .await;

    // It goes on from there, and is stopped.
    impostor.gate("second").open();
    browser.shows("The other half.").await;
    browser.press("Escape").await;
    browser.shows("You stopped this answer.").await;
    browser.shows("One half. The other half.").await;
    browser
        .until("document.querySelector('.halt').hidden")
        .await;
    impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
    impostor.assert_clean();
    browser.assert_content();
}

#[tokio::test]
async fn questions_are_answered_and_a_lost_application_loses_no_draft() {
    let impostor = Impostor::scripted(Script::always([
        Step::question("Which colour?", ["Red", "Blue"]),
        Step::text("<img src=x onerror=\"document.title='owned'\"> <script>document.title='owned'</script> Thanks."),
    ]))
    .await
    .unwrap();
    let chat = Chat::with(&impostor);
    let (running, url) = serve(&chat, &[]).await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("{url}/")).await;
    browser.types("Ask me").await;
    browser.press("Enter").await;
    browser.shows("Which colour?").await;
    browser
        .evaluate("document.querySelector('form.request button[value=Blue]').click()")
        .await;
    browser.shows("Thanks.").await;
    browser
        .until("!document.querySelector('form.request')")
        .await;
    assert_eq!(
        browser.evaluate("document.title").await,
        "Ask me · OpenCode Chat"
    );
    browser.assert_content();

    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.end().await.code, 0);
    browser
        .evaluate("document.querySelector('#prompt').focus()")
        .await;
    browser.types("A long thought").await;
    browser.press("Enter").await;
    browser
        .shows("The application does not answer. Nothing was lost")
        .await;
    assert_eq!(
        browser
            .evaluate("document.querySelector('#prompt').value")
            .await,
        "A long thought"
    );
}
