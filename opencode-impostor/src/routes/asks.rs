//! Questions and permissions: listed, answered, rejected.
//!
//! As on 1.18.33 each belongs to the folder of its session: a request that names another folder, or none, does not see
//! it, and a reply there is a 404.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::errors::Refusal;
use crate::faults::{List, Record, Seen};
use crate::requests::{QueryMap, Server, directory, json_body};
use crate::sessions::Session;
use crate::state::{Answer, Ask, State, World};

/// Those that wait for an answer in the folder of the request.
fn listed(
    world: &World,
    directory: &str,
    asks: fn(&State) -> &BTreeMap<String, Ask>,
) -> Result<Json<Value>, Refusal> {
    there(world)?;
    Ok(world.quietly(|state| {
        let open = asks(state)
            .values()
            .filter(|ask| ask.answer.is_none() && is_in(&state.sessions, ask, directory));
        let mut open: Vec<Value> = open.map(|ask| ask.body.clone()).collect();
        for request in &mut open {
            let faults = &mut state.faults;
            faults.alter(Record::Request, Seen::Lists, "", request);
        }
        state.faults.alter_list(List::Requests, &mut open);
        Json(open.into())
    }))
}

/// Whether what is asked belongs to this folder.
fn is_in(sessions: &HashMap<String, Session>, ask: &Ask, directory: &str) -> bool {
    sessions
        .get(&ask.session)
        .is_some_and(|session| session.directory == directory)
}

/// Whether this version has the routes of this page.
fn there(world: &World) -> Result<(), Refusal> {
    let dialect = &world.config.dialect;
    if dialect.request_routes {
        Ok(())
    } else {
        Err(Refusal::no_route(dialect))
    }
}

/// `GET /question`
pub(super) async fn questions(
    Shared(world): Server,
    Query(query): QueryMap,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let directory = directory(&world, &query, &headers);
    listed(&world, &directory, |state| &state.questions)
}

/// `GET /permission`
pub(super) async fn permissions(
    Shared(world): Server,
    Query(query): QueryMap,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let directory = directory(&world, &query, &headers);
    listed(&world, &directory, |state| &state.permissions)
}

/// `POST /question/:id/reply`
pub(super) async fn answer_question(
    Shared(world): Server,
    Path(id): Path<String>,
    Query(query): QueryMap,
    headers: HeaderMap,
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
    settle_question(
        &world,
        &directory(&world, &query, &headers),
        id,
        Answer::Labels(answers),
    )
}

/// `POST /question/:id/reject`
pub(super) async fn reject_question(
    Shared(world): Server,
    Path(id): Path<String>,
    Query(query): QueryMap,
    headers: HeaderMap,
) -> Result<Json<bool>, Refusal> {
    settle_question(
        &world,
        &directory(&world, &query, &headers),
        id,
        Answer::Rejected(None),
    )
}

fn settle_question(
    world: &World,
    directory: &str,
    id: String,
    answer: Answer,
) -> Result<Json<bool>, Refusal> {
    there(world)?;
    world.update(|state| {
        let Some(ask) = state
            .questions
            .get_mut(&id)
            .filter(|ask| ask.answer.is_none() && is_in(&state.sessions, ask, directory))
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
    Query(query): QueryMap,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<bool>, Refusal> {
    there(&world)?;
    let body = json_body(&body)?;
    let message = body.get("message").and_then(Value::as_str);
    let reply = body.get("reply").cloned().unwrap_or_default();
    let answer = answer_of(&reply, "reply", message.map(str::to_owned))?;
    settle_permission(
        &world,
        &directory(&world, &query, &headers),
        id,
        &reply,
        answer,
    )
}

/// `POST /session/:id/permissions/:permission`, the route of 1.0.x, which later versions still have.
pub(super) async fn respond(
    Shared(world): Server,
    Path((session, id)): Path<(String, String)>,
    Query(query): QueryMap,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<bool>, Refusal> {
    let of_session = world.quietly(|state| {
        let ask = state.permissions.get(&id);
        ask.is_some_and(|ask| ask.session == session)
    });
    if !of_session {
        return Err(Refusal::PermissionNotFound(id));
    }
    let reply = json_body(&body)?.remove("response").unwrap_or_default();
    let answer = answer_of(&reply, "response", None)?;
    settle_permission(
        &world,
        &directory(&world, &query, &headers),
        id,
        &reply,
        answer,
    )
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
    directory: &str,
    id: String,
    reply: &Value,
    answer: Answer,
) -> Result<Json<bool>, Refusal> {
    world.update(|state| {
        let Some(ask) = state
            .permissions
            .get_mut(&id)
            .filter(|ask| ask.answer.is_none() && is_in(&state.sessions, ask, directory))
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
