//! The integration tests of `opencode-axum`: one binary, a module per part.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod asking;
mod assistant_ui;
mod clients;
mod description;
mod files;
mod following;
mod fuzzed;
mod lists;
mod problems;
mod processes;
mod real;
mod schedules;
mod site;
mod spending;
mod tenants;
mod typed;
mod ui_chat;
mod versions;
