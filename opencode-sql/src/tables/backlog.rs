//! What waits and what runs.

use opencode_host::store::{Backlog, StoreError};

use crate::engine::{Handle, Row, Sql, args, sql};
use crate::failure::SqlResult;

/// Since when a turn waits that was submitted for later: since its moment.
pub(crate) const QUEUED: Sql = sql!(
    "SELECT COUNT(*) AS turns, MIN(due_at) AS oldest FROM (\
       SELECT CASE WHEN not_before > created_at THEN not_before ELSE created_at END AS due_at FROM opencode_turns \
       WHERE settled = 0 AND server >= '' AND state = 'queued' AND (not_before IS NULL OR not_before <= $1) LIMIT $2\
     ) AS counted"
);
pub(crate) const RUNNING: Sql = sql!(
    "SELECT COUNT(*) AS turns, COUNT(CASE WHEN waits = 1 THEN 1 END) AS waiting FROM (\
       SELECT waits FROM opencode_turns WHERE settled = 0 AND server >= '' AND state = 'running' LIMIT $1\
     ) AS counted"
);

/// Counts what waits and what runs.
pub(crate) async fn look(on: &mut impl Handle) -> SqlResult<Backlog> {
    let now = on.now().await?;
    let mut backlog = Backlog::empty(now);
    let count = |row: &_, column| number(row, column).map(|count| count.unwrap_or(0));
    if let Some(row) = on.row(QUEUED, args![now, Backlog::COUNTED]).await? {
        backlog.queued = count(&row, "turns")?.cast_unsigned();
        backlog.oldest = number(&row, "oldest")?.map(opencode_host::clock::Timestamp);
    }
    if let Some(row) = on.row(RUNNING, args![Backlog::COUNTED]).await? {
        backlog.running = count(&row, "turns")?.cast_unsigned();
        backlog.waiting = count(&row, "waiting")?.cast_unsigned();
    }
    Ok(backlog)
}

fn number(row: &impl Row, column: &str) -> Result<Option<i64>, StoreError> {
    row.int(column).map_err(StoreError::Unexpected)
}
