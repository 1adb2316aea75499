//! The integration tests of `opencode-host`: one binary, a module per part.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod artifacts;
mod blobs;
mod blueprint;
mod bounds;
mod cases;
mod configuration_guard;
mod deletion;
mod event_table;
mod export;
mod faulty_store;
mod folders;
mod hooks;
mod hosting;
mod live;
#[cfg(feature = "nats")]
mod nats_server;
mod real;
mod rules;
mod sandbox;
mod schedules;
mod servers;
mod steps;
#[cfg(feature = "conformance")]
mod store;
mod tenants;
mod tool_display;
mod tools;
mod turn;
mod uploaded_files_prompt;
mod versions;
mod webhooks;
