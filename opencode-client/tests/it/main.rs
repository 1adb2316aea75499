//! Integration tests of the client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod absent;
mod bounds;
mod calls;
mod checkpoints;
mod gaps;
mod hub;
mod mcp;
mod tape;
mod tapes;
mod versions;
