//! What a front end needs of [`opencode_host`].
//!
//! So far this is a turn's stream in two encodings. [`change_event`](stream::change_event) writes every change, with the
//! cursor as the event's id. [`UiMessages`](stream::UiMessages) writes the reply as an *AI SDK UI message stream*,
//! version 1, which `useChat` of npm `ai` 7 reads. The crate knows no web framework: a route of the application sends the
//! lines as `text/event-stream`, with the header [`UI_MESSAGE_STREAM`](stream::UI_MESSAGE_STREAM).
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

pub mod stream;
