//! Recordings of real servers.
//!
//! A tape is a file of JSON lines: a header, then in order of time `{"event": {"at_ms", "event"}}` (a frame of the
//! event stream) and `{"http": {"at_ms", "method", "path", "body", "status", "response"}}`, where a call that was never
//! answered has `"status": 0, "unanswered": true`. The library of the workspace is in this crate's `tapes` folder:
//! [`tapes`] lists what the pinned version does, [`tapes_of_versions`] what others do otherwise.
//!
//! ```
//! let tape = opencode_impostor::tape("text").unwrap();
//! assert_eq!(tape.prompts()[0].text, "please answer [[text]]");
//! let exchange = tape.final_exchange().unwrap();
//! assert_eq!(exchange.as_array().unwrap().len(), 2);
//! ```

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The first line of a tape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapeHeader {
    /// Version of the format: 1.
    pub tape: u32,
    /// What it shows.
    pub name: String,
    /// The version of the server.
    pub opencode: String,
    /// The session, when there was one.
    #[serde(default)]
    pub session: Option<String>,
    /// The sessions, when there were several.
    #[serde(default)]
    pub sessions: Vec<String>,
    /// The path of the event stream.
    #[serde(default = "default_stream")]
    pub stream: String,
}

fn default_stream() -> String {
    "/event".into()
}

/// One HTTP exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapedHttp {
    /// Milliseconds since the recording began.
    pub at_ms: u64,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The directory named by the request, when it named one.
    #[serde(default)]
    pub directory: Option<String>,
    /// The request's body.
    #[serde(default)]
    pub body: Value,
    /// The answer's status; 0 where none came.
    pub status: u16,
    /// The call was never answered.
    #[serde(default)]
    pub unanswered: bool,
    /// The answer's body.
    #[serde(default)]
    pub response: Value,
}

/// One frame of the event stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapedEvent {
    /// Milliseconds since the recording began.
    pub at_ms: u64,
    /// The frame, as it came.
    pub event: Value,
}

impl TapedEvent {
    /// The event itself: of a `/global/event` frame its payload.
    pub fn payload(&self) -> &Value {
        self.event.get("payload").unwrap_or(&self.event)
    }

    /// The event's type.
    pub fn kind(&self) -> &str {
        self.payload()["type"].as_str().unwrap_or_default()
    }

    /// The session it belongs to, when it says so: beside the record, or (up to 1.2.27) in it.
    pub fn session(&self) -> Option<&str> {
        let properties = &self.payload()["properties"];
        let named = [properties, &properties["info"], &properties["part"]];
        let named = named
            .into_iter()
            .find_map(|place| place["sessionID"].as_str());
        let of_session = || properties["info"]["id"].as_str();
        named.or_else(|| of_session().filter(|id| id.starts_with("ses_")))
    }
}

/// One line of a tape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TapeEntry {
    /// A frame of the event stream.
    Event(TapedEvent),
    /// An HTTP exchange.
    Http(TapedHttp),
}

/// A prompt on a tape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapedPrompt {
    /// Where it stands, as an index into [`Tape::entries`].
    pub entry: usize,
    /// The session it was sent to.
    pub session: String,
    /// The text of its text parts.
    pub text: String,
}

/// A recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Tape {
    /// The first line.
    pub header: TapeHeader,
    /// All other lines.
    pub entries: Vec<TapeEntry>,
}

impl Tape {
    /// Reads a tape.
    ///
    /// # Errors
    /// The file cannot be read, or a line is not what a tape holds; the message names the file and the line.
    pub fn load(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        Self::parse(&text).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is not a tape: {error}", path.display()),
            )
        })
    }

    /// Reads a tape from its text.
    ///
    /// # Errors
    /// A line is not what a tape holds; the message names it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        let (_, first) = lines.next().ok_or("it is empty")?;
        let header = serde_json::from_str(first).map_err(|error| format!("line 1: {error}"))?;
        let entries = lines
            .map(|(number, line)| {
                serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { header, entries })
    }

    /// The frames of the event stream.
    pub fn events(&self) -> impl Iterator<Item = &TapedEvent> {
        self.entries.iter().filter_map(|entry| match entry {
            TapeEntry::Event(event) => Some(event),
            TapeEntry::Http(_) => None,
        })
    }

    /// The HTTP exchanges.
    pub fn https(&self) -> impl Iterator<Item = &TapedHttp> {
        self.entries.iter().filter_map(|entry| match entry {
            TapeEntry::Http(http) => Some(http),
            TapeEntry::Event(_) => None,
        })
    }

    /// The prompts, in order. What was never answered never ran, and was posted again.
    pub fn prompts(&self) -> Vec<TapedPrompt> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(entry, line)| {
                let TapeEntry::Http(http) = line else {
                    return None;
                };
                if http.unanswered {
                    return None;
                }
                let session = http
                    .path
                    .strip_prefix("/session/")?
                    .strip_suffix("/prompt_async")?;
                let parts = http.body["parts"].as_array()?;
                Some(TapedPrompt {
                    entry,
                    session: session.to_owned(),
                    text: crate::json_text::text_of(parts),
                })
            })
            .collect()
    }

    /// What the last `GET …/message` answered: all messages of the (first) session, the truth about it.
    pub fn final_exchange(&self) -> Option<&Value> {
        let session = self.header.session.as_deref().or(self
            .header
            .sessions
            .first()
            .map(String::as_str))?;
        self.final_exchange_of(session)
    }

    /// What the last `GET …/message` of this session answered.
    pub fn final_exchange_of(&self, session: &str) -> Option<&Value> {
        let path = format!("/session/{session}/message");
        self.https()
            .filter(|http| http.method == "GET" && http.path == path && !http.unanswered)
            .last()
            .map(|http| &http.response)
    }
}

/// One tape of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapeFile {
    /// Its name: the file's, without `.jsonl`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The tapes of this crate's `tapes` folder, by name.
///
/// # Errors
/// The folder cannot be read: the crate's sources are not where they were when it was compiled.
pub fn tapes() -> io::Result<Vec<TapeFile>> {
    tapes_in("tapes")
}

/// The tapes of its `tapes/versions` folder: where other versions differ. Some end in the middle of a turn, and some
/// have none.
///
/// # Errors
/// As [`tapes`].
pub fn tapes_of_versions() -> io::Result<Vec<TapeFile>> {
    tapes_in("tapes/versions")
}

fn tapes_in(folder: &str) -> io::Result<Vec<TapeFile>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
        {
            found.push(TapeFile {
                name: name.to_owned(),
                path,
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// One tape of the library by its name, or any other by the path of its `.jsonl` file.
///
/// # Errors
/// There is no such tape; the message lists those there are. Or the file is not a tape.
pub fn tape(name: &str) -> io::Result<Tape> {
    if Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "jsonl")
    {
        return Tape::load(name);
    }
    let all = [tapes()?, tapes_of_versions()?].concat();
    match all.iter().find(|tape| tape.name == name) {
        Some(file) => Tape::load(&file.path),
        None => {
            let names: Vec<&str> = all.iter().map(|tape| tape.name.as_str()).collect();
            Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no tape is called {name:?}; there are {}", names.join(", ")),
            ))
        }
    }
}
