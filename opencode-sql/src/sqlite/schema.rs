//! Bringing the schema of a SQLite database up to date.

use opencode_host::store::{StoreError, StoreResult};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};

use super::error;
use crate::failure::Failure;
use crate::names::{Names, TABLES};
use crate::options::Dialect;
use crate::schema::{
    Found, Plan, Renaming, SQLX_TABLE, SqlxRow, Step, UNPREFIXED, not_ours, renamings, unprefixed,
};

/// All that is missing in one transaction that has the write lock: whoever opens the database at the same time waits.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    names: &Names,
    migrate: bool,
    place: &str,
) -> StoreResult<()> {
    let told = |error: sqlx::Error| told(&error, place);
    // What is there to be read needs no right to write. Anything else may be half of what another process does.
    let found = find(connection, names, place).await;
    if let Ok(Plan::Done) = found.and_then(|found| found.plan(names, migrate)) {
        return Ok(());
    }
    let transaction = connection.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = transaction.map_err(told)?;
    let found = find(&mut transaction, names, place).await?;
    let missing = match found.plan(names, migrate)? {
        Plan::Done => return Ok(()),
        Plan::Run(missing) => missing,
        Plan::Rename(had, missing) => {
            rename(&mut transaction, names, had).await.map_err(told)?;
            missing
        }
    };
    for step in missing {
        let sql = names.rewrite(step.text(Dialect::Sqlite));
        run(&mut transaction, sql).await.map_err(told)?;
    }
    transaction.commit().await.map_err(told)
}

async fn run(on: &mut SqliteConnection, sql: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(on).await?;
    Ok(())
}

/// Gives the tables that these steps made without a prefix their names of now, in the database of which they were all:
/// their rows stay where they are. SQLite renames no index: those are made anew.
async fn rename(on: &mut SqliteConnection, names: &Names, had: &[Step]) -> sqlx::Result<()> {
    for renaming in renamings(had, Dialect::Sqlite) {
        let sql = match renaming {
            Renaming::Table(noun) => format!("ALTER TABLE {noun} RENAME TO {}", names.table(noun)),
            Renaming::Index(noun, make) => {
                format!("DROP INDEX IF EXISTS {noun}; {}", names.rewrite(make))
            }
            Renaming::New(make) => names.rewrite(make),
        };
        run(on, sql).await?;
    }
    let last = had.last().map_or(0, |step| step.version);
    run(
        on,
        format!("DELETE FROM {SQLX_TABLE} WHERE version <= {last}"),
    )
    .await?;
    let left = format!("SELECT count(*) FROM {SQLX_TABLE}");
    let left = sqlx::query(AssertSqlSafe(left)).fetch_one(&mut *on).await?;
    if left.try_get::<i64, _>(0)? == 0 {
        run(on, format!("DROP TABLE {SQLX_TABLE}")).await?;
    }
    Ok(())
}

/// What is in the database.
pub(super) async fn find(
    on: &mut SqliteConnection,
    names: &Names,
    place: &str,
) -> StoreResult<Found> {
    let told = |error: sqlx::Error| told(&error, place);
    let mut found = Found::default();
    if is_there(on, &names.bare("migrations"))
        .await
        .map_err(told)?
    {
        let newest = format!("SELECT max(version) FROM {}", names.table("migrations"));
        let newest = sqlx::query(AssertSqlSafe(newest)).fetch_one(&mut *on).await;
        let newest: Result<Option<i64>, _> = newest.and_then(|row| row.try_get(0));
        match newest {
            Ok(newest) => found.version = Some(newest.unwrap_or(0)),
            Err(error @ sqlx::Error::Database(_)) if is_no_column(&error) => {
                return Err(not_ours(names, &error));
            }
            Err(error) => return Err(told(error)),
        }
    } else {
        for noun in TABLES {
            if is_there(on, &names.bare(noun)).await.map_err(told)? {
                found.taken = Some(names.bare(noun));
                break;
            }
        }
    }
    if is_there(on, "turns").await.map_err(told)? && is_there(on, SQLX_TABLE).await.map_err(told)? {
        let noted = noted(on).await.map_err(told)?;
        found.unprefixed = unprefixed(&noted, Dialect::Sqlite)?;
    }
    Ok(found)
}

/// Code 1 is a mistake in a statement: of what ours names, a table of this name has something else.
fn is_no_column(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(|error| error.code().as_deref() == Some("1"))
}

async fn is_there(on: &mut SqliteConnection, name: &str) -> sqlx::Result<bool> {
    let there = "SELECT 1 FROM sqlite_master WHERE name = $1 COLLATE NOCASE";
    let there = sqlx::query(there).bind(name).fetch_optional(on).await?;
    Ok(there.is_some())
}

/// The steps that sqlx noted.
async fn noted(on: &mut SqliteConnection) -> sqlx::Result<Vec<SqlxRow>> {
    let rows = format!(
        "SELECT version, lower(hex(checksum)), success FROM {SQLX_TABLE} WHERE version <= {UNPREFIXED}"
    );
    let rows = sqlx::query(AssertSqlSafe(rows)).fetch_all(on).await?;
    let rows = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
    rows.collect()
}

pub(super) fn told(error: &sqlx::Error, place: &str) -> StoreError {
    Failure::into_error(error::failure(error, place))
}
