//! The application behind a reverse proxy, under the proxy's name.

use opencode_impostor::Impostor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::Chat;

async fn status(address: &str, host: &str) -> (String, String) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().to_owned();
    (status, answer)
}

#[tokio::test]
async fn names_that_were_told_are_known() {
    let impostor = Impostor::start().await.unwrap();
    let chat =
        Chat::with(&impostor).variable("OPENCODE_CHAT_ALLOWED_HOSTS", "one.example,two.example");
    for (more, known, unknown) in [
        (
            &[
                "--allowed-host",
                "chat.example.org",
                "--allowed-host",
                "b.example",
            ][..],
            ["chat.example.org", "b.example:443"],
            "one.example",
        ),
        (&[][..], ["one.example", "two.example"], "chat.example.org"),
    ] {
        let mut running = chat.start(&[&["serve", "--listen", "127.0.0.1:0"], more].concat());
        let line = running.logs("open http://").await;
        let (_, address) = line.split_once("http://").unwrap();
        let end = address.find(|c: char| !c.is_ascii_digit() && !".:".contains(c));
        let address = &address[..end.unwrap_or(address.len())];
        for host in known.into_iter().chain(["localhost"]) {
            assert_eq!(status(address, host).await.0, "200", "{host}");
        }
        let (refused, answer) = status(address, unknown).await;
        assert_eq!(refused, "421");
        assert!(answer.contains("--allowed-host"), "{answer}");
    }
}
