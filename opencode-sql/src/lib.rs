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
//! # In your application's database
//!
//! [`from_pool`] opens the store in the database of a pool, beside the application's own tables and migrations. The
//! application's row and the turn are then one transaction:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use opencode_host::client::wire::Prompt;
//! use opencode_host::store::Tenant;
//! use opencode_host::{Host, SubmitOptions};
//! use opencode_sql::{Options, from_pool};
//!
//! # let folder = tempfile::tempdir()?;
//! # let url = format!("sqlite://{}?mode=rwc", folder.path().join("desk.db").display());
//! let pool = sqlx::SqlitePool::connect(&url).await?;
//! sqlx::query("CREATE TABLE tickets (turn TEXT NOT NULL)").execute(&pool).await?;
//!
//! let store = from_pool(pool.clone(), Options::default()).await?;
//! let host = Host::builder(Arc::new(store.clone())).build();
//! let conversation = host.open_conversation(&Tenant::default(), "ticket-1").await?.id;
//!
//! let prompt = Prompt::text("What does the customer want?");
//! let prepared = host.prepare(conversation, prompt, SubmitOptions::default()).await?;
//! let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
//! sqlx::query("INSERT INTO tickets (turn) VALUES ($1)")
//!     .bind(prepared.id.to_string())
//!     .execute(&mut *transaction)
//!     .await?;
//! let submitted = store.submit_in(&mut transaction, &prepared).await?;
//! transaction.commit().await?;
//! // Keeps the prompt's files, and has workers look for the turn.
//! prepared.committed(&submitted);
//! # Ok(())
//! # }
//! ```
//!
//! On Postgres it is `pool.begin()`, and workers on other nodes hear of the turn with the commit. Applications that
//! run all migrations themselves find the store's in [`migrations`](migrations()), and open it with
//! [`Options::migrate`] off.
//!
//! # Features
//!
//! `sqlite` and `postgres`, both on by default. Without `sqlite`, SQLite is not built: turn the default features off
//! and name `postgres`. A URL of a database that was left out is refused with a word.
//!
//! # Adding to the schema
//!
//! A change is a new file in `migrations/sqlite`, one of the same name in `migrations/postgres`, and a line in
//! `schema.rs`. Tables and indexes have the prefix `opencode_` in it, as in all statements: it is rewritten where a
//! store has another one. Its last statement notes it in `opencode_migrations`. It only adds: nodes of the version
//! before go on working during a roll-out. When turn rows are to be read differently, raise `ROW_VERSION`; older
//! nodes pass such rows over.

#![deny(missing_docs)]

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
compile_error!("opencode-sql needs the feature `sqlite`, the feature `postgres`, or both");

mod backup;
mod columns;
mod connect;
mod copying;
mod engine;
mod failure;
mod migrate;
mod names;
mod options;
#[cfg(all(test, feature = "sqlite", feature = "postgres"))]
mod plans;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod ready;
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod tables;
mod target;
mod words_due;

pub use backup::{Dump, Restore};
pub use connect::{connect, connect_with, damage, describe, describe_with};
pub use options::{Description, Dialect, LeaseClock, Options};
#[cfg(feature = "postgres")]
pub use pool::PostgresStore;
#[cfg(feature = "sqlite")]
pub use pool::SqliteStore;
pub use pool::{Pool, from_pool};
pub use schema::{Migration, migrations};
pub use store::SqlStore;
