//! `multipart/form-data` (RFC 7578), read as it comes.
//!
//! A part's content goes through in the chunks in which it arrives. Never held
//! is more than one chunk, the headers of one part (16 KiB at most) and a
//! boundary's length: a form of any size takes the same memory. Its parts and its
//! bytes are counted, so that no form goes on for ever.

#[cfg(test)]
mod tests;

use std::io;

use axum::body::{Body, BodyDataStream};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use memchr::memmem::Finder;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

/// The most bytes the headers of one part may have.
const MAX_HEAD: usize = 16 << 10;
/// The longest boundary there may be (RFC 2046, 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// The most parts a form may have.
pub const MAX_PARTS: usize = 1024;

/// Why a form could not be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MultipartError {
    /// The connection ended, or failed, before the form did.
    #[error("the form was cut off on its way here")]
    Cut,
    /// It is no such form.
    #[error("the form is not built as RFC 7578 says: {0}")]
    Malformed(&'static str),
    /// It goes on beyond what a form may have.
    #[error("the form has more bytes, or more parts, than a form may have")]
    TooMuch,
}

/// What the headers of a part say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// The field's name.
    pub name: String,
    /// The file's name, for a file; empty where a form was sent without choosing one.
    pub file_name: Option<String>,
    /// The type the browser takes the file for.
    pub content_type: Option<String>,
}

/// A form that is being read.
#[derive(Debug)]
pub struct Multipart {
    body: BodyDataStream,
    /// What came and is not given out yet.
    buffer: BytesMut,
    /// A line's end, `--` and the boundary: what ends a part.
    delimiter: Finder<'static>,
    state: State,
    /// Parts that may still come.
    parts_left: usize,
    /// Bytes that may still come.
    bytes_left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Inside a part's content, or before the first part.
    Content,
    /// Behind a delimiter.
    Delimited,
    /// Behind the last one.
    Ended,
}

impl Multipart {
    /// A form of these headers, with so many bytes at most; `None` where they tell of another content.
    pub fn new(headers: &HeaderMap, body: Body, limit: u64) -> Option<Self> {
        let boundary = boundary(headers.get(CONTENT_TYPE)?.to_str().ok()?)?;
        let delimiter = format!("\r\n--{boundary}");
        Some(Self {
            body: body.into_data_stream(),
            // The first delimiter has no line before it.
            buffer: BytesMut::from("\r\n"),
            delimiter: Finder::new(&delimiter).into_owned(),
            state: State::Content,
            parts_left: MAX_PARTS,
            bytes_left: limit,
        })
    }

    /// The next part; what is left of the one before is passed over. `None` at the end.
    ///
    /// # Errors
    /// See [`MultipartError`].
    pub async fn next_part(&mut self) -> Result<Option<Part>, MultipartError> {
        while self.chunk().await?.is_some() {}
        if self.state == State::Ended {
            return Ok(None);
        }
        self.at_least(2).await?;
        if self.buffer.starts_with(b"--") {
            self.state = State::Ended;
            return Ok(None);
        }
        let left = self.parts_left.checked_sub(1);
        self.parts_left = left.ok_or(MultipartError::TooMuch)?;
        let head = self.head().await?;
        self.state = State::Content;
        Part::of(&head).map(Some)
    }

    /// More of the current part's content; `None` at its end.
    ///
    /// # Errors
    /// See [`MultipartError`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, MultipartError> {
        if self.state != State::Content {
            return Ok(None);
        }
        let length = self.delimiter.needle().len();
        loop {
            if let Some(at) = self.delimiter.find(&self.buffer) {
                let chunk = self.buffer.split_to(at).freeze();
                if chunk.is_empty() {
                    let _ = self.buffer.split_to(length);
                    self.state = State::Delimited;
                    return Ok(None);
                }
                return Ok(Some(chunk));
            }
            // The end may be the beginning of a delimiter.
            let sure = self.buffer.len().saturating_sub(length - 1);
            if sure > 0 {
                return Ok(Some(self.buffer.split_to(sure).freeze()));
            }
            self.more().await?;
        }
    }

    /// The current part's content.
    pub fn content(&mut self) -> impl AsyncRead + Send + Unpin + '_ {
        let chunks = stream::unfold(self, async |form| {
            let chunk = form.chunk().await.map_err(io::Error::other).transpose()?;
            Some((chunk, form))
        });
        StreamReader::new(Box::pin(chunks))
    }

    /// Passes over the rest of the form, so that who sends it hears the answer.
    pub async fn pass_over(&mut self) {
        self.buffer.clear();
        while self.more().await.is_ok() {
            self.buffer.clear();
        }
    }

    /// Takes the header lines of a part.
    async fn head(&mut self) -> Result<Bytes, MultipartError> {
        // The end of the delimiter's line is the first line's beginning.
        let blank = Finder::new(b"\r\n\r\n");
        loop {
            if let Some(at) = blank.find(&self.buffer) {
                let head = self.buffer.split_to(at + 4).freeze();
                return Ok(head.slice(..at));
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(MultipartError::Malformed(
                    "the headers of a part are too long",
                ));
            }
            self.more().await?;
        }
    }

    async fn at_least(&mut self, bytes: usize) -> Result<(), MultipartError> {
        while self.buffer.len() < bytes {
            self.more().await?;
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<(), MultipartError> {
        let Some(Ok(bytes)) = self.body.next().await else {
            return Err(MultipartError::Cut);
        };
        let left = self.bytes_left.checked_sub(bytes.len() as u64);
        self.bytes_left = left.ok_or(MultipartError::TooMuch)?;
        if self.buffer.is_empty() {
            // Unshared bytes are taken over as they are.
            self.buffer = bytes.into();
        } else {
            self.buffer.extend_from_slice(&bytes);
        }
        Ok(())
    }
}

impl Part {
    /// What header lines say.
    fn of(head: &[u8]) -> Result<Self, MultipartError> {
        let malformed = MultipartError::Malformed;
        // Browsers write names as they are, in the page's encoding, which is UTF-8.
        let head = String::from_utf8_lossy(head);
        let mut part = Self::default();
        let mut is_field = false;
        let mut lines = head.split("\r\n");
        if !lines.next().unwrap_or_default().trim().is_empty() {
            return Err(malformed("something stands behind a boundary"));
        }
        for line in lines {
            let (header, value) = line
                .split_once(':')
                .ok_or(malformed("a header line without a colon"))?;
            let value = value.trim();
            if header.eq_ignore_ascii_case("content-disposition") {
                is_field = value
                    .get(..9)
                    .is_some_and(|kind| kind.eq_ignore_ascii_case("form-data"));
                for (parameter, value) in parameters(value) {
                    if parameter.eq_ignore_ascii_case("name") {
                        part.name = value;
                    } else if parameter.eq_ignore_ascii_case("filename") {
                        part.file_name = Some(value);
                    }
                }
            } else if header.eq_ignore_ascii_case("content-type") {
                part.content_type = Some(value.to_owned());
            }
        }
        if is_field {
            Ok(part)
        } else {
            Err(malformed("a part that is no field"))
        }
    }
}

/// The boundary that a content type names.
fn boundary(content_type: &str) -> Option<String> {
    let kind = content_type.split(';').next()?.trim();
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters(content_type)
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))
        .map(|(_, boundary)| boundary)
        .filter(|boundary| (1..=MAX_BOUNDARY).contains(&boundary.len()))
}

/// The parameters behind a header's first value.
fn parameters(value: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    std::iter::from_fn(move || {
        let (name, behind) = rest.split_once('=')?;
        let value;
        (value, rest) = match behind.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, rest) = behind.split_once(';').unwrap_or((behind, ""));
                (value.trim().to_owned(), rest)
            }
        };
        Some((name.trim_matches([' ', '\t', ';']), value))
    })
}

/// The text up to the closing quote, and what stands behind it. Browsers escape a quote and line ends as `%22`,
/// `%0D` and `%0A` (WHATWG HTML, 4.10.21.8) and nothing else; other programs put a backslash before a quote.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (unescape(&value), &text[at + 1..]),
            '\\' => match chars.peek() {
                Some((_, escaped @ ('"' | '\\'))) => {
                    value.push(*escaped);
                    chars.next();
                }
                _ => value.push(c),
            },
            c => value.push(c),
        }
    }
    (unescape(&value), "")
}

fn unescape(text: &str) -> String {
    let text = text.replace("%22", "\"");
    text.replace("%0D", "\r").replace("%0A", "\n")
}
