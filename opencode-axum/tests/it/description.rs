//! The description of the routes, as it is served and as it is kept.

use std::path::Path;

use axum::http::Method;
use opencode_impostor::Script;
use serde_json::Value;

use crate::site::Site;

/// Set to write the description anew.
const BLESS: &str = "OPENCODE_BLESS";

#[test]
fn the_description_is_the_one_that_is_kept() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let now = opencode_axum::openapi() + "\n";
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&kept, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&kept).unwrap_or_default();
    assert!(
        kept == now,
        "docs/openapi.json is not what the routes are: run the test with {BLESS}=1, and read what changed"
    );
}

#[test]
fn every_route_is_described_whole() {
    let description: Value = serde_json::from_str(&opencode_axum::openapi()).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let told = format!("{method} {path}: {operation}");
            assert!(operation["summary"].is_string(), "{told}");
            let problem = &operation["responses"]["default"]["content"];
            let problem = &problem["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem, "#/components/schemas/Problem", "{told}");
            let parameters = operation["parameters"].as_array();
            for parameter in parameters.into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{told}: {parameter}");
            }
        }
    }
    // What is referred to is there.
    let text = description.to_string();
    for (_, name) in text
        .match_indices("#/components/schemas/")
        .map(|(at, start)| {
            let name = &text[at + start.len()..];
            (at, name.split('"').next().unwrap())
        })
    {
        assert!(
            description["components"]["schemas"][name].is_object(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_router_gives_its_description() {
    let site = Site::without_worker(Script::new()).await;
    let page = site.ask("acme", Method::GET, "/openapi.json").page().await;
    assert_eq!(page.header("content-type"), "application/json");
    assert_eq!(page.body, opencode_axum::openapi().into_bytes());
}
