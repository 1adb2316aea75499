//! Bringing the schema of a Postgres database up to date.

use opencode_host::store::{StoreError, StoreResult};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::error;
use crate::failure::Failure;
use crate::names::{Names, TABLES, quoted};
use crate::options::Dialect;
use crate::schema::{
    Found, Plan, Renaming, SQLX_TABLE, SqlxRow, Step, UNPREFIXED, not_ours, renamings, unprefixed,
};

/// Whoever changes the schema of a store in this database holds this lock. The number is any.
const LOCK: i64 = 0x6f70_656e_636f_6465;

/// A large table takes its time, and so do other nodes: who opens the database waits for as long as it likes.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
                     SET LOCAL idle_in_transaction_session_timeout = 0";

/// All that is missing in one transaction, by one node at a time.
pub(super) async fn migrate(
    connection: &mut PgConnection,
    names: &Names,
    migrate: bool,
    place: &str,
) -> StoreResult<()> {
    let told = |error: sqlx::Error| told(&error, place);
    // What is there to be read needs no lock, and no right to change it.
    let found = find(connection, names, place).await;
    if let Ok(Plan::Done) = found.and_then(|found| found.plan(names, migrate)) {
        return Ok(());
    }
    let mut transaction = connection.begin_with(BEGIN).await.map_err(told)?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
    lock.execute(&mut *transaction).await.map_err(told)?;
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
        let sql = names.rewrite(step.text(Dialect::Postgres));
        run(&mut transaction, sql).await.map_err(told)?;
    }
    transaction.commit().await.map_err(told)
}

async fn run(on: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(on).await?;
    Ok(())
}

/// Gives the tables that these steps made without a prefix their names of now: their rows stay where they are.
async fn rename(on: &mut PgConnection, names: &Names, had: &[Step]) -> sqlx::Result<()> {
    let schema = quoted(names.schema().unwrap_or_default());
    let noted = format!("{schema}.{SQLX_TABLE}");
    run(on, format!("LOCK TABLE {noted} IN ACCESS EXCLUSIVE MODE")).await?;
    for renaming in renamings(had, Dialect::Postgres) {
        match renaming {
            Renaming::Table(noun) => rename_table(on, names, &schema, noun).await?,
            // With its table.
            Renaming::Index(..) => {}
            Renaming::New(make) => run(on, names.rewrite(make)).await?,
        }
    }
    let last = had.last().map_or(0, |step| step.version);
    run(on, format!("DELETE FROM {noted} WHERE version <= {last}")).await?;
    let left = format!("SELECT count(*) FROM {noted}");
    let left = sqlx::query(AssertSqlSafe(left)).fetch_one(&mut *on).await?;
    if left.try_get::<i64, _>(0)? == 0 {
        run(on, format!("DROP TABLE {noted}")).await?;
    }
    Ok(())
}

/// Renames a table, and its indexes and sequences, whose names are the schema's too.
async fn rename_table(
    on: &mut PgConnection,
    names: &Names,
    schema: &str,
    noun: &str,
) -> sqlx::Result<()> {
    let parts = "SELECT c.relname::text, c.relkind = 'S' FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid \
                   WHERE d.classid = 'pg_class'::regclass AND d.refobjid = $1::regclass AND c.relkind = 'S' \
                 UNION SELECT c.relname::text, false FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid \
                   WHERE i.indrelid = $1::regclass";
    let table = format!("{schema}.{noun}");
    let parts = sqlx::query(parts).bind(&table).fetch_all(&mut *on).await?;
    run(
        on,
        format!("ALTER TABLE {table} RENAME TO {}", names.bare(noun)),
    )
    .await?;
    for part in parts {
        let (name, is_sequence): (String, bool) = (part.try_get(0)?, part.try_get(1)?);
        // One that somebody else has made keeps its name.
        if !name.starts_with(noun) {
            continue;
        }
        let kind = if is_sequence { "SEQUENCE" } else { "INDEX" };
        let (old, new) = (quoted(&name), quoted(&names.bare(&name)));
        run(on, format!("ALTER {kind} {schema}.{old} RENAME TO {new}")).await?;
    }
    Ok(())
}

/// The names with the schema that the tables are in: the one asked for, the one on the connection's search path that
/// has them, or the one that new tables come into. Whatever the search path of a connection is later, they are found.
pub(super) async fn placed(on: &mut PgConnection, names: Names, place: &str) -> StoreResult<Names> {
    let told = |error: sqlx::Error| told(&error, place);
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

/// What is in the schema of these names.
pub(super) async fn find(on: &mut PgConnection, names: &Names, place: &str) -> StoreResult<Found> {
    let told = |error: sqlx::Error| told(&error, place);
    let mut found = Found::default();
    if is_there(on, names, &names.bare("migrations"))
        .await
        .map_err(told)?
    {
        let newest = format!("SELECT max(version) FROM {}", names.table("migrations"));
        let newest = sqlx::query(AssertSqlSafe(newest)).fetch_one(&mut *on).await;
        let newest: Result<Option<i64>, _> = newest.and_then(|row| row.try_get(0));
        match newest {
            Ok(newest) => found.version = Some(newest.unwrap_or(0)),
            Err(error) if is_no_column(&error) => return Err(not_ours(names, &error)),
            Err(error) => return Err(told(error)),
        }
    } else {
        for noun in TABLES {
            if is_there(on, names, &names.bare(noun)).await.map_err(told)? {
                found.taken = Some(names.bare(noun));
                break;
            }
        }
    }
    if is_there(on, names, "turns").await.map_err(told)?
        && is_there(on, names, SQLX_TABLE).await.map_err(told)?
    {
        let noted = noted(on, names).await.map_err(told)?;
        found.unprefixed = unprefixed(&noted, Dialect::Postgres)?;
    }
    Ok(found)
}

/// A table of this name has other columns than ours, or is no table.
fn is_no_column(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["42703", "42809", "42883"].contains(&&*code))
        || matches!(error, sqlx::Error::ColumnDecode { .. })
}

async fn is_there(on: &mut PgConnection, names: &Names, name: &str) -> sqlx::Result<bool> {
    let there = "SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1 AND c.relname = $2";
    let there = sqlx::query(there).bind(names.schema()).bind(name);
    Ok(there.fetch_optional(on).await?.is_some())
}

/// The steps that sqlx noted.
async fn noted(on: &mut PgConnection, names: &Names) -> sqlx::Result<Vec<SqlxRow>> {
    let table = format!(
        "{}.{SQLX_TABLE}",
        quoted(names.schema().unwrap_or_default())
    );
    let rows = format!(
        "SELECT version, encode(checksum, 'hex'), success FROM {table} WHERE version <= {UNPREFIXED}"
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
