//! Sends the answers that people give to what the agent asks.
//!
//! An answer is a row ([`RequestAnswer`]), written by whatever process it was given in. The turn's worker sends it,
//! beside the turn: at once where it was given in this process, else with the next look at the leases. A call that is
//! not answered within seconds is made again. That is safe: each time, the request is looked for first, and one that
//! does not wait any more has got the answer that was sent before.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use opencode_client::{Client, Error as ClientError, PermissionId, QuestionId, SessionId};
use tokio::time::{Instant, sleep, timeout_at};

use super::shared::{Running, Shared};
use super::under_way::{Place, Sending};
use crate::id::TurnId;
use crate::reporter::Severity;
use crate::store::{AnswerState, Given, Lease, NewAnswer, Phase, RequestAnswer, StoreError};

/// How deep sub-agents of sub-agents are followed. OpenCode's own limit is 1 unless it is configured.
const DEEPEST: usize = 16;

/// How long an answer is tried, in units of [`Pace::answer`](crate::turn::Pace::answer).
const PATIENCE: u32 = 6;

/// How long before a call that failed is made again.
const PAUSE: Duration = Duration::from_millis(250);

/// Why an answer was not sent, this time.
enum Unsent {
    /// The agent does not wait for it any more, or another turn's does.
    NotWaiting,
    Upstream(ClientError),
    Store(StoreError),
}

impl From<ClientError> for Unsent {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::BadRequest { status: 404, .. } => Self::NotWaiting,
            other => Self::Upstream(other),
        }
    }
}

impl From<StoreError> for Unsent {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Sends the answers that wait for a turn, where it runs here. Does not wait for them.
pub(super) fn send_open(shared: &Arc<Shared>, turn: TurnId) {
    let running = shared.running();
    let Some(Running {
        control, sending, ..
    }) = running.get(&turn)
    else {
        return;
    };
    let lease = Lease {
        turn,
        generation: control.generation(),
    };
    tokio::spawn(send(Arc::clone(shared), lease, sending.clone()));
}

/// Sends the answers of a turn that are open, but those that are being sent here already.
async fn send(shared: Arc<Shared>, lease: Lease, sending: Sending) {
    let answers = match shared.front.store.answers(lease.turn).await {
        Ok(answers) => answers,
        // Looked for again with the leases.
        Err(error) => return report(&shared, lease.turn, &error),
    };
    let open = answers.iter().filter(|answer| answer.state.is_open());
    let places = open.filter_map(|answer| sending.begin(&answer.answer.request));
    join_all(places.map(|place| send_one(&shared, lease, place))).await;
}

async fn send_one(shared: &Shared, lease: Lease, place: Place) {
    let request = &place.request;
    let sent = async {
        // As the row is now that nobody else here sends it.
        let answers = shared.front.store.answers(lease.turn).await?;
        let open =
            |answer: &RequestAnswer| answer.answer.request == *request && answer.state.is_open();
        let Some(answer) = answers.into_iter().find(open) else {
            return Ok(());
        };
        let state = try_to_send(shared, lease, &answer).await?;
        shared
            .front
            .store
            .answered(&lease, request, state.as_ref())
            .await
    };
    match sent.await {
        // Whoever has the turn now sends it.
        Ok(()) | Err(StoreError::LeaseLost { .. }) => {}
        Err(error) => report(shared, lease.turn, &error),
    }
    drop(place);
    shared.front.answered.notify_waiters();
}

fn report(shared: &Shared, turn: TurnId, error: &StoreError) {
    let context = [
        ("action", "answer".into()),
        ("turn", turn.to_string().into()),
    ];
    shared
        .front
        .telemetry
        .report(error, Severity::Warning, context);
}

/// Sends an answer, and again where it is not known to have arrived, for some seconds. Answers what became of it, and
/// nothing where the agent does not wait for it any more.
async fn try_to_send(
    shared: &Shared,
    lease: Lease,
    row: &RequestAnswer,
) -> Result<Option<AnswerState>, StoreError> {
    let answer = &row.answer;
    let first = shared.workshop.options.limits.pace.answer;
    let until = Instant::now() + first * PATIENCE;
    let mut patience = first;
    // A worker that died may have sent it.
    let mut sent = row.state == AnswerState::Sent;
    loop {
        let sending = async {
            let client = asked(shared, patience, lease.turn, answer).await?;
            if !sent {
                let state = Some(&AnswerState::Sent);
                shared
                    .front
                    .store
                    .answered(&lease, &answer.request, state)
                    .await?;
                sent = true;
            }
            Ok(post(&client, answer).await?)
        };
        let tried = timeout_at(until, sending).await.unwrap_or_else(|_| {
            Err(Unsent::Upstream(ClientError::Timeout {
                call: "a person's answer".to_owned(),
                seconds: (first * PATIENCE).as_secs(),
            }))
        });
        let why = match tried {
            Ok(()) => return Ok(Some(AnswerState::Arrived)),
            // It has arrived, and the server's word for it was lost.
            Err(Unsent::NotWaiting) if sent => return Ok(Some(AnswerState::Arrived)),
            Err(Unsent::NotWaiting) => return Ok(None),
            Err(Unsent::Store(error)) if error.is_transient() => error.to_string(),
            Err(Unsent::Store(error)) => return Err(error),
            Err(Unsent::Upstream(error)) if error.is_transient() => error.to_string(),
            Err(Unsent::Upstream(error)) => {
                let (why, sent) = (error.to_string(), false);
                return Ok(Some(AnswerState::Failed { why, sent }));
            }
        };
        if Instant::now() + PAUSE >= until {
            return Ok(Some(AnswerState::Failed { why, sent }));
        }
        tracing::debug!(%why, "an answer is tried again");
        sleep(PAUSE).await;
        patience *= 2;
    }
}

/// The client in the folder of the turn's session, once the turn is known to wait for this: it runs, the request is
/// pending there, and the turn's session or a sub-agent's below it raised it. Conversations may share a folder, and a
/// server answers whatever id it is given.
async fn asked(
    shared: &Shared,
    patience: Duration,
    turn: TurnId,
    answer: &NewAnswer,
) -> Result<Client, Unsent> {
    let missing = || StoreError::not_found("turn", turn);
    let turn = shared.front.store.turn(turn).await?.ok_or_else(missing)?;
    let conversation = shared.front.store.conversation(turn.conversation).await?;
    let conversation = conversation.ok_or_else(missing)?;
    let (Phase::Running, Some(prompted), Some(_)) =
        (turn.phase(), turn.prompted, &conversation.session)
    else {
        return Err(Unsent::NotWaiting);
    };
    let guarded = shared.guarded_client(&conversation).await;
    let client = guarded
        .map_err(|unguarded| Unsent::Upstream(ClientError::Configuration(unguarded.to_string())))?;
    let client = client.with_patience(patience);
    let asks = match &answer.given {
        Given::Permission { .. } => {
            let waiting = client.permissions().await?;
            let mut waiting = waiting.into_iter();
            let found = waiting.find(|request| request.id.as_str() == answer.request);
            found.map(|request| request.session_id)
        }
        Given::Answers(_) | Given::Rejection => {
            let waiting = client.questions().await?;
            let mut waiting = waiting.into_iter();
            let found = waiting.find(|request| request.id.as_str() == answer.request);
            found.map(|request| request.session_id)
        }
    };
    let asks = asks.ok_or(Unsent::NotWaiting)?;
    if is_below(&client, asks, &prompted.session).await? {
        Ok(client)
    } else {
        Err(Unsent::NotWaiting)
    }
}

async fn post(client: &Client, answer: &NewAnswer) -> Result<(), ClientError> {
    let request = answer.request.as_str();
    match &answer.given {
        Given::Answers(answers) => {
            client
                .answer_question(&QuestionId::from(request), answers)
                .await
        }
        Given::Rejection => client.reject_question(&QuestionId::from(request)).await,
        Given::Permission { reply, message } => {
            let (id, message) = (PermissionId::from(request), message.as_deref());
            client.reply_permission(&id, *reply, message).await
        }
    }
}

/// Whether `session` is `root`, or a sub-agent's session below it.
async fn is_below(
    client: &Client,
    mut session: SessionId,
    root: &SessionId,
) -> Result<bool, ClientError> {
    for _ in 0..DEEPEST {
        if session == *root {
            return Ok(true);
        }
        match client.session(&session).await {
            Ok(found) => match found.parent_id {
                Some(parent) => session = parent,
                None => return Ok(false),
            },
            Err(ClientError::SessionNotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
