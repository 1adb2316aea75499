//! Integration tests of the application.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod browser;
mod cli;
mod connections;
mod large;
mod local_files;
mod metrics;
#[path = "../../../opencode-host/tests/it/nats_server.rs"]
mod nats_server;
mod nodes;
mod packaging;
mod pages;
mod proxied;
mod real;
mod sealed;
mod supervisor;
mod support;
