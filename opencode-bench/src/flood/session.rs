//! A session, and the answer that it gives.

use serde_json::{Value, json};

use super::frames;
use super::pace::Pace;

/// A session of the load server.
pub(super) struct Session {
    pub(super) id: String,
    directory: String,
    created_ms: u64,
    rules: Vec<Value>,
    turns: Vec<Turn>,
}

/// A prompt and its answer.
struct Turn {
    user: String,
    parts: Value,
    assistant: String,
    text_part: String,
    began_us: u64,
    /// When each delta was made, in microseconds: its words follow from it.
    made: Vec<u64>,
    end: Option<End>,
    /// A delta's frame, but for its words.
    delta: (Vec<u8>, Vec<u8>),
}

#[derive(Clone, Copy)]
struct End {
    at_ms: u64,
    aborted: bool,
}

impl Session {
    pub(super) fn new(number: u64, directory: &str, created_ms: u64, rules: Value) -> Self {
        Self {
            rules: match rules {
                Value::Array(rules) => rules,
                _ => Vec::new(),
            },
            id: format!("ses_{:012x}f{number:013x}", created_ms << 12),
            directory: directory.to_owned(),
            created_ms,
            turns: Vec::new(),
        }
    }

    pub(super) fn info(&self) -> Value {
        json!({
            "id": self.id, "slug": "flood", "version": "1.18.33", "projectID": "global",
            "directory": self.directory, "title": "flood", "permission": self.rules,
            "time": {"created": self.created_ms, "updated": self.created_ms},
        })
    }

    pub(super) fn add_rules(&mut self, rules: &Value) {
        self.rules
            .extend(rules.as_array().into_iter().flatten().cloned());
    }

    /// Takes a prompt: the frames that say so.
    pub(super) fn begin(&mut self, user: &str, parts: &Value, now_us: u64) -> Vec<u8> {
        // Behind the prompt's id, which the host chose, and before any of a later millisecond.
        let assistant = format!("{}zzzzzzzz", user.get(..user.len().min(22)).unwrap_or(user));
        let text_part = assistant.replacen("msg_", "prt_", 1);
        let delta = frames::delta(&self.directory, &self.id, &assistant, &text_part);
        let turn = Turn {
            user: user.to_owned(),
            parts: parts.clone(),
            assistant,
            text_part,
            began_us: now_us,
            made: Vec::new(),
            end: None,
            delta,
        };
        let mut frames = Vec::new();
        let mut say = |kind: &str, properties: &Value| {
            frames::event(&self.directory, kind, &properties.to_string(), &mut frames);
        };
        let id = &self.id;
        say(
            "message.updated",
            &json!({"sessionID": id, "info": turn.user_info(id)}),
        );
        for part in turn.user_parts(id) {
            say(
                "message.part.updated",
                &json!({"sessionID": id, "part": part, "time": now_us / 1000}),
            );
        }
        say(
            "session.status",
            &json!({"sessionID": id, "status": {"type": "busy"}}),
        );
        say(
            "message.updated",
            &json!({"sessionID": id, "info": turn.assistant_info(id)}),
        );
        let part = turn.text(id, "");
        say(
            "message.part.updated",
            &json!({"sessionID": id, "part": part, "time": now_us / 1000}),
        );
        self.turns.push(turn);
        frames
    }

    /// Writes what is due by now; false once the answer is whole.
    pub(super) fn tick(&mut self, pace: &Pace, now_us: u64, frames: &mut Vec<u8>) -> bool {
        let Some(turn) = self.turns.last_mut().filter(|turn| turn.end.is_none()) else {
            return false;
        };
        let due = (now_us.saturating_sub(turn.began_us) * pace.rate / 1_000_000).min(pace.deltas());
        while (turn.made.len() as u64) < due {
            frames.extend_from_slice(&turn.delta.0);
            frames::words(now_us, pace.delta_bytes, frames);
            frames.extend_from_slice(&turn.delta.1);
            turn.made.push(now_us);
        }
        if due < pace.deltas() {
            return true;
        }
        self.end(pace, now_us, false, frames);
        false
    }

    pub(super) fn abort(&mut self, pace: &Pace, now_us: u64, frames: &mut Vec<u8>) {
        if self.turns.last().is_some_and(|turn| turn.end.is_none()) {
            self.end(pace, now_us, true, frames);
        }
    }

    fn end(&mut self, pace: &Pace, now_us: u64, aborted: bool, frames: &mut Vec<u8>) {
        let Some(turn) = self.turns.last_mut() else {
            return;
        };
        turn.end = Some(End {
            at_ms: now_us / 1000,
            aborted,
        });
        let id = &self.id;
        let part = turn.text(id, &turn.words(pace));
        let mut say = |kind: &str, properties: &Value| {
            frames::event(&self.directory, kind, &properties.to_string(), frames);
        };
        say(
            "message.part.updated",
            &json!({"sessionID": id, "part": part, "time": now_us / 1000}),
        );
        say(
            "message.updated",
            &json!({"sessionID": id, "info": turn.assistant_info(id)}),
        );
        say(
            "session.status",
            &json!({"sessionID": id, "status": {"type": "idle"}}),
        );
        say("session.idle", &json!({"sessionID": id}));
    }

    /// All messages, the oldest first.
    pub(super) fn messages(&self, pace: &Pace) -> Value {
        let mut all = Vec::with_capacity(self.turns.len() * 2);
        for turn in &self.turns {
            let parts: Vec<_> = turn.user_parts(&self.id).collect();
            all.push(json!({"info": turn.user_info(&self.id), "parts": parts}));
            let text = turn.text(&self.id, &turn.words(pace));
            all.push(json!({"info": turn.assistant_info(&self.id), "parts": [text]}));
        }
        all.into()
    }
}

impl Turn {
    fn words(&self, pace: &Pace) -> String {
        let mut words = Vec::new();
        for made in &self.made {
            frames::words(*made, pace.delta_bytes, &mut words);
        }
        String::from_utf8_lossy(&words).into_owned()
    }

    fn user_info(&self, session: &str) -> Value {
        json!({
            "id": self.user, "role": "user", "sessionID": session, "time": {"created": self.began_us / 1000},
            "agent": "build", "model": {"providerID": "flood", "modelID": "flood"},
        })
    }

    fn user_parts(&self, session: &str) -> impl Iterator<Item = Value> {
        let parts = self.parts.as_array().into_iter().flatten().enumerate();
        parts.map(move |(at, part)| {
            let mut part = part.clone();
            if part["id"].is_null() {
                part["id"] = format!("{}{at}", self.text_part).into();
            }
            part["messageID"] = self.user.as_str().into();
            part["sessionID"] = session.into();
            part
        })
    }

    fn assistant_info(&self, session: &str) -> Value {
        let mut info = json!({
            "id": self.assistant, "role": "assistant", "parentID": self.user, "sessionID": session,
            "mode": "build", "agent": "build", "path": {"cwd": "/", "root": "/"}, "cost": 0,
            "tokens": {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}},
            "modelID": "flood", "providerID": "flood", "time": {"created": self.began_us / 1000},
        });
        if let Some(end) = self.end {
            info["time"]["completed"] = end.at_ms.into();
            if end.aborted {
                info["error"] =
                    json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}});
            } else {
                info["finish"] = "stop".into();
            }
        }
        info
    }

    fn text(&self, session: &str, words: &str) -> Value {
        let mut part = json!({
            "id": self.text_part, "messageID": self.assistant, "sessionID": session, "type": "text",
            "text": words, "time": {"start": self.began_us / 1000},
        });
        if let Some(end) = self.end {
            part["time"]["end"] = end.at_ms.into();
        }
        part
    }
}
