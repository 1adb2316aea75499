//! What the endpoints read of a request.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State as Shared};
use axum::http::HeaderMap;
use serde_json::{Map, Value};

use crate::errors::Refusal;
use crate::state::{State, World};

pub(crate) type Server = Shared<Arc<World>>;
pub(crate) type QueryMap = Query<HashMap<String, String>>;

/// Which request of the ledger is being served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestNumber(pub(crate) usize);

/// The directory a request is about.
pub(crate) fn directory(
    world: &World,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
) -> String {
    query
        .get("directory")
        .cloned()
        .or_else(|| {
            let value = headers.get("x-opencode-directory")?.to_str().ok()?;
            Some(value.to_owned())
        })
        .unwrap_or_else(|| world.config.directory.clone())
}

/// A JSON body; an empty one counts as `{}`.
pub(crate) fn json_body(body: &Bytes) -> Result<Map<String, Value>, Refusal> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(Refusal::Payload(format!("Expected object, got {other}"))),
        Err(_) => Err(Refusal::Unexpected),
    }
}

/// Complains in the ledger about a session that is not there, and refuses.
pub(crate) fn known(
    state: &mut State,
    endpoint: &str,
    id: &str,
    deleted_is_fine: bool,
) -> Result<(), Refusal> {
    if state.sessions.contains_key(id) {
        return Ok(());
    }
    state.ledger.unknown_session(endpoint, id, deleted_is_fine);
    Err(Refusal::SessionNotFound(id.to_owned()))
}
