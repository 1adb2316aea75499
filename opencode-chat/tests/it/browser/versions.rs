//! More than one answer, by keyboard, and what keys do not do by themselves.

use opencode_chromium::Chromium;
use opencode_impostor::{Impostor, Script, Step};

use super::serve;
use crate::support::Chat;

const SHOWN: &str = "[...document.querySelectorAll('.prompt .words, .answer .block')].map((text) => text.textContent.trim()).join(' / ')";

/// Focuses an element and presses Enter there, as somebody does who came by the Tab key.
async fn press(browser: &mut Chromium, element: &str) {
    let script = format!(
        "(() => {{ const element = [...document.querySelectorAll('{element}')].at(-1); element?.focus(); \
         return Boolean(element) && document.activeElement === element; }})()"
    );
    browser.until(&script).await;
    browser.press("Enter").await;
}

#[tokio::test]
async fn answers_are_made_again_and_gone_through_by_keyboard() {
    let script = Script::new()
        .once("go", [Step::text("First.")])
        .once("go", [Step::text("Second.")])
        .otherwise([Step::Echo]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let chat = Chat::with(&impostor);
    let (_running, url) = serve(&chat, &[]).await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("{url}/")).await;
    browser.types("go").await;
    browser.press("Enter").await;
    browser.shows("First.").await;
    browser
        .until("document.querySelector('.answer .ways')?.checkVisibility()")
        .await;

    // Another answer in its place, without a reload and without another bubble.
    browser.evaluate("window.isTheSame = true").await;
    press(&mut browser, ".ways [action$=\"/again\"] button").await;
    browser.shows("Second.").await;
    browser.shows("2/2").await;
    assert_eq!(browser.evaluate(SHOWN).await, "go / Second.");
    assert_eq!(
        browser.evaluate("document.activeElement.id").await,
        "prompt"
    );

    // Back and forth: the focus stays there.
    press(&mut browser, ".versions .previous").await;
    browser.shows("1/2").await;
    assert_eq!(browser.evaluate(SHOWN).await, "go / First.");
    browser
        .until("document.activeElement.matches('.versions .next')")
        .await;
    browser.press("Enter").await;
    browser.shows("2/2").await;
    assert_eq!(browser.evaluate(SHOWN).await, "go / Second.");

    // A prompt is edited where it stands; its answer comes in the place of the other.
    press(&mut browser, "a.edit").await;
    browser.until("document.activeElement.value === 'go'").await;
    browser.types(" further").await;
    press(&mut browser, "form.edit .primary").await;
    browser.shows("3/3").await;
    let shown = browser.evaluate(SHOWN).await;
    assert!(
        shown.as_str().unwrap().starts_with("go further / "),
        "{shown}"
    );

    // Let go of it, and nothing has happened.
    press(&mut browser, "a.edit").await;
    browser
        .until("document.activeElement.value === 'go further'")
        .await;
    press(&mut browser, "form.edit .cancel").await;
    browser
        .until("document.activeElement.matches('a.edit') && !document.querySelector('form.edit')")
        .await;
    assert_eq!(browser.evaluate("window.isTheSame").await, true);

    // From here in a conversation of its own.
    let here = browser.evaluate("location.pathname").await;
    press(&mut browser, ".ways [action$=\"/fork\"] button").await;
    browser
        .until(&format!(
            "location.pathname !== {here} && document.body.innerText.includes('go further')"
        ))
        .await;
    browser.assert_content();
}

#[tokio::test]
async fn another_tab_shows_the_version_that_is_chosen_here() {
    let script = Script::new()
        .once("go", [Step::text("First.")])
        .otherwise([Step::text("Second.")]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let chat = Chat::with(&impostor);
    let (_running, url) = serve(&chat, &[]).await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("{url}/")).await;
    browser.types("go").await;
    browser.press("Enter").await;
    browser.shows("First.").await;
    browser
        .until("document.querySelector('.answer .ways')?.checkVisibility()")
        .await;
    // The same form, sent from elsewhere: this page is only told that something has changed.
    browser
        .evaluate(
            "fetch(document.querySelector('[action$=\"/again\"]').action, { method: 'POST', body: new URLSearchParams({ of: 1 }) })",
        )
        .await;
    browser
        .evaluate("new BroadcastChannel('conversations').postMessage(location.pathname)")
        .await;
    browser.shows("2/2").await;
    assert_eq!(browser.evaluate(SHOWN).await, "go / Second.");
    browser.assert_content();
}

#[tokio::test]
async fn words_on_a_permission_decide_nothing_by_the_enter_key() {
    let script = Script::always([Step::ask_bash("ls", "a.txt"), Step::text("Done.")]);
    let impostor = Impostor::scripted(script).await.unwrap();
    let chat = Chat::with(&impostor);
    let (_running, url) = serve(&chat, &[]).await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("{url}/")).await;
    browser.types("go").await;
    browser.press("Enter").await;
    browser.shows("The agent wants to run a command").await;
    browser
        .evaluate("document.querySelector('.request [name=message]').focus()")
        .await;
    browser.types("yes please").await;
    browser.press("Enter").await;
    browser.shows("Choose a button").await;
    browser
        .until("!document.querySelector('.request').classList.contains('answered')")
        .await;
    press(&mut browser, ".request[data-ready] .primary").await;
    browser.shows("Done.").await;
    browser.assert_content();
}
