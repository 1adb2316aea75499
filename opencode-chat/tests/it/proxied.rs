//! The application behind a reverse proxy, under the proxy's name.

use opencode_impostor::Impostor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::Chat;

/// The status and the text of an answer to a request of these lines.
pub(crate) async fn ask(address: &str, request: &str) -> (String, String) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    (answer.split(' ').nth(1).unwrap().to_owned(), answer)
}

async fn status(address: &str, host: &str) -> (String, String) {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    ask(address, &request).await
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
        let address = &running.address().await;
        for host in known.into_iter().chain(["localhost"]) {
            assert_eq!(status(address, host).await.0, "200", "{host}");
        }
        let (refused, answer) = status(address, unknown).await;
        assert_eq!(refused, "421");
        assert!(answer.contains("--allowed-host"), "{answer}");
    }
}

#[tokio::test]
async fn names_that_are_none_are_refused() {
    let chat = Chat::new();
    for name in [
        "https://chat.example.org",
        "chat.example.org:8443",
        "chat.example.org/",
        "büro.example",
        "*",
    ] {
        chat.run(&["serve", "--allowed-host", name])
            .await
            .refused("--allowed-host");
    }
    for path in ["chat", "//evil.example", "/a/../b", "/conversations"] {
        chat.run(&["serve", "--base-path", path])
            .await
            .refused("--base-path");
    }
}

#[tokio::test]
async fn a_network_is_not_served_without_accounts() {
    let chat = Chat::new();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        for name in [&[][..], &["--allowed-host", "chat.example.org"]] {
            let args = [&["serve", "--listen", address], name].concat();
            chat.run(&args)
                .await
                .refused("--allow-network-without-accounts");
        }
        let ran = chat.run(&["doctor", "--listen", address]).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stdout.contains("✗ network"), "{ran:?}");
    }
    let chat = chat.variable("OPENCODE_CHAT_LISTEN", "0.0.0.0:0");
    chat.run(&["serve"])
        .await
        .refused("--allow-network-without-accounts");
}

#[tokio::test]
async fn a_network_that_is_allowed_is_warned_of_and_guarded() {
    let impostor = Impostor::start().await.unwrap();
    let allowed = "OPENCODE_CHAT_ALLOW_NETWORK_WITHOUT_ACCOUNTS";
    let chat = Chat::with(&impostor)
        .variable("OPENCODE_CHAT_LISTEN", "0.0.0.0:0")
        .variable(allowed, "true");
    let mut running = chat.start(&["serve"]);
    running.logs("there are no accounts").await;
    let address = running.address().await.replace("0.0.0.0", "127.0.0.1");
    let (found, page) = status(&address, &address).await;
    assert_eq!(found, "200");
    assert!(page.contains("There are no accounts here."), "{page}");
    for name in ["evil.example", "chat.example.org"] {
        assert_eq!(status(&address, name).await.0, "421", "{name}");
    }
    let ran = chat.run(&["doctor"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("! network"), "{ran:?}");
}

#[tokio::test]
async fn a_request_that_two_could_read_differently_is_refused() {
    let impostor = Impostor::start().await.unwrap();
    let mut running = Chat::with(&impostor).start(&["serve", "--listen", "127.0.0.1:0"]);
    let address = running.address().await;
    for head in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n",
        "GET / HTTP/1.1\r\nHost: me@localhost\r\n",
        "GET / HTTP/1.1\r\nHost: localhost:x\r\n",
        "GET / HTTP/1.1\r\nHost: \u{f6}.example\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n",
        "GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n",
        "GET http://me@localhost/ HTTP/1.1\r\nHost: localhost\r\n",
    ] {
        let (status, _) = ask(&address, &format!("{head}Connection: close\r\n\r\n")).await;
        assert_eq!(status, "400", "{head:?}");
    }
    for head in [
        "GET /health HTTP/1.1\r\nHost: localhost\r\n",
        "GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n",
        "GET /health HTTP/1.0\r\n",
    ] {
        let (status, _) = ask(&address, &format!("{head}Connection: close\r\n\r\n")).await;
        assert_eq!(status, "200", "{head:?}");
    }
}
