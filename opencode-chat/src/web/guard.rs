//! Who may talk to the pages, and what the pages may do.
//!
//! The application knows one person and has no accounts: what it must keep out
//! are other web sites open in the same browser. A form of theirs says where it
//! comes from (`Sec-Fetch-Site`, `Origin`), and a name of theirs that leads to
//! this machine (DNS rebinding) shows in `Host`.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::problem::Problem;

/// Scripts, styles and connections of our own, and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Stricter ones would make browsers hide the origin of our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];

/// Puts the headers on every response. What says nothing about caching is not kept.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    response
}

/// Refuses requests that change something and come from another site. Programs,
/// which send neither header, are no browser that could be misled.
pub(super) async fn same_origin(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) || is_own(request.headers()) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::FORBIDDEN,
        "This came from another site",
        "The form was sent from another web site, so nothing was done. Open this application and send it from there.",
    )
    .into_response()
}

fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    match text("origin") {
        Some(origin) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some() && authority == text("host")
        }
        None => true,
    }
}

/// From where the listener can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// From this machine only.
    Machine,
    /// From a network, by names that cannot be known here.
    Network,
}

impl Reach {
    pub(super) fn of(listener: SocketAddr) -> Self {
        if listener.ip().is_loopback() {
            Self::Machine
        } else {
            Self::Network
        }
    }

    /// Whether a request for `host` can be meant for us.
    fn includes(self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        // An address cannot be rebound; a name can.
        self == Self::Network
            || name.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
    }
}

/// Refuses requests for a name that is not this machine's.
pub(super) async fn known_host(
    State(reach): State<Reach>,
    uri: Uri,
    request: Request,
    next: Next,
) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = uri.authority().map(|authority| authority.as_str()).or(host);
    // A request without a host is no browser's.
    if host.is_none_or(|host| reach.includes(host)) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "This name is not known here",
        "The application listens on this machine only. Open it as http://localhost with its port.",
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        is_own(&headers.collect())
    }

    #[test]
    fn forms_of_other_sites_are_known() {
        assert!(own(&[]));
        assert!(own(&[("sec-fetch-site", "same-origin")]));
        assert!(own(&[("sec-fetch-site", "none")]));
        assert!(own(&[
            ("origin", "http://localhost:3000"),
            ("host", "localhost:3000")
        ]));
        for foreign in ["cross-site", "same-site", ""] {
            assert!(
                !own(&[
                    ("sec-fetch-site", foreign),
                    ("origin", "http://a"),
                    ("host", "a")
                ]),
                "{foreign}"
            );
        }
        for foreign in ["http://localhost:4000", "https://example.org", "null", ""] {
            assert!(
                !own(&[("origin", foreign), ("host", "localhost:3000")]),
                "{foreign}"
            );
        }
        assert!(!own(&[("origin", "http://a")]));
    }

    #[test]
    fn a_name_that_leads_here_is_refused() {
        for host in [
            "localhost:3000",
            "localhost",
            "app.localhost:1",
            "127.0.0.1:3000",
            "[::1]:3000",
            "LOCALHOST.",
            "192.168.1.7",
        ] {
            assert!(Reach::Machine.includes(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:3000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert!(!Reach::Machine.includes(host), "{host}");
            assert!(Reach::Network.includes(host), "{host}");
        }
    }
}
