//! Finding a conversation: the list, by keyboard, with its options.

use opencode_chromium::Chromium;
use opencode_impostor::{Impostor, Script, Step};

use super::serve;
use crate::support::Chat;

/// Focuses an element and presses Enter there, as somebody does who came by the Tab key.
async fn press(browser: &mut Chromium, element: &str) {
    let script = format!(
        "(() => {{ const element = document.querySelector(`{element}`); element?.focus(); \
         return Boolean(element) && document.activeElement === element; }})()"
    );
    browser.until(&script).await;
    browser.press("Enter").await;
}

#[tokio::test]
async fn conversations_are_found_named_and_set_aside_by_keyboard() {
    let impostor = Impostor::scripted(Script::always([Step::text("Hello.")]))
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let (_running, url) = serve(&chat, &[]).await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("{url}/")).await;
    let many = "(async () => { for (let at = 0; at < 230; at += 1) await fetch('/api/conversations', { method: 'POST', \
         headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name: `number ${at}` }) }); return true; })()";
    assert_eq!(browser.evaluate(many).await, true);

    // The list goes on by itself where its end comes into sight; nothing is there twice.
    browser.reload().await;
    let count = "document.querySelectorAll('#list li').length";
    assert_eq!(browser.evaluate(count).await, 100);
    let to_end = "(() => { const side = document.querySelector('.side'); side.scrollTop = side.scrollHeight; \
         return document.querySelectorAll('#list li').length === 230 && !document.querySelector('#list .more'); })()";
    browser.until(to_end).await;
    let names = "new Set([...document.querySelectorAll('#list .name')].map((name) => name.textContent)).size";
    assert_eq!(browser.evaluate(names).await, 230);
    let groups =
        "[...document.querySelectorAll('#list h2')].map((heading) => heading.textContent).join()";
    assert_eq!(browser.evaluate(groups).await, "Today");

    // A new one comes to the top, is renamed and pinned, without a reload.
    browser
        .evaluate("document.querySelector('#prompt').focus()")
        .await;
    browser.types("a question").await;
    browser.press("Enter").await;
    browser.shows("Hello.").await;
    browser
        .until("!document.querySelector('[aria-busy]')")
        .await;
    browser.evaluate("window.isTheSame = true").await;
    press(&mut browser, "#list [aria-current] + .options").await;
    browser
        .until("document.activeElement.matches('dialog[open] [name=title]') && document.activeElement.value === 'a question'")
        .await;
    browser.types("Gardens & more").await;
    browser.press("Enter").await;
    browser
        .until("document.title === 'Gardens & more · OpenCode Chat'")
        .await;
    let first = "document.querySelector('#list .name').textContent === 'Gardens & more'";
    browser.until(first).await;
    browser
        .until("document.activeElement.matches('#list .options')")
        .await;
    browser.press("Enter").await;
    press(&mut browser, "dialog[open] [value=pin]").await;
    browser
        .until(&format!(
            "document.querySelector('#list h2').textContent === 'Pinned' && {first}"
        ))
        .await;

    // Escape changes nothing.
    press(&mut browser, "header .options").await;
    browser
        .until("Boolean(document.querySelector('dialog[open]'))")
        .await;
    browser.press("Escape").await;
    browser
        .until("!document.querySelector('dialog[open]')")
        .await;

    // Another one is deleted beside, and is back.
    let other = "a.options[aria-label=\"Options of number 229\"]";
    press(&mut browser, other).await;
    press(&mut browser, "dialog[open] [value=delete]").await;
    browser.shows("“number 229” is deleted.").await;
    browser
        .until(&format!("!document.querySelector('{other}')"))
        .await;
    press(&mut browser, "#undo [value=restore]").await;
    browser
        .until(&format!(
            "Boolean(document.querySelector('{other}')) && !document.querySelector('#undo')"
        ))
        .await;
    assert_eq!(browser.evaluate("window.isTheSame").await, true);

    // The one that is open is deleted: its page says so, and has the way back.
    press(&mut browser, "header .options").await;
    press(&mut browser, "dialog[open] [value=delete]").await;
    browser.shows("This conversation is deleted").await;
    press(&mut browser, "main [value=restore]").await;
    browser.shows("Hello.").await;
    browser.assert_content();
}
