//! Opening a store by its URL.

use std::sync::Arc;

use opencode_host::store::{Store, StoreResult};

use crate::options::{Description, Options};
#[cfg(feature = "postgres")]
use crate::postgres::PostgresEngine;
use crate::ready::ready;
#[cfg(feature = "sqlite")]
use crate::sqlite::SqliteEngine;
use crate::target::Target;

/// Opens a store, and brings its schema up to date: `sqlite://PATH`, a bare path
/// of a SQLite file (made when there is none, its folder too, both for this user alone),
/// `sqlite::memory:` for one that is gone with the store, or `postgres://…`.
///
/// # Errors
/// [`Configuration`](opencode_host::store::StoreError::Configuration) when the URL, the file or the
/// password is wrong, [`NewerSchema`](opencode_host::store::StoreError::NewerSchema) when a newer version has
/// made the database, [`Unavailable`](opencode_host::store::StoreError::Unavailable) when it cannot be reached in time.
/// No error holds a password.
pub async fn connect(url: &str) -> StoreResult<Arc<dyn Store>> {
    connect_with(url, Options::default()).await
}

/// [`connect`] with [`Options`].
///
/// # Errors
/// See [`connect`].
pub async fn connect_with(url: &str, options: Options) -> StoreResult<Arc<dyn Store>> {
    Ok(match Target::parse(url)? {
        #[cfg(feature = "sqlite")]
        Target::File(path) => {
            Arc::new(ready(SqliteEngine::open(Some(&path), &options).await?).await?)
        }
        #[cfg(feature = "sqlite")]
        Target::Memory => Arc::new(ready(SqliteEngine::open(None, &options).await?).await?),
        #[cfg(feature = "postgres")]
        Target::Postgres(target) => {
            Arc::new(ready(PostgresEngine::open(*target, options).await?).await?)
        }
    })
}

/// Looks at a database without changing anything.
///
/// # Errors
/// See [`connect`]; a newer schema is no error here.
pub async fn describe(url: &str) -> StoreResult<Description> {
    describe_with(url, &Options::default()).await
}

/// [`describe`] of tables that have other names.
///
/// # Errors
/// See [`describe`].
pub async fn describe_with(url: &str, options: &Options) -> StoreResult<Description> {
    match Target::parse(url)? {
        #[cfg(feature = "sqlite")]
        Target::File(path) => crate::sqlite::describe(Some(&path), options).await,
        #[cfg(feature = "sqlite")]
        Target::Memory => crate::sqlite::describe(None, options).await,
        #[cfg(feature = "postgres")]
        Target::Postgres(target) => crate::postgres::describe(&target, options).await,
    }
}

/// What a SQLite file has of damage, the first of it: empty for a sound one, one that is not there yet, and for
/// Postgres, which looks after itself. Reads all of the file, and changes nothing.
///
/// # Errors
/// [`Configuration`](opencode_host::store::StoreError::Configuration) when it is no database or cannot be opened,
/// [`Unexpected`](opencode_host::store::StoreError::Unexpected) when it is damaged so that it cannot be looked at.
pub async fn damage(url: &str) -> StoreResult<Vec<String>> {
    match Target::parse(url)? {
        #[cfg(feature = "sqlite")]
        Target::File(path) => crate::sqlite::damage(&path).await,
        #[cfg(feature = "sqlite")]
        Target::Memory => Ok(Vec::new()),
        #[cfg(feature = "postgres")]
        Target::Postgres(_) => Ok(Vec::new()),
    }
}
