//! Words that are not written yet: of rows from before there were any, and of what no turn has ended behind.

use opencode_host::store::StoreResult;

use crate::engine::{Engine, Handle as _};
use crate::failure::{Failure, SqlResult};
use crate::tables::words;

/// How often it is tried again that collided with others.
const TRIES: u32 = 5;

/// Writes all words that are due, some rows at a time.
pub(crate) async fn write_words<E: Engine>(engine: &E) -> StoreResult<()> {
    let mut tries = 1;
    loop {
        match write_some(engine).await {
            Ok(true) => tries = 1,
            Ok(false) => return Ok(()),
            Err(Failure::Conflict(_)) if tries < TRIES => tries += 1,
            Err(failure) => return Err(failure.into_error()),
        }
    }
}

/// False where none are due, or another process writes those that are.
async fn write_some<E: Engine>(engine: &E) -> SqlResult<bool> {
    let mut on = engine.reader().await?;
    let is_due = words::is_due(&mut on).await?;
    on.commit().await?;
    if !is_due {
        return Ok(false);
    }
    let mut on = engine.transaction().await?;
    match words::write_due(&mut on).await {
        Ok(some) => {
            on.commit().await?;
            Ok(some)
        }
        Err(failure) => {
            on.rollback().await;
            Err(failure)
        }
    }
}
