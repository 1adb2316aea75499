//! Copying all rows out of a database and into an empty one: the same on both databases.
//!
//! A row is a JSON object of its columns. All columns of the store are text, whole numbers or reals; a real is written as
//! a text, since what reads JSON need not give back every bit of a number.

use std::future::Future;

use opencode_host::store::{StoreError, StoreResult};
use serde_json::{Map, Value};

use crate::engine::Row;
use crate::migrate::{Schema, find};
use crate::names::{Names, TABLES, quoted};
use crate::schema::{STEPS, newest};

/// Tables that are not copied: the steps of the schema note themselves, what nodes tell each other is of the moment, and the
/// words that conversations are found by are each database's own: they are written anew.
const LEFT_OUT: [&str; 4] = ["migrations", "live", "watched", "words"];

/// Columns that are not copied, by their tables: words, and whether they are due. They are, without them.
const OF_WORDS: [(&str, &str); 3] = [
    ("conversations", "words"),
    ("messages", "words"),
    ("messages", "due"),
];

/// The tables that are copied, those that others refer to first.
pub(crate) fn copied() -> impl Iterator<Item = &'static str> {
    TABLES.into_iter().filter(|noun| !LEFT_OUT.contains(noun))
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Real,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Text(String),
    Int(i64),
    Real(f64),
}

/// A connection whose rows are copied.
pub(crate) trait Copying: Schema {
    /// Begins a transaction that sees the database as it is now, for as long as it takes.
    const BEGIN_READING: &'static str;

    /// The columns of a table that both databases have, with the types they are declared with, in their order; none for a table that is not there.
    fn columns(
        &mut self,
        names: &Names,
        noun: &str,
    ) -> impl Future<Output = sqlx::Result<Vec<(String, String)>>>;

    /// Reads all rows of a query, until one is refused.
    fn each<E>(
        &mut self,
        query: String,
        row: impl FnMut(&<Self::Database as sqlx::Database>::Row) -> Result<(), E>,
    ) -> impl Future<Output = sqlx::Result<Result<(), E>>>
    where
        <Self::Database as sqlx::Database>::Row: Row;

    /// Inserts rows: as their cells, and as the JSON they came as.
    fn insert(
        &mut self,
        names: &Names,
        noun: &str,
        columns: &[Column],
        rows: &[Vec<Cell>],
        json: &[String],
    ) -> impl Future<Output = sqlx::Result<()>>;

    /// Has the next row of a table that numbers its rows get a number behind those that were inserted.
    fn number_on(&mut self, table: &str) -> impl Future<Output = sqlx::Result<()>>;
}

/// Begins to read, and says which version of the schema there is.
pub(crate) async fn begin_reading<C: Copying>(
    on: &mut C,
    names: &Names,
    place: &str,
) -> StoreResult<i64> {
    let begun = on.run(C::BEGIN_READING.to_owned()).await;
    begun.map_err(|error| C::told(&error, place))?;
    let found = find(on, names, place).await?;
    let known = newest();
    match found.version {
        Some(found) if found > known => Err(StoreError::NewerSchema { found, known }),
        Some(version) => Ok(version),
        None if found.unprefixed.is_some() => Err(StoreError::Configuration(format!(
            "{place} is of an earlier version: open it once with this one, which changes its tables"
        ))),
        None => Err(StoreError::Configuration(format!(
            "{place} has no tables of this store: there is nothing to copy"
        ))),
    }
}

/// The columns of a table, for those who copy it.
pub(crate) async fn columns_of<C: Copying>(
    on: &mut C,
    names: &Names,
    noun: &str,
    place: &str,
) -> StoreResult<Vec<Column>> {
    let found = on.columns(names, noun).await;
    let found = found.map_err(|error| C::told(&error, place))?;
    let column = |(name, declared): (String, String)| {
        let kind = match &*declared.to_ascii_lowercase() {
            "text" => Kind::Text,
            "integer" | "bigint" => Kind::Int,
            "real" | "double precision" => Kind::Real,
            other => {
                return Err(StoreError::Unexpected(format!(
                    "{place}: {noun}.{name} has the type {other:?}, which is none of this store's"
                )));
            }
        };
        Ok(Column { name, kind })
    };
    let is_copied = |(name, _): &(String, String)| !OF_WORDS.contains(&(noun, name.as_str()));
    found.into_iter().filter(is_copied).map(column).collect()
}

/// Reads all rows of a table, each as JSON. Answers how many.
pub(crate) async fn read_table<C: Copying, E: From<StoreError>>(
    on: &mut C,
    names: &Names,
    noun: &str,
    place: &str,
    mut each: impl FnMut(String) -> Result<(), E>,
) -> Result<u64, E>
where
    <C::Database as sqlx::Database>::Row: Row,
{
    let columns = columns_of(on, names, noun, place).await?;
    if columns.is_empty() {
        return Ok(0);
    }
    let mut rows = 0;
    let query = format!("SELECT {} FROM {}", listed(&columns), names.table(noun));
    let read = on.each(query, |row| {
        let json = json(row, &columns).map_err(|why| {
            StoreError::Unexpected(format!("{place}: a row of {noun} cannot be read: {why}"))
        })?;
        rows += 1;
        each(json)
    });
    let read = read
        .await
        .map_err(|error| E::from(C::told(&error, place)))?;
    read.map(|()| rows)
}

/// Makes the tables of a version of the schema, where there are none.
pub(crate) async fn begin_writing<C: Copying>(
    on: &mut C,
    names: &Names,
    schema: i64,
    place: &str,
) -> StoreResult<()> {
    let told = |error: sqlx::Error| C::told(&error, place);
    let known = newest();
    if schema > known {
        let found = schema;
        return Err(StoreError::NewerSchema { found, known });
    }
    if STEPS.iter().all(|step| step.version != schema) {
        return Err(StoreError::Configuration(format!(
            "there is no version {schema} of the schema"
        )));
    }
    on.run(C::BEGIN.to_owned()).await.map_err(told)?;
    on.lock().await.map_err(told)?;
    let found = find(on, names, place).await?;
    if found.schema().is_some() {
        return Err(StoreError::Configuration(format!(
            "{place} has tables of this store already, and nothing there is overwritten: name another database"
        )));
    }
    // What else has one of the names.
    found.plan(names, true)?;
    run_steps(on, names, 1..=schema, place).await
}

/// Brings the tables up to the newest schema, and keeps all.
pub(crate) async fn end_writing<C: Copying>(
    on: &mut C,
    names: &Names,
    schema: i64,
    place: &str,
) -> StoreResult<()> {
    let told = |error: sqlx::Error| C::told(&error, place);
    run_steps(on, names, schema + 1..=newest(), place).await?;
    for noun in copied() {
        let columns = columns_of(on, names, noun, place).await?;
        if columns.iter().any(|column| column.name == "seq") {
            on.number_on(&names.table(noun)).await.map_err(told)?;
        }
    }
    on.run("COMMIT".to_owned()).await.map_err(told)
}

async fn run_steps<C: Copying>(
    on: &mut C,
    names: &Names,
    versions: std::ops::RangeInclusive<i64>,
    place: &str,
) -> StoreResult<()> {
    for step in STEPS.iter().filter(|step| versions.contains(&step.version)) {
        let sql = names.rewrite(step.text(C::DIALECT));
        let ran = on.run(sql).await;
        ran.map_err(|error| C::told(&error, place))?;
    }
    Ok(())
}

/// Inserts rows of a table, each of which is JSON.
pub(crate) async fn write_rows<C: Copying>(
    on: &mut C,
    names: &Names,
    noun: &str,
    columns: &[Column],
    rows: &[String],
    place: &str,
) -> StoreResult<()> {
    let cells: Result<Vec<_>, String> = rows.iter().map(|row| cells(row, columns)).collect();
    let cells = cells.map_err(|why| StoreError::Configuration(format!("a row of {noun} {why}")))?;
    let inserted = on.insert(names, noun, columns, &cells, rows).await;
    inserted.map_err(|error| C::told(&error, place))
}

/// The names of columns, as they stand in a statement.
pub(crate) fn listed(columns: &[Column]) -> String {
    let names: Vec<_> = columns.iter().map(|column| quoted(&column.name)).collect();
    names.join(", ")
}

fn json(row: &impl Row, columns: &[Column]) -> Result<String, String> {
    let mut object = Map::new();
    for Column { name, kind } in columns {
        let value = match kind {
            Kind::Text => row.text(name)?.map(Value::from),
            Kind::Int => row.int(name)?.map(Value::from),
            Kind::Real => Some(Value::from(format!("{:?}", row.real(name)?))),
        };
        object.insert(name.clone(), value.unwrap_or_default());
    }
    Ok(Value::Object(object).to_string())
}

/// The cells of a row, in the order of the columns.
fn cells(row: &str, columns: &[Column]) -> Result<Vec<Cell>, String> {
    let object: Map<String, Value> =
        serde_json::from_str(row).map_err(|error| format!("is no JSON object: {error}"))?;
    if object.len() != columns.len() {
        return Err(format!(
            "has {} columns, and {} are expected",
            object.len(),
            columns.len()
        ));
    }
    let cell = |Column { name, kind }: &Column| match (object.get(name), kind) {
        (Some(Value::Null), _) => Ok(Cell::Null),
        (Some(Value::String(text)), Kind::Text) => Ok(Cell::Text(text.clone())),
        (Some(Value::Number(number)), Kind::Int) if number.is_i64() => {
            Ok(Cell::Int(number.as_i64().unwrap_or_default()))
        }
        (Some(Value::String(text)), Kind::Real) => match text.parse() {
            Ok(real) => Ok(Cell::Real(real)),
            Err(_) => Err(format!("has no number in {name}")),
        },
        (Some(_), kind) => Err(format!("has no {kind:?} in {name}")),
        (None, _) => Err(format!("has no column {name}")),
    };
    columns.iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let of = |name: &str, kind| Column {
            name: name.to_owned(),
            kind,
        };
        vec![of("a", Kind::Text), of("b", Kind::Int), of("c", Kind::Real)]
    }

    #[test]
    fn a_row_that_is_not_the_tables_is_told_of() {
        let row = r#"{"a":"x","b":-9223372036854775808,"c":"0.1"}"#;
        let expected = [
            Cell::Text("x".to_owned()),
            Cell::Int(i64::MIN),
            Cell::Real(0.1),
        ];
        assert_eq!(cells(row, &columns()).unwrap(), expected);
        for (row, why) in [
            ("[1]", "is no JSON object"),
            (r#"{"a":"x","b":1}"#, "has 2 columns, and 3 are expected"),
            (r#"{"a":"x","b":1,"d":"1.0"}"#, "has no column c"),
            (r#"{"a":1,"b":1,"c":"1.0"}"#, "has no Text in a"),
            (r#"{"a":null,"b":1.5,"c":"1.0"}"#, "has no Int in b"),
            (r#"{"a":null,"b":1,"c":"one"}"#, "has no number in c"),
        ] {
            let told = cells(row, &columns()).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
