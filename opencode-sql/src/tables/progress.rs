//! What has streamed of running turns, saved for many at once.
//!
//! The whole of a reply stands in its turn's row. What comes to it later is added in rows of its own, so that a save
//! writes what is new and no more, and is put together with the whole where the turn is read and when it ends.

use std::collections::HashSet;

use opencode_host::id::TurnId;
use opencode_host::store::{Lease, Progress, StoreError, StoreResult, Streamed};
use serde_json::{Value, json};

use super::leases::{listed, wanted};
use super::turns;
use crate::columns::{Columns, json};
use crate::engine::{Arg, Handle, Row, Sql, args, sql};
use crate::failure::SqlResult;

/// About how many bytes a statement is given at most. What one turn has to say is never cut.
const MOST_BYTES: usize = 4 << 20;

/// What was given as one parameter, of turns whose leases are good. On Postgres their rows are locked in the order of their
/// ids, so that neither does the lease change hands meanwhile, nor do two statements over the same turns wait for each other.
macro_rules! held {
    (sqlite) => {
        "(SELECT l.value ->> 'turn' AS turn, l.value ->> 'generation' AS generation, l.value ->> 'number' AS number, \
            l.value ->> 'text' AS text FROM json_each($1) AS l JOIN opencode_turns AS r ON r.id = l.value ->> 'turn' \
          WHERE r.generation = l.value ->> 'generation' AND r.worker IS NOT NULL AND r.state = 'running') AS l"
    };
    (postgres) => {
        "(SELECT l.turn, l.generation, l.number, l.text FROM \
            json_to_recordset(CAST($1 AS json)) AS l(turn text, generation bigint, number bigint, text text) \
            JOIN opencode_turns AS r ON r.id = l.turn \
          WHERE r.generation = l.generation AND r.worker IS NOT NULL AND r.state = 'running' \
          ORDER BY r.id FOR NO KEY UPDATE OF r) AS l"
    };
}

macro_rules! set {
    ($engine:ident) => {
        concat!(
            "UPDATE opencode_turns SET checkpoint = l.text, progress_at = $2, attempts = 0 FROM ",
            held!($engine),
            " WHERE opencode_turns.id = l.turn AND opencode_turns.checkpoint <> l.text \
             RETURNING id, opencode_turns.generation"
        )
    };
}

macro_rules! add {
    ($engine:ident) => {
        concat!(
            "INSERT INTO opencode_growths (turn, generation, number, at, growth) \
             SELECT l.turn, l.generation, l.number, $2, l.text FROM ",
            held!($engine),
            " RETURNING turn AS id, generation"
        )
    };
}

macro_rules! are_running {
    ($engine:ident) => {
        concat!(
            "SELECT opencode_turns.id, opencode_turns.generation FROM ",
            wanted!($engine),
            " JOIN opencode_turns ON opencode_turns.id = l.turn AND opencode_turns.generation = l.generation \
             WHERE opencode_turns.worker IS NOT NULL AND opencode_turns.state = 'running'"
        )
    };
}

macro_rules! forget {
    ($engine:ident) => {
        concat!(
            "DELETE FROM opencode_growths WHERE turn IN (SELECT l.turn FROM ",
            wanted!($engine),
            ")"
        )
    };
}

/// The wholes of any number of turns, where they are new.
pub(crate) const SET: Sql = Sql {
    sqlite: set!(sqlite),
    postgres: set!(postgres),
};
/// What has come to any number of turns.
pub(crate) const ADD: Sql = Sql {
    sqlite: add!(sqlite),
    postgres: add!(postgres),
};
pub(crate) const ARE_RUNNING: Sql = Sql {
    sqlite: are_running!(sqlite),
    postgres: are_running!(postgres),
};
pub(crate) const FORGET: Sql = Sql {
    sqlite: forget!(sqlite),
    postgres: forget!(postgres),
};
pub(crate) const UNFOLDED: Sql = sql!(
    "SELECT id, checkpoint, ",
    turns::growths!("opencode_turns.id"),
    " AS growths, ",
    turns::progress_at!(),
    " FROM opencode_turns WHERE id = $1 \
       AND EXISTS (SELECT 1 FROM opencode_growths AS g WHERE g.turn = opencode_turns.id)"
);
const FOLD: Sql = sql!("UPDATE opencode_turns SET checkpoint = $2, progress_at = $3 WHERE id = $1");
pub(crate) const FORGET_ONE: Sql = sql!("DELETE FROM opencode_growths WHERE turn = $1");

/// What is saved of one turn, as it is written.
struct Saved {
    lease: Lease,
    number: u64,
    text: String,
}

/// Saves what has streamed, and answers which leases are lost.
pub(crate) async fn save(on: &mut impl Handle, progress: &[Progress<'_>]) -> SqlResult<Vec<Lease>> {
    let now = on.now().await?;
    let (mut wholes, mut growths) = (Vec::new(), Vec::new());
    for Progress { lease, streamed } in progress {
        let lease = **lease;
        match streamed {
            Streamed::Whole(checkpoint) => wholes.push(Saved {
                lease,
                number: 0,
                text: json(checkpoint)?,
            }),
            Streamed::More { number, growth } => growths.push(Saved {
                lease,
                number: *number,
                text: json(growth)?,
            }),
        }
    }
    let mut lost = Vec::new();
    for wholes in grouped(&wholes) {
        let saved = on.rows(SET, args![written(wholes)?, now]).await?;
        let mut left = without(wholes.iter().map(|whole| whole.lease), &saved)?;
        if !left.is_empty() {
            // Nothing new, or no right to write.
            let running = on.rows(ARE_RUNNING, args![listed(&left)?]).await?;
            left = without(left.into_iter(), &running)?;
        }
        let held = wholes.iter().map(|whole| whole.lease);
        let held: Vec<_> = held.filter(|lease| !left.contains(lease)).collect();
        on.execute(FORGET, args![listed(&held)?]).await?;
        lost.extend(left);
    }
    for growths in grouped(&growths) {
        let saved = on.rows(ADD, args![written(growths)?, now]).await?;
        lost.extend(without(growths.iter().map(|growth| growth.lease), &saved)?);
    }
    Ok(lost)
}

/// Groups of about [`MOST_BYTES`].
fn grouped(texts: &[Saved]) -> impl Iterator<Item = &[Saved]> {
    let mut bytes = 0;
    texts.chunk_by(move |text, next| {
        bytes += text.text.len();
        let fits = bytes + next.text.len() <= MOST_BYTES;
        if !fits {
            bytes = 0;
        }
        fits
    })
}

fn written(texts: &[Saved]) -> SqlResult<String> {
    let rows = texts.iter().map(|text| {
        let Lease { turn, generation } = text.lease;
        json!({"turn": turn, "generation": generation, "number": text.number, "text": text.text})
    });
    Ok(json(&Value::Array(rows.collect()))?)
}

/// The leases that none of these rows is of.
fn without(leases: impl Iterator<Item = Lease>, rows: &[impl Row]) -> SqlResult<Vec<Lease>> {
    let mut found = HashSet::new();
    for row in rows {
        let columns = Columns::new(row, "turns", "id")?;
        let turn: TurnId = columns.id("id")?;
        found.insert((turn, columns.count::<u64>("generation")?));
    }
    let is_left = |lease: &Lease| !found.contains(&(lease.turn, lease.generation));
    Ok(leases.filter(is_left).collect())
}

/// Puts what has come to a turn together with its whole: it has ended, and nothing more comes. What cannot be put together
/// is left out: it is no reason for a turn not to end.
pub(crate) async fn fold(on: &mut impl Handle, turn: TurnId) -> SqlResult<()> {
    let Some(row) = on.row(UNFOLDED, args![turn]).await? else {
        return Ok(());
    };
    match together(&row) {
        Ok((checkpoint, progress_at)) => {
            on.execute(FOLD, args![turn, checkpoint, progress_at])
                .await?;
        }
        Err(StoreError::Corrupt { detail, .. }) => {
            tracing::warn!(%turn, detail, "what has come to a reply is lost: it does not go on from what was saved");
        }
        Err(error) => return Err(error.into()),
    }
    on.execute(FORGET_ONE, args![turn]).await?;
    Ok(())
}

/// The whole of an [`UNFOLDED`] row, and when something new came to it.
fn together(row: &impl Row) -> StoreResult<(String, Arg<'static>)> {
    let columns = Columns::new(row, "turns", "id")?;
    let checkpoint = turns::checkpoint(&columns)?.unwrap_or_default();
    let progress_at = columns.optional_time("progress_at")?;
    Ok((json(&checkpoint)?, Arg::Int(progress_at.map(|at| at.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sizes: &[usize]) -> Vec<Saved> {
        let lease = Lease {
            turn: TurnId::from_uuid(uuid::Uuid::nil()),
            generation: 1,
        };
        let text = |size: &usize| Saved {
            lease,
            number: 1,
            text: "x".repeat(*size),
        };
        sizes.iter().map(text).collect()
    }

    #[test]
    fn a_statement_is_given_so_many_bytes_and_no_turn_is_left_out() {
        let half = MOST_BYTES / 2;
        for (sizes, groups) in [
            (&[][..], &[][..]),
            (&[1], &[1]),
            (&[half, half, 1], &[2, 1]),
            (&[3 * half, 1, half, half], &[1, 2, 1]),
            (&[1, 3 * half, 3 * half, 1], &[1, 1, 1, 1]),
        ] {
            let texts = texts(sizes);
            let found: Vec<_> = grouped(&texts).map(<[Saved]>::len).collect();
            assert_eq!(found, groups, "{sizes:?}");
        }
    }
}
