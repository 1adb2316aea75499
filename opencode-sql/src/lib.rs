//! The [`Store`](opencode_host::store::Store) of opencode-host on SQLite and on Postgres.
//!
//! ```no_run
//! # async fn start() -> Result<(), opencode_host::store::StoreError> {
//! let store = opencode_sql::connect("sqlite://data/host.db").await?;
//! # Ok(())
//! # }
//! ```
//!
//! The same program runs on one file and on a Postgres that many nodes share;
//! both run the conformance suite of `opencode_host::store::conformance`. The
//! rules are written once (`tables`), as work on rows. What differs is in
//! `sqlite` and `postgres`: how a connection is made and guarded, how the
//! session lock holds, and what an error means.
//!
//! # Features
//!
//! `sqlite` and `postgres`, both on by default. Without `sqlite`, SQLite is not built: turn the default features off and
//! name `postgres`. A URL of a database that was left out is refused with a word.
//!
//! # Adding to the schema
//!
//! A change is a new file in `migrations/sqlite`, one of the same name in
//! `migrations/postgres`, and a line in `schema.rs`. Tables and indexes have the prefix `opencode_` in it, as in all statements:
//! it is rewritten where a store has another one. Its last statement notes it in `opencode_migrations`. It only adds:
//! nodes of the version before go on
//! working during a roll-out. When turn rows are to be read differently, raise
//! `ROW_VERSION`; older nodes pass such rows over.

#![deny(missing_docs)]

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
compile_error!("opencode-sql needs the feature `sqlite`, the feature `postgres`, or both");

mod columns;
mod connect;
mod engine;
mod failure;
mod names;
mod options;
#[cfg(all(test, feature = "sqlite", feature = "postgres"))]
mod plans;
#[cfg(feature = "postgres")]
mod postgres;
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod tables;
mod target;

pub use connect::{connect, connect_with, damage, describe, describe_with};
pub use options::{Description, Dialect, LeaseClock, Options};
pub use schema::{Migration, migrations};
