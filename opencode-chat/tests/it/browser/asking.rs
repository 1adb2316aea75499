//! Being asked, and being told: by the page that is looked at, and by one that is not.

use opencode_chromium::Chromium;
use opencode_impostor::{Impostor, Script, Step};
use rustix::process::Signal;

use super::serve;
use crate::support::Chat;

const CLICK_AT_ONCE: &str = "new MutationObserver((_, watch) => { const button = document.querySelector('.request .primary'); \
    if (button) { watch.disconnect(); button.click(); } }).observe(document.body, { childList: true, subtree: true })";

#[tokio::test]
async fn a_permission_is_whole_cannot_be_given_by_accident_and_is_remembered() {
    let command = format!(
        "echo start\u{202e} && {} && rm -rf x",
        "echo more ".repeat(300)
    );
    let script = Script::new()
        .on(
            "two",
            [
                Step::ask_bash(command.clone(), "a.txt"),
                Step::ask_bash("ls", "b.txt"),
                Step::text("Done."),
            ],
        )
        .otherwise([Step::text("Hello.")]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let chat = Chat::with(&impostor);
    let (_running, url) = serve(&chat, &[]).await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("{url}/")).await;
    browser.types("hi").await;
    browser.press("Enter").await;
    browser.shows("Hello.").await;
    browser
        .until("!document.querySelector('[aria-busy]')")
        .await;

    // A click that was on its way does not count.
    browser.evaluate(CLICK_AT_ONCE).await;
    browser.types("two").await;
    browser.press("Enter").await;
    browser.shows("This has only just come up").await;
    browser
        .until("Boolean(document.querySelector('.request[data-ready]:not(.answered)'))")
        .await;
    // All of it is on the page: nothing scrolls, what hides is written out.
    let whole = "(() => { const all = [...document.querySelectorAll('.request pre')]; \
        return all.every((pre) => pre.scrollHeight <= pre.clientHeight + 1 && pre.scrollWidth <= pre.clientWidth + 1) \
        && all[0].textContent.includes('echo start\\\\u{202e} && echo more') && all[0].textContent.endsWith('&& rm -rf x'); })()";
    assert_eq!(browser.evaluate(whole).await, true);
    browser.shows("It works in the folder").await;

    // The keyboard goes to what is asked next, at its words; and to the box to write in behind the last.
    browser
        .evaluate("document.querySelector('.request .primary').click()")
        .await;
    browser.shows("Allowed once by someone in a browser").await;
    browser
        .until("document.querySelector('.request[data-ready] pre')?.textContent === 'ls'")
        .await;
    browser
        .evaluate("document.querySelector('.request .primary').click()")
        .await;
    browser.shows("Done.").await;
    browser
        .until("document.activeElement.id === 'prompt' && !document.querySelector('[aria-busy]')")
        .await;

    // Both are remembered with the answer.
    browser.reload().await;
    let decided = "[...document.querySelectorAll('.decided')].map((one) => one.textContent.includes('Allowed once')).join()";
    assert_eq!(browser.evaluate(decided).await, "true,true");
    browser.assert_content();
}

#[tokio::test]
async fn a_page_out_of_sight_tells_that_an_answer_is_done() {
    let script = Script::always([
        Step::text("One half."),
        Step::gate("half"),
        Step::text("The other."),
    ]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let chat = Chat::with(&impostor);
    let (running, url) = serve(&chat, &[]).await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("{url}/")).await;
    browser.types("go").await;
    browser.press("Enter").await;
    browser.shows("One half.").await;
    browser
        .until("Boolean(document.querySelector('#list .busy'))")
        .await;

    // An application that hangs is told of within seconds, and so is that it is back.
    running.signal(Signal::STOP);
    browser
        .shows("Nothing is heard from the application for")
        .await;
    running.signal(Signal::CONT);
    browser
        .until("document.querySelector('#offline').hidden")
        .await;

    let hide = "window.told = []; window.Notification = class { static permission = 'granted'; constructor(title, { body }) { told.push(`${title}: ${body}`); } }; \
        Object.defineProperty(document, 'hidden', { get: () => window.isHidden, configurable: true }); window.isHidden = true; \
        document.dispatchEvent(new Event('visibilitychange'))";
    browser.evaluate(hide).await;
    impostor.gate("half").open();
    browser
        .until("window.told.join() === 'go: The answer is complete.'")
        .await;
    assert_eq!(
        browser.evaluate("document.title").await,
        "● go · OpenCode Chat"
    );
    let icon = "document.querySelector('link[rel=icon]').href.includes('icon-told')";
    assert_eq!(browser.evaluate(icon).await, true);
    browser
        .evaluate("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
        .await;
    browser.shows("The other.").await;
    browser
        .until("document.title === 'go · OpenCode Chat'")
        .await;
    assert_eq!(browser.evaluate(icon).await, false);
    browser.assert_content();
}
