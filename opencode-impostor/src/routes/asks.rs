//! Questions and permissions: listed, answered, rejected.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use serde_json::{Value, json};

use super::{Server, json_body};
use crate::errors::Refusal;
use crate::faults::{FaultTable, List, Record, Seen};
use crate::state::{Answer, Ask, World};

fn listed(
    world: &World,
    faults: &mut FaultTable,
    asks: &BTreeMap<String, Ask>,
) -> Result<Json<Value>, Refusal> {
    there(world)?;
    let open = asks.values().filter(|ask| ask.answer.is_none());
    let mut open: Vec<Value> = open.map(|ask| ask.body.clone()).collect();
    for request in &mut open {
        faults.alter(Record::Request, Seen::Lists, "", request);
    }
    faults.alter_list(List::Requests, &mut open);
    Ok(Json(open.into()))
}

/// Whether this version has the routes of this page.
fn there(world: &World) -> Result<(), Refusal> {
    if world.config.dialect.request_routes {
        Ok(())
    } else {
        Err(Refusal::NoRoute)
    }
}

/// `GET /question`
pub(super) async fn questions(Shared(world): Server) -> Result<Json<Value>, Refusal> {
    world.quietly(|state| listed(&world, &mut state.faults, &state.questions))
}

/// `GET /permission`
pub(super) async fn permissions(Shared(world): Server) -> Result<Json<Value>, Refusal> {
    world.quietly(|state| listed(&world, &mut state.faults, &state.permissions))
}

/// `POST /question/:id/reply`
pub(super) async fn answer_question(
    Shared(world): Server,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<bool>, Refusal> {
    let answers = json_body(&body)?
        .remove("answers")
        .filter(|answers| {
            answers
                .as_array()
                .is_some_and(|all| all.iter().all(Value::is_array))
        })
        .ok_or_else(|| Refusal::Payload("Expected array\n  at [\"answers\"]".into()))?;
    settle_question(&world, id, Answer::Labels(answers))
}

/// `POST /question/:id/reject`
pub(super) async fn reject_question(
    Shared(world): Server,
    Path(id): Path<String>,
) -> Result<Json<bool>, Refusal> {
    settle_question(&world, id, Answer::Rejected(None))
}

fn settle_question(world: &World, id: String, answer: Answer) -> Result<Json<bool>, Refusal> {
    there(world)?;
    world.update(|state| {
        let Some(ask) = state
            .questions
            .get_mut(&id)
            .filter(|ask| ask.answer.is_none())
        else {
            return Err(Refusal::QuestionNotFound(id));
        };
        ask.answer = Some(answer.clone());
        let session = ask.session.clone();
        state.ledger.questions.remove(&id);
        match answer {
            Answer::Labels(answers) => state.emit(
                &session,
                "question.replied",
                &json!({"requestID": id, "answers": answers}),
            ),
            _ => state.emit(&session, "question.rejected", &json!({"requestID": id})),
        }
        Ok(Json(true))
    })
}

/// `POST /permission/:id/reply`
pub(super) async fn reply_permission(
    Shared(world): Server,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<bool>, Refusal> {
    there(&world)?;
    let body = json_body(&body)?;
    let message = body.get("message").and_then(Value::as_str);
    let reply = body.get("reply").cloned().unwrap_or_default();
    let answer = answer_of(&reply, "reply", message.map(str::to_owned))?;
    settle_permission(&world, id, &reply, answer)
}

/// `POST /session/:id/permissions/:permission`, the route of 1.0.x, which later versions still have.
pub(super) async fn respond(
    Shared(world): Server,
    Path((_, id)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<bool>, Refusal> {
    let reply = json_body(&body)?.remove("response").unwrap_or_default();
    let answer = answer_of(&reply, "response", None)?;
    settle_permission(&world, id, &reply, answer)
}

fn answer_of(reply: &Value, field: &str, message: Option<String>) -> Result<Answer, Refusal> {
    match reply.as_str() {
        Some(allowed @ ("once" | "always")) => Ok(Answer::Allowed(allowed.to_owned())),
        Some("reject") => Ok(Answer::Rejected(message)),
        _ => Err(Refusal::Payload(format!(
            "Expected \"once\" | \"always\" | \"reject\", got {reply}\n  at [\"{field}\"]"
        ))),
    }
}

fn settle_permission(
    world: &World,
    id: String,
    reply: &Value,
    answer: Answer,
) -> Result<Json<bool>, Refusal> {
    world.update(|state| {
        let Some(ask) = state
            .permissions
            .get_mut(&id)
            .filter(|ask| ask.answer.is_none())
        else {
            return Err(Refusal::PermissionNotFound(id));
        };
        ask.answer = Some(answer);
        let session = ask.session.clone();
        state.ledger.permissions.remove(&id);
        state.emit(
            &session,
            "permission.replied",
            &json!({"requestID": id, "reply": reply}),
        );
        Ok(Json(true))
    })
}
