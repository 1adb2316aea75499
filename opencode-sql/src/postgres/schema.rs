//! The schema of a Postgres database.

use opencode_host::store::{StoreError, StoreResult};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::error;
use crate::failure::Failure;
use crate::migrate::Schema;
use crate::names::{Names, quoted};
use crate::options::Dialect;
use crate::schema::{Renaming, SQLX_TABLE, SqlxRow, Step, UNPREFIXED, renamings};

/// Whoever changes the schema of a store in this database holds this lock. The number is any.
const LOCK: i64 = 0x6f70_656e_636f_6465;

impl Schema for PgConnection {
    const DIALECT: Dialect = Dialect::Postgres;
    /// A large table takes its time, and so do other nodes: who opens the database waits for as long as it likes.
    const BEGIN: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; \
                                 SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";

    async fn lock(&mut self) -> sqlx::Result<()> {
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
        lock.execute(self).await?;
        Ok(())
    }

    async fn run(&mut self, sql: String) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self).await?;
        Ok(())
    }

    async fn is_there(&mut self, names: &Names, name: &str) -> sqlx::Result<bool> {
        let there = "SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
                     WHERE n.nspname = $1 AND c.relname = $2";
        let there = sqlx::query(there).bind(names.schema()).bind(name);
        Ok(there.fetch_optional(self).await?.is_some())
    }

    async fn number(&mut self, query: String) -> sqlx::Result<Option<i64>> {
        let number = sqlx::query(AssertSqlSafe(query)).fetch_one(self).await?;
        number.try_get(0)
    }

    async fn noted(&mut self, names: &Names) -> sqlx::Result<Vec<SqlxRow>> {
        let rows = format!(
            "SELECT version, encode(checksum, 'hex'), success FROM {} WHERE version <= {UNPREFIXED}",
            names.beside(SQLX_TABLE)
        );
        let rows = sqlx::query(AssertSqlSafe(rows)).fetch_all(self).await?;
        let rows = rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        rows.collect()
    }

    async fn rename(&mut self, names: &Names, had: &[Step]) -> sqlx::Result<()> {
        let noted = names.beside(SQLX_TABLE);
        self.run(format!("LOCK TABLE {noted} IN ACCESS EXCLUSIVE MODE"))
            .await?;
        for renaming in renamings(had, Dialect::Postgres) {
            match renaming {
                Renaming::Table(noun) => rename_table(self, names, noun).await?,
                // With its table.
                Renaming::Index(..) => {}
                Renaming::New(make) => self.run(names.rewrite(make)).await?,
            }
        }
        Ok(())
    }

    fn is_no_column(error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| ["42703", "42809", "42883"].contains(&&*code))
            || matches!(error, sqlx::Error::ColumnDecode { .. })
    }

    fn told(error: &sqlx::Error, place: &str) -> StoreError {
        Failure::into_error(error::failure(error, place))
    }
}

/// Renames a table, and its indexes and sequences, whose names are the schema's too.
async fn rename_table(on: &mut PgConnection, names: &Names, noun: &str) -> sqlx::Result<()> {
    let parts = "SELECT c.relname::text, c.relkind = 'S' FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid \
                   WHERE d.classid = 'pg_class'::regclass AND d.refobjid = $1::regclass AND c.relkind = 'S' \
                 UNION SELECT c.relname::text, false FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid \
                   WHERE i.indrelid = $1::regclass";
    let table = names.beside(noun);
    let parts = sqlx::query(parts).bind(&table).fetch_all(&mut *on).await?;
    on.run(format!(
        "ALTER TABLE {table} RENAME TO {}",
        names.bare(noun)
    ))
    .await?;
    for part in parts {
        let (name, is_sequence): (String, bool) = (part.try_get(0)?, part.try_get(1)?);
        // One that somebody else has made keeps its name.
        if !name.starts_with(noun) {
            continue;
        }
        let kind = if is_sequence { "SEQUENCE" } else { "INDEX" };
        let (old, new) = (names.beside(&quoted(&name)), quoted(&names.bare(&name)));
        on.run(format!("ALTER {kind} {old} RENAME TO {new}"))
            .await?;
    }
    Ok(())
}

/// The names with the schema that the tables are in: the one asked for, the one on the connection's search path that
/// has them, or the one that new tables come into. Whatever the search path of a connection is later, they are found.
pub(super) async fn placed(on: &mut PgConnection, names: Names, place: &str) -> StoreResult<Names> {
    let told = |error: sqlx::Error| PgConnection::told(&error, place);
    if let Some(schema) = names.schema() {
        let there = sqlx::query("SELECT 1 FROM pg_namespace WHERE nspname = $1").bind(schema);
        if there.fetch_optional(on).await.map_err(told)?.is_none() {
            let make = quoted(schema);
            return Err(StoreError::Configuration(format!(
                "{place}: there is no schema {schema:?}: make it (CREATE SCHEMA {make}), or name another one"
            )));
        }
        return Ok(names);
    }
    let schema = "SELECT COALESCE( \
                    (SELECT relnamespace FROM pg_class WHERE oid = to_regclass($1)), \
                    (SELECT t.relnamespace FROM pg_class AS t JOIN pg_class AS m ON m.relnamespace = t.relnamespace \
                      WHERE t.oid = to_regclass('turns') AND m.oid = to_regclass($2)), \
                    current_schema()::regnamespace)::regnamespace::oid";
    let schema = format!("SELECT nspname::text FROM pg_namespace WHERE oid = ({schema})");
    let schema = sqlx::query(AssertSqlSafe(schema))
        .bind(names.bare("migrations"))
        .bind(SQLX_TABLE);
    match schema.fetch_optional(on).await.map_err(told)? {
        Some(row) => Ok(names.within(row.try_get(0).map_err(told)?)),
        None => Err(StoreError::Configuration(format!(
            "{place}: no schema of the search path is there: name one in the options"
        ))),
    }
}
