//! The routes for programs, behind what stands before the pages.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use opencode_host::store::Tenant;
use opencode_impostor::Step;
use serde_json::{Value, json};

use super::site::{Page, Site};

/// Sends JSON from a page of this origin.
async fn post(site: &Site, path: &str, origin: Option<&str>, body: &Value) -> Page {
    let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    if let Some(origin) = origin {
        request = request.header(header::ORIGIN, origin);
    }
    let request = request.body(Body::from(body.to_string()));
    site.request(request.unwrap()).await
}

#[track_caller]
fn read(page: &Page) -> Value {
    let read = serde_json::from_str(&page.text);
    read.unwrap_or_else(|error| panic!("{error}: {} {}", page.status, page.text))
}

const OWN: Option<&str> = Some("http://localhost:3000");

#[tokio::test]
async fn programs_ask_and_are_answered_beside_the_pages() {
    let site = Site::new([
        Step::write_file("out.txt", "grown"),
        Step::text("It grows."),
    ])
    .await
    .below("/chat");
    let garden = post(
        &site,
        "/chat/api/conversations",
        OWN,
        &json!({"name": "garden"}),
    )
    .await;
    let garden = read(&garden);
    let path = format!(
        "/chat/api/conversations/{}/turns",
        garden["id"].as_str().unwrap()
    );
    let turn = post(&site, &path, OWN, &json!({"prompt": "What grows?"})).await;
    assert_eq!(turn.status, StatusCode::CREATED, "{}", turn.text);
    let turn = read(&turn)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/turns/{turn}/events?encoding=ui-messages");
    let elsewhere = post(
        &site,
        "/chat/api/conversations",
        None,
        &json!({"name": "x"}),
    )
    .await;
    assert_eq!(read(&elsewhere)["code"], "forbidden");
    let events = site.get(&format!("/chat{path}")).await.text;
    assert!(events.contains("It grows."), "{events}");
    // The proxy may have taken the path off: a browser is told its own.
    let below = site.get(&path).await;
    for events in [events, below.text] {
        let (_, url) = events.split_once("\"url\":\"").unwrap();
        let url = url.split('"').next().unwrap();
        assert!(url.starts_with("/chat/api/files/"), "{url}");
        assert_eq!(site.get(url).await.text, "grown");
    }
    // It is a conversation like those of the pages.
    let id = garden["id"].as_str().unwrap().parse().unwrap();
    site.page(id).await.shows(&["What grows?", "It grows."]);
}

#[tokio::test]
async fn what_stands_before_the_pages_stands_before_the_routes() {
    let site = Site::new([Step::text("Hi.")]).await;
    let name = json!({"name": "garden"});
    for origin in [None, Some("http://evil.example")] {
        let page = post(&site, "/api/conversations", origin, &name).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{origin:?}");
        assert_eq!(page.header("content-type"), "application/problem+json");
        assert_eq!(read(&page)["code"], "forbidden", "{origin:?}");
    }
    let request = Request::get("/api/conversations").header(header::HOST, "evil.example");
    let page = site.request(request.body(Body::empty()).unwrap()).await;
    assert_eq!(page.status, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(read(&page)["code"], "unknown_host");
    site.has_no_conversation().await;

    let acme = Tenant::from("acme");
    let theirs = site.host.open_conversation(&acme, "garden").await.unwrap();
    let page = site.get(&format!("/api/conversations/{}", theirs.id)).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert_eq!(page.header("content-type"), "application/problem+json");
    assert_eq!(read(&page)["code"], "not_found");
    assert_eq!(
        read(&site.get("/api/conversations").await),
        json!({"conversations": []})
    );
    let nowhere = site.get("/api/nowhere").await;
    assert_eq!(read(&nowhere)["code"], "not_found");
}
