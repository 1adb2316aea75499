//! Servers of tools: added to a folder, listed; and the tools that the server has itself.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State as Shared};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::errors::Refusal;
use crate::mcp::Added;
use crate::requests::{QueryMap, Server, directory, json_body};
use crate::state::State;

/// What 1.18.33 has.
const OWN_TOOLS: [&str; 14] = [
    "invalid",
    "question",
    "bash",
    "read",
    "glob",
    "grep",
    "edit",
    "write",
    "task",
    "webfetch",
    "todowrite",
    "websearch",
    "skill",
    "apply_patch",
];

/// `GET /experimental/tool/ids`
pub(super) async fn own_tools() -> Json<Value> {
    Json(json!(OWN_TOOLS))
}

/// `GET /config`
pub(super) async fn config() -> Json<Value> {
    Json(json!({}))
}

/// `GET /mcp`
pub(super) async fn statuses(
    Shared(world): Server,
    Query(query): QueryMap,
    headers: HeaderMap,
) -> Json<Value> {
    let directory = directory(&world, &query, &headers);
    world.quietly(|state| Json(state.tools_of(&directory)))
}

/// `POST /mcp`: connects before it answers.
pub(super) async fn add(
    Shared(world): Server,
    Query(query): QueryMap,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let body = json_body(&body)?;
    let directory = directory(&world, &query, &headers);
    let (Some(name), Some(config)) = (body.get("name").and_then(Value::as_str), body.get("config"))
    else {
        return Err(Refusal::Payload("Missing key\n  at [\"name\"]".to_owned()));
    };
    let added = Added::connect(config).await;
    Ok(world.update(|state| {
        let earlier = state
            .mcp
            .insert((directory.clone(), name.to_owned()), added);
        if let Some(earlier) = earlier {
            earlier.closed.cancel();
        }
        Json(state.tools_of(&directory))
    }))
}

impl State {
    /// How it stands with the servers of tools of a folder.
    fn tools_of(&self, directory: &str) -> Value {
        let here = self.mcp.iter().filter(|((of, _), _)| of == directory);
        let statuses = here.map(|((_, name), added)| (name.clone(), added.status.clone()));
        Value::Object(statuses.collect())
    }
}
