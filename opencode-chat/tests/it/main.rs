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
mod files;
mod large;
mod live;
mod pages;
mod proxied;
mod sealed;
mod supervisor;
mod support;
