//! A small HTTP/1.1 client that shows what came over the wire, chunk by chunk.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Everything must happen within this time.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

async fn send(
    port: u16,
    method: &str,
    path: &str,
    extra: &str,
    body: Option<&Value>,
) -> std::io::Result<BufReader<TcpStream>> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n{extra}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await?;
    Ok(BufReader::new(socket))
}

async fn head(socket: &mut BufReader<TcpStream>) -> std::io::Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    if socket.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = Vec::new();
    loop {
        line.clear();
        socket.read_line(&mut line).await?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => return Ok((status, headers)),
        }
    }
}

/// One request. An error: the connection was closed without a whole answer.
pub(crate) async fn try_call(
    port: u16,
    method: &str,
    path: &str,
    extra: &str,
    body: Option<&Value>,
) -> std::io::Result<Answer> {
    bounded(async {
        let mut socket = send(port, method, path, extra, body).await?;
        let (status, headers) = head(&mut socket).await?;
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = chunk(&mut socket).await? {
                answer.body.extend(chunk);
            }
        } else {
            let length = answer
                .header("content-length")
                .map_or(0, |length| length.parse().unwrap());
            answer.body.resize(length, 0);
            socket.read_exact(&mut answer.body).await?;
        }
        Ok(answer)
    })
    .await
}

pub(crate) async fn call(port: u16, method: &str, path: &str, body: Option<&Value>) -> Answer {
    try_call(port, method, path, "", body).await.unwrap()
}

pub(crate) async fn get(port: u16, path: &str) -> Value {
    let answer = call(port, "GET", path, None).await;
    assert_eq!(answer.status, 200, "{path}");
    answer.json()
}

/// One HTTP chunk; `None` after the last.
async fn chunk(socket: &mut BufReader<TcpStream>) -> std::io::Result<Option<Vec<u8>>> {
    let mut size = String::new();
    if socket.read_line(&mut size).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let size = usize::from_str_radix(size.trim(), 16).unwrap();
    let mut data = vec![0; size + 2];
    socket.read_exact(&mut data).await?;
    data.truncate(size);
    Ok((size > 0).then_some(data))
}

/// An open event stream.
pub(crate) struct Events {
    socket: BufReader<TcpStream>,
}

impl Events {
    pub(crate) async fn open(port: u16, path: &str) -> Self {
        let mut events = Self::try_open(port, path).await.unwrap();
        assert_eq!(events.next().await["type"], "server.connected");
        events
    }

    pub(crate) async fn try_open(port: u16, path: &str) -> std::io::Result<Self> {
        bounded(async {
            let mut socket = send(port, "GET", path, "", None).await?;
            let (status, _) = head(&mut socket).await?;
            if status != 200 {
                return Err(std::io::Error::other(format!("status {status}")));
            }
            Ok(Self { socket })
        })
        .await
    }

    /// The bytes of the next chunk: one frame. An error: the stream was cut. `None`: it ended.
    pub(crate) async fn frame(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        bounded(chunk(&mut self.socket)).await
    }

    /// The next event, of a global frame its payload.
    pub(crate) async fn next(&mut self) -> Value {
        let whole = self.next_whole().await;
        whole.get("payload").cloned().unwrap_or(whole)
    }

    pub(crate) async fn next_whole(&mut self) -> Value {
        let frame = self.frame().await.unwrap().expect("another frame");
        let text = String::from_utf8(frame).unwrap();
        let json = text
            .strip_prefix("data: ")
            .and_then(|text| text.strip_suffix("\n\n"))
            .expect("one frame in a chunk");
        serde_json::from_str(json).unwrap()
    }

    /// Events up to and including the first of this type.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let event = self.next().await;
            let found = event["type"] == kind;
            seen.push(event);
            if found {
                return seen;
            }
        }
    }

    /// Events until the session is idle and the late ones have come.
    pub(crate) async fn turn(&mut self) -> Vec<Value> {
        let mut seen = self.until("session.idle").await;
        for kind in ["session.updated", "session.diff", "message.updated"] {
            seen.extend(self.until(kind).await);
        }
        seen
    }
}

pub(crate) fn types(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let properties = &event["properties"];
            let detail = [
                &properties["status"]["type"],
                &properties["part"]["type"],
                &properties["info"]["role"],
            ]
            .into_iter()
            .find_map(Value::as_str);
            match (event["type"].as_str().unwrap(), detail) {
                (kind, Some(detail)) => format!("{kind} {detail}"),
                (kind, None) => kind.to_owned(),
            }
        })
        .collect()
}

pub(crate) async fn new_session(port: u16) -> String {
    session_in(port, "/workspace/demo").await
}

pub(crate) async fn session_in(port: u16, directory: &str) -> String {
    let path = format!("/session?directory={directory}");
    let answer = call(port, "POST", &path, Some(&json!({"title": "a test"}))).await;
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// The id that a careful client gives the next message: the successor of the newest, or of the session's birth.
pub(crate) async fn next_id(port: u16, session: &str) -> String {
    let messages = get(port, &format!("/session/{session}/message")).await;
    let newest = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["info"]["id"].as_str().unwrap()[4..16].to_owned())
        .max();
    let stamp = if let Some(hex) = newest {
        u64::from_str_radix(&hex, 16).unwrap()
    } else {
        let born = get(port, &format!("/session/{session}")).await["time"]["created"]
            .as_u64()
            .unwrap();
        born * 0x1000
    };
    format!("{:012x}abcdefghijklmn", (stamp + 1) & 0xFFFF_FFFF_FFFF)
}

pub(crate) fn prompt_body(id: &str, text: &str) -> Value {
    json!({
        "messageID": format!("msg_{id}"),
        "parts": [{"id": format!("prt_{id}"), "type": "text", "text": text}],
        "agent": "build",
    })
}

/// Prompts as a careful client does; the message's id.
pub(crate) async fn prompt(port: u16, session: &str, text: &str) -> String {
    let id = next_id(port, session).await;
    let path = format!("/session/{session}/prompt_async");
    let answer = call(port, "POST", &path, Some(&prompt_body(&id, text))).await;
    assert_eq!(answer.status, 204);
    format!("msg_{id}")
}
