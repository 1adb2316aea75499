//! The path below which browsers see the application.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use tower::util::MapRequest;

/// Where the pages of this application begin: another path before them could not be told from one of these.
const OWN: [&str; 5] = ["conversations", "turns", "assets", "health", "api"];

/// Nothing, or a path such as `/chat`. Every address that a page names begins with it.
///
/// A proxy may take it off or leave it: a request is understood with it and without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(Arc<str>);

impl FromStr for BasePath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.is_empty() {
            return Ok(Self::default());
        }
        let rest = path
            .strip_prefix('/')
            .ok_or("begin the path with a slash, as in /chat")?;
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~.".contains(&byte);
        let segment = |segment: &str| {
            !segment.bytes().all(|byte| byte == b'.') && segment.bytes().all(letter)
        };
        if !rest.split('/').all(segment) {
            return Err("give a path of letters, digits, `-`, `_`, `.` and `~`, as in /tools/chat");
        }
        if rest
            .split('/')
            .next()
            .is_some_and(|first| OWN.contains(&first))
        {
            return Err("this application has pages at this path itself: choose another");
        }
        Ok(Self(path.into()))
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BasePath {
    /// The pages, below this path and at their own.
    pub(super) fn before(&self, pages: Router) -> Router {
        if self.0.is_empty() {
            return pages;
        }
        let base = self.clone();
        let strip = move |mut request: Request| {
            if let Some(own) = base.strip(request.uri()) {
                *request.uri_mut() = own;
            }
            request
        };
        Router::new().fallback_service(MapRequest::new(pages, strip))
    }

    /// The address without this path, if it begins with it.
    fn strip(&self, uri: &Uri) -> Option<Uri> {
        let path = uri.path().strip_prefix(&*self.0)?;
        if !path.is_empty() && !path.starts_with('/') {
            return None;
        }
        let path = if path.is_empty() { "/" } else { path };
        let own = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(own.parse().ok()?);
        Uri::from_parts(parts).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_a_plain_one() {
        for (text, path) in [
            ("", ""),
            ("/", ""),
            ("/chat", "/chat"),
            ("/chat/", "/chat"),
            ("/a/b-c_d.e~1", "/a/b-c_d.e~1"),
            ("/.hidden", "/.hidden"),
        ] {
            assert_eq!(text.parse::<BasePath>().unwrap().to_string(), path);
        }
        for text in [
            "chat",
            "//",
            "//evil.example",
            "/a//b",
            "/a/../b",
            "/..",
            "/.",
            "/a b",
            "/a?b",
            "/a#b",
            "/a\"b",
            "/ä",
            "/%61",
            "https://evil.example/chat",
            "/conversations",
            "/turns/x",
            "/health",
            "/assets",
        ] {
            assert!(text.parse::<BasePath>().is_err(), "{text}");
        }
    }

    #[test]
    fn it_is_taken_off_whole_or_not_at_all() {
        let base: BasePath = "/chat".parse().unwrap();
        for (uri, own) in [
            ("/chat", Some("/")),
            ("/chat/", Some("/")),
            ("/chat?all=1", Some("/?all=1")),
            (
                "/chat/turns/x/events?after=1",
                Some("/turns/x/events?after=1"),
            ),
            ("/chat//evil", Some("//evil")),
            ("/chat/chat/x", Some("/chat/x")),
            ("http://localhost/chat/x", Some("http://localhost/x")),
            ("/chatter", None),
            ("/", None),
            ("/turns/x", None),
            ("/Chat/x", None),
        ] {
            let stripped = base.strip(&uri.parse().unwrap());
            assert_eq!(stripped.map(|uri| uri.to_string()).as_deref(), own, "{uri}");
        }
    }
}
