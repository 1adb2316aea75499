//! `GET /session/:id/message`: the newest messages, page by page.
//!
//! As on 1.18.33 a page has `limit` messages, oldest first; when there are older ones, `X-Next-Cursor` and `Link` tell
//! the `before` of the page that comes before it. A cursor is base64url of `{"id", "time"}` of the page's oldest.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::errors::Refusal;
use crate::faults::{FaultTable, List, Record, Seen};
use crate::requests::{QueryMap, Server, known};

pub(super) async fn messages(
    Shared(world): Server,
    Path(id): Path<String>,
    Query(query): QueryMap,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let limit = match query.get("limit") {
        Some(limit) => Some(limit.parse::<usize>().map_err(|_| Refusal::Query)?),
        None => None,
    };
    let before = match query.get("before") {
        Some(_) if limit.is_none() => return Err(Refusal::Query),
        Some(cursor) => Some(cursor_id(cursor).ok_or(Refusal::Query)?),
        None => None,
    };
    let (page, more) = world.quietly(|state| {
        known(state, "GET /session/:id/message", &id, false)?;
        if state.faults.history_fails() || state.sessions[&id].broken {
            return Err(Refusal::HistoryBroken);
        }
        let all = &state.sessions[&id].messages;
        let end = match &before {
            Some(before) => all
                .iter()
                .position(|message| message.id() == before)
                .unwrap_or_else(|| {
                    all.iter()
                        .take_while(|message| message.id() < before.as_str())
                        .count()
                }),
            None => all.len(),
        };
        let start = match limit {
            Some(limit) if limit > 0 => end.saturating_sub(limit),
            _ => 0,
        };
        let oldest = all[start..end].first().map(|oldest| oldest.info.clone());
        let mut page: Vec<Value> = all[start..end]
            .iter()
            .map(|message| message.to_json())
            .collect();
        if state.faults.touches_records() {
            for message in &mut page {
                alter(&mut state.faults, message);
            }
            state.faults.alter_list(List::Messages, &mut page);
        }
        Ok((page, oldest.filter(|_| start > 0)))
    })?;
    let mut response = Json(page).into_response();
    if let Some(oldest) = more {
        let cursor = URL_SAFE_NO_PAD
            .encode(json!({"id": oldest["id"], "time": oldest["time"]["created"]}).to_string());
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        let mut link = format!("<http://{host}{}?", uri.path());
        for pair in uri.query().unwrap_or_default().split('&') {
            if !pair.is_empty() && !pair.starts_with("before=") {
                write!(link, "{pair}&").ok();
            }
        }
        write!(link, "before={cursor}>; rel=\"next\"").ok();
        let headers = response.headers_mut();
        if let (Ok(link), Ok(cursor)) =
            (HeaderValue::from_str(&link), HeaderValue::from_str(&cursor))
        {
            headers.insert(header::LINK, link);
            headers.insert("x-next-cursor", cursor);
        }
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("Link, X-Next-Cursor"),
        );
    }
    Ok(response)
}

/// Makes a message of an answer as odd as the faults want it.
pub(super) fn alter(faults: &mut FaultTable, message: &mut Value) {
    let role = message["info"]["role"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    faults.alter(Record::Message, Seen::Lists, &role, &mut message["info"]);
    if let Some(parts) = message["parts"].as_array_mut() {
        for part in parts.iter_mut() {
            faults.alter(Record::Part, Seen::Lists, &role, part);
        }
        faults.alter_list(List::Parts, parts);
    }
}

fn cursor_id(cursor: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor.trim_end_matches('=')).ok()?;
    let cursor: Value = serde_json::from_slice(&bytes).ok()?;
    Some(cursor["id"].as_str()?.to_owned())
}
