//! What is in a message of the bus, as JSON of a version.

use opencode_client::reply::{Change, Notice, PendingRequest, SnapshotPart, View};
use serde::{Deserialize, Serialize};

use super::bus::MAX_LIVE_MESSAGE;

/// The version of messages. Nodes of another one do not read them, and show replies as they were last saved.
const VERSION: u32 = 1;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Body {
    /// These changes, of which this is the number of the first. None say that the run goes on from there.
    Changes {
        first: u64,
        changes: Vec<Change<'static>>,
    },
    /// The reply as it is, and the changes that led there, as far as they are kept.
    Whole(Box<Whole>),
    /// The reply is too large to be told.
    Oversized,
    /// Nothing more comes of the turn.
    Ended,
}

/// A reply as a node has it that runs the turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Whole {
    /// The number of the last change.
    pub(crate) sequence: u64,
    parts: Vec<SnapshotPart>,
    requests: Vec<PendingRequest>,
    notice: Option<Notice>,
    /// The newest changes, up to this one.
    pub(crate) kept: Vec<Change<'static>>,
}

impl Whole {
    pub(crate) fn new(view: &View, kept: Vec<Change<'static>>) -> Self {
        let part = |part: &opencode_client::reply::ViewPart| SnapshotPart {
            part_id: part.part_id.clone(),
            part: part.part.clone(),
        };
        Self {
            sequence: view.revision(),
            parts: view.parts().map(part).collect(),
            requests: view.requests().cloned().collect(),
            notice: view.notice().cloned(),
            kept,
        }
    }

    pub(crate) fn view(self) -> View {
        View::at_revision(self.sequence, self.parts, self.requests, self.notice)
    }
}

/// Why a message is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Version,
    Malformed,
    Size(usize),
}

impl Refused {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Malformed => "malformed",
            Self::Size(_) => "size",
        }
    }
}

/// The text of a message: the version, and JSON. What is too large is told shorter.
pub(crate) fn write(body: Body) -> String {
    let written = |body: &Body| {
        let mut text = format!("{VERSION} ").into_bytes();
        serde_json::to_writer(&mut text, body).ok()?;
        let text = String::from_utf8(text).ok()?;
        (text.len() <= MAX_LIVE_MESSAGE).then_some(text)
    };
    if let Some(text) = written(&body) {
        return text;
    }
    if let Body::Whole(mut whole) = body {
        whole.kept.clear();
        if let Some(text) = written(&Body::Whole(whole)) {
            return text;
        }
    }
    written(&Body::Oversized).unwrap_or_default()
}

/// Reads a text that [`write()`] made.
pub(crate) fn read(text: &str) -> Result<Body, Refused> {
    let (version, body) = text.split_once(' ').ok_or(Refused::Malformed)?;
    match version.parse() {
        Ok(VERSION) => serde_json::from_str(body).map_err(|_| Refused::Malformed),
        Ok(_) => Err(Refused::Version),
        Err(_) => Err(Refused::Malformed),
    }
}
