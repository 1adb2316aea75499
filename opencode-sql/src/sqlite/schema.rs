//! The schema of a SQLite database.

use opencode_host::store::StoreError;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use super::error;
use crate::failure::Failure;
use crate::migrate::Schema;
use crate::names::Names;
use crate::options::Dialect;
use crate::schema::{Renaming, SQLX_TABLE, SqlxRow, Step, UNPREFIXED, renamings};

impl Schema for SqliteConnection {
    const DIALECT: Dialect = Dialect::Sqlite;
    /// It has the write lock: whoever opens the database at the same time waits.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    async fn lock(&mut self) -> sqlx::Result<()> {
        Ok(())
    }

    async fn run(&mut self, sql: String) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self).await?;
        Ok(())
    }

    async fn is_there(&mut self, _: &Names, name: &str) -> sqlx::Result<bool> {
        let there = "SELECT 1 FROM sqlite_master WHERE name = $1 COLLATE NOCASE";
        let there = sqlx::query(there).bind(name).fetch_optional(self).await?;
        Ok(there.is_some())
    }

    async fn number(&mut self, query: String) -> sqlx::Result<Option<i64>> {
        let number = sqlx::query(AssertSqlSafe(query)).fetch_one(self).await?;
        number.try_get(0)
    }

    async fn noted(&mut self, _: &Names) -> sqlx::Result<Vec<SqlxRow>> {
        let rows = format!(
            "SELECT version, lower(hex(checksum)), success FROM {SQLX_TABLE} WHERE version <= {UNPREFIXED}"
        );
        let rows = sqlx::query(AssertSqlSafe(rows)).fetch_all(self).await?;
        let rows = rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        rows.collect()
    }

    /// SQLite renames no index: those are made anew.
    async fn rename(&mut self, names: &Names, had: &[Step]) -> sqlx::Result<()> {
        for renaming in renamings(had, Dialect::Sqlite) {
            let sql = match renaming {
                Renaming::Table(noun) => {
                    format!("ALTER TABLE {noun} RENAME TO {}", names.table(noun))
                }
                Renaming::Index(noun, make) => {
                    format!("DROP INDEX IF EXISTS {noun}; {}", names.rewrite(make))
                }
                Renaming::New(make) => names.rewrite(make),
            };
            self.run(sql).await?;
        }
        Ok(())
    }

    /// Code 1 is a mistake in a statement: of what ours names, a table of this name has something else.
    fn is_no_column(error: &sqlx::Error) -> bool {
        let error = error.as_database_error();
        error.is_some_and(|error| error.code().as_deref() == Some("1"))
    }

    fn told(error: &sqlx::Error, place: &str) -> StoreError {
        Failure::into_error(error::failure(error, place))
    }
}
