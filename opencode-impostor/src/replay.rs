//! Playing a tape: the events of a recorded turn, with the ids of the client that prompts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::ids;
use crate::json_text::text_of;
use crate::sessions::{Message, NewSession};
use crate::state::{Ask, State, World};
use crate::tape::{Tape, TapeEntry, TapedHttp};
use crate::turn::End;

/// What a recorded HTTP exchange in the middle of a turn makes the replay wait for.
enum Wait {
    Question(String),
    Permission(String),
    Abort,
}

fn wait_of(http: &TapedHttp, rename: &Rename) -> Option<Wait> {
    if http.method != "POST" {
        return None;
    }
    let segments: Vec<&str> = http.path.split('/').skip(1).collect();
    match segments[..] {
        ["question", id, _] => Some(Wait::Question(rename.text(id))),
        ["permission", id, _] => Some(Wait::Permission(rename.text(id))),
        ["session", _, "abort"] => Some(Wait::Abort),
        _ => None,
    }
}

/// Old ids and what they are now.
struct Rename {
    ids: HashMap<String, String>,
    directory: (String, String),
}

const PREFIXES: [&str; 5] = ["ses_", "msg_", "prt_", "que_", "per_"];

/// Calls `found` with every id in `text`.
fn each_id<'a>(text: &'a str, mut found: impl FnMut(usize, &'a str)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(step) = text.get(at..).and_then(|rest| rest.find('_')) {
        let underscore = at + step;
        let start = underscore.saturating_sub(3);
        let end = bytes[underscore + 1..]
            .iter()
            .position(|byte| !byte.is_ascii_alphanumeric())
            .map_or(bytes.len(), |length| underscore + 1 + length);
        if text
            .get(start..=underscore)
            .is_some_and(|prefix| PREFIXES.contains(&prefix))
            && end - underscore > 20
        {
            found(start, &text[start..end]);
            at = end;
        } else {
            at = underscore + 1;
        }
    }
}

impl Rename {
    fn text(&self, text: &str) -> String {
        let mut renamed = String::with_capacity(text.len());
        let mut done = 0;
        each_id(text, |start, id| {
            renamed.push_str(&text[done..start]);
            renamed.push_str(self.ids.get(id).map_or(id, String::as_str));
            done = start + id.len();
        });
        renamed.push_str(&text[done..]);
        let (old, new) = &self.directory;
        if old.is_empty() || old == "/" {
            return renamed;
        }
        // Titles are relative to `/`.
        let bare = |path: &str| path.trim_start_matches('/').to_owned();
        let renamed = renamed.replace(old, new);
        if new.contains(&bare(old)) {
            renamed
        } else {
            renamed.replace(&bare(old), &bare(new))
        }
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(name, item)| (name.clone(), self.value(item)))
                .collect(),
            other => other.clone(),
        }
    }
}

/// The part of a tape that answers one prompt.
struct Segment<'a> {
    entries: &'a [TapeEntry],
    text: String,
    session: String,
    family: Vec<String>,
    exchange: Option<Value>,
}

impl<'a> Segment<'a> {
    /// The `number`-th turn (from 0) of the tape; after the last one it begins again.
    fn of(tape: &'a Tape, prompt: &str, number: usize) -> Option<Self> {
        let prompts = tape.prompts();
        // Several sessions on one tape: the text tells which of them is meant.
        let same: Vec<_> = prompts
            .iter()
            .filter(|taped| taped.text == prompt)
            .collect();
        let taped = match same[..] {
            [only] => only,
            _ => prompts.get(number % prompts.len().max(1))?,
        };
        let end = prompts
            .iter()
            .find(|later| later.entry > taped.entry && later.session == taped.session)
            .map_or(tape.entries.len(), |later| later.entry);
        let entries = &tape.entries[taped.entry + 1..end];
        let mut family = vec![taped.session.clone()];
        for entry in entries {
            if let TapeEntry::Event(event) = entry
                && event.kind() == "session.created"
            {
                let info = &event.payload()["properties"]["info"];
                if let (Some(id), Some(parent)) = (info["id"].as_str(), info["parentID"].as_str())
                    && family.iter().any(|known| known == parent)
                {
                    family.push(id.to_owned());
                }
            }
        }
        let path = format!("/session/{}/message", taped.session);
        let exchange = entries
            .iter()
            .filter_map(|entry| match entry {
                TapeEntry::Http(http)
                    if http.method == "GET" && http.path == path && !http.unanswered =>
                {
                    Some(http.response.clone())
                }
                _ => None,
            })
            .next_back();
        Some(Self {
            entries,
            text: taped.text.clone(),
            session: taped.session.clone(),
            family,
            exchange,
        })
    }

    /// The user message on the tape and its first part.
    fn user(&self) -> (Option<String>, Option<String>) {
        let events = || {
            self.entries.iter().filter_map(|entry| match entry {
                TapeEntry::Event(event) if event.session() == Some(&self.session) => {
                    Some(&event.payload()["properties"])
                }
                _ => None,
            })
        };
        let user = events()
            .find(|properties| properties["info"]["role"] == "user")
            .and_then(|properties| properties["info"]["id"].as_str())
            .map(str::to_owned);
        let part = events()
            .find(|properties| {
                properties["part"]["messageID"].as_str().is_some()
                    && properties["part"]["messageID"].as_str() == user.as_deref()
            })
            .and_then(|properties| properties["part"]["id"].as_str())
            .map(str::to_owned);
        (user, part)
    }

    /// The directory the recording was made in.
    fn directory(&self, tape: &Tape) -> String {
        tape.https()
            .find(|http| http.method == "POST" && http.response["id"] == self.session.as_str())
            .and_then(|http| http.response["directory"].as_str())
            .unwrap_or_default()
            .to_owned()
    }

    fn ids(&self) -> Vec<String> {
        let mut seen = Vec::new();
        let mut look = |value: &Value| {
            each_id(&value.to_string(), |_, id| {
                if !seen.iter().any(|known| known == id) {
                    seen.push(id.to_owned());
                }
            });
        };
        for entry in self.entries {
            if let TapeEntry::Event(event) = entry
                && event
                    .session()
                    .is_some_and(|session| self.family.iter().any(|known| known == session))
            {
                look(&event.payload()["properties"]);
            }
        }
        if let Some(exchange) = &self.exchange {
            look(exchange);
        }
        // The order of the ids on the tape is kept by minting them in that order.
        seen.sort_by_key(|id| ids::order(id));
        seen
    }
}

/// Plays the turn of the tape that answers this prompt.
pub(crate) async fn play(
    world: &Arc<World>,
    session: &str,
    user: &str,
    parts: &[Value],
    token: &CancellationToken,
) -> End {
    let text = text_of(parts);
    let Some((tape, number)) = world.update(|state| {
        state.ledger.model_run(user);
        let found = state.sessions.get_mut(session)?;
        found.tape_prompts += 1;
        Some((state.tape.clone()?, found.tape_prompts - 1))
    }) else {
        return End::Failed;
    };
    let Some(segment) = Segment::of(&tape, &text, number) else {
        return End::Failed;
    };
    let rename = names(world, session, user, parts, &tape, &segment);

    let aborts = segment.entries.iter().any(
        |entry| matches!(entry, TapeEntry::Http(http) if matches!(wait_of(http, &rename), Some(Wait::Abort))),
    );
    let mut last_at = None;
    for entry in segment.entries {
        if token.is_cancelled() && !aborts {
            return End::Aborted;
        }
        match entry {
            TapeEntry::Event(event) => {
                if event.kind() == "sync"
                    || event
                        .session()
                        .is_none_or(|of| !segment.family.iter().any(|known| known == of))
                    || (event.kind() == "session.created"
                        && event.session() == Some(&segment.session))
                {
                    continue;
                }
                if let (Some(last), Some(speed)) = (last_at, world.config.tape_speed) {
                    let gap = event.at_ms.saturating_sub(last) as f64 / speed.max(0.001);
                    tokio::time::sleep(Duration::from_secs_f64(gap / 1000.0)).await;
                }
                last_at = Some(event.at_ms);
                let mut properties = rename.value(&event.payload()["properties"]);
                if properties["part"]["messageID"] == user
                    && properties["part"]["text"] == segment.text.as_str()
                {
                    properties["part"]["text"] = text.as_str().into();
                }
                let kind = event.kind().to_owned();
                world.update(|state| apply(state, session, &kind, &properties));
            }
            TapeEntry::Http(http) => {
                if let Some(wait) = wait_of(http, &rename)
                    && !hold(world, wait, token).await
                {
                    return End::Aborted;
                }
            }
        }
    }
    if let Some(exchange) = &segment.exchange {
        let exchange = rename.value(exchange);
        world.update(|state| settle(state, session, user, &text, &exchange));
    }
    End::Replayed
}

fn names(
    world: &World,
    session: &str,
    user: &str,
    parts: &[Value],
    tape: &Tape,
    segment: &Segment<'_>,
) -> Rename {
    let (taped_user, taped_part) = segment.user();
    world.update(|state| {
        let mut ids = HashMap::new();
        ids.insert(segment.session.clone(), session.to_owned());
        if let Some(taped) = taped_user {
            ids.insert(taped, user.to_owned());
        }
        let own_part = parts.first().and_then(|part| part["id"].as_str());
        if let (Some(taped), Some(own)) = (taped_part, own_part) {
            ids.insert(taped, own.to_owned());
        }
        for id in segment.ids() {
            ids.entry(id).or_insert_with_key(|id| match &id[..3] {
                "ses" => state.ids.session(),
                prefix => state.ids.ascending(prefix),
            });
        }
        let directory = state
            .sessions
            .get(session)
            .map(|found| found.directory.clone())
            .unwrap_or_default();
        Rename {
            ids,
            directory: (segment.directory(tape), directory),
        }
    })
}

/// Waits for what the client did on the tape; false when it aborts instead.
async fn hold(world: &World, wait: Wait, token: &CancellationToken) -> bool {
    let answered = async {
        match &wait {
            Wait::Question(id) => {
                world
                    .until(|state| state.questions.get(id)?.answer.is_some().then_some(()))
                    .await;
                world.update(|state| state.questions.remove(id));
            }
            Wait::Permission(id) => {
                world
                    .until(|state| state.permissions.get(id)?.answer.is_some().then_some(()))
                    .await;
                world.update(|state| state.permissions.remove(id));
            }
            Wait::Abort => token.cancelled().await,
        }
    };
    let expected = matches!(wait, Wait::Abort);
    tokio::select! {
        biased;
        () = answered => true,
        () = token.cancelled() => expected,
    }
}

/// Does to the state what the event tells, and sends it.
fn apply(state: &mut State, main: &str, kind: &str, properties: &Value) {
    let session = properties["sessionID"].as_str().unwrap_or(main).to_owned();
    let session = session.as_str();
    match kind {
        "session.created" => adopt(state, session, properties),
        "session.updated" => {
            if let Some(found) = state.sessions.get_mut(session) {
                for name in ["cost", "tokens", "summary", "agent", "model"] {
                    if let Some(value) = properties["info"].get(name) {
                        found.info.insert(name.to_owned(), value.clone());
                    }
                }
            }
            state.touch_session(session);
        }
        "message.updated" => state.put_message(session, properties["info"].clone()),
        "message.part.updated" => state.put_part(session, properties["part"].clone()),
        "session.status" => {
            let status = &properties["status"];
            let idle = status["type"] == "idle";
            if let Some(found) = state.sessions.get_mut(session) {
                found.status = (!idle).then(|| status.clone());
            }
            if session == main {
                state.ledger.set_busy(main, !idle);
            }
            state.emit(session, kind, properties);
        }
        "todo.updated" => {
            if let Some(found) = state.sessions.get_mut(session) {
                found.todos = properties["todos"].clone();
            }
            state.emit(session, kind, properties);
        }
        "question.asked" | "permission.asked" => {
            let id = properties["id"].as_str().unwrap_or_default().to_owned();
            let ask = Ask {
                session: session.to_owned(),
                body: properties.clone(),
                answer: None,
            };
            if kind == "question.asked" {
                state.ledger.questions.insert(id.clone());
                state.questions.insert(id, ask);
            } else {
                state.ledger.permissions.insert(id.clone());
                state.permissions.insert(id, ask);
            }
            state.emit(session, kind, properties);
        }
        // The client's own reply was told when it came.
        "question.replied" | "question.rejected" | "permission.replied" => {}
        _ => state.emit(session, kind, properties),
    }
}

/// The session of a sub-agent on the tape.
fn adopt(state: &mut State, id: &str, properties: &Value) {
    let info = &properties["info"];
    let text = |name: &str| info[name].as_str().map(str::to_owned);
    let new = NewSession {
        directory: text("directory").unwrap_or_default(),
        title: text("title"),
        parent: text("parentID"),
        permission: info.get("permission").cloned(),
        agent: info.get("agent").cloned(),
        version: text("version").unwrap_or_default(),
        ..NewSession::default()
    };
    state.create_session_as(id, new);
}

/// Puts the messages of this prompt into the order and form of the tape's last look at them.
fn settle(state: &mut State, session: &str, user: &str, text: &str, exchange: &Value) {
    let Some(found) = state.sessions.get_mut(session) else {
        return;
    };
    let of_prompt = |info: &Value| info["id"] == user || info["parentID"] == user;
    let taped: Vec<Message> = exchange
        .as_array()
        .into_iter()
        .flatten()
        .filter(|message| of_prompt(&message["info"]))
        .map(|message| {
            let mut parts = message["parts"].as_array().cloned().unwrap_or_default();
            if message["info"]["id"] == user
                && let Some(part) = parts.iter_mut().find(|part| part["type"] == "text")
            {
                part["text"] = json!(text);
            }
            Message {
                info: message["info"].clone(),
                parts,
            }
        })
        .collect();
    let at = found
        .messages
        .iter()
        .position(|message| of_prompt(&message.info))
        .unwrap_or(found.messages.len());
    found.messages.retain(|message| !of_prompt(&message.info));
    let at = at.min(found.messages.len());
    found.messages.splice(at..at, taped);
}
