//! Which version of the schema a database has.

use opencode_host::store::{StoreError, StoreResult};
use sqlx::migrate::{MigrateError, Migrator};

#[cfg(feature = "sqlite")]
pub(crate) static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
#[cfg(feature = "postgres")]
pub(crate) static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// The newest version that this program knows.
pub(crate) fn newest(known: &Migrator) -> i64 {
    known
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

/// Refuses a database that a newer version has made. Older versions of this
/// program that run already may go on: migrations only add.
pub(crate) fn check(found: Option<i64>, known: &Migrator) -> StoreResult<()> {
    let known = newest(known);
    match found {
        Some(found) if found > known => Err(StoreError::NewerSchema { found, known }),
        _ => Ok(()),
    }
}

/// Why the schema could not be brought up to date, other than by the database itself.
pub(crate) fn explain(error: &MigrateError, known: &Migrator) -> StoreError {
    match error {
        // A newer version was quicker.
        MigrateError::VersionMissing(found) => StoreError::NewerSchema {
            found: *found,
            known: newest(known),
        },
        MigrateError::VersionMismatch(version) => StoreError::Configuration(format!(
            "schema version {version} of the database is not the one of this program: \
             it was made by a development version; start with another database"
        )),
        MigrateError::Dirty(version) => StoreError::Configuration(format!(
            "the database's change to schema version {version} broke off: restore it from its last backup"
        )),
        other => {
            StoreError::Unexpected(format!("the schema cannot be brought up to date: {other}"))
        }
    }
}
