//! Turns of other nodes, heard of when they are committed.
//!
//! `NOTIFY` belongs to the transaction: it is sent with the commit, and not at all without. Who listens has a
//! connection for that alone, beside the pool, and where it breaks, workers look for turns from time to time as ever,
//! until there is another one.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::timeout;

use crate::engine::{Sql, sql};
use crate::names::Names;

/// Which store it is about stands in the payload: channels are the database's, whatever the schema.
pub(super) const NOTIFY: Sql = sql!("SELECT pg_notify($1, $2)");

/// How long a connection may be silent before it is tried whether it is there still, and how long that may take.
const SILENCE: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_secs(10);

/// The pauses before another connection is made.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The channel and the payload of a store's notifications.
pub(super) fn address(names: &Names) -> (String, &str) {
    (names.bare("queue"), names.schema().unwrap_or_default())
}

/// Calls `wake` for each notification, and whenever one may have been missed.
pub(super) async fn listen(
    pool: &PgPool,
    names: &Names,
    place: &str,
    wake: &(dyn Fn() + Send + Sync),
) {
    let mut pause = FIRST_PAUSE;
    loop {
        match hear(pool, names, wake).await {
            // It was heard of: that one broke is no sign that the next will.
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => {
                tracing::debug!(place, %error, "does not hear of other nodes' turns, and looks for them");
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Listens until the connection breaks; the error is of one that was never made.
async fn hear(pool: &PgPool, names: &Names, wake: &(dyn Fn() + Send + Sync)) -> sqlx::Result<()> {
    let only = PgPoolOptions::new().max_connections(1);
    let only = only.connect_lazy_with((*pool.connect_options()).clone());
    let mut listener = PgListener::connect_with(&only).await?;
    let (channel, schema) = address(names);
    listener.listen(&channel).await?;
    // What came before.
    wake();
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(heard))) if heard.payload() == schema => wake(),
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None) | Err(_)) => return Ok(()),
            Err(_) => {
                let probe = sqlx::query("SELECT 1").execute(&mut listener);
                if !matches!(timeout(PROBE, probe).await, Ok(Ok(_))) {
                    return Ok(());
                }
            }
        }
    }
}
