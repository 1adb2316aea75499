//! What the tables are called: their prefix, and on Postgres their schema.
//!
//! Statements and migrations are written with the default prefix, so that they can be read, searched for and tried out as
//! they are. In a database with other names, each text is rewritten once: every word that begins with the default prefix.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use opencode_host::store::{StoreError, StoreResult};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::options::{Dialect, Options, PREFIX};

/// The tables, without their prefix. Other words with the prefix are indexes, which no schema may stand before where they
/// are made, and has to where they are dropped.
pub(crate) const TABLES: [&str; 19] = [
    "migrations",
    "conversations",
    "sessions",
    "turns",
    "messages",
    "turn_events",
    "attachments",
    "answers",
    "effects",
    "ledger",
    "servers",
    "live",
    "watched",
    "tenants",
    "tenant_queues",
    "arrivals",
    "growths",
    "schedules",
    "words",
];

/// The longest prefix. With it the longest name of an index stays below the 63 bytes of Postgres.
const MAX_PREFIX: usize = 30;

/// The longest name of Postgres.
const MAX_SCHEMA: usize = 63;

/// What the tables of one store are called.
#[derive(Debug)]
pub(crate) struct Names {
    prefix: String,
    schema: Option<String>,
    /// The texts that were rewritten.
    texts: RwLock<HashMap<&'static str, Arc<str>>>,
}

impl Names {
    /// Takes the names of the options, if a database can have them.
    pub(crate) fn new(options: &Options, dialect: Dialect) -> StoreResult<Self> {
        check_prefix(&options.prefix)?;
        if let Some(schema) = &options.schema {
            check_schema(schema, dialect)?;
        }
        Ok(Self {
            prefix: options.prefix.clone(),
            schema: options.schema.clone(),
            texts: RwLock::default(),
        })
    }

    /// These names in a schema, which stands before each table from here on.
    #[cfg(feature = "postgres")]
    pub(crate) fn within(self, schema: String) -> Self {
        Self {
            schema: Some(schema),
            ..self
        }
    }

    /// The schema that was asked for, or found.
    #[cfg(feature = "postgres")]
    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// A name with the prefix, and nothing before it.
    pub(crate) fn bare(&self, noun: &str) -> String {
        format!("{}{noun}", self.prefix)
    }

    /// A table as it stands in a statement.
    pub(crate) fn table(&self, noun: &str) -> String {
        self.beside(&self.bare(noun))
    }

    /// A name without the prefix, as it stands in a statement: of something else in the schema of the tables.
    pub(crate) fn beside(&self, name: &str) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{name}", quoted(schema)),
            None => name.to_owned(),
        }
    }

    /// A text with these names.
    pub(crate) fn rewrite(&self, text: &str) -> String {
        let mut written = String::with_capacity(text.len() + 64);
        let mut rest = text;
        while let Some(at) = rest.find(PREFIX) {
            let (before, from) = rest.split_at(at);
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let end = from.find(|letter| !is_word(letter)).unwrap_or(from.len());
            let (word, after) = from.split_at(end);
            written.push_str(before);
            let noun = &word[PREFIX.len()..];
            if before.ends_with(is_word) {
                written.push_str(word);
            } else if TABLES.contains(&noun) {
                written.push_str(&self.table(noun));
            } else if before.ends_with("DROP INDEX ") {
                written.push_str(&self.beside(&self.bare(noun)));
            } else {
                written.push_str(&self.bare(noun));
            }
            rest = after;
        }
        written.push_str(rest);
        written
    }

    /// A statement with these names, for sqlx: it prepares one once that has the same text.
    pub(crate) fn statement(&self, text: &'static str) -> SqlStr {
        if self.prefix == PREFIX && self.schema.is_none() {
            return text.into_sql_str();
        }
        let texts = self.texts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = texts.get(text) {
            return AssertSqlSafe(Arc::clone(known)).into_sql_str();
        }
        drop(texts);
        let rewritten: Arc<str> = self.rewrite(text).into();
        let mut texts = self.texts.write().unwrap_or_else(PoisonError::into_inner);
        texts.insert(text, Arc::clone(&rewritten));
        AssertSqlSafe(rewritten).into_sql_str()
    }
}

/// A name as it stands in a statement, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn check_prefix(prefix: &str) -> StoreResult<()> {
    let letters = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let is_identifier = prefix.starts_with(letters)
        && prefix
            .chars()
            .all(|letter| letters(letter) || letter.is_ascii_digit());
    let wrong = if !is_identifier {
        "is no identifier: it begins with a lower-case letter or _, followed by such, or by digits"
    } else if prefix.len() > MAX_PREFIX {
        "is too long: it has at most 30 characters"
    } else if prefix.starts_with("sqlite_") {
        "is reserved by SQLite: take another one"
    } else if prefix == "_sqlx_" {
        "makes the table of migrations the one of sqlx: take another one"
    } else {
        return Ok(());
    };
    let wrong = format!("the table prefix {prefix:?} {wrong}");
    Err(StoreError::Configuration(wrong))
}

fn check_schema(schema: &str, dialect: Dialect) -> StoreResult<()> {
    let wrong = if dialect == Dialect::Sqlite {
        "is for Postgres alone: SQLite has no schemas; leave it out, and take a prefix to keep tables apart"
    } else if schema.is_empty() || schema.len() > MAX_SCHEMA || schema.contains('\0') {
        "is no name of Postgres: it has 1 to 63 bytes"
    } else {
        return Ok(());
    };
    let wrong = format!("the schema {schema:?} {wrong}");
    Err(StoreError::Configuration(wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(prefix: &str, schema: Option<&str>) -> StoreResult<Names> {
        let mut options = Options::default().prefix(prefix);
        options.schema = schema.map(str::to_owned);
        Names::new(&options, Dialect::Postgres)
    }

    #[test]
    fn tables_and_indexes_are_renamed_and_nothing_else() {
        let text = "DROP INDEX opencode_turns_open; CREATE INDEX opencode_turns_open ON opencode_turns (seq); \
                    SELECT my_opencode_turns, opencode FROM opencode_turn_events AS e";
        let plain = names(PREFIX, None).unwrap();
        assert_eq!(plain.rewrite(text), text);
        assert_eq!(
            names("a1_", None).unwrap().rewrite(text),
            "DROP INDEX a1_turns_open; CREATE INDEX a1_turns_open ON a1_turns (seq); \
             SELECT my_opencode_turns, opencode FROM a1_turn_events AS e"
        );
        assert_eq!(
            names("b", Some("The \"desk\"")).unwrap().rewrite(text),
            "DROP INDEX \"The \"\"desk\"\"\".bturns_open; CREATE INDEX bturns_open ON \"The \"\"desk\"\"\".bturns (seq); \
             SELECT my_opencode_turns, opencode FROM \"The \"\"desk\"\"\".bturn_events AS e"
        );
    }

    #[test]
    fn a_statement_is_rewritten_once() {
        let names = names("a_", None).unwrap();
        let text = "SELECT 1 FROM opencode_turns";
        assert_eq!(names.statement(text).as_str(), "SELECT 1 FROM a_turns");
        assert_eq!(names.statement(text).as_str(), "SELECT 1 FROM a_turns");
        assert_eq!(names.texts.read().unwrap().len(), 1);
    }

    #[test]
    fn a_prefix_that_is_no_identifier_is_refused() {
        let long = "a".repeat(MAX_PREFIX + 1);
        for wrong in [
            "",
            "1_",
            "a-b",
            "a b",
            "a.b",
            "a\"",
            "A_",
            "ä_",
            "a;",
            "a\0",
            "sqlite_x_",
            "_sqlx_",
            &long,
        ] {
            match names(wrong, None) {
                Err(StoreError::Configuration(why)) => {
                    assert!(why.starts_with("the table prefix \""), "{why}");
                }
                other => panic!("{wrong:?}: {other:?}"),
            }
        }
        for right in ["a", "_", "agents_", "a1", &"a".repeat(MAX_PREFIX)] {
            names(right, None).unwrap();
        }
    }

    #[test]
    fn a_schema_is_for_postgres_and_a_name() {
        for wrong in ["", "a\0", &"a".repeat(64)] {
            assert!(names("a_", Some(wrong)).is_err(), "{wrong:?}");
        }
        let options = Options::default().schema("agents");
        match Names::new(&options, Dialect::Sqlite) {
            Err(StoreError::Configuration(why)) => assert!(why.contains("SQLite"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
