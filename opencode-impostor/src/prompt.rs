//! Taking a prompt in: `POST …/prompt_async` and `POST …/message`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State as Shared};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::errors::Refusal;
use crate::ids;
use crate::json_text::{quoted, text_of};
use crate::ledger::PromptPost;
use crate::requests::{RequestNumber, json_body, known};
use crate::run;
use crate::shown;
use crate::state::{State, World};

/// A prompt whose form was checked.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    pub(crate) session: String,
    message_id: Option<String>,
    parts: Vec<Value>,
    agent: Option<String>,
    model: Option<(String, String)>,
    extras: Map<String, Value>,
    variant: Option<Value>,
    no_reply: bool,
}

impl Prompt {
    fn parse(session: String, body: &Bytes) -> Result<Self, Refusal> {
        let mut body = json_body(body)?;
        let Some(Value::Array(parts)) = body.remove("parts") else {
            return Err(Refusal::Payload("Expected array\n  at [\"parts\"]".into()));
        };
        for (at, part) in parts.iter().enumerate() {
            if !part["type"].is_string() || (part["type"] == "text" && !part["text"].is_string()) {
                return Err(Refusal::Payload(format!(
                    "Expected a part, got {part}\n  at [\"parts\"][{at}]"
                )));
            }
            starts_with(part.get("id"), "prt", &format!("[\"parts\"][{at}][\"id\"]"))?;
        }
        let message_id = starts_with(body.get("messageID"), "msg", "[\"messageID\"]")?;
        let model = match body.get("model") {
            None => None,
            Some(model) => match (model["providerID"].as_str(), model["modelID"].as_str()) {
                (Some(provider), Some(model)) => Some((provider.to_owned(), model.to_owned())),
                _ => {
                    return Err(Refusal::Payload(format!(
                        "Missing key, got {model}\n  at [\"model\"][\"modelID\"]"
                    )));
                }
            },
        };
        let mut extras = Map::new();
        for name in ["system", "tools", "format"] {
            if let Some(value) = body.remove(name) {
                extras.insert(name.into(), value);
            }
        }
        Ok(Self {
            session,
            message_id,
            parts,
            agent: body.get("agent").and_then(Value::as_str).map(str::to_owned),
            model,
            extras,
            variant: body.remove("variant"),
            no_reply: body.get("noReply") == Some(&Value::Bool(true)),
        })
    }

    fn text(&self) -> String {
        text_of(&self.parts)
    }
}

fn starts_with(value: Option<&Value>, prefix: &str, at: &str) -> Result<Option<String>, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if id.starts_with(prefix) => Ok(Some(id.clone())),
        Some(other) => Err(Refusal::Payload(format!(
            "Expected a string starting with {}, got {other}\n  at [{}]",
            quoted(prefix),
            at.trim_start_matches('[').trim_end_matches(']')
        ))),
    }
}

/// `POST /session/:id/prompt_async`.
pub(crate) async fn asynchronous(
    Shared(world): Shared<Arc<World>>,
    Path(id): Path<String>,
    Extension(RequestNumber(request)): Extension<RequestNumber>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let prompt = Prompt::parse(id.clone(), &body)?;
    let gate = world.update(|state| {
        known(state, "POST /session/:id/prompt_async", &id, false)?;
        let message_id = record(state, &prompt, request, true);
        Ok(match state.faults.prompt_gate() {
            Some(gate) if !state.gates.is_open(&gate) => Some((gate, message_id)),
            _ => {
                accept(&world, state, &prompt, message_id).ok();
                None
            }
        })
    })?;
    if let Some((gate, message_id)) = gate {
        let later = world.clone();
        world.spawn(async move {
            later.pass(&gate).await;
            later.update(|state| accept(&later, state, &prompt, message_id).ok());
        });
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /session/:id/message`: waits for the turn and answers its last assistant message.
pub(crate) async fn synchronous(
    Shared(world): Shared<Arc<World>>,
    Path(id): Path<String>,
    Extension(RequestNumber(request)): Extension<RequestNumber>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let prompt = Prompt::parse(id.clone(), &body)?;
    let message_id = world.update(|state| {
        known(state, "POST /session/:id/message", &id, false)?;
        let message_id = record(state, &prompt, request, false);
        accept(&world, state, &prompt, message_id.clone())?;
        Ok(message_id)
    })?;
    world
        .until(|state| {
            let Some(session) = state.sessions.get(&id) else {
                return Some(Err(Refusal::SessionNotFound(id.clone())));
            };
            if session.run.is_some() {
                return None;
            }
            let last = session
                .messages
                .iter()
                .rev()
                .find(|message| message.info["parentID"] == message_id.as_str())
                .or_else(|| session.message(&message_id));
            Some(
                last.map(|message| Json(message.to_json()))
                    .ok_or(Refusal::Unexpected),
            )
        })
        .await
}

/// Notes the prompt in the ledger; its message id, chosen here when the client chose none.
fn record(state: &mut State, prompt: &Prompt, request: usize, check_ids: bool) -> String {
    let message_id = prompt
        .message_id
        .clone()
        .unwrap_or_else(|| state.ids.ascending("msg"));
    let session = &state.sessions[&prompt.session];
    let newest = session
        .messages
        .iter()
        .map(|message| message.id())
        .max_by_key(|id| ids::order(id))
        .map(str::to_owned);
    let post = PromptPost {
        session: prompt.session.clone(),
        fresh: session.message(&message_id).is_none(),
        message_id: message_id.clone(),
        text: prompt.text(),
        request,
    };
    let parts: &[Value] = if check_ids { &prompt.parts } else { &[] };
    state
        .ledger
        .prompt(post, prompt.no_reply, newest.as_deref(), parts);
    message_id
}

/// Stores the user message and starts the run that answers it. The error is what the synchronous endpoint answers.
fn accept(
    world: &Arc<World>,
    state: &mut State,
    prompt: &Prompt,
    message_id: String,
) -> Result<(), Refusal> {
    let id = &prompt.session;
    let Some(session) = state.sessions.get(id) else {
        return Err(Refusal::SessionNotFound(id.clone()));
    };
    let agent = prompt.agent.clone().unwrap_or_else(|| {
        session
            .info
            .get("agent")
            .and_then(Value::as_str)
            .unwrap_or("build")
            .to_owned()
    });
    if let Some(agents) = &world.config.agents
        && !agents.contains(&agent)
    {
        if world.config.dialect.silent_unknown_agent {
            return Err(Refusal::Unexpected);
        }
        let message = format!(
            "Agent not found: \"{agent}\". Available agents: {}",
            agents.join(", ")
        );
        for message in [message.as_str(), "UnknownError: UnknownError"] {
            session_error(state, id, message);
        }
        return Err(Refusal::Unexpected);
    }
    if state.tape.is_some() {
        run::enqueue(world, state, id, message_id, Some(prompt.parts.clone()));
        return Ok(());
    }

    let repeated = session.message(&message_id).is_some();
    let parts = match shown::read(&prompt.parts) {
        Ok(parts) => parts,
        Err(message) => {
            session_error(state, id, &message);
            return Err(Refusal::Unexpected);
        }
    };
    let (provider, model) = prompt.model.clone().unwrap_or_else(|| {
        let of_session = session.info.get("model").and_then(|model| {
            Some((
                model["providerID"].as_str()?.to_owned(),
                model["id"].as_str()?.to_owned(),
            ))
        });
        let first = || world.config.models.as_ref()?.first().cloned();
        of_session
            .or_else(first)
            .unwrap_or_else(|| ("local".into(), "scripted".into()))
    });
    let variant = prompt.variant.clone();
    choose_model(state, id, &agent, (&provider, &model), variant.as_ref());
    let mut model_info = json!({"providerID": provider, "modelID": model});
    if let Some(variant) = variant {
        model_info["variant"] = variant;
    }
    let mut info = json!({
        "id": message_id, "role": "user", "sessionID": id, "time": {"created": state.ids.now()},
        "agent": agent, "model": model_info,
    });
    for (name, value) in &prompt.extras {
        info[name] = value.clone();
    }
    state.put_message(id, info);
    for mut part in parts {
        if part.get("id").is_none_or(Value::is_null) {
            part["id"] = state.ids.ascending("prt").into();
        }
        part["messageID"] = message_id.as_str().into();
        part["sessionID"] = id.as_str().into();
        state.put_part(id, part);
    }
    state.touch_session(id);
    if prompt.no_reply {
        return Ok(());
    }
    if let Some(models) = &world.config.models
        && !models.contains(&(provider.clone(), model.clone()))
    {
        let message = format!("Model not found: {provider}/{model}.");
        state.set_status(id, Some(json!({"type": "busy"})));
        session_error(state, id, &message);
        state.set_status(id, None);
        session_error(state, id, &format!("ProviderModelNotFoundError: {message}"));
        return Err(Refusal::Unexpected);
    }
    let busy = state.sessions[id].run.is_some();
    let run_again = !repeated || (busy && world.config.dialect.repost_runs_again);
    if run_again {
        run::enqueue(world, state, id, message_id, None);
    } else if !busy {
        // A repeat after the end: the loop starts, finds nothing to do, and stops.
        state.set_status(id, Some(json!({"type": "busy"})));
        state.set_status(id, None);
    }
    Ok(())
}

fn session_error(state: &mut State, session: &str, message: &str) {
    let error = json!({"error": {"name": "UnknownError", "data": {"message": message}}});
    state.emit(session, "session.error", &error);
}

/// Notes agent and model in the session, and says so when they changed.
fn choose_model(
    state: &mut State,
    id: &str,
    agent: &str,
    (provider, model): (&str, &str),
    variant: Option<&Value>,
) {
    let Some(session) = state.sessions.get_mut(id) else {
        return;
    };
    let default = json!("default");
    let chosen =
        json!({"id": model, "providerID": provider, "variant": variant.unwrap_or(&default)});
    let agent = Value::from(agent);
    if session.info.get("agent") == Some(&agent) && session.info.get("model") == Some(&chosen) {
        return;
    }
    session.info.insert("agent".into(), agent);
    session.info.insert("model".into(), chosen);
    state.touch_session(id);
}
