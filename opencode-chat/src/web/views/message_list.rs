//! The messages of a conversation, as its page shows them.
//!
//! The page that is opened is made of them, and the patches that show a turn in the place of another one.

use std::collections::VecDeque;

use askama::Template;
use opencode_host::client::reply::PersistedPart;
use opencode_host::id::{MessageId, TurnId};
use opencode_host::store::{
    Conversation, Message, MessageEntry, MessageRole, MessageStatus, Phase, StoreError, StoreResult,
};

use super::decision::DecisionView;
use super::file_card;
use super::message::{self, AnswerView, MAX_SHOWN, PromptView};
use super::pending_answer::{folder_of, pending};
use super::versions::Versions;
use crate::web::app::App;
use crate::web::problem::Problem;

/// What a page shows at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    messages: usize,
    /// Of text, beside the last prompt and its answer.
    bytes: u64,
}

impl Most {
    /// What a page shows that is asked for nothing more.
    pub(crate) const NEWEST: Self = Self {
        messages: 100,
        bytes: 8 << 20,
    };
    /// Where all are asked for.
    pub(crate) const ALL: Self = Self {
        messages: 10_000,
        bytes: 32 << 20,
    };
}

/// Messages looked for at once.
const READ: u32 = 1000;
/// Messages of more bytes are read one at a time.
const LARGE: u64 = 1 << 20;

/// In the place of a message whose row is damaged.
#[derive(Template)]
#[template(
    source = "<article class=\"message answer\"><p class=\"mark\">A message cannot be read. The log of this application says more.</p></article>",
    ext = "html"
)]
struct Unreadable;

/// Messages of a conversation, as HTML.
#[derive(Debug)]
pub(crate) struct MessageList {
    /// How many came before them.
    pub(crate) earlier: usize,
    /// The element of the first of them.
    pub(crate) first: Option<String>,
    pub(crate) messages: Vec<String>,
}

impl MessageList {
    /// The newest messages of a conversation, as many as a page shows.
    pub(crate) async fn newest(
        app: &App,
        conversation: &Conversation,
        most: Most,
    ) -> Result<Self, Problem> {
        let newest = newest(app, conversation, most).await?;
        Self::of(app, conversation, newest).await
    }

    /// The messages from this one on.
    pub(crate) async fn from(
        app: &App,
        conversation: &Conversation,
        first: MessageId,
    ) -> Result<Self, Problem> {
        let mut newest = newest(app, conversation, Most::ALL).await?;
        let first = first.to_string();
        if let Some(at) = newest.entries.iter().position(|entry| entry.id == first) {
            newest.entries.drain(..at);
            newest.earlier += at;
        }
        Self::of(app, conversation, newest).await
    }

    async fn of(app: &App, conversation: &Conversation, newest: Newest) -> Result<Self, Problem> {
        let Newest {
            entries,
            earlier,
            has_versions,
        } = newest;
        let folder = folder_of(conversation);
        let shown = entries.iter().filter_map(|entry| entry.id.parse().ok());
        let mut files = file_card::by_message(app, conversation, &shown.collect()).await?;
        let mut messages = Vec::with_capacity(entries.len());
        // The last answer that has ended, whose files may still be being attached.
        let mut last = None;
        for entry in &entries {
            let message = match load(app, entry).await {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(error @ StoreError::Corrupt { .. }) => {
                    tracing::error!(%error, "a message is left out of its page");
                    messages.push(Unreadable.render()?);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let files = files.remove(&message.id).unwrap_or_default();
            messages.push(match (message.role, message.status) {
                (MessageRole::User, _) => PromptView::new(&app.base, &message, files).render()?,
                (MessageRole::Assistant, MessageStatus::Pending) => {
                    let turn = app
                        .host
                        .store()
                        .turn(message.turn)
                        .await?
                        .ok_or_else(Problem::no_such_page)?;
                    pending(app, &turn, folder).await?
                }
                (MessageRole::Assistant, _) => {
                    let versions = if has_versions {
                        Versions::of(app, message.turn).await?
                    } else {
                        Versions::default()
                    };
                    // Nothing is asked but for a tool.
                    let is_tool = |part: &PersistedPart| matches!(part, PersistedPart::Tool(_));
                    let decisions = if message.answer.parts.iter().any(is_tool) {
                        DecisionView::all_of(app, message.turn).await?
                    } else {
                        Vec::new()
                    };
                    let base = &app.base;
                    let answer = AnswerView::of(base, &message, folder, files, decisions, versions);
                    let html = answer.render()?;
                    // One that was stopped before its first word may have ended before those ahead of it.
                    if message.status != MessageStatus::Cancelled
                        || !message.answer.parts.is_empty()
                    {
                        last = Some((messages.len(), message.turn, answer));
                    }
                    html
                }
            });
        }
        if let Some((at, turn, answer)) = last
            && is_settling(app, turn).await?
        {
            messages[at] = answer.settling(true).render()?;
        }
        let first = entries.front();
        Ok(Self {
            earlier,
            first: first.map(|entry| message::element_of(&entry.id)),
            messages,
        })
    }
}

/// Which messages are shown.
struct Newest {
    /// Oldest first.
    entries: VecDeque<MessageEntry>,
    /// How many came before them.
    earlier: usize,
    /// Whether there are others in the place of some of these, or were.
    has_versions: bool,
}

/// The newest messages, oldest first, and how many came before them.
async fn newest(app: &App, conversation: &Conversation, most: Most) -> Result<Newest, Problem> {
    let mut newest = Newest {
        entries: VecDeque::new(),
        earlier: 0,
        has_versions: false,
    };
    let (mut bytes, mut after) = (0, 0);
    let shown = |entry: &MessageEntry| entry.bytes.min(MAX_SHOWN as u64);
    let store = app.host.store();
    loop {
        let page = store
            .message_index(Some(conversation.id), after, READ)
            .await?;
        let Some(last) = page.last() else {
            return Ok(newest);
        };
        after = last.place;
        for entry in page {
            if entry.hidden {
                newest.has_versions = true;
                continue;
            }
            bytes += shown(&entry);
            newest.entries.push_back(entry);
            // The last prompt and its answer are shown, however long they are.
            while newest.entries.len() > most.messages
                || (bytes > most.bytes && newest.entries.len() > 2)
            {
                bytes -= newest.entries.pop_front().as_ref().map_or(0, shown);
                newest.earlier += 1;
            }
        }
    }
}

/// A message, read alone where it is large: however many readers there are, one such is in memory.
async fn load(app: &App, entry: &MessageEntry) -> StoreResult<Option<Message>> {
    let id = entry.message()?;
    let _alone = match entry.bytes {
        bytes if bytes > LARGE => Some(app.large.lock().await),
        _ => None,
    };
    let mut message = app.host.store().message(id).await?;
    if let Some(message) = &mut message
        && entry.bytes > LARGE
    {
        message::cut(message);
    }
    Ok(message)
}

/// Whether the files of a turn that has ended are still being attached. The next turn waits for that, so it can only be
/// the last one that has ended.
async fn is_settling(app: &App, turn: TurnId) -> Result<bool, Problem> {
    let turn = app.host.store().turn(turn).await?;
    Ok(turn.is_some_and(|turn| matches!(turn.phase(), Phase::Finished { settled: false, .. })))
}
