//! What a database URL names.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;
#[cfg(feature = "postgres")]
use std::str::FromStr as _;

use opencode_host::store::{StoreError, StoreResult};
#[cfg(feature = "postgres")]
use sqlx::postgres::PgConnectOptions;

const FORMS: &str = "a database is named sqlite://PATH, sqlite::memory:, postgres://USER:PASSWORD@HOST:PORT/NAME, \
                     or by the path of a SQLite file";

/// A database.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A SQLite file.
    #[cfg(feature = "sqlite")]
    File(PathBuf),
    /// A SQLite database that is this connection's only.
    #[cfg(feature = "sqlite")]
    Memory,
    /// A Postgres database.
    #[cfg(feature = "postgres")]
    Postgres(Box<PgConnectOptions>),
}

impl Target {
    /// Takes `sqlite:` and `postgres:` URLs; anything else without `://` is the
    /// path of a SQLite file. No error repeats the URL: it may hold a password.
    pub(crate) fn parse(url: &str) -> StoreResult<Self> {
        if let Some(rest) = url.strip_prefix("sqlite:") {
            return Self::sqlite(rest.strip_prefix("//").unwrap_or(rest));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Self::postgres(url);
        }
        match url.split_once("://") {
            Some((scheme, _)) => Err(StoreError::Configuration(format!(
                "there is no store for {scheme:?}: {FORMS}"
            ))),
            None if url.is_empty() => Err(StoreError::Configuration(format!(
                "no database is named: {FORMS}"
            ))),
            None => Self::file(url),
        }
    }

    #[cfg(feature = "postgres")]
    fn postgres(url: &str) -> StoreResult<Self> {
        let options = PgConnectOptions::from_str(url).map_err(|_| {
            StoreError::Configuration(
                "the postgres URL cannot be read: it is postgres://USER:PASSWORD@HOST:PORT/NAME, with special \
                 characters in user and password percent-encoded"
                    .to_owned(),
            )
        })?;
        Ok(Self::Postgres(Box::new(options)))
    }

    #[cfg(not(feature = "postgres"))]
    fn postgres(_: &str) -> StoreResult<Self> {
        Err(left_out("Postgres", "postgres"))
    }

    #[cfg(feature = "sqlite")]
    #[expect(
        clippy::unnecessary_wraps,
        reason = "without the feature it is an error"
    )]
    fn file(path: &str) -> StoreResult<Self> {
        Ok(Self::File(path.into()))
    }

    #[cfg(not(feature = "sqlite"))]
    fn file(_: &str) -> StoreResult<Self> {
        Err(left_out("SQLite", "sqlite"))
    }

    #[cfg(not(feature = "sqlite"))]
    fn sqlite(_: &str) -> StoreResult<Self> {
        Err(left_out("SQLite", "sqlite"))
    }

    #[cfg(feature = "sqlite")]
    fn sqlite(path: &str) -> StoreResult<Self> {
        // How other programs ask for what is done anyway.
        let path = path.strip_suffix("?mode=rwc").unwrap_or(path);
        if path == ":memory:" {
            return Ok(Self::Memory);
        }
        if path.contains('?') {
            let why = "a sqlite URL has no parameters; a file with ? in its name is named by its path alone";
            return Err(StoreError::Configuration(why.to_owned()));
        }
        if path.is_empty() {
            return Err(StoreError::Configuration(format!(
                "the sqlite URL has no path: {FORMS}"
            )));
        }
        Ok(Self::File(path.into()))
    }
}

/// A URL names a database that this program was built without.
#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn left_out(database: &str, feature: &str) -> StoreError {
    StoreError::Configuration(format!(
        "this program was built without {database}: name another database, or build it with the feature {feature:?} of \
         opencode-sql"
    ))
}

#[cfg(test)]
#[cfg(all(feature = "sqlite", feature = "postgres"))]
mod tests {
    use super::*;

    fn file(url: &str) -> String {
        match Target::parse(url).unwrap() {
            Target::File(path) => path.to_str().unwrap().to_owned(),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn sqlite_files() {
        assert_eq!(file("sqlite://data/host.db"), "data/host.db");
        assert_eq!(file("sqlite:data/host.db"), "data/host.db");
        assert_eq!(file("sqlite:///var/host.db"), "/var/host.db");
        assert_eq!(file("sqlite://host.db?mode=rwc"), "host.db");
        assert_eq!(file("data/host.db"), "data/host.db");
        assert_eq!(file("C:\\data\\host.db"), "C:\\data\\host.db");
        assert_eq!(file("what?.db"), "what?.db");
        assert!(matches!(
            Target::parse("sqlite::memory:"),
            Ok(Target::Memory)
        ));
        assert!(matches!(
            Target::parse("sqlite://:memory:"),
            Ok(Target::Memory)
        ));
    }

    #[test]
    fn what_cannot_be_read_is_told_without_the_url() {
        let urls = [
            "",
            "sqlite://",
            "sqlite://x.db?mode=ro",
            "mysql://me:hunter2@db/x",
            "postgres://me:hunter2@db:port/x",
            "postgresql://me:hunter2@[/x",
        ];
        for url in urls {
            let Err(StoreError::Configuration(why)) = Target::parse(url) else {
                panic!("{url}")
            };
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
