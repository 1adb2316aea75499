//! Nodes on a real NATS, which comes late, goes away, lets nobody in, and brings what no node has sent.

use std::time::Duration;

use opencode_host::live::{Cursor, LiveBus, NatsBus, NatsError};
use opencode_host::store::TurnStatus;
use opencode_host::{Host, HostOptions, WorkerOptions};
use opencode_impostor::{Impostor, Script, Step};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{NEVER, Seen, live};
use crate::hosting::{Hosting, PATIENCE, Recorder, quick};
use crate::nats_server::NatsServer;

/// A node that works, and one that watches, on one NATS.
struct Nodes {
    on: Hosting,
    there: Host,
    recorder: Recorder,
}

impl Nodes {
    async fn new(
        url: &str,
        snapshot_interval: Duration,
        steps: impl IntoIterator<Item = Step>,
    ) -> Self {
        let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
        let options = WorkerOptions {
            snapshot_interval,
            ..quick()
        };
        let (recorder, own) = (Recorder::default(), bus(url).await);
        let on = Hosting::with(impostor, options, |builder| builder.live_bus(own)).await;
        let options = HostOptions {
            poll_interval: Duration::from_millis(50),
            ..HostOptions::default()
        };
        let there = Host::builder(std::sync::Arc::clone(&on.store))
            .options(options)
            .tracer(recorder.clone())
            .error_reporter(recorder.clone())
            .live_bus(bus(url).await)
            .build();
        Self {
            on,
            there,
            recorder,
        }
    }

    fn reported(&self) -> Vec<String> {
        let reported = self.recorder.named("reported");
        let reported = reported
            .iter()
            .map(|of| of["error"].as_str().unwrap().to_owned());
        reported.collect()
    }
}

async fn bus(url: &str) -> NatsBus {
    NatsBus::builder(url).connect().await.unwrap()
}

#[cfg(feature = "conformance")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_over_nats_keeps_every_promise() {
    // One that takes what every NATS takes.
    let server = NatsServer::with("max_payload: 1048576");
    let (one, two) = (bus(&server.url()).await, bus(&server.url()).await);
    opencode_host::live::conformance::run(&one, &two).await;
    // Two nodes of one process may share one.
    opencode_host::live::conformance::run(&one, &one).await;
}

#[tokio::test]
async fn a_watcher_is_told_every_change_over_nats() {
    let server = NatsServer::start();
    let chunks: Vec<_> = (0..300).map(|n| format!("{n} ")).collect();
    let steps = [
        Step::text("Begun. "),
        Step::gate("go"),
        Step::chunks(chunks.clone()),
    ];
    let nodes = Nodes::new(&server.url(), NEVER, steps).await;
    let turn = nodes.on.submit("go").await;
    // The watcher is there before the worker, and says so to nobody yet.
    let mut there = live(&nodes.there, turn, Cursor::START).await;
    let working = nodes.on.work(turn);
    let mut seen = Seen::default();
    seen.until(&mut there, "Begun. ").await;
    nodes.on.impostor.gate("go").open();
    seen.all(&mut there).await;
    seen.assert_whole(&format!("Begun. {}", chunks.concat()));
    assert_eq!(seen.snapshots, 0);
    nodes.on.finished(turn, working).await;
    assert_eq!(nodes.reported(), [""; 0]);
}

/// A bus that comes to a NATS where others are knows soon who watches: they say it again.
#[tokio::test]
async fn a_node_that_comes_later_knows_who_watches() {
    use opencode_host::live::{Interest, NodeId};
    let server = NatsServer::start();
    let (watching, node) = (bus(&server.url()).await, NodeId::random());
    let turn = opencode_host::id::TurnId::from_uuid(uuid::Uuid::new_v4());
    let interest = Interest { turn, asked: 3 };
    watching.watch(node, &[interest], NEVER).await.unwrap();
    // It has gone round, so that it is not what the next one hears.
    let own = async |bus: &NatsBus| {
        let knows = async {
            while bus.watched(NodeId::random(), &[turn]).await.unwrap() != [(node, interest)] {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, knows)
            .await
            .expect("nobody is known to watch");
    };
    own(&watching).await;
    own(&bus(&server.url()).await).await;
}

#[tokio::test]
async fn a_nats_that_is_away_at_start_is_waited_for() {
    let mut server = NatsServer::start();
    server.stop();
    let steps = [
        Step::text("One. "),
        Step::gate("two"),
        Step::text("Two. "),
        Step::gate("three"),
        Step::text("Three."),
        Step::gate("end"),
    ];
    let saved_often = Duration::from_millis(50);
    let nodes = Nodes::new(&server.url(), saved_often, steps).await;
    let turn = nodes.on.submit("go").await;
    let working = nodes.on.work(turn);
    let mut there = live(&nodes.there, turn, Cursor::START).await;
    // What is saved is shown meanwhile.
    let mut seen = Seen::default();
    seen.until(&mut there, "One. ").await;
    assert_eq!(seen.cursor.generation, 0);
    let reported = nodes.reported();
    assert!(
        reported
            .iter()
            .any(|error| error.contains("no connection to NATS at 127.0.0.1:")),
        "{reported:?}"
    );
    server.start_again("");
    nodes.on.impostor.gate("two").open();
    // And soon its changes, from which one can go on.
    let told = async {
        while seen.cursor.generation == 0 {
            if seen.text() == "One. Two. " {
                nodes.on.impostor.gate("three").open();
            }
            let event = futures_util::TryStreamExt::try_next(&mut there)
                .await
                .unwrap();
            // What is saved has no place of its own.
            seen.cursor = Cursor::START;
            seen.take(event.unwrap());
        }
    };
    timeout(PATIENCE, told).await.expect("NATS is not heard");
    nodes.on.impostor.gate("three").open();
    nodes.on.impostor.gate("end").open();
    seen.all(&mut there).await;
    seen.assert_whole("One. Two. Three.");
    nodes.on.finished(turn, working).await;
}

#[tokio::test]
async fn a_nats_that_dies_costs_time_alone() {
    let mut server = NatsServer::start();
    let steps = [
        Step::text("One. "),
        Step::gate("two"),
        Step::text("Two. "),
        Step::gate("three"),
        Step::text("Three."),
        Step::gate("end"),
    ];
    let nodes = Nodes::new(&server.url(), NEVER, steps).await;
    let turn = nodes.on.submit("go").await;
    let working = nodes.on.work(turn);
    let mut there = live(&nodes.there, turn, Cursor::START).await;
    let mut seen = Seen::default();
    seen.until(&mut there, "One. ").await;
    server.stop();
    nodes.on.impostor.gate("two").open();
    // The turn goes on.
    nodes.on.shown(turn, "Two. ").await;
    let told = async {
        while nodes.on.recorder.count("reported") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("nobody was told");
    let why = nodes.on.recorder.named("reported")[0]["error"].to_string();
    assert!(why.contains("no connection to NATS at 127.0.0.1:"), "{why}");
    assert_eq!(seen.text(), "One. ");
    server.start_again("");
    // What came meanwhile comes without anything new.
    seen.until(&mut there, "One. Two. ").await;
    nodes.on.impostor.gate("three").open();
    nodes.on.impostor.gate("end").open();
    seen.all(&mut there).await;
    seen.assert_whole("One. Two. Three.");
    assert_eq!(seen.snapshots, 0, "all came as changes");
    let result = nodes.on.finished(turn, working).await;
    assert_eq!(result.status, TurnStatus::Completed);
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so() {
    let mut server = NatsServer::with("authorization { user: host, password: \"p:w\" }");
    let address = server.address();
    let connect = async |url: String, credentials: Option<&str>| {
        let builder = NatsBus::builder(url);
        let connecting = match credentials {
            Some(credentials) => builder.credentials(credentials).connect(),
            None => builder.connect(),
        };
        connecting.await
    };
    for (url, credentials) in [
        (server.url(), None),
        (server.url(), Some("host:wrong")),
        (server.url(), Some("a-token")),
        (format!("nats://host:wrong@{address}"), None),
    ] {
        let error = connect(url, credentials).await.unwrap_err();
        assert!(matches!(error, NatsError::Refused { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&address) && !text.contains("wrong"), "{text}");
    }
    let given = connect(server.url(), Some("host:p:w\n")).await.unwrap();
    connect(format!("nats://host:p%3Aw@{address}"), None)
        .await
        .unwrap();
    // The password is another one from now on: it is told, and the bus goes on when it is the old one.
    server.stop();
    server.start_again("authorization { user: host, password: new }");
    let refused = async || {
        let error = given.publish(&[]).await.err()?.to_string();
        error.contains("authorization violation").then_some(error)
    };
    let text = timeout(PATIENCE, async {
        loop {
            if let Some(text) = refused().await {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let text = text.await.expect("it is not told");
    assert!(
        text.contains(&format!("no connection to NATS at {address}")),
        "{text}"
    );
    server.stop();
    server.start_again("authorization { user: host, password: \"p:w\" }");
    let back = async {
        while given.publish(&[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, back)
        .await
        .expect("it does not come back");
}

#[tokio::test]
async fn what_the_credentials_do_not_allow_is_told() {
    let server = NatsServer::with(
        "authorization { users: [ { user: u, password: p, permissions: { publish: \"other.>\", subscribe: \"other.>\" } } ] }",
    );
    let bus = NatsBus::builder(server.url()).credentials("u:p");
    let bus = bus.connect().await.unwrap();
    let told = async {
        loop {
            if let Err(error) = bus.publish(&[]).await {
                return error.to_string();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let told = timeout(PATIENCE, told).await.expect("it is not told");
    assert!(told.contains("Permissions Violation"), "{told}");
    assert!(told.contains("opencode_host.live.>"), "{told}");
}

/// A program beside the nodes, that speaks NATS.
struct Beside(BufReader<TcpStream>);

impl Beside {
    async fn connect(server: &NatsServer) -> Self {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let mut beside = Self(BufReader::new(stream));
        beside.say(b"CONNECT {\"verbose\":false}\r\n").await;
        beside.say(b"SUB opencode_host.live.1.watched 1\r\n").await;
        beside
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn publish(&mut self, to: &str, payload: &[u8]) {
        let head = format!("PUB opencode_host.live.1.{to} {}\r\n", payload.len());
        self.say(&[head.as_bytes(), payload, b"\r\n"].concat())
            .await;
    }

    /// Where the messages of the next node go that says what it watches.
    async fn inbox(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).await.unwrap() > 0);
            let Some(head) = line.strip_prefix("MSG ") else {
                continue;
            };
            let size: usize = head.trim().rsplit(' ').next().unwrap().parse().unwrap();
            let mut payload = vec![0; size];
            self.0.read_exact(&mut payload).await.unwrap();
            let payload = String::from_utf8(payload).unwrap();
            return payload.split(' ').nth(1).unwrap().to_owned();
        }
    }

    /// Waits until the server has taken all of it.
    async fn flush(&mut self) {
        self.say(b"PING\r\n").await;
        let mut line = Vec::new();
        while line != b"PONG\r\n" {
            line.clear();
            assert!(self.0.read_until(b'\n', &mut line).await.unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn what_no_node_has_sent_harms_no_turn() {
    let server = NatsServer::start();
    let steps = [
        Step::text("One. "),
        Step::gate("two"),
        Step::text("Two."),
        Step::gate("end"),
    ];
    let nodes = Nodes::new(&server.url(), NEVER, steps).await;
    let mut beside = Beside::connect(&server).await;
    beside.flush().await;
    let turn = nodes.on.submit("go").await;
    let working = nodes.on.work(turn);
    let mut there = live(&nodes.there, turn, Cursor::START).await;
    let mut seen = Seen::default();
    seen.until(&mut there, "One. ").await;
    let to = format!("to.{}", timeout(PATIENCE, beside.inbox()).await.unwrap());
    // Of a turn that is watched too, and waits.
    let other = nodes.on.submit("other").await;
    let _stream = live(&nodes.there, other, Cursor::START).await;
    let piece = |number: u64, total: usize, text: &str| {
        let length = text.len();
        format!("{other} 1 {number} 0 {total} {length}\n{text}").into_bytes()
    };
    let large = "x".repeat(10 << 20);
    for payload in [
        &b"\xff\xfe"[..],
        b"no line",
        b"1 2 3\n",
        &piece(1, 50, "too short"),
        &piece(2, 1, "too long"),
        &piece(3, usize::MAX, ""),
        &piece(4, 11, "2 \"another\""),
        &piece(5, large.len(), &large),
    ] {
        beside.publish(&to, payload).await;
        beside.publish("watched", payload).await;
        beside.publish("who", payload).await;
    }
    beside.flush().await;
    nodes.on.impostor.gate("two").open();
    seen.until(&mut there, "One. Two.").await;
    nodes.on.impostor.gate("end").open();
    seen.all(&mut there).await;
    seen.assert_whole("One. Two.");
    assert_eq!(seen.snapshots, 0);
    nodes.on.finished(turn, working).await;
    let refused = async {
        loop {
            let refused = nodes.recorder.named("live.refused");
            if refused
                .iter()
                .any(|of| of.get("size") == Some(&large.len().into()))
            {
                return refused;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let refused = timeout(PATIENCE, refused).await.expect("it is not told");
    let has = |reason: &str| refused.iter().any(|of| of["reason"] == reason);
    assert!(has("version") && has("size"), "{refused:?}");
    assert!(refused.iter().all(|of| of["turn"] == other.to_string()));
}
