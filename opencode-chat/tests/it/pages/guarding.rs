//! Who is let in, and what pages may do.

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, Version, header};

use super::site::{Site, form};

#[tokio::test]
async fn every_answer_carries_the_headers() {
    let site = Site::standard().await;
    for path in ["/", "/nowhere", "/health", "/conversations"] {
        let page = site.get(path).await;
        let policy = page.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
        assert!(!page.header("cache-control").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn pages_hold_no_scripts_and_styles_of_their_own() {
    let site = Site::standard().await;
    let page = site.get("/").await;
    assert_eq!(page.text.matches("<script").count(), 1);
    for inline in ["<style", " style=", " onclick=", "javascript:"] {
        page.lacks(inline);
    }
}

#[tokio::test]
async fn a_form_of_another_site_does_nothing() {
    let site = Site::standard().await;
    let foreign = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://example.org"),
        ("origin", "null"),
    ];
    for (name, value) in foreign {
        let mut request = form("/conversations", &[("prompt", "rm -rf")], "text/html");
        request.headers_mut().insert(name, value.parse().unwrap());
        let page = site.request(request).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{name}: {value}");
        page.shows(&["from another web site", "nothing was done"]);
    }
    site.has_no_conversation().await;
}

#[tokio::test]
async fn a_name_that_leads_here_shows_nothing() {
    let site = Site::standard().await;
    let request = Request::get("/")
        .header(header::HOST, "evil.example:3000")
        .body(Body::empty())
        .unwrap();
    let page = site.request(request).await;
    assert_eq!(page.status, StatusCode::MISDIRECTED_REQUEST);
    page.lacks("What shall we work on?");
}

#[tokio::test]
async fn a_form_that_does_not_say_where_it_comes_from_does_nothing() {
    let site = Site::standard().await;
    let request = || {
        let mut request = form("/conversations", &[("prompt", "hi")], "text/html");
        request.headers_mut().remove(header::ORIGIN);
        request
    };
    let page = site.request(request()).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    page.shows(&["Origin: http://"]);
    // As the page's words say, a program is let in.
    for (name, value) in [
        ("origin", "http://localhost:3000"),
        ("sec-fetch-site", "same-origin"),
    ] {
        let mut request = request();
        request.headers_mut().insert(name, value.parse().unwrap());
        let page = site.request(request).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{name}");
    }
}

#[tokio::test]
async fn a_request_that_leaves_open_whom_it_is_for_is_not_answered() {
    let site = Site::standard().await;
    let request = |target: &str, hosts: &[&[u8]]| {
        let mut request = Request::get(target).body(Body::empty()).unwrap();
        for host in hosts {
            let host = HeaderValue::from_bytes(host).unwrap();
            request.headers_mut().append(header::HOST, host);
        }
        request
    };
    for (target, hosts) in [
        ("/", &[][..]),
        ("/", &[&b"localhost"[..], b"localhost"]),
        ("/", &[b"localhost", b"evil.example"]),
        ("/", &[b""]),
        ("/", &["évil.example".as_bytes()]),
        ("/", &[b"localhost\xff"]),
        ("/", &[b"localhost:99999"]),
        ("/", &[b"me@localhost"]),
        ("http://localhost/", &[b"evil.example"]),
        ("http://evil.example/", &[b"localhost"]),
    ] {
        for path in ["", "health", "turns/x/events"] {
            let target = format!("{target}{path}");
            let response = site.respond_as_it_is(request(&target, hosts)).await;
            assert_eq!(
                response.status(),
                StatusCode::BAD_REQUEST,
                "{target} {hosts:?}"
            );
        }
    }
    let absolute = request("http://localhost:3000/", &[b"localhost:3000"]);
    assert_eq!(
        site.respond_as_it_is(absolute).await.status(),
        StatusCode::OK
    );
    let mut old = request("/health", &[]);
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(site.respond_as_it_is(old).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_page_that_a_network_reaches_says_so() {
    let site = Site::standard().await;
    site.get("/").await.lacks("There are no accounts here.");
    let site = site.open_to_network();
    site.get("/").await.shows(&["There are no accounts here."]);
}
