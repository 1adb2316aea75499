//! Several processes on one database, and a browser that reaches another one each time it comes back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use opencode_chromium::Chromium;
use opencode_impostor::{Impostor, Script, Step};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::nats_server::NatsServer;
use crate::support::{Chat, Running};

/// Runs a test on a Postgres database of its own, which is gone afterwards in any case.
pub(crate) async fn on_postgres(test: impl AsyncFnOnce(&str)) {
    let server = std::env::var("OPENCODE_HOST_TEST_POSTGRES")
        .expect("OPENCODE_HOST_TEST_POSTGRES names no Postgres: run `cargo xtask test`");
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let on_server = async |sql: String| {
        let mut connection = PgConnection::connect(&server).await.unwrap();
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
        sql.execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    };
    on_server(format!("CREATE DATABASE {name}")).await;
    let (place, query) = server.split_once('?').unwrap_or((&server, ""));
    let place = place.rsplit_once('/').unwrap().0;
    let url = format!("{place}/{name}?{query}");
    let outcome = std::panic::AssertUnwindSafe(test(&url))
        .catch_unwind()
        .await;
    on_server(format!("DROP DATABASE {name} WITH (FORCE)")).await;
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed);
    }
}

/// Passes each request to one of two nodes, by turns, and each stream of an answer to the other one than the last.
struct Balancer {
    address: SocketAddr,
    cuts: watch::Sender<()>,
    streams: Arc<Mutex<Vec<usize>>>,
}

impl Balancer {
    async fn before(nodes: [String; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cuts, streams) = (watch::Sender::new(()), Arc::new(Mutex::new(Vec::new())));
        let (cut, known) = (cuts.clone(), Arc::clone(&streams));
        tokio::spawn(async move {
            let requests = Arc::new(AtomicUsize::new(0));
            while let Ok((client, _)) = listener.accept().await {
                let mut cut = cut.subscribe();
                let passing = pass(
                    client,
                    nodes.clone(),
                    Arc::clone(&requests),
                    Arc::clone(&known),
                );
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.changed() => {}
                        _ = passing => {}
                    }
                });
            }
        });
        Self {
            address,
            cuts,
            streams,
        }
    }

    /// Cuts all connections.
    fn cut(&self) {
        self.cuts.send_replace(());
    }
}

/// Passes the one request of a connection, and its answer.
async fn pass(
    mut client: TcpStream,
    nodes: [String; 2],
    requests: Arc<AtomicUsize>,
    streams: Arc<Mutex<Vec<usize>>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let end = head.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let text = String::from_utf8(head[..end].to_vec()).unwrap();
    let first = text.lines().next().unwrap();
    let node = if first.starts_with("GET /turns/") && first.contains("/events") {
        let mut streams = streams.lock().unwrap();
        let node = streams.last().map_or(0, |last| 1 - last);
        streams.push(node);
        node
    } else {
        requests.fetch_add(1, Ordering::Relaxed) % 2
    };
    let mut server = TcpStream::connect(&nodes[node]).await?;
    // The next one comes on another connection.
    let text = text.replace("Connection: keep-alive", "Connection: close");
    server.write_all(text.as_bytes()).await?;
    server.write_all(&head[end..]).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn serve(chat: &Chat, more: &[&str]) -> (Running, String) {
    let mut running = chat.start(&[&["serve", "--listen", "127.0.0.1:0"], more].concat());
    let line = running.logs("open http://").await;
    let address = line.split_once("http://").unwrap().1;
    let end = address.find(|c: char| !c.is_ascii_digit() && !":.".contains(c));
    (running, address[..end.unwrap_or(address.len())].to_owned())
}

const CUTS: usize = 5;

/// What the page showed between two looks of the browser: a piece twice at once, or pieces in another order.
const OBSERVE: &str = r"
window.seen = { changes: 0, odd: [] };
new MutationObserver(() => {
    const pieces = document.body.innerText.match(/piece-\d+;/g) ?? [];
    window.seen.changes += 1;
    if (pieces.some((piece, at) => piece !== `piece-${at};`)) window.seen.odd.push(pieces.join(' '));
}).observe(document.body, { subtree: true, childList: true, characterData: true });
true";

/// A browser follows an answer that the first node gives, and is cut off again and again.
async fn follows_on_both_nodes(chat: &Chat, impostor: &Impostor, more: &[&str]) {
    let (_one, one) = serve(chat, more).await;
    let (_two, two) = serve(chat, &[more, &["--no-worker"]].concat()).await;
    let balancer = Balancer::before([one, two]).await;
    let mut browser = Chromium::start().await;
    browser.open(&format!("http://{}/", balancer.address)).await;
    browser.shows("What shall we work on?").await;
    browser.types("Count").await;
    browser.press("Enter").await;
    browser.shows("piece-0;").await;
    browser.evaluate(OBSERVE).await;
    for cut in 1..=CUTS {
        balancer.cut();
        // It comes while nobody is there.
        impostor.gate(format!("{cut}")).open();
        browser.shows(&format!("piece-{cut};")).await;
    }
    let streams = balancer.streams.lock().unwrap().clone();
    impostor.gate("end").open();
    browser
        .until("!document.querySelector('[aria-busy]')")
        .await;
    browser.shows("The end.").await;
    let pieces = "document.body.innerText.match(/piece-\\d+;/g).join(' ')";
    let all: Vec<_> = (0..=CUTS).map(|piece| format!("piece-{piece};")).collect();
    assert_eq!(browser.evaluate(pieces).await, all.join(" "));
    assert_eq!(browser.evaluate("window.seen.odd.join('\\n')").await, "");
    assert!(browser.evaluate("window.seen.changes").await.as_u64() > Some(CUTS as u64));
    // Each time at the other node.
    assert!(streams.len() > CUTS, "{streams:?}");
    assert!(
        streams.windows(2).all(|pair| pair[0] != pair[1]),
        "{streams:?}"
    );
    impostor.assert_clean();
}

fn script() -> Script {
    let mut steps = Vec::new();
    for piece in 0..=CUTS {
        if piece > 0 {
            steps.push(Step::gate(format!("{piece}")));
        }
        steps.push(Step::text(format!("This is piece-{piece}; ")));
    }
    steps.extend([Step::gate("end"), Step::text("The end.")]);
    Script::always(steps)
}

#[tokio::test]
async fn a_browser_goes_from_node_to_node_on_one_postgres() {
    on_postgres(async |database| {
        let impostor = Impostor::scripted(script()).await.unwrap();
        let chat = Chat::with(&impostor).variable("OPENCODE_CHAT_DATABASE", database);
        follows_on_both_nodes(&chat, &impostor, &[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_browser_goes_from_node_to_node_over_nats() {
    let nats = NatsServer::with("authorization { user: chat, password: hush }");
    let impostor = Impostor::scripted(script()).await.unwrap();
    let chat = Chat::with(&impostor);
    let credentials = chat.data().join("nats.credentials");
    std::fs::write(&credentials, "chat:hush\n").unwrap();
    let chat = chat.variable("OPENCODE_CHAT_BUS_CREDENTIALS_FILE", credentials);
    follows_on_both_nodes(&chat, &impostor, &["--bus", &nats.url()]).await;
}

#[tokio::test]
async fn a_bus_that_cannot_be_used_is_refused_with_its_reason() {
    let nats = NatsServer::with("authorization { user: chat, password: hush }");
    let chat = Chat::new();
    let url = nats.url();
    for (args, why) in [
        (vec!["--bus", "http://127.0.0.1:1"], "nats://HOST:PORT"),
        (vec!["--bus", &url], "Give them with --bus-credentials-file"),
        (
            vec!["--bus", &url, "--bus-credentials-file", "/nowhere"],
            "cannot read the credentials of NATS from /nowhere",
        ),
        (
            vec!["--bus-credentials-file", "/nowhere"],
            "give it with --bus",
        ),
    ] {
        let ran = chat.run(&[&["worker"][..], &args].concat()).await;
        ran.refused(why);
    }
    let wrong = format!("nats://chat:s3cret@{}", nats.address());
    let ran = chat.run(&["worker", "--bus", &wrong]).await;
    ran.refused("refuses the credentials");
    assert!(!ran.stderr.contains("s3cret"), "{ran:?}");
    for secret in [&wrong[..], "nats://s3cret@127.0.0.1:1"] {
        let ran = chat.run(&["config", "--bus", secret]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.contains("# bus is hidden"), "{ran:?}");
        assert!(!ran.stdout.contains("s3cret"), "{ran:?}");
    }
}
