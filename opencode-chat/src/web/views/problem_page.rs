//! A problem as a page for people, as JSON for the page's script, and as a problem document for programs.

use askama::Template;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse as _, Response};
use opencode_host::visible::line;
use serde_json::json;

use super::layout::Composer;
use super::patch::is_script;
use crate::web::base_path::BasePath;
use crate::web::problem::Problem;

/// Renders a problem: below `/api` as the router there does (RFC 9457), else as HTML or JSON, as the client accepts.
pub(crate) async fn present(
    State(base): State<BasePath>,
    request: Request,
    next: Next,
) -> Response {
    let script = is_script(request.headers());
    let program = is_api(request.uri().path());
    let response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Problem>().cloned() else {
        return response;
    };
    let mut presented = if program {
        document(&problem).into_response()
    } else if script {
        (
            problem.status,
            Json(json!({ "error": format!("{}. {}", problem.title, line(&problem.text)), "file": problem.file })),
        )
            .into_response()
    } else {
        match page(&problem, &base) {
            Ok(page) => (problem.status, Html(page)).into_response(),
            Err(_) => (problem.status, line(&problem.text).to_string()).into_response(),
        }
    };
    // What the router has to say, such as which methods there are.
    if let Some(allow) = response.headers().get(header::ALLOW) {
        presented.headers_mut().insert(header::ALLOW, allow.clone());
    }
    presented
}

/// Whether a program asks, for what is the router's.
fn is_api(path: &str) -> bool {
    let below = path.strip_prefix("/api");
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

fn document(problem: &Problem) -> opencode_axum::Problem {
    let code = match problem.status {
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::MISDIRECTED_REQUEST => "unknown_host",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        _ => "refused",
    };
    let detail = line(&problem.text).to_string();
    opencode_axum::Problem::new(problem.status, code, problem.title, detail)
}

fn page(problem: &Problem, base: &BasePath) -> askama::Result<String> {
    #[derive(Template)]
    #[template(path = "problem.html")]
    struct Page<'a> {
        base: &'a BasePath,
        title: &'a str,
        text: &'a str,
        composer: Option<Composer>,
    }
    let composer = problem
        .draft
        .clone()
        .map(|draft| Composer::new(draft.action, draft.max_upload).with_draft(draft.prompt));
    Page {
        base,
        title: problem.title,
        text: &problem.text,
        composer,
    }
    .render()
}
