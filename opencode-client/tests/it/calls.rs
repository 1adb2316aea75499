//! How long a call may take: as long as the server shows that it is at it.

use std::time::{Duration, Instant};

use opencode_client::{Client, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that takes one connection and treats it as `answer` does. Its URL.
async fn serving<F>(answer: impl FnOnce(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let read = stream.read(&mut head).await.unwrap();
        assert!(read > 0);
        answer(stream).await;
    });
    url
}

/// Answers `200` with `pieces` pieces of white space and then `{}`, each so long after the one before.
async fn in_pieces(mut stream: TcpStream, pieces: usize, size: usize, pause: Duration) {
    let length = pieces * size + 2;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = " ".repeat(size);
    for _ in 0..pieces {
        tokio::time::sleep(pause).await;
        // Whoever asked may have gone.
        if stream.write_all(piece.as_bytes()).await.is_err() {
            return;
        }
    }
    let _ = stream.write_all(b"{}").await;
}

fn client(url: &str, timeout: Duration) -> Client {
    Client::builder(url).timeout(timeout).build().unwrap()
}

#[tokio::test]
async fn a_call_that_is_never_answered_is_given_up() {
    let url = serving(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let started = Instant::now();
    let patient = client(&url, PATIENCE * 10).with_patience(Duration::from_millis(50));
    let answered = patient.statuses().await;
    assert!(
        matches!(answered, Err(Error::Timeout { .. })),
        "{answered:?}"
    );
    assert!(started.elapsed() < PATIENCE);
}

#[tokio::test]
async fn an_answer_that_stops_coming_is_given_up() {
    let url = serving(|mut stream| async move {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
        stream.write_all(head).await.unwrap();
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let patient = client(&url, PATIENCE * 10).with_patience(Duration::from_millis(50));
    let started = Instant::now();
    let answered = patient.statuses().await;
    assert!(
        matches!(answered, Err(Error::Timeout { .. })),
        "{answered:?}"
    );
    assert!(started.elapsed() < PATIENCE);
}

#[tokio::test]
async fn an_answer_that_goes_on_coming_is_waited_for() {
    let pause = Duration::from_millis(20);
    let url = serving(move |stream| in_pieces(stream, 75, 1, pause)).await;
    // All of it takes longer than the server may be silent.
    let patient = client(&url, PATIENCE).with_patience(Duration::from_secs(1));
    assert!(patient.statuses().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_large_answer_gets_time_by_its_size() {
    let pause = Duration::from_millis(300);
    let url = serving(move |stream| in_pieces(stream, 8, 256 << 10, pause)).await;
    // All of it takes longer than a small answer may.
    let answered = client(&url, Duration::from_secs(2)).statuses().await;
    assert!(answered.unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_that_trickles_for_ever_is_given_up() {
    let pause = Duration::from_millis(10);
    let url = serving(move |stream| in_pieces(stream, 1 << 20, 1, pause)).await;
    let started = Instant::now();
    let patient = client(&url, Duration::from_millis(500)).with_patience(PATIENCE);
    let answered = patient.statuses().await;
    assert!(
        matches!(answered, Err(Error::Timeout { .. })),
        "{answered:?}"
    );
    assert!(started.elapsed() < PATIENCE);
}
