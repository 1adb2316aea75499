//! Connections: their bounds, who makes room, and what is let through.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::middleware::from_fn;
use axum::routing::{get, post};
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::*;

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A second, and what a look each second adds.
const LATE: Duration = Duration::from_secs(2);

/// Connections in memory, under the test's clock.
struct Server {
    seats: Seats,
    router: Router,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    hold: watch::Sender<bool>,
}

impl Server {
    fn new(connections: usize, reserve: usize) -> Self {
        let seats = Seats::new(Bounds {
            connections,
            reserve,
        });
        let ticking = seats.clone();
        tokio::spawn(async move {
            loop {
                sleep(TICK).await;
                ticking.end_overdue();
            }
        });
        let (hold, held) = watch::channel(true);
        let router = Router::new()
            .route("/", get(async || "a page"))
            .route("/health", get(async || "well"))
            .route(
                "/hold",
                get(async move || {
                    let mut held = held.clone();
                    held.wait_for(|held| !held).await.unwrap();
                    "done"
                }),
            )
            .route(
                "/form",
                post(async |body: Body| {
                    let body = axum::body::to_bytes(body, usize::MAX).await;
                    body.map_or("cut".to_owned(), |body| format!("{} bytes", body.len()))
                }),
            )
            .route("/large", get(async || "x".repeat(1 << 20)))
            .route(
                "/stream",
                get(async || {
                    Body::from_stream(stream::unfold(0, async |count| {
                        sleep(Duration::from_secs(300)).await;
                        let event = Bytes::from(format!("event {count}\n"));
                        Some((Ok::<_, Infallible>(event), count + 1))
                    }))
                }),
            )
            .layer(from_fn(room));
        Self {
            seats,
            router,
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            hold,
        }
    }

    /// A client that is connected, if there is a seat for it.
    fn try_connect(&self) -> Option<Client> {
        let ticket = self.seats.admit()?;
        let (client, server) = duplex(4 << 10);
        let (router, shutdown) = (self.router.clone(), self.shutdown.clone());
        self.tasks
            .spawn(attend(server, LOCAL, ticket, router, shutdown));
        Some(Client(client))
    }

    fn connect(&self) -> Client {
        self.try_connect().unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.connect().get(path).await
    }
}

struct Client(DuplexStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until this has come.
    async fn read_to(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains(end) {
            let byte = self.0.read_u8().await;
            all.push(byte.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&all))));
        }
        String::from_utf8(all).unwrap()
    }

    async fn get(&mut self, path: &str) -> String {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
        .await;
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// How long until the server closes it.
    async fn closed(&mut self) -> Duration {
        let since = Instant::now();
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).await;
        since.elapsed()
    }
}

fn about(time: Duration, expected: Duration) -> bool {
    time >= expected && time <= expected + LATE
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_request_is_let_go() {
    let server = Server::new(8, 1);
    for sent in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: localhost\r\nX: "] {
        let mut client = server.connect();
        client.send(sent).await;
        let time = client.closed().await;
        assert!(about(time, Duration::from_secs(20)), "{sent:?}: {time:?}");
    }
    let mut client = server.connect();
    client
        .send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    client.read_to("well").await;
    let time = client.closed().await;
    assert!(about(time, Duration::from_secs(75)), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_drips_is_let_go() {
    let server = Server::new(8, 1);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n").await;
    let since = Instant::now();
    while client.0.write_all(b"X: y\r\n").await.is_ok() {
        sleep(Duration::from_secs(3)).await;
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "it goes on and on"
        );
    }
    assert!(
        about(since.elapsed(), Duration::from_secs(20)),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_or_drips_fails() {
    let server = Server::new(8, 1);
    let head = "POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    let mut client = server.connect();
    client.send(head).await;
    client.send("half").await;
    let since = Instant::now();
    client.read_to("cut").await;
    assert!(
        about(since.elapsed(), Duration::from_secs(30)),
        "{:?}",
        since.elapsed()
    );

    let client = server.connect();
    let (mut reading, mut writing) = tokio::io::split(client.0);
    writing.write_all(head.as_bytes()).await.unwrap();
    let dripping = tokio::spawn(async move {
        while writing.write_all(b".").await.is_ok() {
            sleep(Duration::from_secs(10)).await;
        }
    });
    let since = Instant::now();
    let mut answer = Vec::new();
    reading.read_to_end(&mut answer).await.unwrap();
    assert!(
        about(since.elapsed(), SLACK_OF_A_BODY),
        "{:?}",
        since.elapsed()
    );
    assert!(String::from_utf8_lossy(&answer).ends_with("cut"));
    dripping.await.unwrap();
}

const SLACK_OF_A_BODY: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_steadily_may_take_its_time() {
    let server = Server::new(8, 1);
    let mut client = server.connect();
    client
        .send("POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Length: 409600\r\n\r\n")
        .await;
    for _ in 0..100 {
        client.send(&"x".repeat(4096)).await;
        sleep(Duration::from_secs(4)).await;
    }
    client.read_to("409600 bytes").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_let_go() {
    let server = Server::new(8, 1);
    let mut client = server.connect();
    client
        .send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let since = Instant::now();
    server.tasks.close();
    server.tasks.wait().await;
    assert!(
        about(since.elapsed(), Duration::from_secs(60)),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_be_silent_for_long() {
    let server = Server::new(8, 1);
    let mut client = server.connect();
    client
        .send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    client.read_to("event 9").await;
}

#[tokio::test(start_paused = true)]
async fn clients_that_wait_lock_nobody_out() {
    let server = Server::new(8, 1);
    let mut waiting = Vec::new();
    for at in 0..1000 {
        let mut client = server.connect();
        match at % 4 {
            0 => {}
            1 => client.send("GET / HTTP/1.1\r\nHost: ").await,
            2 => {
                client
                    .send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    .await;
                client.read_to("well").await;
            }
            _ => {
                client
                    .send("POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
                    .await;
                sleep(Duration::from_secs(6)).await;
            }
        }
        waiting.push(client);
        let page = server.get("/").await;
        assert!(page.ends_with("a page"), "{at}: {page}");
    }
    assert!(server.tasks.len() <= 9, "{}", server.tasks.len());
}

#[tokio::test(start_paused = true)]
async fn health_is_told_while_all_are_at_work() {
    let server = Server::new(4, 2);
    let mut working: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for client in &mut working {
        client
            .send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
    }
    sleep(Duration::from_secs(1)).await;
    // Who only waits in the reserve makes room there too.
    let idle: Vec<_> = (0..10).map(|_| server.connect()).collect();
    let health = server.get("/health").await;
    assert!(
        health.starts_with("HTTP/1.1 200") && health.ends_with("well"),
        "{health}"
    );
    let page = server.get("/").await;
    assert!(
        page.starts_with("HTTP/1.1 503") && page.contains("connection: close"),
        "{page}"
    );
    drop(idle);
    server.hold.send_replace(false);
    for client in &mut working {
        client.read_to("done").await;
    }
    assert!(server.get("/").await.ends_with("a page"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_requests_and_for_nothing_else() {
    let server = Server::new(8, 1);
    let mut waiting: Vec<_> = (0..3).map(|_| server.connect()).collect();
    waiting[1].send("GET / HTTP/1.1\r\nHost").await;
    waiting[2]
        .send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    waiting[2].read_to("well").await;
    let mut working = server.connect();
    working
        .send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    sleep(Duration::from_millis(1)).await;
    server.shutdown.cancel();
    for client in &mut waiting {
        assert_eq!(client.closed().await, Duration::ZERO);
    }
    server.hold.send_replace(false);
    working.read_to("done").await;
    server.tasks.close();
    server.tasks.wait().await;
}

#[test]
fn few_descriptors_make_few_connections() {
    let connections = |descriptors| Bounds::of(descriptors).connections;
    let all = [0, 64, 256, 1024, 8192, usize::MAX].map(connections);
    assert_eq!(all, [16, 16, 96, 672, 2048, 2048]);
    assert_eq!(Bounds::of(1024).streams(), 504);
}
