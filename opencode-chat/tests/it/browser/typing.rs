//! What a person types is not lost: while it is composed, while something is sent, over the limit, signed out.

use std::sync::Arc;

use opencode_chromium::Chromium;
use opencode_impostor::{Impostor, Script, Step};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{gated, serve};
use crate::support::{Chat, Running};

/// What a proxy does before the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// What browsers send is held back.
    Held,
    /// Everything is answered with a page to sign in.
    SignIn,
    /// Everything is redirected to it.
    Redirect,
}

/// A proxy with sign-in, before the application.
struct Proxy {
    url: String,
    way: watch::Sender<Way>,
}

impl Proxy {
    async fn before(url: &str) -> Self {
        let upstream: Arc<str> = url.trim_start_matches("http://").into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (way, ways) = watch::channel(Way::Open);
        tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                let (upstream, mut ways) = (Arc::clone(&upstream), ways.clone());
                tokio::spawn(async move {
                    let way = *ways.borrow_and_update();
                    if matches!(way, Way::SignIn | Way::Redirect) {
                        return sign_in(browser, way).await;
                    }
                    let signed_out = ways.clone();
                    tokio::select! {
                        () = pass(browser, &upstream, ways) => {}
                        () = until(signed_out, |way| matches!(way, Way::SignIn | Way::Redirect)) => {}
                    }
                });
            }
        });
        Self { url, way }
    }

    fn is(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn until(mut ways: watch::Receiver<Way>, is: impl FnMut(&Way) -> bool) {
    if ways.wait_for(is).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn pass(browser: TcpStream, upstream: &str, ways: watch::Receiver<Way>) {
    let application = TcpStream::connect(upstream).await.unwrap();
    let (mut from_browser, mut to_browser) = browser.into_split();
    let (mut from_application, mut to_application) = application.into_split();
    let forth = async {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_browser.read(&mut bytes).await {
            until(ways.clone(), |way| *way != Way::Held).await;
            if to_application.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        let _ = tokio::io::copy(&mut from_application, &mut to_browser).await;
    };
    tokio::join!(forth, back);
}

/// Reads a request and answers with a page that is not the application's.
async fn sign_in(mut browser: TcpStream, way: Way) {
    let mut request = Vec::new();
    let mut bytes = vec![0; 1 << 16];
    loop {
        let head = request.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
            let length = text.split_once("content-length: ").map_or(0, |(_, rest)| {
                rest.lines()
                    .next()
                    .unwrap()
                    .trim()
                    .parse::<usize>()
                    .unwrap()
            });
            if request.len() >= head + 4 + length {
                break;
            }
        }
        match browser.read(&mut bytes).await {
            Ok(count @ 1..) => request.extend_from_slice(&bytes[..count]),
            _ => return,
        }
    }
    let asks_for_page = request.windows(8).any(|window| window == b"/sign-in");
    let answer = if way == Way::Redirect && !asks_for_page {
        "HTTP/1.1 302 Found\r\nLocation: /sign-in\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            .to_owned()
    } else {
        let page = "<!doctype html><title>Sign in</title><p>Who are you?";
        let length = page.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
        )
    };
    let _ = browser.write_all(answer.as_bytes()).await;
    let _ = browser.shutdown().await;
}

struct Stage {
    impostor: Impostor,
    proxy: Proxy,
    browser: Chromium,
    _running: Running,
    _chat: Chat,
}

impl Stage {
    async fn new(script: Script) -> Self {
        let impostor = Impostor::scripted(script).await.unwrap();
        let chat = Chat::with(&impostor);
        let (running, url) = serve(&chat, &[]).await;
        let proxy = Proxy::before(&url).await;
        let mut browser = Chromium::start().await;
        browser.open(&format!("{}/", proxy.url)).await;
        Self {
            impostor,
            proxy,
            browser,
            _running: running,
            _chat: chat,
        }
    }

    async fn typed(&mut self) -> String {
        let typed = self
            .browser
            .evaluate("document.querySelector('#prompt').value")
            .await;
        typed.as_str().unwrap().to_owned()
    }

    async fn focus(&mut self) {
        self.browser
            .evaluate("document.querySelector('#prompt').focus()")
            .await;
    }

    /// Attaches a file as one that is pasted.
    async fn paste(&mut self, name: &str) {
        let script = format!(
            "(() => {{ const data = new DataTransfer();
              data.items.add(new File(['words'], {}, {{ type: 'text/plain' }}));
              document.dispatchEvent(new ClipboardEvent('paste', {{ bubbles: true, cancelable: true, clipboardData: data }})); }})()",
            json!(name)
        );
        self.browser.evaluate(&script).await;
    }

    async fn chips(&mut self) -> String {
        let chips =
            "[...document.querySelectorAll('.chip .name')].map((name) => name.textContent).join()";
        self.browser
            .evaluate(chips)
            .await
            .as_str()
            .unwrap()
            .to_owned()
    }
}

const SENDING: &str = "'sending' in document.querySelector('.composer').dataset";
const IDLE: &str = "!('sending' in document.querySelector('.composer').dataset)";

#[tokio::test]
async fn what_is_typed_and_attached_while_something_is_sent_stays() {
    let script = Script::new()
        .on("hold", [gated("Some words.", "held", 1)])
        .otherwise([Step::text("Fine.")]);
    let mut stage = Stage::new(script).await;

    // The first prompt: another page comes, and what was typed meanwhile goes there.
    stage.browser.types("First").await;
    stage.proxy.is(Way::Held);
    stage.browser.press("Enter").await;
    stage.browser.until(SENDING).await;
    stage.browser.types(" and then").await;
    stage.paste("a\u{202e}b.txt").await;
    stage.proxy.is(Way::Open);
    stage
        .browser
        .until("location.pathname.startsWith('/conversations/')")
        .await;
    stage.browser.shows("Fine.").await;
    stage
        .browser
        .until("document.title === 'First · OpenCode Chat'")
        .await;
    assert_eq!(stage.typed().await, " and then");
    assert_eq!(stage.chips().await, "a\\u{202e}b.txt");
    stage
        .browser
        .until("document.activeElement.id === 'prompt'")
        .await;

    // A prompt with a file, while another file comes.
    stage.proxy.is(Way::Held);
    stage.browser.press("Enter").await;
    stage.browser.until(SENDING).await;
    stage.paste("late.txt").await;
    stage.browser.types(" more").await;
    stage.proxy.is(Way::Open);
    stage.browser.until(IDLE).await;
    assert_eq!(
        (stage.typed().await.as_str(), stage.chips().await.as_str()),
        (" more", "late.txt")
    );
    stage.browser.press("Enter").await;
    stage
        .browser
        .until("document.querySelectorAll('.prompt').length === 3")
        .await;
    assert_eq!(
        (stage.typed().await.as_str(), stage.chips().await.as_str()),
        ("", "")
    );

    // The key that ends a composition does nothing else.
    stage.browser.composes("ni").await;
    stage.browser.strikes("Enter", 229).await;
    stage.browser.types("你").await;
    // Safari: behind the composition's end, with the code that says so.
    stage.browser.strikes("Enter", 229).await;
    stage.browser.until(IDLE).await;
    assert_eq!(stage.typed().await, "你");
    stage.browser.types(" hold").await;
    stage.browser.press("Enter").await;
    stage.browser.shows("Some wor").await;
    stage
        .browser
        .until("document.querySelectorAll('.prompt').length === 4")
        .await;
    stage.browser.composes("hao").await;
    stage.browser.strikes("Escape", 229).await;
    stage.browser.types("").await;
    stage.browser.strikes("Escape", 229).await;
    stage.impostor.gate("held").open();
    stage.browser.shows("Some words.").await;
    stage
        .browser
        .until("!document.querySelector('[aria-busy]')")
        .await;
    assert_eq!(
        stage
            .browser
            .evaluate("document.body.innerText.includes('You stopped')")
            .await,
        false
    );
    stage.impostor.assert_clean();
    stage.browser.assert_content();
}

#[tokio::test]
async fn a_text_over_the_limit_is_told_and_stays() {
    let mut stage = Stage::new(Script::always([Step::text("Fine.")])).await;
    let fill = "(() => { const box = document.querySelector('#prompt');
        box.value = 'é'.repeat(COUNT); box.dispatchEvent(new Event('input')); })()";
    stage
        .browser
        .evaluate(&fill.replace("COUNT", "524288 + 1"))
        .await;
    stage
        .browser
        .shows("This prompt has 1 MB (1048578 bytes), and 1 MB (1048576 bytes) is the most")
        .await;
    stage.focus().await;
    stage.browser.press("Enter").await;
    let told = "document.querySelector('.composer [role=alert]').textContent.includes('1048578')";
    stage.browser.until(told).await;
    assert_eq!(stage.typed().await.chars().count(), 524_289);
    stage
        .browser
        .evaluate(&fill.replace("COUNT", "500000"))
        .await;
    stage.browser.shows("48576 bytes left").await;
    // All that may be sent is sent: no form is too small for it.
    stage
        .browser
        .evaluate(&fill.replace("COUNT", "524288"))
        .await;
    stage.browser.press("Enter").await;
    stage.browser.shows("Fine.").await;
    let prompts = stage.impostor.ledger();
    let prompts = prompts.requests_of("POST /session/:id/prompt_async");
    assert_eq!(
        prompts[0].body["parts"][0]["text"].as_str().unwrap().len(),
        1 << 20
    );
}

#[tokio::test]
async fn a_sign_in_that_has_expired_is_told_and_loses_nothing() {
    let script = Script::new()
        .on("ask", [Step::ask_bash("ls", "x"), Step::text("Listed.")])
        .otherwise([gated("Some words.", "held", 1)]);
    let mut stage = Stage::new(script).await;
    for way in [Way::SignIn, Way::Redirect] {
        stage.proxy.is(way);
        stage.focus().await;
        stage
            .browser
            .evaluate("document.querySelector('#prompt').value = ''")
            .await;
        stage.browser.types("Go on").await;
        stage.paste("notes.txt").await;
        for files in [true, false] {
            if !files {
                stage
                    .browser
                    .evaluate("document.querySelector('.chip button').click()")
                    .await;
                stage.focus().await;
            }
            stage
                .browser
                .evaluate("document.querySelector('.composer [role=alert]').textContent = ''")
                .await;
            stage.browser.press("Enter").await;
            stage.browser.until("document.querySelector('.composer [role=alert]').textContent.includes('sign in again')").await;
            assert_eq!(
                (stage.typed().await.as_str(), stage.chips().await.as_str()),
                ("Go on", if files { "notes.txt" } else { "" })
            );
        }
        stage.proxy.is(Way::Open);
    }
    stage.browser.press("Enter").await;
    stage.browser.shows("Some wor").await;

    // The stream, and Stop.
    stage.proxy.is(Way::Redirect);
    stage.browser.until("!document.querySelector('#offline').hidden && document.querySelector('#offline').textContent.includes('signed out')").await;
    stage.focus().await;
    stage.browser.press("Escape").await;
    stage.browser.until("document.querySelector('form.stop [role=alert]').textContent.includes('sign in again')").await;
    stage.proxy.is(Way::Open);
    stage
        .browser
        .until("document.querySelector('#offline').hidden")
        .await;
    stage.browser.press("Escape").await;
    stage.browser.shows("You stopped this answer.").await;

    // A permission.
    stage.browser.types("ask").await;
    stage.browser.press("Enter").await;
    stage
        .browser
        .until("document.querySelector('form.request[data-ready]') !== null")
        .await;
    stage.proxy.is(Way::SignIn);
    stage
        .browser
        .evaluate("document.querySelector('form.request [name=message]').value = 'no, rather not'")
        .await;
    stage
        .browser
        .evaluate("document.querySelector('form.request button.primary').click()")
        .await;
    stage.browser.until("document.querySelector('form.request [role=alert]').textContent.includes('sign in again')").await;
    assert_eq!(
        stage
            .browser
            .evaluate("document.querySelector('form.request [name=message]').value")
            .await,
        "no, rather not"
    );
    stage.proxy.is(Way::Open);
    stage
        .browser
        .evaluate("document.querySelector('form.request button.primary').click()")
        .await;
    stage.browser.shows("Listed.").await;
}
