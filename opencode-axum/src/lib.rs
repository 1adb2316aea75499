//! A [`router`] for axum applications that host OpenCode turns with [`opencode_host`], and the streams that front ends
//! read.
//!
//! The router is mounted under any path: conversations, prompts with files, the events of a turn with a place to go on
//! from, cancels, answers to what the agent asks, downloads with ranges, exports. Every route first asks the application
//! who makes the request ([`Authorize`]); they see the rows of their tenant, and the rest is 404. Whatever is no success
//! is a problem document ([`Problem`], RFC 9457). The routes describe themselves: `/openapi.json` (OpenAPI 3.1).
//!
//! ```
//! use axum::http::request::Parts;
//! use opencode_axum::{Api, Authorize, Caller, Problem};
//! use opencode_host::Host;
//!
//! /// One account per token.
//! struct Tokens;
//!
//! #[async_trait::async_trait]
//! impl Authorize for Tokens {
//!     async fn authorize(&self, request: &Parts) -> Result<Caller, Problem> {
//!         let token = request.headers.get("authorization").and_then(|token| token.to_str().ok());
//!         match token {
//!             Some("Bearer acme") => Ok(Caller::new("acme")),
//!             _ => Err(Problem::unauthenticated("Bearer")),
//!         }
//!     }
//! }
//!
//! fn application(host: Host) -> axum::Router {
//!     axum::Router::new().nest("/api", opencode_axum::router(Api::new(host, Tokens)))
//! }
//! ```
//!
//! # Streams for routes of your own
//!
//! [`change_event`](stream::change_event) writes every change, with the place behind it as the event's id.
//! [`UiMessages`](stream::UiMessages) writes the reply as an *AI SDK UI message stream*, version 1, which `useChat` of
//! npm `ai` 7 reads: a route sends the lines as `text/event-stream`, with the header
//! [`UI_MESSAGE_STREAM`](stream::UI_MESSAGE_STREAM). [`AgUi`](stream::AgUi) writes it as AG-UI events.
//!
//! The router has them all: `/turns/{turn}/events`, `/ui/chat` for `useChat`, and `/ag-ui` for AG-UI's `HttpAgent`.
//!
//! ```
//! use opencode_axum::stream::{DONE, UiMessages};
//! use opencode_host::client::reply::{Change, View};
//! use opencode_host::outcome::Answer;
//! use opencode_host::store::TurnStatus;
//!
//! // The views come from `Host::views`.
//! let mut view = View::default();
//! view.apply(&Change::PartDelta {
//!     part_id: "prt_1".into(),
//!     kind: opencode_host::client::reply::PartKind::Text,
//!     delta: "Hello".into(),
//! });
//!
//! let mut messages = UiMessages::new("msg_1");
//! let mut body = String::new();
//! for chunk in messages.view(&view) {
//!     body.push_str(&chunk.to_line());
//! }
//! // The end comes from `Host::result`.
//! let mut answer = Answer::text("Hello");
//! answer.parts = view.parts().map(|part| part.part.clone()).collect();
//! for chunk in messages.finished(TurnStatus::Completed, &answer, []) {
//!     body.push_str(&chunk.to_line());
//! }
//! body.push_str(DONE);
//! assert!(body.contains(r#"data: {"type":"text-delta","id":"0-0","delta":"Hello"}"#));
//! ```

#![deny(missing_docs)]

mod api;
mod authorize;
mod bodies;
mod encoders;
pub mod file;
pub mod multipart;
mod problem;
mod replies;
mod request;
mod routes;
mod settings;
mod sse;
pub mod stream;

pub use api::{Api, DEFAULT_MAX_BODY, DEFAULT_MAX_STREAMS, openapi, router};
pub use authorize::{Authorize, Caller};
pub use problem::{PROBLEM_JSON, Problem};
