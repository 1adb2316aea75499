//! Who is let in, and what pages may do.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};

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
    assert!(
        site.host
            .store()
            .conversations(10)
            .await
            .unwrap()
            .is_empty()
    );
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
