//! Forms with files, as browsers build them.

use axum::body::Body;
use axum::http::{Method, Request, header};

const BOUNDARY: &str = "----WebKitFormBoundaryX";

/// A form that grows field by field.
#[derive(Clone, Debug, Default)]
pub(super) struct FileForm(Vec<u8>);

impl FileForm {
    pub(super) fn new(prompt: &str, key: &str) -> Self {
        Self::default().field("key", key).field("prompt", prompt)
    }

    pub(super) fn field(self, name: &str, value: &str) -> Self {
        self.part(&format!("form-data; name=\"{name}\""), "", value.as_bytes())
    }

    pub(super) fn file(self, name: &str, kind: &str, content: impl AsRef<[u8]>) -> Self {
        let disposition = format!("form-data; name=\"files\"; filename=\"{name}\"");
        let kind = format!("Content-Type: {kind}\r\n");
        self.part(&disposition, &kind, content.as_ref())
    }

    fn part(mut self, disposition: &str, more: &str, content: &[u8]) -> Self {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n{more}\r\n");
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(content);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// The whole form.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let end = format!("--{BOUNDARY}--\r\n");
        [self.0.as_slice(), end.as_bytes()].concat()
    }

    pub(super) fn request(&self, path: &str, accept: &str) -> Request<Body> {
        request(path, accept, Body::from(self.bytes()))
    }
}

/// A form of this body.
pub(super) fn request(path: &str, accept: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, "localhost:3000")
        .header(header::ORIGIN, "http://localhost:3000")
        .header(header::ACCEPT, accept)
        .header(
            header::CONTENT_TYPE,
            format!("multipart/form-data; boundary={BOUNDARY}"),
        )
        .body(body)
        .unwrap()
}
