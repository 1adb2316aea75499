//! Copying the rows of a Postgres database.

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::copying::{Cell, Column, Copying, listed};
use crate::names::Names;

impl Copying for PgConnection {
    /// Who reads may take as long as the backup takes to be written.
    const BEGIN_READING: &'static str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; \
                                         SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";

    async fn columns(&mut self, names: &Names, noun: &str) -> sqlx::Result<Vec<(String, String)>> {
        let columns = "SELECT a.attname::text, format_type(a.atttypid, NULL) FROM pg_attribute AS a \
                       JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace \
                       WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
        let columns = sqlx::query(columns)
            .bind(names.schema())
            .bind(names.bare(noun));
        let rows = columns.fetch_all(self).await?;
        let column = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(column).collect()
    }

    async fn each<E>(
        &mut self,
        query: String,
        mut each: impl FnMut(&PgRow) -> Result<(), E>,
    ) -> sqlx::Result<Result<(), E>> {
        let mut rows = sqlx::query(AssertSqlSafe(query)).fetch(self);
        while let Some(row) = rows.try_next().await? {
            if let Err(error) = each(&row) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// All of them in one statement, whose one value they are.
    async fn insert(
        &mut self,
        names: &Names,
        noun: &str,
        columns: &[Column],
        _: &[Vec<Cell>],
        json: &[String],
    ) -> sqlx::Result<()> {
        let (table, listed) = (names.table(noun), listed(columns));
        let insert = format!(
            "INSERT INTO {table} ({listed}) OVERRIDING SYSTEM VALUE \
             SELECT {listed} FROM json_populate_recordset(NULL::{table}, $1::json)"
        );
        let rows = format!("[{}]", json.join(","));
        sqlx::query(AssertSqlSafe(insert))
            .bind(rows)
            .execute(self)
            .await?;
        Ok(())
    }

    async fn number_on(&mut self, table: &str) -> sqlx::Result<()> {
        let number = format!(
            "SELECT setval(pg_get_serial_sequence($1, 'seq'), max(seq)) FROM {table} HAVING max(seq) IS NOT NULL"
        );
        let number = sqlx::query(AssertSqlSafe(number)).bind(table);
        number.fetch_optional(self).await?;
        Ok(())
    }
}
