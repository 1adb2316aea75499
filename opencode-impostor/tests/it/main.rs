//! The impostor's own tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod command;
mod faults;
mod http;
mod ledger;
mod mcp;
mod model;
mod oddities;
mod protocol;
mod real;
mod scripts;
mod tapes;
mod turns;
mod versions;
