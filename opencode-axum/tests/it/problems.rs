//! What axum refuses by itself, and what is not there: problem documents too.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use opencode_impostor::Script;
use serde_json::json;
use tower::ServiceExt as _;

use crate::site::Site;

#[tokio::test]
async fn whatever_is_not_there_is_a_problem() {
    let site = Site::without_worker(Script::new()).await;
    for path in [
        "/nowhere",
        "/conversations/",
        "/conversations/x",
        "/conversations/x/turns",
        "/conversations/01890a5d-ac96-774b-bcce-b302099a8057",
        "/turns/%FF",
        "/turns/01890a5d-ac96-774b-bcce-b302099a8057/",
        "/files/x",
        "",
    ] {
        let page = site.get(path).await;
        page.is_problem(StatusCode::NOT_FOUND, "not_found");
    }
}

#[tokio::test]
async fn a_method_that_an_address_does_not_take_is_a_problem_that_names_those_it_takes() {
    let site = Site::without_worker(Script::new()).await;
    for (method, path, allowed) in [
        (Method::PATCH, "/conversations", vec!["GET", "HEAD", "POST"]),
        (Method::PUT, "/turns/x", vec!["GET", "HEAD"]),
        (Method::GET, "/turns/x/cancel", vec!["POST"]),
    ] {
        let page = site.ask("acme", method, path).page().await;
        page.is_problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
        let mut allow: Vec<_> = page.header("allow").split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow, allowed, "{path}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_a_problem() {
    let site = Site::without_worker(Script::new()).await;
    let ask = |kind: &str, body: &str| {
        let asking = site.ask("acme", Method::POST, "/conversations");
        asking
            .header("content-type", kind)
            .body(body.to_owned())
            .page()
    };
    let json_type = "application/json";
    for (kind, body, status, code) in [
        (json_type, "{", StatusCode::BAD_REQUEST, "bad_json"),
        (json_type, "", StatusCode::BAD_REQUEST, "bad_json"),
        (
            json_type,
            "{\"name\":\"a\"} x",
            StatusCode::BAD_REQUEST,
            "bad_json",
        ),
        (
            json_type,
            "{}",
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_body",
        ),
        (
            json_type,
            "[]",
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_body",
        ),
        (
            "text/plain",
            "{\"name\":\"a\"}",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong_content_type",
        ),
        (
            "",
            "{\"name\":\"a\"}",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong_content_type",
        ),
    ] {
        ask(kind, body).await.is_problem(status, code);
    }
    let large = json!({"name": "x".repeat(60_000)}).to_string();
    ask(json_type, &large)
        .await
        .is_problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
    let path = format!("/conversations/{}/metadata", site.conversation().await);
    let deep = site.ask("acme ada notes", Method::PUT, &path);
    let deep = deep
        .header("content-type", json_type)
        .body(r#"{"a":"#.repeat(9_000));
    deep.page()
        .await
        .is_problem(StatusCode::BAD_REQUEST, "bad_json");
}

#[tokio::test]
async fn the_router_is_mounted_under_any_path() {
    let site = Site::without_worker(Script::new()).await;
    let at_root = opencode_axum::router(opencode_axum::Api::new(site.host.clone(), Open));
    let deep = Router::new()
        .route("/", axum::routing::get(async || "the application"))
        .nest("/v1/{account}/api", at_root.clone());
    let get = async |router: &Router, path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    };
    let conversation = site.conversation().await;
    for path in [
        "/conversations".to_owned(),
        format!("/conversations/{conversation}"),
    ] {
        assert_eq!(get(&at_root, &path).await, StatusCode::OK);
        assert_eq!(
            get(&deep, &format!("/v1/acme/api{path}")).await,
            StatusCode::OK,
            "{path}"
        );
    }
    assert_eq!(get(&deep, "/").await, StatusCode::OK);
}

/// Everybody is acme.
struct Open;

#[async_trait::async_trait]
impl opencode_axum::Authorize for Open {
    async fn authorize(
        &self,
        _: &axum::http::request::Parts,
    ) -> Result<opencode_axum::Caller, opencode_axum::Problem> {
        Ok(opencode_axum::Caller::new("acme"))
    }
}
