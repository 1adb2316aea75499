//! The stores on SQLite and Postgres: one binary, a module per part.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod application;
mod backup;
mod conformance;
mod counted;
mod crowds;
mod earlier;
mod fair;
mod fixture;
mod found;
mod live;
mod own_store;
mod postgres;
mod processes;
mod sqlite;
