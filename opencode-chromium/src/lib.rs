//! A real Chromium for tests, driven through its DevTools protocol.
//!
//! The browser is the one that `CHROMIUM_BIN` names. Whatever does not happen in a minute fails the test.
//!
//! The protocol runs over a pair of pipes (`--remote-debugging-pipe`): JSON
//! messages with a zero byte behind each, on file descriptors 3 and 4. A shell
//! puts our ends of standard input and output there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong here fails the test that asked for it"
)]

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// No step of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
];

/// A browser with one page.
pub struct Chromium {
    commands: ChildStdin,
    messages: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    /// What the page complained about: exceptions, refused loads.
    complaints: VecDeque<String>,
    // Killed, then its profile removed.
    _child: Child,
    _profile: TempDir,
}

impl Chromium {
    /// Starts the browser that `CHROMIUM_BIN` names, `/usr/bin/chromium` without it.
    pub async fn start() -> Self {
        let program =
            std::env::var("CHROMIUM_BIN").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
        assert!(
            Path::new(&program).exists(),
            "there is no Chromium at {program}: install it (apt-get install chromium), or name it in CHROMIUM_BIN"
        );
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("/bin/sh")
            .args([
                "-c",
                r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#,
                &program,
            ])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut browser = Self {
            commands: child.stdin.take().unwrap(),
            messages: BufReader::new(child.stdout.take().unwrap()),
            session: None,
            last: 0,
            complaints: VecDeque::new(),
            _child: child,
            _profile: profile,
        };
        let target = browser
            .call("Target.createTarget", json!({"url": "about:blank"}))
            .await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({})).await;
        }
        browser
    }

    /// Calls a method and waits for its result.
    async fn call(&mut self, method: &str, params: Value) -> Value {
        let message = self.answer(method, params).await;
        assert!(message.get("error").is_none(), "{method}: {message}");
        message["result"].clone()
    }

    /// Calls a method and waits for its answer, which may be an error.
    async fn answer(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let bytes = format!("{message}\0");
        self.commands
            .write_all(bytes.as_bytes())
            .await
            .expect("Chromium has ended");
        loop {
            let message = self.message().await;
            if message["id"] == self.last {
                return message;
            }
            self.note(&message);
        }
    }

    async fn message(&mut self) -> Value {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.messages.read_until(0, &mut bytes)).await;
        read.expect("Chromium does not answer").unwrap();
        assert_eq!(bytes.pop(), Some(0), "Chromium has ended");
        serde_json::from_slice(&bytes).unwrap()
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => self
                .complaints
                .push_back(params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push_back(params["entry"].to_string());
            }
            _ => {}
        }
    }

    /// Opens a page, and waits until it is there.
    pub async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
        self.until(&format!(
            "location.href === {} && document.readyState === 'complete'",
            json!(url)
        ))
        .await;
    }

    /// Opens the page once more, as the reload button does.
    pub async fn reload(&mut self) {
        self.evaluate("window.isOld = true").await;
        self.call("Page.reload", json!({})).await;
        self.until("!window.isOld && document.readyState === 'complete'")
            .await;
    }

    /// The value of an expression in the page; null when it cannot be told, as while another page comes.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.answer("Runtime.evaluate", params).await;
        let reason = answer["error"]["message"].as_str();
        assert!(
            reason.is_none_or(|reason| reason.contains("navigated")),
            "{answer}"
        );
        answer["result"]["result"]["value"].clone()
    }

    /// Waits until an expression in the page is true.
    pub async fn until(&mut self, condition: &str) {
        let met = async {
            while self.evaluate(condition).await != true {
                // The page is asked, as nothing tells when it changes: often, and not in a busy loop.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(PATIENCE, met).await.is_err() {
            let text = self.evaluate("document.body.innerText").await;
            panic!(
                "the page never came to {condition}; complaints: {:?}; it shows: {text}",
                self.complaints
            );
        }
    }

    /// Waits until the page shows this text.
    pub async fn shows(&mut self, text: &str) {
        self.until(&format!(
            "document.body?.innerText.includes({})",
            json!(text)
        ))
        .await;
    }

    /// Chooses files as a person does in the dialog of a file field.
    pub async fn choose(&mut self, field: &str, files: &[&Path]) {
        let document = self.call("DOM.getDocument", json!({})).await;
        let query = json!({"nodeId": document["root"]["nodeId"], "selector": field});
        let field = self.call("DOM.querySelector", query).await;
        let chosen = json!({"nodeId": field["nodeId"], "files": files});
        self.call("DOM.setFileInputFiles", chosen).await;
    }

    /// Sends at most so many bytes a second from now on; as fast as it goes with -1.
    pub async fn sends(&mut self, bytes: i64) {
        self.call("Network.enable", json!({})).await;
        let pace = json!({
            "offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes,
        });
        self.call("Network.emulateNetworkConditions", pace).await;
    }

    /// Saves downloads in this folder.
    pub async fn downloads_to(&mut self, folder: &Path) {
        let session = self.session.take();
        let to = json!({"behavior": "allow", "downloadPath": folder});
        self.call("Browser.setDownloadBehavior", to).await;
        self.session = session;
    }

    /// Types text where the focus is.
    pub async fn types(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Composes text, as with what helps to write Chinese: it is in the field, and not said yet.
    pub async fn composes(&mut self, text: &str) {
        let end = text.chars().count();
        let composed = json!({"text": text, "selectionStart": end, "selectionEnd": end});
        self.call("Input.imeSetComposition", composed).await;
    }

    /// Turns the wheel over the middle of the page by so many pixels, downwards.
    pub async fn wheels(&mut self, pixels: i64) {
        let turn = json!({"type": "mouseWheel", "x": 400, "y": 200, "deltaX": 0, "deltaY": pixels});
        self.call("Input.dispatchMouseEvent", turn).await;
    }

    /// Presses and releases a key that says this code of itself.
    pub async fn strikes(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let stroke =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", stroke).await;
        }
    }

    /// Presses and releases a key.
    pub async fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => panic!("{other}: which key is that?"),
        };
        let stroke = json!({"key": key, "code": key, "windowsVirtualKeyCode": code});
        let mut down = stroke.clone();
        down["type"] = "keyDown".into();
        if !text.is_empty() {
            down["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", down).await;
        let mut up = stroke;
        up["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", up).await;
    }

    /// Waits until the frame at this address shows a text. Such frames are pages of their own, in a sandbox: only the
    /// browser itself can look into them.
    pub async fn frame_shows(&mut self, url: &str, text: &str) {
        let page = self.session.take();
        let look = json!({"expression": "document.body?.innerText", "returnByValue": true});
        let find = async {
            loop {
                let all = self.call("Target.getTargets", json!({})).await;
                let mut all = all["targetInfos"].as_array().into_iter().flatten();
                let frame = all.find(|target| target["url"] == url).cloned();
                if let Some(frame) = frame {
                    let attach = json!({"targetId": frame["targetId"], "flatten": true});
                    let attached = self.call("Target.attachToTarget", attach).await;
                    self.session = attached["sessionId"].as_str().map(str::to_owned);
                    let shown = self.call("Runtime.evaluate", look.clone()).await;
                    self.session = None;
                    let shown = shown["result"]["value"].as_str().unwrap_or_default();
                    if shown.contains(text) {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = timeout(PATIENCE, find).await;
        assert!(found.is_ok(), "the frame at {url} never showed {text}");
        self.session = page;
    }

    /// Fails when the page had something to complain about.
    #[track_caller]
    pub fn assert_content(&self) {
        assert!(self.complaints.is_empty(), "{:?}", self.complaints);
    }
}
