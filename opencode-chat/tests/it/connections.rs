//! Crowds of clients on the real program.

use std::time::{Duration, Instant};

use opencode_impostor::{Impostor, Script, Step};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::Chat;

async fn ask(address: &str, head: &str, body: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn clients_that_take_all_descriptors_cost_no_turn_its_answer() {
    let steps = [
        Step::text("Half"),
        Step::gate("hold"),
        Step::text(" and half."),
    ];
    let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
    let chat = Chat::with(&impostor).descriptors(96);
    let mut running = chat.start(&["serve", "--listen", "127.0.0.1:0"]);
    let address = running.address().await;
    let begun = ask(&address, "POST /conversations", "prompt=go&key=a").await;
    let (_, page) = begun
        .split_once("location: ")
        .unwrap_or_else(|| panic!("{begun}"));
    let page = format!("GET {}", page.lines().next().unwrap());
    impostor.gate("hold").reached().await.unwrap();

    let mut crowd = Vec::new();
    for at in 0..300 {
        let mut client = TcpStream::connect(&address).await.unwrap();
        let sent = [
            "",
            "GET / HTTP/1.1\r\nHost: l",
            "POST /conversations HTTP/1.1\r\n",
        ][at % 3];
        // It may have had to make room already.
        let _ = client.write_all(sent.as_bytes()).await;
        crowd.push(client);
    }
    let answer = ask(&address, &page, "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let health = ask(&address, "GET /health", "").await;
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let (_, turn) = answer.split_once("data-turn=\"").unwrap();
    let turn = turn.split('"').next().unwrap().to_owned();
    impostor.gate("hold").open();
    let watched = chat.run(&["watch", &turn, "--json"]).await;
    let result = watched.ended(0, "completed");
    assert_eq!(result["content"], "Half\n\n and half.", "{result}");
    drop(crowd);
}

#[tokio::test]
async fn a_stop_is_not_held_up_by_half_requests() {
    let impostor = Impostor::start().await.unwrap();
    let chat = Chat::with(&impostor);
    let mut running = chat.start(&["serve", "--listen", "127.0.0.1:0"]);
    let address = running.address().await;
    let mut half = Vec::new();
    for sent in [
        String::new(),
        "GET / HTTP/1.1\r\nHost: ".to_owned(),
        format!(
            "POST /turns/x/permissions/y HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\nreply"
        ),
    ] {
        let mut client = TcpStream::connect(&address).await.unwrap();
        client.write_all(sent.as_bytes()).await.unwrap();
        half.push(client);
    }
    // One that is answered tells that those before it were taken.
    ask(&address, "GET /health", "").await;
    let since = Instant::now();
    running.signal(Signal::TERM);
    let ran = running.end().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        since.elapsed() < Duration::from_secs(40),
        "{:?}",
        since.elapsed()
    );
}
