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

/// Scripts, styles, connections and frames of our own, and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    frame-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
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
    // A file has a policy of its own, which allows less.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(CONTENT_SECURITY_POLICY));
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

/// Under which names the listener can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// This machine's own, and these.
    Names(Vec<String>),
    /// From a network, by names that cannot be known here.
    Network,
}

impl Reach {
    /// Of a listener that was told of these names.
    pub(super) fn of(listener: SocketAddr, names: &[String]) -> Self {
        if listener.ip().is_loopback() || !names.is_empty() {
            Self::Names(names.iter().map(|name| plain(name)).collect())
        } else {
            Self::Network
        }
    }

    /// Whether a request for `host` can be meant for us.
    fn includes(&self, host: &str) -> bool {
        let Self::Names(names) = self else {
            return true;
        };
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = plain(name);
        // An address cannot be rebound; a name can.
        name.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || names.contains(&name)
    }
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
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
        "Open the application as http://localhost with its port. Behind a reverse proxy, tell it the name that \
         browsers know: `opencode-chat serve --allowed-host NAME`.",
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
        let listener = |address: &str| -> SocketAddr { address.parse().unwrap() };
        let told = ["Chat.Example.org.".to_owned()];
        let machine = Reach::of(listener("127.0.0.1:3000"), &[]);
        let proxied = Reach::of(listener("127.0.0.1:3000"), &told);
        let network = Reach::of(listener("0.0.0.0:3000"), &[]);
        let named = Reach::of(listener("0.0.0.0:3000"), &told);
        for host in [
            "localhost:3000",
            "localhost",
            "app.localhost:1",
            "127.0.0.1:3000",
            "[::1]:3000",
            "LOCALHOST.",
            "192.168.1.7",
        ] {
            for reach in [&machine, &proxied, &network, &named] {
                assert!(reach.includes(host), "{reach:?} {host}");
            }
        }
        for host in [
            "evil.example",
            "evil.example:3000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "chat.example.org.evil.example",
            "",
        ] {
            for reach in [&machine, &proxied, &named] {
                assert!(!reach.includes(host), "{reach:?} {host}");
            }
            assert!(network.includes(host), "{host}");
        }
        for host in [
            "chat.example.org",
            "CHAT.example.org:8443",
            "chat.example.org.",
        ] {
            assert!(proxied.includes(host) && named.includes(host), "{host}");
            assert!(!machine.includes(host), "{host}");
        }
    }
}
