//! A server of S3 that others wrote: moto, of Python.
//!
//! `OPENCODE_HOST_MOTO` names the program; `cargo xtask test` installs it and names it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use opencode_host::blobs::Blobs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::s3::blobs_at;

/// A server with an empty bucket, which goes with the test.
pub(super) struct Moto {
    port: u16,
    running: Child,
}

impl Moto {
    pub(super) async fn start() -> Self {
        let program = std::env::var_os("OPENCODE_HOST_MOTO");
        let program = program.expect("OPENCODE_HOST_MOTO names no program: run `cargo xtask test`");
        let mut running = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(running.stderr.take().unwrap());
        let (listens, listening) = oneshot::channel();
        // What it tells of each request is read to its end, so that it waits for nobody.
        std::thread::spawn(move || {
            let mut listens = Some(listens);
            for line in told.lines().map_while(Result::ok) {
                let port = line.split_once("http://127.0.0.1:");
                let port = port.and_then(|(_, port)| port.trim().parse().ok());
                if let (Some(port), Some(listens)) = (port, listens.take_if(|_| port.is_some())) {
                    let _ = listens.send(port);
                }
            }
        });
        let port: u16 = tokio::time::timeout(Duration::from_secs(60), listening)
            .await
            .expect("moto does not start")
            .expect("moto has ended");
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let make = "PUT /bucket HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        connection.write_all(make.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Self { port, running }
    }

    pub(super) fn blobs(&self) -> Blobs {
        blobs_at(self.port)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}
