//! The bytes of one event stream.
//!
//! A server writes one HTTP chunk per event. Read through a general HTTP client
//! that is one wake-up per event; here a plain connection is read by as much as
//! the socket has, and the chunks are taken apart in place. TLS, and an HTTP client
//! of the host's own, go through the general client.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::error::{Error, excerpt};
use crate::http::{Client, network_detail};

const READ_BUFFER: usize = 64 << 10;
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 96;

/// Why a stream did not open.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The server has no such stream (404, or a page of another type).
    Unsupported,
    /// Anything else.
    Failed(Error),
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// An open event stream.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(Box<Plain>),
    General(reqwest::Response),
}

#[derive(Debug)]
pub(super) struct Plain {
    socket: TcpStream,
    buffer: Box<[u8]>,
    /// Body bytes that came with the head: `buffer[..leftover]`.
    leftover: usize,
    chunks: Option<ChunkDecoder>,
}

impl Transport {
    /// Opens the stream at `path` (`/global/event` or `/event`).
    pub(super) async fn open(client: &Client, path: &str) -> Result<Self, OpenError> {
        let url = client.url(path);
        if client.is_general() {
            Self::open_general(client, url).await
        } else {
            Plain::open(client, &url)
                .await
                .map(|plain| Self::Plain(Box::new(plain)))
        }
    }

    async fn open_general(client: &Client, url: Url) -> Result<Self, OpenError> {
        let request = client.http().get(url).headers(client.headers().clone());
        let response = request
            .header("accept", "text/event-stream")
            .send()
            .await
            .map_err(|error| connection(client, &network_detail(&error)))?;
        let kind = response
            .headers()
            .get("content-type")
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        check(client, response.status().as_u16(), kind, &[])?;
        Ok(Self::General(response))
    }

    /// Waits for bytes and hands what there is to `sink`. False at the end of the stream.
    pub(super) async fn read(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<bool> {
        match self {
            Self::Plain(plain) => plain.read(sink).await,
            Self::General(response) => match response.chunk().await {
                Ok(Some(chunk)) => {
                    sink(&chunk);
                    Ok(true)
                }
                Ok(None) => Ok(false),
                Err(error) => Err(io::Error::other(network_detail(&error))),
            },
        }
    }
}

impl Plain {
    async fn open(client: &Client, url: &Url) -> Result<Self, OpenError> {
        let io = |error: io::Error| connection(client, &error.to_string());
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        let mut socket = TcpStream::connect((host.trim_matches(['[', ']']), port))
            .await
            .map_err(io)?;
        let target = url.query().map_or_else(
            || url.path().to_owned(),
            |query| format!("{}?{query}", url.path()),
        );
        let mut head = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n"
        )
        .into_bytes();
        for (name, value) in client.headers() {
            for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(piece);
            }
        }
        head.extend_from_slice(b"\r\n");
        socket.write_all(&head).await.map_err(io)?;

        let mut buffer = vec![0; READ_BUFFER].into_boxed_slice();
        let mut filled = 0;
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response
                .parse(&buffer[..filled])
                .map_err(|error| connection(client, &format!("not an HTTP answer: {error}")))?;
            let httparse::Status::Complete(length) = parsed else {
                let read = socket.read(&mut buffer[filled..]).await.map_err(io)?;
                if read == 0 {
                    let what = if filled == MAX_HEAD {
                        "the answer's head is too large"
                    } else {
                        "closed without an answer"
                    };
                    return Err(connection(client, what).into());
                }
                filled += read;
                continue;
            };
            if response.code.is_some_and(is_interim) {
                buffer.copy_within(length..filled, 0);
                filled -= length;
                continue;
            }
            let header = |name: &str| {
                let found = response
                    .headers
                    .iter()
                    .find(|header| header.name.eq_ignore_ascii_case(name));
                found
                    .map(|header| String::from_utf8_lossy(header.value).to_ascii_lowercase())
                    .unwrap_or_default()
            };
            let (status, kind) = (response.code.unwrap_or(0), header("content-type"));
            let chunks = header("transfer-encoding")
                .contains("chunked")
                .then(ChunkDecoder::default);
            check(client, status, &kind, &buffer[length..filled])?;
            buffer.copy_within(length..filled, 0);
            return Ok(Self {
                socket,
                buffer,
                leftover: filled - length,
                chunks,
            });
        }
    }

    async fn read(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<bool> {
        let filled = match std::mem::take(&mut self.leftover) {
            0 => self.socket.read(&mut self.buffer).await?,
            leftover => leftover,
        };
        if filled == 0 {
            return Ok(false);
        }
        match &mut self.chunks {
            Some(chunks) => chunks.decode(&self.buffer[..filled], sink),
            None => {
                sink(&self.buffer[..filled]);
                Ok(true)
            }
        }
    }
}

/// Whether the answer is still to come behind this one, such as 100 and 103 (RFC 9110, 15.2). 101 is an answer.
fn is_interim(status: u16) -> bool {
    matches!(status, 100 | 102..=199)
}

fn connection(client: &Client, detail: &str) -> Error {
    Error::Connection {
        server: client.server().to_owned(),
        detail: detail.to_owned(),
    }
}

fn check(client: &Client, status: u16, content_type: &str, body: &[u8]) -> Result<(), OpenError> {
    match status {
        200 if content_type.starts_with("text/event-stream") => Ok(()),
        // Servers hand unknown paths to their web page: a page is not a stream.
        200..=299 | 404 | 405 => Err(OpenError::Unsupported),
        401 | 403 => Err(Error::Unauthorized {
            server: client.server().to_owned(),
        }
        .into()),
        400..=499 => Err(Error::BadRequest {
            call: "GET events".to_owned(),
            status,
            message: excerpt(body),
        }
        .into()),
        _ => Err(Error::Server {
            call: "GET events".to_owned(),
            status,
            message: excerpt(body),
        }
        .into()),
    }
}

/// Takes the chunks of an HTTP/1.1 body apart (RFC 9112, 7.1), in place.
#[derive(Debug, Default)]
struct ChunkDecoder {
    state: ChunkState,
}

#[derive(Clone, Copy, Debug)]
enum ChunkState {
    /// In the line that tells a chunk's size.
    Size {
        size: u64,
        digits: u8,
        extension: bool,
    },
    /// In a chunk's data.
    Data { left: u64 },
    /// At the line end behind a chunk's data.
    AfterData,
    /// Behind the last chunk.
    End,
}

impl Default for ChunkState {
    fn default() -> Self {
        Self::Size {
            size: 0,
            digits: 0,
            extension: false,
        }
    }
}

impl ChunkDecoder {
    /// Hands the data in `bytes` to `sink`, a chunk at a time. False behind the last chunk.
    fn decode(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&[u8])) -> io::Result<bool> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed chunked encoding");
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.state {
                ChunkState::Size {
                    size,
                    digits,
                    extension,
                } => {
                    bytes = rest;
                    match first {
                        b'\n' if *digits == 0 => return Err(malformed()),
                        b'\n' if *size == 0 => self.state = ChunkState::End,
                        b'\n' => self.state = ChunkState::Data { left: *size },
                        b'\r' => {}
                        _ if *extension => {}
                        b';' | b' ' | b'\t' if *digits > 0 => *extension = true,
                        _ => {
                            let digit = char::from(first).to_digit(16).ok_or_else(malformed)?;
                            if *digits == 15 {
                                return Err(malformed());
                            }
                            *digits += 1;
                            *size = *size * 16 + u64::from(digit);
                        }
                    }
                }
                ChunkState::Data { left } => {
                    let here =
                        usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    sink(&bytes[..here]);
                    bytes = &bytes[here..];
                    *left -= here as u64;
                    if *left == 0 {
                        self.state = ChunkState::AfterData;
                    }
                }
                ChunkState::AfterData => {
                    bytes = rest;
                    match first {
                        b'\r' => {}
                        b'\n' => self.state = ChunkState::default(),
                        _ => return Err(malformed()),
                    }
                }
                ChunkState::End => return Ok(false),
            }
        }
        Ok(!matches!(self.state, ChunkState::End))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> io::Result<(Vec<u8>, bool)> {
        let (mut decoder, mut out, mut open) = (ChunkDecoder::default(), Vec::new(), true);
        for piece in pieces {
            open = decoder.decode(piece, |data| out.extend_from_slice(data))?;
        }
        Ok((out, open))
    }

    #[test]
    fn chunks_and_their_end() {
        assert_eq!(
            decode(&[b"3\r\nabc\r\n2;x=y\r\nde\r\n"]).unwrap(),
            (b"abcde".to_vec(), true)
        );
        assert_eq!(
            decode(&[b"A\r\n0123456789\r\n0\r\n\r\n"]).unwrap(),
            (b"0123456789".to_vec(), false)
        );
        for bad in [
            &b"\r\n"[..],
            b"x\r\n",
            b"1\r\nab\r\n",
            b"1234567890123456\r\n",
        ] {
            assert!(decode(&[bad]).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_body(parts in prop::collection::vec("[a-z]{1,40}", 1..8), cut in 0usize..300) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend(format!("{:x}\r\n{part}\r\n", part.len()).bytes());
            }
            let cut = cut.min(wire.len());
            prop_assert_eq!(decode(&[&wire[..cut], &wire[cut..]]).unwrap().0, parts.concat().into_bytes());
        }
    }
}
