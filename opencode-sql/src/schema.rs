//! The schema: its steps, which of them a database has, and how a database of an earlier version gets its new names.
//!
//! A step is a file for each database. Each notes itself in the table of migrations at its end, so that it makes no
//! difference who runs it: [`connect`](fn@crate::connect) and [`from_pool`](fn@crate::from_pool) when they open a
//! database, or the application's own migrations, with a file of it among them. The steps up to [`UNPREFIXED`] were
//! applied by sqlx before tables had a prefix.

use opencode_host::store::{StoreError, StoreResult};

use crate::names::{Names, TABLES};
use crate::options::{Dialect, Options, PREFIX};

/// The last step that databases have whose tables have no prefix, and whose steps are in sqlx's own table.
pub(crate) const UNPREFIXED: i64 = 4;

/// The table of sqlx, which an application's own migrations are in.
pub(crate) const SQLX_TABLE: &str = "_sqlx_migrations";

/// One step of the schema.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
    /// How the checksums begin that sqlx noted for this step, on SQLite and on Postgres.
    checksums: [&'static str; 2],
}

macro_rules! step {
    ($version:literal, $file:literal, $name:literal $(, was $sqlite:literal, $postgres:literal)?) => {
        Step {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../migrations/sqlite/", $file)),
            postgres: include_str!(concat!("../migrations/postgres/", $file)),
            checksums: [concat!($($sqlite)?), concat!($($postgres)?)],
        }
    };
}

/// All steps, oldest first. A new one gets a line here and no checksums.
pub(crate) const STEPS: &[Step] = &[
    step!(1, "0001_turns.sql", "turns", was "9a7292dd89a32445", "0a8fb033482f7742"),
    step!(2, "0002_attachments.sql", "attachments", was "58c814d6e96ef621", "3369416168fb0830"),
    step!(3, "0003_lost_sessions.sql", "lost_sessions", was "ad7fe3050cdc05ba", "5c575bba005b7d18"),
    step!(4, "0004_answers.sql", "answers", was "54ece3faa8a7dbf8", "181d53426fec8368"),
    step!(5, "0005_people.sql", "people"),
    step!(6, "0006_effects.sql", "effects"),
    step!(7, "0007_policy.sql", "policy"),
    step!(8, "0008_outbox.sql", "outbox"),
    step!(9, "0009_ledger.sql", "ledger"),
    step!(10, "0010_versions.sql", "versions"),
    step!(11, "0011_forks.sql", "forks"),
    step!(12, "0012_servers.sql", "servers"),
    step!(13, "0013_live.sql", "live"),
    step!(14, "0014_shares.sql", "shares"),
    step!(15, "0015_growths.sql", "growths"),
    step!(16, "0016_schedules.sql", "schedules"),
    step!(17, "0017_words.sql", "words"),
];

/// The newest version that this program knows.
pub(crate) fn newest() -> i64 {
    STEPS.last().map_or(0, |step| step.version)
}

impl Step {
    pub(crate) fn text(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }

    fn checksum(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.checksums[0],
            Dialect::Postgres => self.checksums[1],
        }
    }
}

/// A step of the schema, to be run by whoever keeps the application's migrations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// Its number. Steps are run in this order, each once.
    pub version: i64,
    /// What it is about, as a word: `turns`.
    pub name: &'static str,
    /// Its statements. The last one notes in the table of migrations that it was run.
    pub sql: String,
}

/// The steps of the schema, oldest first, with the names of these options: to be written to files, or run, by an
/// application that wants its database changed by its own migrations alone (see [`Options::migrate`]). With the
/// default options they are the files in `migrations/sqlite` and `migrations/postgres` of this crate.
///
/// Each is run once, in a transaction. A database whose tables have no prefix yet has to be opened once before.
///
/// # Errors
/// [`Configuration`](StoreError::Configuration) for a prefix or schema that a database cannot have.
pub fn migrations(dialect: Dialect, options: &Options) -> StoreResult<Vec<Migration>> {
    let names = Names::new(options, dialect)?;
    let migrations = STEPS.iter().map(|step| Migration {
        version: step.version,
        name: step.name,
        sql: names.rewrite(step.text(dialect)),
    });
    Ok(migrations.collect())
}

/// What there is to do for a database to have the newest schema.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Nothing.
    Done,
    /// These steps are missing.
    Run(&'static [Step]),
    /// Tables without a prefix are to be renamed, as far as these steps made them; then those are missing.
    Rename(&'static [Step], &'static [Step]),
}

/// What is in a database that is to be opened.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The newest step in the table of migrations; `None` without the table.
    pub(crate) version: Option<i64>,
    /// The newest step that sqlx noted, of tables without a prefix; `None` without them.
    pub(crate) unprefixed: Option<i64>,
    /// The first thing that has the name of one of the tables.
    pub(crate) taken: Option<String>,
}

impl Found {
    /// The version of the schema, if there is one.
    pub(crate) fn schema(&self) -> Option<i64> {
        self.version.or(self.unprefixed)
    }

    /// What is to be done.
    pub(crate) fn plan(&self, names: &Names, migrate: bool) -> StoreResult<Plan> {
        let known = newest();
        if let Some(found) = self.version.filter(|found| *found > known) {
            return Err(StoreError::NewerSchema { found, known });
        }
        if self.version.is_some() && self.unprefixed.is_some() {
            return Err(StoreError::Configuration(format!(
                "an earlier version has made tables without a prefix (turns, messages, …) beside {}: stop that version, \
                 save what you want of them, and drop them and its rows of {SQLX_TABLE}",
                names.bare("turns"),
            )));
        }
        if let (None, None, Some(taken)) = (self.version, self.unprefixed, &self.taken) {
            return Err(taken_already(taken, names));
        }
        let (had, missing) = split(self.schema().unwrap_or(0));
        if !migrate && (!missing.is_empty() || self.unprefixed.is_some()) {
            return Err(StoreError::Configuration(behind(self, names)));
        }
        Ok(match self.unprefixed {
            Some(_) => Plan::Rename(had, missing),
            None if missing.is_empty() => Plan::Done,
            None => Plan::Run(missing),
        })
    }
}

/// The steps up to a version, and those behind it.
fn split(version: i64) -> (&'static [Step], &'static [Step]) {
    let had = STEPS.iter().filter(|step| step.version <= version).count();
    STEPS.split_at(had)
}

fn taken_already(taken: &str, names: &Names) -> StoreError {
    StoreError::Configuration(format!(
        "the database has {taken} already, and it is not this store's (there is no {}): choose another table prefix",
        names.bare("migrations"),
    ))
}

fn behind(found: &Found, names: &Names) -> String {
    let known = newest();
    match (found.version, found.unprefixed) {
        (_, Some(_)) => format!(
            "the tables of this database have no prefix yet ({} and others are to be): open it once with Options::migrate",
            names.bare("turns")
        ),
        (version, None) => format!(
            "the schema of {} is at version {}, and {known} is needed: run the migrations that opencode_sql::migrations \
             lists, or open it with Options::migrate",
            names.bare("turns"),
            version.unwrap_or(0),
        ),
    }
}

/// The table of migrations cannot be read as such.
pub(crate) fn not_ours(names: &Names, error: &sqlx::Error) -> StoreError {
    StoreError::Configuration(format!(
        "{} is no table of this store's ({error}): choose another table prefix",
        names.bare("migrations")
    ))
}

/// A row of sqlx's table: version, the checksum in hexadecimal, and whether the step was finished.
pub(crate) type SqlxRow = (i64, String, bool);

/// The newest step of ours among the rows of sqlx's table, if the database is one of ours: its first step is our
/// first one. Rows of an application's own are none of ours.
pub(crate) fn unprefixed(rows: &[SqlxRow], dialect: Dialect) -> StoreResult<Option<i64>> {
    let mut newest = None;
    for step in STEPS.iter().filter(|step| step.version <= UNPREFIXED) {
        let Some((version, checksum, success)) = rows.iter().find(|row| row.0 == step.version)
        else {
            break;
        };
        let is_ours = checksum.starts_with(step.checksum(dialect));
        if !is_ours && newest.is_none() {
            break;
        }
        if !is_ours {
            return Err(StoreError::Configuration(format!(
                "schema version {version} of the database is not the one of this program: \
                 it was made by a development version; start with another database"
            )));
        }
        if !success {
            return Err(StoreError::Configuration(format!(
                "the database's change to schema version {version} broke off: restore it from its last backup"
            )));
        }
        newest = Some(*version);
    }
    Ok(newest)
}

/// What a step did before tables had a prefix, as it is to be named now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Renaming {
    /// A table of this name, without the prefix.
    Table(&'static str),
    /// An index of this name, without the prefix, which this statement makes.
    Index(&'static str, &'static str),
    /// What there was not: the table of migrations, and the note in it.
    New(&'static str),
}

/// What is to be renamed of what these steps made, in their order.
pub(crate) fn renamings(steps: &[Step], dialect: Dialect) -> Vec<Renaming> {
    let statements = steps.iter().flat_map(|step| statements(step.text(dialect)));
    statements.filter_map(renaming).collect()
}

fn renaming(statement: &'static str) -> Option<Renaming> {
    let mut words = statement.split_ascii_whitespace();
    let noun = words.find_map(|word| word.strip_prefix(PREFIX))?;
    if noun == "migrations" {
        Some(Renaming::New(statement))
    } else if statement.starts_with("CREATE TABLE") {
        TABLES
            .into_iter()
            .find(|table| *table == noun)
            .map(Renaming::Table)
    } else if statement.starts_with("CREATE") {
        Some(Renaming::Index(noun, statement))
    } else {
        None
    }
}

/// The statements of a migration. None of ours that is renamed has a semicolon within, but in comments.
fn statements(text: &'static str) -> impl Iterator<Item = &'static str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            if !rest.starts_with("--") {
                break;
            }
            rest = rest.split_once('\n').map_or("", |(_, below)| below);
        }
        let end = rest.match_indices(';').map(|(at, _)| at);
        let in_comment = |at: usize| {
            let line = rest[..at].rfind('\n').map_or(0, |at| at + 1);
            rest[line..at].contains("--")
        };
        let end = end.into_iter().find(|at| !in_comment(*at))?;
        let statement = &rest[..end];
        rest = &rest[end + 1..];
        Some(statement)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn each_file_is_a_step_that_notes_itself_and_names_only_tables_with_the_prefix() {
        for (folder, dialect) in [("sqlite", Dialect::Sqlite), ("postgres", Dialect::Postgres)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("migrations")
                .join(folder);
            let files = std::fs::read_dir(folder).unwrap();
            let files: BTreeSet<_> = files.map(|file| file.unwrap().file_name()).collect();
            let expected = STEPS
                .iter()
                .map(|step| format!("{:04}_{}.sql", step.version, step.name).into());
            assert_eq!(files, expected.collect());
            for step in STEPS {
                let statements: Vec<_> = statements(step.text(dialect)).collect();
                let (version, name) = (step.version, step.name);
                let note = format!(
                    "INSERT INTO opencode_migrations (version, name) VALUES ({version}, '{name}')"
                );
                assert_eq!(*statements.last().unwrap(), note);
                for statement in statements {
                    let words: Vec<_> = statement.split_ascii_whitespace().collect();
                    for pair in words.windows(2) {
                        let names_one =
                            ["TABLE", "INDEX", "ON", "REFERENCES", "INTO"].contains(&pair[0]);
                        let is_cascade = ["DELETE", "CONFLICT"].contains(&pair[1]);
                        assert!(
                            !names_one || is_cascade || pair[1].starts_with(PREFIX),
                            "{statement}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_renamed_is_what_was_made() {
        let had = split(2).0;
        let tables = renamings(had, Dialect::Postgres)
            .into_iter()
            .filter_map(|renaming| match renaming {
                Renaming::Table(noun) => Some(noun),
                _ => None,
            });
        let expected = [
            "conversations",
            "sessions",
            "turns",
            "messages",
            "turn_events",
            "attachments",
        ];
        assert_eq!(tables.collect::<Vec<_>>(), expected);
        let all = renamings(split(UNPREFIXED).0, Dialect::Sqlite);
        let of = |kind: fn(&Renaming) -> bool| all.iter().filter(|one| kind(one)).count();
        assert_eq!(of(|one| matches!(one, Renaming::Index(..))), 14);
        // The table of migrations, and a note for each step.
        assert_eq!(of(|one| matches!(one, Renaming::New(_))), 5);
    }
}
