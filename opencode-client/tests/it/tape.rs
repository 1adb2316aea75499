//! Recordings of a real server: one JSON object a line.

use std::path::PathBuf;

use opencode_client::wire::{Message, PartBody, Role};
use opencode_client::{MessageId, SessionId};
use serde_json::Value;

/// One recording.
pub(crate) struct Tape {
    pub(crate) name: String,
    pub(crate) lines: Vec<Value>,
}

/// One prompt of a recording, with the events from its post to the next and
/// the session's messages after it.
pub(crate) struct RecordedTurn {
    pub(crate) session: SessionId,
    pub(crate) prompt: MessageId,
    pub(crate) events: Vec<Vec<u8>>,
    pub(crate) messages: Vec<Message>,
}

impl Tape {
    /// Every recording of the pinned version.
    pub(crate) fn all() -> Vec<Self> {
        let tapes = Self::of_folder("../opencode-impostor/tapes");
        assert_eq!(tapes.len(), 23, "the recordings are not all there");
        tapes
    }

    /// What other versions do otherwise.
    pub(crate) fn of_versions() -> Vec<Self> {
        let tapes = Self::of_folder("../opencode-impostor/tapes/versions");
        assert_eq!(tapes.len(), 18, "the recordings are not all there");
        tapes
    }

    fn of_folder(folder: &str) -> Vec<Self> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut tapes: Vec<Self> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "jsonl")
            })
            .map(|path| {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines = text
                    .lines()
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect();
                Self {
                    name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                    lines,
                }
            })
            .collect();
        tapes.sort_by(|a, b| a.name.cmp(&b.name));
        tapes
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::all()
            .into_iter()
            .find(|tape| tape.name == name)
            .unwrap()
    }

    /// The turns of the recording, in order.
    pub(crate) fn turns(&self) -> Vec<RecordedTurn> {
        let header = &self.lines[0];
        let sessions: Vec<&str> = match header["session"].as_str() {
            Some(session) => vec![session],
            None => header["sessions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap())
                .collect(),
        };
        sessions
            .into_iter()
            .flat_map(|session| self.turns_of(session))
            .collect()
    }

    fn turns_of(&self, session: &str) -> Vec<RecordedTurn> {
        let path = format!("/session/{session}");
        let http = |line: &Value, method: &str, rest: &str| {
            line["http"]["method"] == method && line["http"]["path"] == format!("{path}{rest}")
        };
        let posts: Vec<usize> = (0..self.lines.len())
            .filter(|&at| http(&self.lines[at], "POST", "/prompt_async"))
            // What was never answered was posted again.
            .filter(|&at| self.lines[at]["http"]["unanswered"] != true)
            .collect();
        let turns = posts.iter().enumerate().map(|(number, &post)| {
            let end = posts.get(number + 1).copied().unwrap_or(self.lines.len());
            let body = &self.lines[post]["http"]["body"];
            let lists = (post..end)
                .rev()
                .filter(|&at| http(&self.lines[at], "GET", "/message"))
                .map(|at| &self.lines[at]["http"]["response"]);
            let mut lists = lists.map(|list| -> Vec<Message> {
                serde_json::from_value(list.clone()).unwrap()
            });
            // The last list that has the prompt. The server writes user messages of its own.
            let found = lists.find_map(|messages| {
                let prompt = messages.iter().rev().find(|message| {
                    message.info.role == Role::User
                        && message.parts.iter().any(|part| {
                            matches!(&part.body, PartBody::Text { text, .. } if body["parts"][0]["text"] == *text)
                        })
                });
                let prompt = prompt?.info.id.clone();
                Some((prompt, messages))
            });
            // Or it never showed.
            let (prompt, messages) = found.unwrap_or_else(|| {
                let chosen = body["messageID"].as_str().unwrap();
                (MessageId::from(chosen), Vec::new())
            });
            RecordedTurn {
                session: SessionId::from(session),
                prompt,
                // From the start: what was on the stream before the post is not ours either.
                events: self.lines[..end]
                    .iter()
                    .filter(|line| line["event"].is_object())
                    .map(|line| line["event"]["event"].to_string().into_bytes())
                    .collect(),
                messages,
            }
        });
        turns.collect()
    }
}
