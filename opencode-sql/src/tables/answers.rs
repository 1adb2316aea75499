//! What people answered to what agents asked.

use opencode_host::id::TurnId;
use opencode_host::store::{
    AnswerOutcome, AnswerState, Lease, NewAnswer, Phase, RequestAnswer, StoreError, StoreResult,
};

use super::turns::{self, lost};
use crate::columns::{Columns, escape, json};
use crate::engine::{Handle, Row, Sql, args, sql};
use crate::failure::SqlResult;

macro_rules! answers {
    () => {
        "SELECT request, given_by, given, given_at, state FROM opencode_answers WHERE turn = $1"
    };
}

pub(crate) const OF_TURN: Sql = sql!(answers!(), " ORDER BY given_at, request");
pub(crate) const BY_REQUEST: Sql = sql!(answers!(), " AND request = $2");
const PUT: Sql = sql!(
    "INSERT INTO opencode_answers (turn, request, given_by, given, given_at, state, open) \
     VALUES ($1, $2, $3, $4, $5, $6, 1) ON CONFLICT (turn, request) DO UPDATE \
     SET given_by = excluded.given_by, given = excluded.given, given_at = excluded.given_at, \
       state = excluded.state, open = 1"
);
const SET_STATE: Sql =
    sql!("UPDATE opencode_answers SET state = $3, open = $4 WHERE turn = $1 AND request = $2");
const REMOVE: Sql = sql!("DELETE FROM opencode_answers WHERE turn = $1 AND request = $2");

fn read(row: &impl Row) -> StoreResult<RequestAnswer> {
    let columns = Columns::new(row, "answers", "request")?;
    let mut answer = NewAnswer::new(columns.text("request")?, columns.json("given")?);
    answer.by = columns.optional_text("given_by")?;
    let mut answer = RequestAnswer::new(answer, columns.time("given_at")?);
    answer.state = columns.json("state")?;
    Ok(answer)
}

/// Keeps an answer, unless the request has one.
pub(crate) async fn answer(
    on: &mut impl Handle,
    turn: TurnId,
    new: &NewAnswer,
) -> SqlResult<AnswerOutcome> {
    let standing = turns::standing(on, turn).await?;
    let standing = standing.ok_or_else(|| StoreError::not_found("turn", turn))?;
    if matches!(standing.phase, Phase::Finished { .. }) || !standing.prompted {
        return Ok(AnswerOutcome::NotWaiting);
    }
    let request = escape(&new.request);
    let known = on.row(BY_REQUEST, args![turn, &*request]).await?;
    let known = known.as_ref().map(read).transpose()?;
    let outcome = AnswerOutcome::of(known.as_ref(), new, on.now().await?);
    if let AnswerOutcome::Taken(RequestAnswer {
        answer, at, state, ..
    }) = &outcome
    {
        let by = answer.by.as_deref().map(|who| escape(who).into_owned());
        let args = args![turn, &*request, by, json(&answer.given)?, *at, json(state)?];
        on.execute(PUT, args).await?;
    }
    Ok(outcome)
}

/// Notes how far an answer is; `None` removes it.
pub(crate) async fn answered(
    on: &mut impl Handle,
    lease: &Lease,
    request: &str,
    state: Option<&AnswerState>,
) -> SqlResult<()> {
    let standing = turns::standing(on, lease.turn).await?;
    let is_ours = |turn: &turns::Standing| turn.generation == lease.generation;
    standing.filter(is_ours).ok_or(lost(lease.turn))?;
    let request = escape(request);
    match state {
        None => on.execute(REMOVE, args![lease.turn, &*request]).await?,
        Some(state) => {
            let args = args![lease.turn, &*request, json(state)?, state.is_open()];
            on.execute(SET_STATE, args).await?
        }
    };
    Ok(())
}

/// The answers to a turn's requests, oldest first.
pub(crate) async fn of_turn(on: &mut impl Handle, turn: TurnId) -> SqlResult<Vec<RequestAnswer>> {
    let rows = on.rows(OF_TURN, args![turn]).await?;
    Ok(rows.iter().map(read).collect::<StoreResult<_>>()?)
}
