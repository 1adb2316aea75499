//! Conversations that may have a turn to be claimed: noted in the transactions that may make it so, looked at by claims.
//!
//! Whether a turn is the first of its conversation cannot be said where it is submitted, or where the one before it is
//! settled: of two transactions that run at the same time, neither sees what the other does. So each notes an arrival, and
//! a claim that comes behind both commits looks. Only claims write which turn is first, and which queues are waiting.

use std::collections::BTreeSet;

use opencode_host::clock::Timestamp;
use opencode_host::id::{ConversationId, TurnId};

use super::tenants::TenantQueue;
use crate::columns::{Columns, json};
use crate::engine::{Handle, Sql, args, sql};
use crate::failure::SqlResult;

/// How many arrivals are looked at together, and how often one claim does so.
const BATCH: usize = 1024;
const BATCHES: usize = 10;

const ADD: Sql = sql!("INSERT INTO opencode_arrivals (conversation, due_at) VALUES ($1, $2)");
const ADD_OF_TURN: Sql = sql!(
    "INSERT INTO opencode_arrivals (conversation, due_at) SELECT conversation, 0 FROM opencode_turns WHERE id = $1"
);
macro_rules! due {
    ($before:literal, $behind:literal) => {
        concat!(
            "DELETE FROM opencode_arrivals WHERE seq ",
            $before,
            "SELECT seq FROM opencode_arrivals WHERE due_at <= $1 ORDER BY due_at, seq LIMIT 1024",
            $behind,
            " RETURNING conversation"
        )
    };
}
/// As many as [`BATCH`].
pub(crate) const TAKE: Sql = Sql {
    sqlite: due!("IN (", ")"),
    postgres: due!("= ANY (ARRAY(", "))"),
};

/// The conversations are one parameter, so that any number is one statement.
macro_rules! listed {
    (sqlite) => {
        "json_each($1) AS l"
    };
    (postgres) => {
        "json_array_elements_text(CAST($1 AS json)) AS l(value)"
    };
}

/// The first turn of a conversation that is not settled.
macro_rules! first {
    () => {
        "(SELECT h.id FROM opencode_turns AS h WHERE h.conversation = l.value AND h.settled = 0 ORDER BY h.seq LIMIT 1)"
    };
}

macro_rules! set_first {
    ($engine:ident, $lock:literal) => {
        concat!(
            "UPDATE opencode_turns SET is_first = 1 WHERE id IN (SELECT t.id FROM ",
            listed!($engine),
            " JOIN opencode_turns AS t ON t.id = ",
            first!(),
            " WHERE t.state = 'queued' AND (t.not_before IS NULL OR t.not_before <= $2)",
            $lock,
            ") RETURNING conversation, server, tenant"
        )
    };
}

macro_rules! add_again {
    ($engine:ident) => {
        concat!(
            "INSERT INTO opencode_arrivals (conversation, due_at) \
             SELECT t.conversation, CASE WHEN t.not_before > $2 THEN t.not_before ELSE 0 END FROM ",
            listed!($engine),
            " JOIN opencode_turns AS t ON t.id = ",
            first!(),
            " WHERE t.state = 'queued'"
        )
    };
}

/// Those that another transaction has in its hands are passed over.
pub(crate) const SET_FIRST: Sql = Sql {
    sqlite: set_first!(sqlite, ""),
    postgres: set_first!(postgres, " FOR UPDATE OF t SKIP LOCKED"),
};
/// Of conversations whose first turn was passed over, or waits for a moment: the arrival that was noted for it may have been
/// taken before it was first.
pub(crate) const ADD_AGAIN: Sql = Sql {
    sqlite: add_again!(sqlite),
    postgres: add_again!(postgres),
};
const SET_WAITING: Sql = sql!(
    "INSERT INTO opencode_tenant_queues (server, tenant, waiting, used_from, used_to) VALUES ($1, $2, 1, 0, 0) \
     ON CONFLICT (server, tenant) DO UPDATE SET waiting = 1"
);
pub(crate) const NEXT_DUE: Sql =
    sql!("SELECT MIN(due_at) AS at FROM opencode_arrivals WHERE due_at > $1");

/// Notes that the conversation may have a turn to be claimed, from a moment on where there is one. Without one it does not
/// wait for the clock, which may be put back.
pub(crate) async fn add(
    on: &mut impl Handle,
    conversation: ConversationId,
    from: Option<Timestamp>,
) -> SqlResult<()> {
    on.execute(ADD, args![conversation, from.unwrap_or_default()])
        .await?;
    Ok(())
}

/// As [`add`], of the conversation of a turn.
pub(crate) async fn add_of_turn(on: &mut impl Handle, turn: TurnId) -> SqlResult<()> {
    on.execute(ADD_OF_TURN, args![turn]).await?;
    Ok(())
}

/// Looks at the conversations that have arrived: which turns are first, and in which queues they are.
/// All of them, as a rule: what a claim does not know of has no turn. Many are many submits, each of which took longer.
pub(crate) async fn take(on: &mut impl Handle, now: Timestamp) -> SqlResult<()> {
    for _ in 0..BATCHES {
        let rows = on.rows(TAKE, args![now]).await?;
        let (taken, mut arrived) = (rows.len(), BTreeSet::new());
        for row in rows {
            arrived.insert(Columns::new(&row, "arrivals", "conversation")?.text("conversation")?);
        }
        if taken > 0 {
            look(on, arrived, now).await?;
        }
        if taken < BATCH {
            break;
        }
    }
    Ok(())
}

async fn look(
    on: &mut impl Handle,
    mut arrived: BTreeSet<String>,
    now: Timestamp,
) -> SqlResult<()> {
    let first = on.rows(SET_FIRST, args![json(&arrived)?, now]).await?;
    // In order: of two claims, neither holds what the other waits for.
    let mut queues = BTreeSet::new();
    for row in &first {
        let queue = TenantQueue::read(row)?;
        queues.insert((queue.server, queue.tenant));
        arrived.remove(&Columns::new(row, "turns", "conversation")?.text("conversation")?);
    }
    if !arrived.is_empty() {
        on.execute(ADD_AGAIN, args![json(&arrived)?, now]).await?;
    }
    for (server, tenant) in queues {
        on.execute(SET_WAITING, args![server, tenant]).await?;
    }
    Ok(())
}
