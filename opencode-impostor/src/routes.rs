//! The endpoints.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::bus::Scope;
use crate::errors::Refusal;
use crate::faults::List;
use crate::json_text::quoted;
use crate::requests::{QueryMap, Server, directory, json_body, known};
use crate::sessions::NewSession;
use crate::state::{State, World};
use crate::{prompt, run, streams};

mod asks;
mod mcp;
mod names;
mod paging;

/// All routes of the double.
pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/global/health", get(health))
        .route("/global/event", get(global_event))
        .route("/event", get(event))
        .route("/session", get(list_sessions).post(create_session))
        .route("/session/status", get(status))
        .route(
            "/session/{id}",
            get(get_session).patch(patch_session).delete(delete_session),
        )
        .route("/session/{id}/children", get(children))
        .route("/session/{id}/todo", get(todo))
        .route(
            "/session/{id}/message",
            get(paging::messages).post(prompt::synchronous),
        )
        .route("/session/{id}/message/{message}", get(message))
        .route("/session/{id}/prompt_async", post(prompt::asynchronous))
        .route("/session/{id}/abort", post(abort))
        .route(
            "/session/{id}/permissions/{permission}",
            post(asks::respond),
        )
        .route("/agent", get(names::agents))
        .route("/config/providers", get(names::providers))
        .route("/mcp", get(mcp::statuses).post(mcp::add))
        .route("/config", get(mcp::config))
        .route("/experimental/tool/ids", get(mcp::own_tools))
        .route("/question", get(asks::questions))
        .route("/question/{id}/reply", post(asks::answer_question))
        .route("/question/{id}/reject", post(asks::reject_question))
        .route("/permission", get(asks::permissions))
        .route("/permission/{id}/reply", post(asks::reply_permission))
        // The real server gives its web page for every path it does not know.
        .fallback(|| async {
            Html("<!doctype html>\n<html lang=\"en\"><body>opencode</body></html>")
        })
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(world)
}

async fn health(Shared(world): Server) -> Result<Json<Value>, Refusal> {
    let dialect = &world.config.dialect;
    if !dialect.health {
        return Err(Refusal::no_route(dialect));
    }
    Ok(Json(json!({"healthy": true, "version": dialect.version})))
}

fn stream(world: &Arc<World>, scope: Scope) -> Response {
    let mut response = Body::from_stream(streams::subscribe(world, scope)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

async fn global_event(Shared(world): Server) -> Response {
    if !world.config.dialect.global_event {
        return StatusCode::NOT_FOUND.into_response();
    }
    stream(&world, Scope::Global)
}

async fn event(Shared(world): Server, Query(query): QueryMap, headers: HeaderMap) -> Response {
    let directory = directory(&world, &query, &headers);
    stream(&world, Scope::Directory(directory))
}

async fn list_sessions(Shared(world): Server, Query(query): QueryMap) -> Json<Value> {
    let roots = query.get("roots").is_some_and(|roots| roots == "true");
    let limit = query.get("limit").and_then(|limit| limit.parse().ok());
    // As many as 1.18.33 gives when it is not told.
    let limit = limit.unwrap_or(100);
    world.quietly(|state| {
        let sessions = state
            .order
            .iter()
            .rev()
            .filter_map(|id| state.sessions.get(id))
            .filter(|session| {
                query
                    .get("directory")
                    .is_none_or(|directory| *directory == session.directory)
            })
            .filter(|session| !roots || session.parent.is_none())
            .take(limit);
        let mut sessions = sessions.map(|session| session.to_json()).collect();
        state.faults.alter_list(List::Sessions, &mut sessions);
        Json(sessions.into())
    })
}

async fn create_session(
    Shared(world): Server,
    Query(query): QueryMap,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let mut body = json_body(&body)?;
    if let Some(rules) = body.get("permission") {
        check_rules(rules)?;
    }
    let dialect = &world.config.dialect;
    let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let new = NewSession {
        directory: directory(&world, &query, &headers),
        title: text(body.remove("title")),
        parent: text(body.remove("parentID")),
        permission: body.remove("permission").filter(|_| dialect.keeps_rules),
        agent: body.remove("agent"),
        model: body.remove("model"),
        metadata: body.remove("metadata").filter(|_| dialect.keeps_metadata),
        version: dialect.version.clone(),
    };
    Ok(world.update(|state| {
        if world.config.startup_events {
            state.announce_directory(&new.directory);
        }
        let id = state.create_session(new);
        state.ledger.session_created(&id, true);
        let session = state.sessions[&id].to_json();
        if state.faults.forgets_sessions() {
            state.forget_session(&id);
            state.ledger.session_forgotten(&id);
        }
        Json(session)
    }))
}

fn check_rules(rules: &Value) -> Result<(), Refusal> {
    let complete = rules.as_array().is_some_and(|rules| {
        rules.iter().all(|rule| {
            rule["permission"].is_string()
                && rule["pattern"].is_string()
                && matches!(rule["action"].as_str(), Some("allow" | "deny" | "ask"))
        })
    });
    if complete {
        Ok(())
    } else {
        Err(Refusal::Payload(format!(
            "Expected permission rules, got {rules}\n  at [\"permission\"]"
        )))
    }
}

/// As on 1.18.33, of the sessions of one folder alone.
async fn status(
    Shared(world): Server,
    Query(query): QueryMap,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    if !world.config.dialect.session_status {
        return Err(Refusal::NoSessionId("status"));
    }
    let directory = directory(&world, &query, &headers);
    Ok(world.quietly(|state| {
        let here = state.sessions.values();
        let here = here.filter(|session| session.directory == directory);
        let busy = here.filter_map(|session| {
            let status = session.status.clone()?;
            Some((session.id.clone(), status))
        });
        Json(Value::Object(busy.collect()))
    }))
}

async fn get_session(
    Shared(world): Server,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    world.quietly(|state| {
        known(state, "GET /session/:id", &id, true)?;
        Ok(Json(state.sessions[&id].to_json()))
    })
}

async fn patch_session(
    Shared(world): Server,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let body = json_body(&body)?;
    if let Some(rules) = body.get("permission") {
        check_rules(rules)?;
    }
    world.update(|state| {
        known(state, "PATCH /session/:id", &id, false)?;
        let keeps_rules = world.config.dialect.keeps_rules;
        if let Some(session) = state.sessions.get_mut(&id) {
            if let Some(title) = body.get("title") {
                session.info.insert("title".into(), title.clone());
            }
            let rules = body.get("permission").filter(|_| keeps_rules);
            if let Some(Value::Array(more)) = rules {
                let rules = session
                    .info
                    .entry("permission")
                    .or_insert_with(|| json!([]));
                if let Some(rules) = rules.as_array_mut() {
                    rules.extend(more.iter().cloned());
                }
            }
        }
        state.touch_session(&id);
        Ok(Json(state.sessions[&id].to_json()))
    })
}

async fn delete_session(
    Shared(world): Server,
    Path(id): Path<String>,
) -> Result<Json<bool>, Refusal> {
    world.update(|state| {
        known(state, "DELETE /session/:id", &id, true)?;
        Ok(Json(state.delete_session(&id)))
    })
}

async fn children(
    Shared(world): Server,
    Path(id): Path<String>,
    Query(query): QueryMap,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let directory = directory(&world, &query, &headers);
    world.quietly(|state| {
        known(state, "GET /session/:id/children", &id, false)?;
        if elsewhere(&world, state, &id, &directory) {
            return Ok(Json(json!([])));
        }
        let children = state.children(&id);
        let children = children
            .iter()
            .filter_map(|child| state.sessions.get(child));
        let mut children = children.map(|session| session.to_json()).collect();
        state.faults.alter_list(List::Sessions, &mut children);
        Ok(Json(children.into()))
    })
}

/// Whether this version does not find the session, because it works in another folder than the request names.
fn elsewhere(world: &World, state: &State, id: &str, directory: &str) -> bool {
    world.config.dialect.abort_needs_directory
        && state
            .sessions
            .get(id)
            .is_some_and(|session| session.directory != directory)
}

async fn todo(Shared(world): Server, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    world.quietly(|state| {
        known(state, "GET /session/:id/todo", &id, false)?;
        Ok(Json(state.sessions[&id].todos.clone()))
    })
}

async fn message(
    Shared(world): Server,
    Path((id, message)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    if !message.starts_with("msg") {
        return Err(Refusal::Params(format!(
            "Expected a string starting with \"msg\", got {}\n  at [\"messageID\"]",
            quoted(&message)
        )));
    }
    world.quietly(|state| {
        known(state, "GET /session/:id/message/:messageID", &id, false)?;
        let Some(found) = state.sessions[&id].message(&message) else {
            return Err(if world.config.dialect.absent_message_is_500 {
                Refusal::MessageFailed(message)
            } else {
                Refusal::MessageNotFound(message)
            });
        };
        let mut found = found.to_json();
        if state.faults.touches_records() {
            paging::alter(&mut state.faults, &mut found);
        }
        Ok(Json(found))
    })
}

async fn abort(
    Shared(world): Server,
    Path(id): Path<String>,
    Query(query): QueryMap,
    headers: HeaderMap,
) -> Json<bool> {
    let directory = directory(&world, &query, &headers);
    // The real server says true for sessions it does not know, too.
    world.update(|state| {
        known(state, "POST /session/:id/abort", &id, true).ok();
        if elsewhere(&world, state, &id, &directory) {
            run::abort_elsewhere(state, &id, &directory);
        } else {
            run::abort(state, &id);
        }
    });
    Json(true)
}

impl State {
    /// What a real server sends when it first works in a directory: a burst of frames that nobody needs.
    fn announce_directory(&mut self, directory: &str) {
        if self.directories.iter().any(|known| known == directory) {
            return;
        }
        self.directories.push(directory.to_owned());
        for plugin in 0..46 {
            self.emit_directory(
                directory,
                "plugin.added",
                &json!({"id": format!("plugin-{plugin}")}),
            );
        }
        for kind in [
            "catalog.updated",
            "reference.updated",
            "integration.updated",
        ] {
            self.emit_directory(directory, kind, &json!({}));
        }
    }
}
