//! Who may talk to the pages, and what the pages may do.
//!
//! The application knows one person and has no accounts: what it must keep out
//! are other web sites open in the same browser. A form of theirs says where it
//! comes from (`Sec-Fetch-Site`, `Origin`), and a name of theirs that leads to
//! this machine (DNS rebinding) shows in `Host`.
//!
//! What a request leaves out is not taken for harmless. Every browser of today
//! sends `Origin` with a form; old ones, and some that hide who sends it, do not,
//! and look like a program. So a program says it too: `Origin: http://` and the
//! host that it asks.

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::web::authority::{Authority, Host, Unclear};
use crate::web::problem::Problem;

/// Scripts, styles, connections and frames of our own, and nothing else. Pictures may be in the page: a tool's are.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    frame-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    // Tells the script our answers from those of what stands before us, such as a page to sign in.
    (HeaderName::from_static("opencode-chat"), "1"),
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
pub(crate) async fn headers(request: Request, next: Next) -> Response {
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

/// Refuses requests that change something and come from another site, or do not say from where.
pub(crate) async fn same_origin(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let (title, text) = match Sender::of(request.headers()) {
        Sender::Own => return next.run(request).await,
        Sender::Foreign => (
            "This came from another site",
            "The form was sent from another web site, so nothing was done. Open this application and send it from there.",
        ),
        Sender::Unknown => (
            "This does not say where it comes from",
            "The form was sent without Origin and Sec-Fetch-Site, so it may be another web site's, and nothing was done. \
             Use a browser of today; from a program, send the header Origin: http:// and the host that you ask, as \
             Origin: http://localhost:3000.",
        ),
    };
    Problem::new(StatusCode::FORBIDDEN, title, text).into_response()
}

/// Whose form a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Own,
    Foreign,
    Unknown,
}

impl Sender {
    fn of(headers: &HeaderMap) -> Self {
        let all = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let own = |is: bool| if is { Self::Own } else { Self::Foreign };
        if headers.contains_key("sec-fetch-site") {
            return own(all("sec-fetch-site").all(|site| matches!(site, b"same-origin" | b"none")));
        }
        if !headers.contains_key(header::ORIGIN) {
            return Self::Unknown;
        }
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let host = host.and_then(Authority::parse);
        own(all("origin").all(|origin| {
            let origin = std::str::from_utf8(origin).ok();
            match (origin.and_then(Authority::of_origin), &host) {
                (
                    Some(
                        origin @ Authority {
                            port: Some(port), ..
                        },
                    ),
                    Some(host),
                ) => origin == host.clone().or_port(port),
                _ => false,
            }
        }))
    }
}

/// Names that lead here, beside this machine's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names(Vec<Host>);

impl Names {
    pub(crate) fn new(names: &[Host]) -> Self {
        Self(names.to_vec())
    }

    /// Whether a request for `host` can be meant for us. An address cannot be rebound; a name can.
    fn include(&self, host: &Host) -> bool {
        match host {
            Host::Address(_) => true,
            Host::Name(name) => {
                name == "localhost" || name.ends_with(".localhost") || self.0.contains(host)
            }
        }
    }
}

/// Refuses requests for a name that is not this machine's, and those that leave in the dark whom they are for.
pub(crate) async fn known_host(
    State(names): State<Names>,
    request: Request,
    next: Next,
) -> Response {
    let authority = Authority::of_request(request.version(), request.uri(), request.headers());
    let problem = match authority {
        // Only a request of HTTP/1.0 may name nobody, which no browser sends.
        Ok(authority) if authority.as_ref().is_none_or(|to| names.include(&to.host)) => {
            return next.run(request).await;
        }
        Ok(_) => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "This name is not known here",
            "Open the application as http://localhost with its port, or by an address. Behind a reverse proxy, tell it \
             the name that browsers know: `opencode-chat serve --allowed-host NAME`.",
        ),
        Err(Unclear) => Problem::new(
            StatusCode::BAD_REQUEST,
            "This request cannot be read",
            "It must say once, in its header Host, whom it is for (RFC 9112, 3.2). A browser does.",
        ),
    };
    problem.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(headers: &[(&'static str, &'static str)]) -> Sender {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(*name, HeaderValue::from_static(value));
        }
        Sender::of(&all)
    }

    #[test]
    fn forms_of_other_sites_are_known() {
        for own in [
            &[("sec-fetch-site", "same-origin")][..],
            &[("sec-fetch-site", "none")],
            &[
                ("origin", "http://localhost:3000"),
                ("host", "localhost:3000"),
            ],
            &[
                ("origin", "https://chat.example.org"),
                ("host", "Chat.example.org:443"),
            ],
            &[("origin", "http://[::1]"), ("host", "[::1]:80")],
        ] {
            assert_eq!(sender(own), Sender::Own, "{own:?}");
        }
        for foreign in ["cross-site", "same-site", "", "same-origin, cross-site"] {
            let headers = [
                ("sec-fetch-site", foreign),
                ("origin", "http://a"),
                ("host", "a"),
            ];
            assert_eq!(sender(&headers), Sender::Foreign, "{foreign}");
        }
        for foreign in [
            "http://localhost:4000",
            "http://localhost",
            "https://example.org",
            "null",
            "",
            "localhost:3000",
            "http://localhost:3000.example.org",
            "http://me@localhost:3000",
            "ftp://localhost:3000",
            "http://",
        ] {
            let headers = [("origin", foreign), ("host", "localhost:3000")];
            assert_eq!(sender(&headers), Sender::Foreign, "{foreign}");
        }
        assert_eq!(sender(&[("origin", "http://a")]), Sender::Foreign);
        let two = [
            ("origin", "http://a"),
            ("origin", "http://b"),
            ("host", "a"),
        ];
        assert_eq!(sender(&two), Sender::Foreign);
        let two = [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
        assert_eq!(sender(&two), Sender::Foreign);
    }

    #[test]
    fn what_does_not_say_where_it_comes_from_is_nobodys() {
        assert_eq!(sender(&[]), Sender::Unknown);
        assert_eq!(
            sender(&[
                ("host", "localhost:3000"),
                ("referer", "http://localhost:3000/")
            ]),
            Sender::Unknown
        );
    }

    #[test]
    fn a_name_that_leads_here_is_refused() {
        let machine = Names::default();
        let told = Names::new(&[Host::parse("Chat.Example.org.").unwrap()]);
        let of = |host: &str| Authority::parse(host).unwrap().host;
        for host in [
            "localhost:3000",
            "localhost",
            "app.localhost:1",
            "127.0.0.1:3000",
            "[::1]:3000",
            "LOCALHOST.",
            "192.168.1.7",
        ] {
            assert!(
                machine.include(&of(host)) && told.include(&of(host)),
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "evil.example:3000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "chat.example.org.evil.example",
            "notlocalhost",
            "127.1",
            "0x7f.1",
            "2130706433",
        ] {
            assert!(
                !machine.include(&of(host)) && !told.include(&of(host)),
                "{host}"
            );
        }
        for host in [
            "chat.example.org",
            "CHAT.example.org:8443",
            "chat.example.org.",
        ] {
            assert!(
                told.include(&of(host)) && !machine.include(&of(host)),
                "{host}"
            );
        }
    }
}
