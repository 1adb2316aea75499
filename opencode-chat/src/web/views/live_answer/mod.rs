//! The answer of a running turn, as one browser has it.
//!
//! [`LiveAnswer`] knows what of a reply the browser shows, and renders what it lacks of a later [`View`] and no more.
//! The page that is opened in the middle and the stream that goes on from there are made by this one type, so that
//! they agree.

mod patches;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use opencode_host::client::reply::{Gone, Notice, PersistedPart, View, ViewPart};
use opencode_host::id::{MessageId, TurnId};

use crate::web::base_path::BasePath;
use crate::web::views::decision::DecisionView;
use crate::web::views::message;
use crate::web::views::pending_request::requests_of;
use crate::web::views::tool::ToolView;

/// Bytes of an answer that are shown while it comes. The whole shows when it has ended.
const MAX_LIVE: usize = 1 << 20;
/// What a part takes beside its text.
const PART_SIZE: usize = 256;
const TOO_LONG: &str = "This answer is very long. The rest shows when it is complete.";

/// The answer of a running turn.
#[derive(Debug)]
pub(crate) struct LiveAnswer {
    base: BasePath,
    turn: TurnId,
    element: String,
    /// The conversation's folder: paths inside are shown relative to it.
    folder: Option<String>,
    /// What people have answered to the agent so far.
    decisions: Vec<DecisionView>,
    /// The element of what the agent asks in the turn that is ahead of this one.
    ahead: Option<String>,
    /// What the browser shows; `None` when that is not known.
    shown: Option<Shown>,
}

/// What a browser shows of a reply.
#[derive(Debug, Default)]
struct Shown {
    parts: Vec<ShownPart>,
    requests: Vec<String>,
    /// `None` when it is not known.
    notice: Option<Told>,
    /// Elements that it has and should not.
    surplus: Vec<String>,
}

#[derive(Debug)]
struct ShownPart {
    key: String,
    /// The revision of its content; 0 when the content is not known.
    changed: u64,
    /// What tells the blocks of a text.
    blocks: Vec<u64>,
    /// Bytes of a tool call's row.
    size: usize,
    /// The block that was sent last, and its HTML.
    sent: Option<(usize, String)>,
}

/// What of a reply is shown, in order: what there is room for.
struct Beginning<'a> {
    pieces: Vec<Piece<'a>>,
    notice: Told,
}

/// A word on how it goes; empty most of the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    text: String,
    /// When something is tried again, epoch milliseconds.
    again_at: Option<u64>,
}

/// One part of what is shown.
struct Piece<'a> {
    part: &'a ViewPart,
    content: Content<'a>,
}

enum Content<'a> {
    Text {
        reasoning: bool,
        text: &'a str,
    },
    /// Rendered only where the browser lacks it.
    Tool {
        view: Option<Box<ToolView>>,
        size: usize,
    },
}

impl LiveAnswer {
    /// An answer of which the browser shows nothing that is known.
    pub(crate) fn new(
        base: BasePath,
        turn: TurnId,
        message: MessageId,
        folder: Option<String>,
    ) -> Self {
        Self {
            base,
            turn,
            element: message::element(message),
            folder,
            decisions: Vec::new(),
            ahead: None,
            shown: None,
        }
    }

    /// The same, with what people have answered so far.
    pub(crate) fn with_decisions(self, decisions: Vec<DecisionView>) -> Self {
        Self { decisions, ..self }
    }

    /// The same, behind a turn that fills this message.
    pub(crate) fn behind(self, message: MessageId) -> Self {
        Self {
            ahead: Some(requests_of(&message::element(message))),
            ..self
        }
    }

    /// The browser shows what the reply was at an earlier revision.
    pub(crate) fn resume(&mut self, view: &View, revision: u64) {
        let Some(gone) = view.gone_since(revision) else {
            self.shown = None;
            return;
        };
        let surplus = gone.map(|gone| match gone {
            Gone::Part(id) => part_element(&self.element, id.as_str()),
            Gone::Request(id) => crate::web::views::pending_request::element(id),
        });
        let surplus = surplus.collect();
        let new: Vec<_> = view.requests_since(revision).map(|new| new.id()).collect();
        let requests = view.requests().map(|request| request.id());
        let requests = requests.filter(|id| !new.contains(id)).map(str::to_owned);
        let requests = requests.collect();
        let beginning = self.beginning(view);
        let known = |piece: &Piece<'_>| piece.part.added <= revision;
        let parts = beginning.pieces.iter().filter(|piece| known(piece));
        let parts = parts.map(|piece| {
            let mut shown = ShownPart::of(piece);
            if piece.part.changed > revision {
                shown.changed = 0;
                shown.blocks.clear();
                shown.sent = None;
            }
            shown
        });
        self.shown = Some(Shown {
            parts: parts.collect(),
            requests,
            notice: None,
            surplus,
        });
    }

    /// What there is room for. Nothing is shown behind what had none, so that no text has a hole.
    fn beginning<'a>(&self, view: &'a View) -> Beginning<'a> {
        let shown = self.shown.iter().flat_map(|shown| &shown.parts);
        let shown: HashMap<_, _> = shown.map(|part| (part.key.as_str(), part)).collect();
        let mut pieces = Vec::new();
        let mut room = MAX_LIVE;
        let mut is_whole = true;
        for part in view.parts() {
            let Some(left) = room.checked_sub(PART_SIZE) else {
                is_whole = false;
                break;
            };
            let text = |text: &'a str, reasoning| Content::Text {
                reasoning,
                text: &text[..text.floor_char_boundary(left)],
            };
            let (content, size) = match &part.part {
                PersistedPart::Text { content } => (text(content, false), content.len()),
                PersistedPart::Reasoning { content } => (text(content, true), content.len()),
                PersistedPart::Tool(tool) => {
                    let known = shown.get(part.part_id.as_str());
                    let known = known.filter(|known| known.changed == part.changed);
                    let (view, size) = match known {
                        Some(known) => (None, known.size),
                        None => {
                            let steps = part.subtask.as_ref();
                            let mut view = ToolView::of(tool, self.folder.as_deref());
                            view.id = Some(part_element(&self.element, part.part_id.as_str()));
                            view.set_steps(steps, self.folder.as_deref());
                            (Some(Box::new(view)), 0)
                        }
                    };
                    let size = view.as_ref().map_or(size, |view| view.size());
                    (Content::Tool { view, size }, size)
                }
            };
            is_whole = size <= left;
            if is_whole || matches!(content, Content::Text { .. }) {
                pieces.push(Piece { part, content });
            }
            if !is_whole {
                break;
            }
            room = left - size;
        }
        let notice = match view.notice() {
            Some(notice) => words(notice),
            None if is_whole => Told::default(),
            None => Told {
                text: TOO_LONG.to_owned(),
                again_at: None,
            },
        };
        Beginning { pieces, notice }
    }
}

/// What a person is told of it.
fn words(notice: &Notice) -> Told {
    let text = match notice {
        Notice::Retry {
            attempt,
            message,
            action,
            ..
        } => {
            let mut words = format!(
                "The model's provider gave no answer, and is asked again (attempt {attempt}): "
            );
            words.extend(message.chars().take(300));
            if let Some(action) = action {
                words.push_str(". ");
                words.extend(action.to_string().chars().take(600));
            }
            words
        }
        Notice::ServerUnreachable { message } => message.clone(),
        _ => String::new(),
    };
    let again_at = match notice {
        Notice::Retry { next_ms, .. } if *next_ms > 0 => Some(*next_ms),
        _ => None,
    };
    Told { text, again_at }
}

/// The element of a part.
fn part_element(message: &str, key: &str) -> String {
    format!("{message}-{key}")
}
