//! Bringing the schema of a database up to date: the same on both databases.

use std::future::Future;

use opencode_host::store::{StoreError, StoreResult};
use sqlx::{AssertSqlSafe, Connection};

use crate::names::{Names, TABLES};
use crate::options::Dialect;
use crate::schema::{Found, Plan, SQLX_TABLE, SqlxRow, Step, not_ours, unprefixed};

/// A connection of one of the two databases, as far as the schema is concerned.
pub(crate) trait Schema: Connection<Database: sqlx::Database<Connection = Self>> {
    const DIALECT: Dialect;
    /// Begins a transaction that may change the schema.
    const BEGIN: &'static str;

    /// Waits until nobody else changes the schema, for as long as the transaction lasts.
    fn lock(&mut self) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Runs statements.
    fn run(&mut self, sql: String) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Whether the store's schema has a table or an index of this name.
    fn is_there(
        &mut self,
        names: &Names,
        name: &str,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// The one number that a query answers.
    fn number(&mut self, query: String) -> impl Future<Output = sqlx::Result<Option<i64>>> + Send;

    /// The steps that sqlx noted, up to the last one without a prefix.
    fn noted(&mut self, names: &Names) -> impl Future<Output = sqlx::Result<Vec<SqlxRow>>> + Send;

    /// Gives what these steps made without a prefix its names of now. The rows stay where they are.
    fn rename(
        &mut self,
        names: &Names,
        had: &[Step],
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Whether a query failed since a table has other columns than ours, or is none.
    fn is_no_column(error: &sqlx::Error) -> bool;

    /// What an error means.
    fn told(error: &sqlx::Error, place: &str) -> StoreError;
}

/// All that is missing in one transaction, by one process at a time.
pub(crate) async fn migrate<C: Schema>(
    connection: &mut C,
    names: &Names,
    may_change: bool,
    place: &str,
) -> StoreResult<()> {
    let told = |error: sqlx::Error| C::told(&error, place);
    // What is there to be read needs no lock, and no right to change it. Anything else may be half of what another
    // process does.
    let found = find(connection, names, place).await;
    if let Ok(Plan::Done) = found.and_then(|found| found.plan(names, may_change)) {
        return Ok(());
    }
    let begun = connection.begin_with(AssertSqlSafe(C::BEGIN)).await;
    let mut transaction = begun.map_err(told)?;
    transaction.lock().await.map_err(told)?;
    let found = find(&mut *transaction, names, place).await?;
    let missing = match found.plan(names, may_change)? {
        Plan::Done => return Ok(()),
        Plan::Run(missing) => missing,
        Plan::Rename(had, missing) => {
            transaction.rename(names, had).await.map_err(told)?;
            forget(&mut *transaction, names, had).await.map_err(told)?;
            missing
        }
    };
    for step in missing {
        let sql = names.rewrite(step.text(C::DIALECT));
        transaction.run(sql).await.map_err(told)?;
    }
    transaction.commit().await.map_err(told)
}

/// Takes these steps out of sqlx's table, which goes where nothing else is in it.
async fn forget<C: Schema>(on: &mut C, names: &Names, had: &[Step]) -> sqlx::Result<()> {
    let noted = names.beside(SQLX_TABLE);
    let last = had.last().map_or(0, |step| step.version);
    on.run(format!("DELETE FROM {noted} WHERE version <= {last}"))
        .await?;
    let left = on.number(format!("SELECT count(*) FROM {noted}")).await?;
    if left == Some(0) {
        on.run(format!("DROP TABLE {noted}")).await?;
    }
    Ok(())
}

/// What is in the database.
pub(crate) async fn find<C: Schema>(on: &mut C, names: &Names, place: &str) -> StoreResult<Found> {
    let told = |error: sqlx::Error| C::told(&error, place);
    let mut found = Found::default();
    let migrations = names.bare("migrations");
    if on.is_there(names, &migrations).await.map_err(told)? {
        let newest = format!("SELECT max(version) FROM {}", names.table("migrations"));
        found.version = match on.number(newest).await {
            Ok(newest) => Some(newest.unwrap_or(0)),
            Err(error) if C::is_no_column(&error) => return Err(not_ours(names, &error)),
            Err(error) => return Err(told(error)),
        };
    } else {
        for noun in TABLES {
            let name = names.bare(noun);
            if on.is_there(names, &name).await.map_err(told)? {
                found.taken = Some(name);
                break;
            }
        }
    }
    if on.is_there(names, "turns").await.map_err(told)?
        && on.is_there(names, SQLX_TABLE).await.map_err(told)?
    {
        let noted = on.noted(names).await.map_err(told)?;
        found.unprefixed = unprefixed(&noted, C::DIALECT)?;
    }
    Ok(found)
}
