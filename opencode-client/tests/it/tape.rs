//! Recordings of a real server: one JSON object a line. Each is read once, when it is first asked for.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use opencode_client::event::Event;
use opencode_client::reply::ReplyResult;
use opencode_client::wire::{Message, PartBody, Role};
use opencode_client::{Exchange, MessageId, Reply, SessionId};
use serde_json::Value;

/// One recording.
pub(crate) struct Tape {
    pub(crate) name: String,
    path: PathBuf,
    turns: OnceLock<Vec<RecordedTurn>>,
}

impl std::fmt::Debug for RecordedTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the answer to {}", self.prompt)
    }
}

/// One prompt of a recording, with the frames from its start to the next prompt and the session's messages after it.
pub(crate) struct RecordedTurn {
    pub(crate) session: SessionId,
    pub(crate) prompt: MessageId,
    pub(crate) frames: Vec<Box<[u8]>>,
    pub(crate) messages: Vec<Message>,
    rebuilt: OnceLock<ReplyResult>,
}

impl RecordedTurn {
    /// The reply before anything of it was heard.
    pub(crate) fn reply(&self) -> Reply {
        Reply::new(self.session.clone(), self.prompt.clone())
    }

    /// The events of the recording; `None` for frames that say nothing new.
    pub(crate) fn events(&self) -> impl ExactSizeIterator<Item = Option<Event<'_>>> {
        let frames = self.frames.iter();
        frames.map(|frame| Event::decode(frame).unwrap())
    }

    /// The server's messages of the turn.
    pub(crate) fn exchange(&self) -> Exchange {
        Exchange::of(&self.prompt, self.messages.clone())
    }

    /// What the server's messages come to without a word of the stream.
    pub(crate) fn rebuilt(&self) -> &ReplyResult {
        self.rebuilt.get_or_init(|| {
            let mut reply = self.reply();
            reply.reconcile(&self.exchange());
            reply.result()
        })
    }
}

impl Tape {
    /// Every recording of the pinned version.
    pub(crate) fn all() -> &'static [Self] {
        static TAPES: LazyLock<Vec<Tape>> =
            LazyLock::new(|| Tape::of_folder("../opencode-impostor/tapes"));
        assert_eq!(TAPES.len(), 23, "the recordings are not all there");
        &TAPES
    }

    /// What other versions do otherwise.
    pub(crate) fn of_versions() -> &'static [Self] {
        static TAPES: LazyLock<Vec<Tape>> =
            LazyLock::new(|| Tape::of_folder("../opencode-impostor/tapes/versions"));
        assert_eq!(TAPES.len(), 18, "the recordings are not all there");
        &TAPES
    }

    fn of_folder(folder: &str) -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut tapes: Vec<Self> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "jsonl")
            })
            .map(|path| Self {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                path,
                turns: OnceLock::new(),
            })
            .collect();
        tapes.sort_by(|a, b| a.name.cmp(&b.name));
        tapes
    }

    pub(crate) fn named(name: &str) -> &'static Self {
        let mut tapes = Self::all().iter().chain(Self::of_versions());
        tapes.find(|tape| tape.name == name).unwrap()
    }

    /// The turns of the recording, in order.
    pub(crate) fn turns(&self) -> &[RecordedTurn] {
        self.turns.get_or_init(|| {
            let text = std::fs::read_to_string(&self.path).unwrap();
            let lines = text.lines();
            turns(
                &lines
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect::<Vec<_>>(),
            )
        })
    }
}

fn turns(lines: &[Value]) -> Vec<RecordedTurn> {
    let header = &lines[0];
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
        .flat_map(|session| turns_of(lines, session))
        .collect()
}

fn turns_of(lines: &[Value], session: &str) -> Vec<RecordedTurn> {
    let path = format!("/session/{session}");
    let http = |line: &Value, method: &str, rest: &str| {
        line["http"]["method"] == method && line["http"]["path"] == format!("{path}{rest}")
    };
    let posts: Vec<usize> = (0..lines.len())
        .filter(|&at| http(&lines[at], "POST", "/prompt_async"))
        // What was never answered was posted again.
        .filter(|&at| lines[at]["http"]["unanswered"] != true)
        .collect();
    let turns = posts.iter().enumerate().map(|(number, &post)| {
            let end = posts.get(number + 1).copied().unwrap_or(lines.len());
            let body = &lines[post]["http"]["body"];
            let lists = (post..end)
                .rev()
                .filter(|&at| http(&lines[at], "GET", "/message"))
                .map(|at| &lines[at]["http"]["response"]);
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
                frames: lines[..end]
                    .iter()
                    .filter(|line| line["event"].is_object())
                    .map(|line| line["event"]["event"].to_string().into_bytes().into())
                    .collect(),
                messages,
                rebuilt: OnceLock::new(),
            }
        });
    turns.collect()
}
