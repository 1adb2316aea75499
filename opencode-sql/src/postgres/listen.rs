//! What other nodes have done, heard of when it is committed.
//!
//! `NOTIFY` belongs to the transaction: it is sent with the commit, and not at all without. Who listens has a
//! connection for that alone, beside the pool, and where it breaks, nodes look from time to time as ever,
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

/// What is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// There may be a turn to be claimed.
    Queue,
    /// Changes of running turns were sent.
    Live,
    /// Somebody watches turns.
    Watched,
}

/// The channel and the payload of a store's notifications.
pub(super) fn address(names: &Names, of: Heard) -> (String, &str) {
    let channel = match of {
        Heard::Queue => "queue",
        Heard::Live => "live",
        Heard::Watched => "watched",
    };
    (names.bare(channel), names.schema().unwrap_or_default())
}

/// Calls `wake` for each notification of these, and whenever one may have been missed.
pub(super) async fn listen(
    pool: &PgPool,
    names: &Names,
    place: &str,
    to: &[Heard],
    wake: &(dyn Fn(Heard) + Send + Sync),
) {
    let mut pause = FIRST_PAUSE;
    loop {
        match hear(pool, names, to, wake).await {
            // It was heard of: that one broke is no sign that the next will.
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => {
                tracing::debug!(place, ?to, %error, "does not hear of other nodes, and looks for what they do");
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Listens until the connection breaks; the error is of one that was never made.
async fn hear(
    pool: &PgPool,
    names: &Names,
    to: &[Heard],
    wake: &(dyn Fn(Heard) + Send + Sync),
) -> sqlx::Result<()> {
    let only = PgPoolOptions::new().max_connections(1);
    let only = only.connect_lazy_with((*pool.connect_options()).clone());
    let mut listener = PgListener::connect_with(&only).await?;
    let channels: Vec<_> = to.iter().map(|of| address(names, *of)).collect();
    for (channel, _) in &channels {
        listener.listen(channel).await?;
    }
    // What came before.
    to.iter().for_each(|of| wake(*of));
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(heard))) => {
                let is_it = |(channel, schema): &(String, &str)| {
                    heard.channel() == channel && heard.payload() == *schema
                };
                if let Some(at) = channels.iter().position(is_it) {
                    wake(to[at]);
                }
            }
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
