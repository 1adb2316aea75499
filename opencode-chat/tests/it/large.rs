//! Large files through the real program: they stream, and do not fill its memory.

use opencode_impostor::{Impostor, Script, Step};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::{Chat, Running};

const SIZE: usize = 256 << 20;
/// How much more memory the program may ever have taken after that, in KiB.
const ROOM: u64 = 64 << 10;

const BOUNDARY: &str = "----X";

/// The most memory that a process has ever taken, in KiB.
fn peak(running: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A chunk of a file, different from place to place.
fn chunk(at: usize) -> Vec<u8> {
    (at as u64).to_le_bytes().repeat(1 << 17)
}

struct Answer {
    status: u16,
    headers: String,
    body: BufReader<TcpStream>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    async fn text(mut self) -> String {
        let mut text = String::new();
        self.body.read_to_string(&mut text).await.unwrap();
        text
    }
}

async fn answer(connection: TcpStream) -> Answer {
    let mut body = BufReader::new(connection);
    let mut headers = String::new();
    while !headers.ends_with("\r\n\r\n") {
        assert_ne!(body.read_line(&mut headers).await.unwrap(), 0, "{headers}");
    }
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        headers,
        body,
    }
}

async fn get(host: &str, path: &str) -> Answer {
    let mut connection = TcpStream::connect(host).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    answer(connection).await
}

#[tokio::test]
async fn a_large_file_takes_little_memory_in_and_out() {
    let impostor = Impostor::scripted(Script::always([Step::text("Yes.")]))
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    let more = ["serve", "--listen", "127.0.0.1:0", "--max-upload", "256M"];
    let mut running = chat.start(&more);
    let line = running.logs("open http://").await;
    let (_, host) = line.split_once("http://").unwrap();
    let end = host.find(|c: char| !c.is_ascii_digit() && !".:".contains(c));
    let host = host[..end.unwrap_or(host.len())].to_owned();
    assert_eq!(get(&host, "/").await.status, 200);
    let before = peak(&running);

    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nlook\r\n--{BOUNDARY}\r\n\
         Content-Disposition: form-data; name=\"files\"; filename=\"large.bin\"\r\n\r\n"
    );
    let tail = format!("\r\n--{BOUNDARY}--\r\n");
    let length = head.len() + SIZE + tail.len();
    let request = format!(
        "POST /conversations HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nOrigin: http://{host}\r\n\
         Content-Length: {length}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n{head}"
    );
    let mut connection = TcpStream::connect(&host).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    for at in 0..SIZE >> 20 {
        connection.write_all(&chunk(at)).await.unwrap();
    }
    connection.write_all(tail.as_bytes()).await.unwrap();
    let sent = answer(connection).await;
    assert_eq!(sent.status, 303);
    let page = sent.header("location").unwrap().to_owned();
    let page = get(&host, &page).await.text().await;
    let (_, link) = page.split_once("<a class=\"act\" href=\"").unwrap();
    let (link, _) = link.split_once('"').unwrap();

    let mut file = get(&host, link).await;
    assert_eq!(
        (file.status, file.header("content-length")),
        (200, Some(SIZE.to_string().as_str()))
    );
    let mut came = vec![0; 1 << 20];
    for at in 0..SIZE >> 20 {
        file.body.read_exact(&mut came).await.unwrap();
        assert!(came == chunk(at), "what came is what was sent, at {at} MiB");
    }
    assert_eq!(file.body.read(&mut came).await.unwrap(), 0);
    let after = peak(&running);
    assert!(
        after < before + ROOM,
        "{before} KiB before, {after} KiB after"
    );
}
