//! Reading while an answer comes: whose the scrolling is, and what is copied.

use opencode_chromium::Chromium;
use opencode_impostor::{Impostor, Script, Step};
use serde_json::Value;

use super::{gated, serve};
use crate::support::Chat;

/// So many paragraphs, numbered.
fn paragraphs(from: usize, to: usize) -> String {
    let all = (from..to).map(|number| format!("Paragraph {number} of a long answer.\n\n"));
    all.collect::<Vec<_>>().concat()
}

const AT_END: &str = "innerHeight + scrollY >= document.documentElement.scrollHeight - 4";

#[tokio::test]
async fn the_way_up_lets_go_of_the_end_and_reaching_it_takes_hold_again() {
    let script = Script::always([
        Step::text(paragraphs(0, 60)),
        Step::gate("one"),
        Step::text(paragraphs(60, 90)),
        Step::gate("two"),
        Step::text(paragraphs(90, 120)),
        Step::gate("three"),
        Step::text(paragraphs(120, 150)),
        Step::gate("four"),
        Step::text("The end."),
    ]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let chat = Chat::with(&impostor);
    let (_running, url) = serve(&chat, &[]).await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("{url}/")).await;
    browser.types("go").await;
    browser.press("Enter").await;
    browser.shows("Paragraph 59").await;
    browser.until(AT_END).await;

    // A little, by wheel: still near the end, and let go of.
    browser.wheels(-30).await;
    browser.until(&format!("!({AT_END})")).await;
    let top = browser.evaluate("scrollY").await;
    impostor.gate("one").open();
    browser.shows("Paragraph 89").await;
    assert_eq!(browser.evaluate("scrollY").await, top);
    browser
        .until("/^To the end: about \\d+ new words$/.test(document.querySelector('.to-end:not([hidden])')?.textContent)")
        .await;

    // The button goes there, and the end is followed again.
    browser
        .evaluate("document.querySelector('.to-end').click()")
        .await;
    browser.until(AT_END).await;
    browser
        .until("document.querySelector('.to-end').hidden")
        .await;
    impostor.gate("two").open();
    browser.shows("Paragraph 119").await;
    browser.until(AT_END).await;

    // By key, and back by the bar at the side.
    browser.evaluate("document.activeElement.blur()").await;
    browser.strikes("PageUp", 33).await;
    browser.until(&format!("!({AT_END})")).await;
    impostor.gate("three").open();
    browser.shows("Paragraph 149").await;
    assert_ne!(browser.evaluate(AT_END).await, true);
    // The key's own way up has come to its end.
    let rests = "(async () => { const top = scrollY; await new Promise((done) => { setTimeout(done, 200); }); return top === scrollY; })()";
    browser.until(rests).await;
    browser.evaluate("scrollTo(0, 1e9)").await;
    browser
        .until("document.querySelector('.to-end').hidden")
        .await;
    browser.until(AT_END).await;
    impostor.gate("four").open();
    browser.shows("The end.").await;
    browser.until(AT_END).await;
    browser.assert_content();
}

/// What a script of the page would have put into the clipboard of a browser that has none.
const NO_CLIPBOARD: &str = "(() => { Object.defineProperty(navigator, 'clipboard', { value: undefined });
    document.addEventListener('copy', () => { window.copied = getSelection().toString() || document.activeElement.value; }); })()";

#[tokio::test]
async fn code_and_answers_are_copied_by_keyboard_over_plain_http_too() {
    let answer = "Some **code**:\n\n```rust\nlet x = 1;\n```\n";
    let impostor = Impostor::scripted(Script::always([Step::text(answer)]))
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let (_running, url) = serve(&chat, &[]).await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("{url}/")).await;
    browser.types("go").await;
    browser.press("Enter").await;
    browser
        .until("document.querySelector('.answer .ways')?.checkVisibility()")
        .await;
    browser.evaluate(NO_CLIPBOARD).await;
    for (button, wanted) in [
        (".code .copy", "let x = 1;"),
        (".answer .ways .copy", answer.trim_end()),
        (".prompt .ways .copy", "go"),
    ] {
        let focus = format!("document.querySelector('{button}').focus()");
        browser.evaluate(&focus).await;
        browser.press("Enter").await;
        browser
            .until(&format!(
                "document.querySelector('{button}').textContent === 'Copied'"
            ))
            .await;
        let copied = browser.evaluate("window.copied.trimEnd()").await;
        assert_eq!(copied, Value::from(wanted));
        assert_eq!(
            browser
                .evaluate(&format!(
                    "document.activeElement === document.querySelector('{button}')"
                ))
                .await,
            true
        );
    }
    browser.assert_content();
}

#[tokio::test]
async fn a_block_that_grows_is_whole_and_stays_scrolled() {
    let line = |number| {
        format!(
            "let number_{number} = {number}; // {}\n",
            "long ".repeat(60)
        )
    };
    let code: String = (0..60).map(line).collect();
    // Eight characters are a delta.
    let half = code.len() / 2 / 8;
    let text = format!("```\n{code}```\n\nBehind it.");
    let script = Script::always([gated(&text, "half", half)]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let chat = Chat::with(&impostor);
    let (_running, url) = serve(&chat, &[]).await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("{url}/")).await;
    browser.types("go").await;
    browser.press("Enter").await;
    browser.shows("let number_25").await;
    browser
        .evaluate("document.querySelector('.code pre').scrollLeft = 200")
        .await;
    impostor.gate("half").open();
    browser.shows("let number_50").await;
    assert_eq!(
        browser
            .evaluate("document.querySelector('.code pre').scrollLeft")
            .await,
        200
    );
    browser.shows("Behind it.").await;
    browser
        .until("!document.querySelector('[aria-busy]')")
        .await;
    let shown = browser
        .evaluate("document.querySelector('.code code').textContent")
        .await;
    assert_eq!(shown, Value::from(code));
    browser.assert_content();
}
