//! Copying the rows of a SQLite file.

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use crate::copying::{Cell, Column, Copying, listed};
use crate::names::Names;

/// A column that only SQLite has, since it cannot drop it. It holds the id.
const FORMER: (&str, &str) = ("conversations", "former_name");

impl Copying for SqliteConnection {
    /// It sees what was committed before its first look. Writers go on meanwhile.
    const BEGIN_READING: &'static str = "BEGIN";

    async fn columns(&mut self, names: &Names, noun: &str) -> sqlx::Result<Vec<(String, String)>> {
        let columns = sqlx::query("SELECT name, type FROM pragma_table_info($1) ORDER BY cid");
        let rows = columns.bind(names.bare(noun)).fetch_all(self).await?;
        let is_common = |(name, _): &(String, String)| (noun, name.as_str()) != FORMER;
        let column = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
        let columns: sqlx::Result<Vec<_>> = rows.iter().map(column).collect();
        Ok(columns?.into_iter().filter(is_common).collect())
    }

    async fn each<E>(
        &mut self,
        query: String,
        mut each: impl FnMut(&SqliteRow) -> Result<(), E>,
    ) -> sqlx::Result<Result<(), E>> {
        let mut rows = sqlx::query(AssertSqlSafe(query)).fetch(self);
        while let Some(row) = rows.try_next().await? {
            if let Err(error) = each(&row) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    async fn insert(
        &mut self,
        names: &Names,
        noun: &str,
        columns: &[Column],
        rows: &[Vec<Cell>],
        _: &[String],
    ) -> sqlx::Result<()> {
        let place = |at: usize| format!("${}", at + 1);
        let (mut into, mut values) = (
            listed(columns),
            (0..columns.len()).map(place).collect::<Vec<_>>(),
        );
        let id = columns.iter().position(|column| column.name == "id");
        if let (true, Some(id)) = (noun == FORMER.0, id) {
            into = format!("{into}, {}", FORMER.1);
            values.push(format!("'\\id ' || {}", place(id)));
        }
        let (table, values) = (names.table(noun), values.join(", "));
        let insert = format!("INSERT INTO {table} ({into}) VALUES ({values})");
        for row in rows {
            let insert = sqlx::query(AssertSqlSafe(insert.clone()));
            let insert = row.iter().fold(insert, |insert, cell| match cell {
                Cell::Null => insert.bind(None::<String>),
                Cell::Text(text) => insert.bind(text.as_str()),
                Cell::Int(number) => insert.bind(*number),
                Cell::Real(number) => insert.bind(*number),
            });
            insert.execute(&mut *self).await?;
        }
        Ok(())
    }

    /// SQLite goes on behind the highest number by itself.
    async fn number_on(&mut self, _: &str) -> sqlx::Result<()> {
        Ok(())
    }
}
