//! Who is told what happens, as the settings say it: signed, tried again, given up where the receiver wants no more.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opencode_host::webhooks::Received;
use opencode_impostor::{Impostor, Script, Step};
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::support::{Chat, PATIENCE};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A webhook that came.
type Came = (HeaderMap, Bytes);

/// A receiver on this machine that answers this.
struct Receiver {
    url: String,
    came: UnboundedReceiver<Came>,
}

impl Receiver {
    async fn answering(status: u16) -> Self {
        let (sender, came) = unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let state = Arc::new((sender, StatusCode::from_u16(status).unwrap()));
        let router = Router::new().route("/hooks", post(take)).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, came }
    }

    /// The next event, whose signature a receiver takes.
    async fn next(&mut self) -> Value {
        let came = tokio::time::timeout(PATIENCE, self.came.recv()).await;
        let (headers, body) = came.expect("nothing came in time").unwrap();
        let header = |name| headers[name].to_str().unwrap();
        let received = Received {
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
            body: &body,
        };
        let verified = received.verify(&SECRET.parse().unwrap(), SystemTime::now());
        assert_eq!(verified, Ok(()));
        serde_json::from_slice(&body).unwrap()
    }
}

async fn take(
    State(told): State<Arc<(UnboundedSender<Came>, StatusCode)>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let _ = told.0.send((headers, body));
    told.1
}

/// A file that only its owner reads.
fn file(chat: &Chat, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = chat.data().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A configuration file for this receiver.
fn configured(chat: &Chat, url: &str, secret: &Path, more: &str) -> PathBuf {
    let secret = secret.to_str().unwrap();
    let text = format!(
        "webhook-url = {url:?}\nwebhook-secret-file = {secret:?}\nwebhook-private-host = [\"127.0.0.1\"]\n{more}"
    );
    file(chat, "c.toml", &text)
}

#[tokio::test]
async fn an_address_of_the_settings_is_told_what_it_wants_to_hear_of_signed() {
    let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]));
    let impostor = impostor.await.unwrap();
    let chat = Chat::with(&impostor);
    let mut receiver = Receiver::answering(204).await;
    let secret = file(&chat, "secret", &format!("{SECRET}\n"));
    let more = "webhook-event = [\"turn.finished\"]\n";
    let path = configured(&chat, &receiver.url, &secret, more);
    let chat = chat.variable("OPENCODE_CHAT_CONFIG", &path);
    let ended = chat.turn("Hello", &[]).await.ended(0, "completed");
    let event = receiver.next().await;
    assert_eq!(event["type"], "turn.finished");
    assert_eq!(event["data"]["turn"]["message"], ended["message_id"]);
    assert_eq!(event["data"]["turn"]["status"], "completed");
    // The same settings are those of `worker` and `serve`.
    let mut working = chat.start(&["worker"]);
    working.logs("working on turns").await;
    let submitted = chat.run(&["submit", "--json", "Again"]).await.lines();
    let event = receiver.next().await;
    assert_eq!(event["data"]["turn"]["id"], submitted[0]["turn_id"]);
    working.signal(Signal::TERM);
    assert_eq!(working.end().await.code, 0);
    let doctor = chat.run(&["doctor", "--json"]).await;
    let told = format!("\"signed, to {}\"", receiver.url);
    assert!(doctor.stdout.contains(&told), "{doctor:?}");
    let config = chat.run(&["config"]).await;
    for line in [
        format!("webhook-url = {:?}  # {}:1", receiver.url, path.display()),
        format!(
            "webhook-event = [\"turn.finished\"]  # {}:4",
            path.display()
        ),
        "# webhook-secret is not set".to_owned(),
    ] {
        assert!(config.stdout.contains(&line), "{line}: {config:?}");
    }
    assert!(!format!("{config:?}{doctor:?}").contains("MfKQ"));
}

/// The receiver wants no more, so that nothing is tried again before it is said.
#[tokio::test]
async fn a_webhook_that_was_given_up_is_listed_and_sent_when_it_is_said() {
    let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]));
    let impostor = impostor.await.unwrap();
    let chat = Chat::with(&impostor);
    let mut gone = Receiver::answering(410).await;
    let secret = file(&chat, "secret", SECRET);
    let config = configured(&chat, &gone.url, &secret, "");
    let chat = chat.variable("OPENCODE_CHAT_CONFIG", &config);
    chat.turn("Hello", &[]).await.ended(0, "completed");
    let first = gone.next().await;
    let database = chat.database();
    let store = opencode_sql::connect(database.to_str().unwrap());
    let given_up = store.await.unwrap().given_up_effects(9).await.unwrap();
    let id = given_up[0].id.to_string();
    let doctor = chat.run(&["doctor", "--json"]).await;
    let lines = doctor.lines();
    let line = lines.iter().find(|line| line["check"] == "given up");
    let detail = line.unwrap_or_else(|| panic!("{doctor:?}"))["detail"]
        .as_str()
        .unwrap();
    assert!(detail.contains(&id), "{detail}");
    let why = "webhook turn.finished to webhook (tries: 1; the receiver answered 410";
    assert!(detail.contains(why), "{detail}");
    // The same endpoint, at another address.
    let mut receiver = Receiver::answering(204).await;
    configured(&chat, &receiver.url, &secret, "");
    assert_eq!(chat.run(&["retry", &id]).await.code, 0);
    let mut working = chat.start(&["worker"]);
    working.logs("working on turns").await;
    assert_eq!(receiver.next().await["data"], first["data"]);
    working.signal(Signal::TERM);
    assert_eq!(working.end().await.code, 0);
    let doctor = chat.run(&["doctor", "--json"]).await;
    assert!(!doctor.stdout.contains("given up"), "{doctor:?}");
}

#[tokio::test]
async fn settings_of_webhooks_that_cannot_be_are_told_by_name_before_anything_is_done() {
    let chat = Chat::new();
    let good = file(&chat, "good", SECRET);
    let short = file(&chat, "short", "whsec_c2VjcmV0");
    let bare = file(&chat, "bare", "hunter2");
    let (good, short, bare) = (
        good.to_str().unwrap(),
        short.to_str().unwrap(),
        bare.to_str().unwrap(),
    );
    let (public, nowhere) = ("https://hooks.example/x", "/nonexistent/secret");
    for (args, told) in [
        (
            &["--webhook-url", "http://hooks.example/x"][..],
            &["--webhook-url <URL>", "begins with http://: use https://"][..],
        ),
        (
            &["--webhook-url", "hooks.example"],
            &["--webhook-url <URL>", "is no URL"],
        ),
        (
            &["--webhook-url", public],
            &["--webhook-url needs a secret", "--webhook-secret-file"],
        ),
        (
            &["--webhook-url", public, "--webhook-secret-file", nowhere],
            &[
                "from /nonexistent/secret: No such file",
                "(--webhook-secret-file)",
            ],
        ),
        (
            &["--webhook-url", public, "--webhook-secret-file", short],
            &[
                "24 to 64 bytes, and this one has 6",
                "(--webhook-secret-file)",
            ],
        ),
        (
            &["--webhook-url", public, "--webhook-secret-file", bare],
            &["begins with whsec_", "(--webhook-secret-file)"],
        ),
        (
            &[
                "--webhook-url",
                public,
                "--webhook-secret-file",
                good,
                "--webhook-secret",
                SECRET,
            ],
            &["two secrets for webhooks"],
        ),
        (
            &[
                "--webhook-url",
                "https://10.0.0.7/x",
                "--webhook-secret-file",
                good,
            ],
            &["add --webhook-private-host 10.0.0.7"],
        ),
        (
            &[
                "--webhook-url",
                "http://localhost:1/x",
                "--webhook-secret-file",
                good,
            ],
            &["add --webhook-private-host localhost"],
        ),
        (
            &["--webhook-event", "turn.begun"],
            &[
                "--webhook-event <EVENT>",
                "there are turn.finished, request.asked",
            ],
        ),
        (
            &["--webhook-private-host", "https://hooks.internal/"],
            &[
                "--webhook-private-host <HOST>",
                "a name or an address alone",
            ],
        ),
    ] {
        for command in [&["worker"][..], &["serve"], &["turn", "Hello"]] {
            let ran = chat.run(&[command, args].concat()).await;
            for told in told {
                ran.refused(told);
            }
            assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
        }
    }
    assert!(!chat.database().exists());
    let path = file(
        &chat,
        "c.toml",
        "timeout = 5\nwebhook-url = \"http://x.example\"\n",
    );
    let ran = chat
        .run(&["show", "--config", path.to_str().unwrap()])
        .await;
    ran.refused(&format!(
        "{}:2: `webhook-url` cannot be \"http://x.example\": ",
        path.display()
    ));
    let doctor = chat
        .run(&["doctor", "--json", "--webhook-url", public])
        .await;
    let lines = doctor.lines();
    let line = lines.iter().find(|line| line["check"] == "webhooks");
    assert_eq!(line.unwrap()["status"], "broken", "{doctor:?}");
}

/// A credential of systemd takes the place of a file that the settings name.
#[tokio::test]
async fn the_secret_comes_as_a_credential_too() {
    let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]));
    let impostor = impostor.await.unwrap();
    let chat = Chat::with(&impostor);
    let mut receiver = Receiver::answering(204).await;
    let credentials = chat.data().join("credentials");
    std::fs::create_dir_all(&credentials).unwrap();
    file(&chat, "credentials/webhook-secret", SECRET);
    let chat = chat
        .variable("CREDENTIALS_DIRECTORY", &credentials)
        .variable("OPENCODE_CHAT_WEBHOOK_URL", &receiver.url)
        .variable("OPENCODE_CHAT_WEBHOOK_PRIVATE_HOST", "127.0.0.1,10.0.0.7");
    chat.turn("Hello", &[]).await.ended(0, "completed");
    assert_eq!(receiver.next().await["type"], "turn.finished");
    let config = chat.run(&["config"]).await;
    assert!(
        config
            .stdout
            .contains("# webhook-secret is hidden  # file "),
        "{config:?}"
    );
    assert!(!config.stdout.contains("MfKQ"), "{config:?}");
    // Nothing more comes.
    let more = tokio::time::timeout(Duration::ZERO, receiver.came.recv()).await;
    assert!(more.is_err(), "{more:?}");
}
