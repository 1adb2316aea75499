//! All rows of a store, read as they were at one moment; and a new store made of them, on either database.

use opencode_host::store::{StoreError, StoreResult};
use sqlx::Connection as _;
#[cfg(feature = "postgres")]
use sqlx::PgConnection;
#[cfg(feature = "sqlite")]
use sqlx::SqliteConnection;

use crate::copying::{
    Column, begin_reading, begin_writing, columns_of, copied, end_writing, read_table, write_rows,
};
use crate::names::Names;
use crate::options::Options;
use crate::target::Target;

/// A connection of its own. What it has begun ends with it.
#[derive(Debug)]
enum On {
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteConnection),
    #[cfg(feature = "postgres")]
    Postgres(PgConnection),
}

/// Does the same on either connection.
macro_rules! on {
    ($on:expr, $connection:ident => $work:expr) => {
        match $on {
            #[cfg(feature = "sqlite")]
            On::Sqlite($connection) => $work,
            #[cfg(feature = "postgres")]
            On::Postgres($connection) => $work,
        }
    };
}

/// The rows of a store as they were when this was made, whoever writes meanwhile.
///
/// It is one read transaction: as long as it lasts, a SQLite file's log grows with what is written, and Postgres keeps
/// what is replaced. What nodes tell each other at the moment ([`LiveBus`](opencode_host::live::LiveBus)) is not in it.
#[derive(Debug)]
pub struct Dump {
    on: On,
    names: Names,
    place: String,
    schema: i64,
}

impl Dump {
    /// The tables that a dump has, by their names without a prefix. Those that others refer to come first, and they are to
    /// be restored in this order.
    pub fn tables() -> impl Iterator<Item = &'static str> {
        copied()
    }

    /// Begins to read the database of a URL, as [`connect`](fn@crate::connect) takes it. Nothing is changed.
    ///
    /// # Errors
    /// [`Configuration`](StoreError::Configuration) where there is no store, as of a file that is not there;
    /// [`NewerSchema`](StoreError::NewerSchema) where a newer version has made it,
    /// [`Unavailable`](StoreError::Unavailable) where it cannot be reached.
    pub async fn begin(url: &str, options: &Options) -> StoreResult<Self> {
        let (mut on, names, place) = match Target::parse(url)? {
            #[cfg(feature = "sqlite")]
            Target::File(path) => {
                let (on, names, place) = crate::sqlite::open_to_read(&path, options).await?;
                (On::Sqlite(on), names, place)
            }
            #[cfg(feature = "sqlite")]
            Target::Memory => {
                return Err(StoreError::Configuration(
                    "a database in memory is gone with its store: there is nothing to copy"
                        .to_owned(),
                ));
            }
            #[cfg(feature = "postgres")]
            Target::Postgres(target) => {
                let (on, names, place) = crate::postgres::open_to_copy(&target, options).await?;
                (On::Postgres(on), names, place)
            }
        };
        let schema = on!(&mut on, on => begin_reading(on, &names, &place).await)?;
        Ok(Self {
            on,
            names,
            place,
            schema,
        })
    }

    /// The version of the schema that the rows have.
    pub fn schema(&self) -> i64 {
        self.schema
    }

    /// Where the database is. Never a password.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Reads all rows of a table, each as a JSON object in one line, and answers how many. Ends where one is refused.
    ///
    /// # Errors
    /// What `each` has refused a row with, or why the database cannot be read.
    pub async fn rows<E: From<StoreError>>(
        &mut self,
        table: &str,
        each: impl FnMut(String) -> Result<(), E>,
    ) -> Result<u64, E> {
        let (names, place) = (&self.names, &self.place);
        on!(&mut self.on, on => read_table(on, names, table, place, each).await)
    }
}

/// A store that is being made of the rows of a [`Dump`]. It is there once it is committed, and not at all before.
#[derive(Debug)]
pub struct Restore {
    on: On,
    names: Names,
    place: String,
    schema: i64,
    /// The table that was inserted into last.
    table: Option<(String, Vec<Column>)>,
}

impl Restore {
    /// Makes the tables in the database of a URL, as [`connect`](fn@crate::connect) takes it, with the schema that the rows
    /// had. The database may be of another kind than theirs.
    ///
    /// # Errors
    /// [`Configuration`](StoreError::Configuration) where the tables are there already, or the database cannot be written;
    /// [`NewerSchema`](StoreError::NewerSchema) for rows of a newer version than this one,
    /// [`Unavailable`](StoreError::Unavailable) where it cannot be reached.
    pub async fn begin(url: &str, options: &Options, schema: i64) -> StoreResult<Self> {
        let (mut on, names, place) = match Target::parse(url)? {
            #[cfg(feature = "sqlite")]
            Target::File(path) => {
                let (on, names, place) = crate::sqlite::open_to_write(&path, options).await?;
                (On::Sqlite(on), names, place)
            }
            #[cfg(feature = "sqlite")]
            Target::Memory => {
                return Err(StoreError::Configuration(
                    "what is restored into memory is gone at once: name a file".to_owned(),
                ));
            }
            #[cfg(feature = "postgres")]
            Target::Postgres(target) => {
                let (on, names, place) = crate::postgres::open_to_copy(&target, options).await?;
                (On::Postgres(on), names, place)
            }
        };
        on!(&mut on, on => begin_writing(on, &names, schema, &place).await)?;
        Ok(Self {
            on,
            names,
            place,
            schema,
            table: None,
        })
    }

    /// Inserts rows as [`Dump::rows`] gave them. A few hundred at once, or a few megabytes, are a good measure.
    ///
    /// # Errors
    /// [`Configuration`](StoreError::Configuration) for a table or a row that is none of this schema's, or why the database
    /// did not take it.
    pub async fn insert(&mut self, table: &str, rows: &[String]) -> StoreResult<()> {
        let (names, place) = (&self.names, &self.place);
        if self.table.as_ref().is_none_or(|(last, _)| last != table) {
            let is_known = copied().any(|known| known == table);
            let columns = if is_known {
                on!(&mut self.on, on => columns_of(on, names, table, place).await)?
            } else {
                Vec::new()
            };
            if columns.is_empty() {
                return Err(StoreError::Configuration(format!(
                    "there is no table {table:?} in version {} of the schema",
                    self.schema
                )));
            }
            self.table = Some((table.to_owned(), columns));
        }
        let columns = self.table.as_ref().map_or(&[][..], |(_, columns)| columns);
        on!(&mut self.on, on => write_rows(on, names, table, columns, rows, place).await)
    }

    /// Keeps all of it, with the newest schema.
    ///
    /// # Errors
    /// Why the database did not take it. Nothing is there then.
    pub async fn commit(mut self) -> StoreResult<()> {
        let (names, place, schema) = (&self.names, &self.place, self.schema);
        on!(&mut self.on, on => end_writing(on, names, schema, place).await)?;
        on!(self.on, on => on.close().await)
            .map_err(|error| StoreError::Unexpected(format!("{place}: {error}")))
    }
}
