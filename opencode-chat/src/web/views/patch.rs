//! What changes in a page: what a live stream and the answer to a form carry.

use axum::Json;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};

/// One change of a page. On the wire: `[operation, target]` or `[operation, target, html]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Patch {
    /// Puts HTML at the end of the element; an element of the same id is replaced instead.
    Append(String, String),
    /// Puts HTML in the element's place.
    Replace(String, String),
    /// Puts HTML in the place of the element that begins as what was last sent for it did: so many UTF-16 units of that,
    /// then this.
    Grow(String, usize, String),
    /// Takes the element away.
    Remove(String),
    /// Takes the element away, and all that stand behind it in theirs.
    RemoveFrom(String),
    /// Goes to another page.
    Visit(String),
}

impl Serialize for Patch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Append(target, html) => ("append", target, html).serialize(serializer),
            Self::Replace(target, html) => ("replace", target, html).serialize(serializer),
            Self::Grow(target, kept, html) => ("grow", target, kept, html).serialize(serializer),
            Self::Remove(target) => ("remove", target).serialize(serializer),
            Self::RemoveFrom(target) => ("remove-from", target).serialize(serializer),
            Self::Visit(url) => ("visit", url).serialize(serializer),
        }
    }
}

/// Changes, as the answer to a form that a script sent.
#[derive(Debug)]
pub(crate) struct Patches(pub(crate) Vec<Patch>);

impl IntoResponse for Patches {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

/// A stream as a response. Proxies hold back what they may buffer or compress, and nobody would see a question.
pub(crate) fn unbuffered(stream: impl IntoResponse) -> Response {
    let mut response = stream.into_response();
    let headers = response.headers_mut();
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    response
}

/// Whether a script asks, and wants patches.
pub(crate) fn is_script(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes() == b"application/json")
}
