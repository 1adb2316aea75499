//! The upstream messages of one turn.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, UpstreamError};
use crate::http::{Client, MAX_BODY};
use crate::id::{MessageId, SessionId};
use crate::tolerant::shorten;
use crate::wire::{Message, PartBody, Role, Tokens, ToolCall};

/// The most pages that are read back to find a prompt.
const MAX_PAGES: usize = 100;
/// The most messages of an answer that are kept: the newest.
const MAX_MESSAGES: usize = 4096;

/// What a part is counted with beside what it holds.
const OF_PART: usize = 512;

/// What OpenCode says of a call that the person refused: a question, a permission; the names are 1.2.27's.
const REFUSALS: [&str; 4] = [
    "dismissed this question",
    "rejected permission",
    "QuestionRejectedError",
    "PermissionRejectedError",
];

/// What the server holds of one turn: the assistant messages that answer one
/// prompt, oldest first. Authoritative for text and finished tools.
///
/// A server whose context runs full asks itself for a summary in the middle of an answer, and
/// goes on in answer to a user message of its own (seen on 1.18.33). All of that belongs to the
/// turn: the summary's cost too, though not its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Whether the prompt's own message was found.
    pub prompt_seen: bool,
    /// Every model step is a message of its own; all name the prompt as parent, or
    /// what the server wrote to itself to go on.
    pub messages: Vec<Message>,
}

fn part_size(body: &PartBody) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    match body {
        PartBody::Text { text, .. } | PartBody::Reasoning { text, .. } => text.len(),
        PartBody::Tool(call) => {
            let state = &call.state;
            let details = state.input.as_ref().map_or(0, shorten::size)
                + state.metadata.as_ref().map_or(0, shorten::map_size);
            let words = [&state.output, &state.title, &state.error];
            let files = state.attachments.iter().map(|file| file.url.len());
            details + words.map(length).iter().sum::<usize>() + files.sum::<usize>()
        }
        PartBody::StepFinish { .. } | PartBody::Compaction | PartBody::Other { .. } => 0,
    }
}

impl Exchange {
    /// Picks the answer to `prompt` out of a session's messages, oldest first.
    pub fn of(prompt: &MessageId, messages: impl IntoIterator<Item = Message>) -> Self {
        let mut exchange = Self {
            prompt_seen: false,
            messages: Vec::new(),
        };
        let mut asked = HashSet::from([prompt.clone()]);
        let mut said: Vec<String> = Vec::new();
        // Who came last, of those who ask.
        let mut last_user: Option<MessageId> = None;
        for mut message in once_each(messages) {
            if message.info.role == Role::User {
                last_user = Some(message.info.id.clone());
            } else if message.info.parent_id.is_none() {
                // A server that does not say whom it answers answers who asked last.
                message.info.parent_id.clone_from(&last_user);
            }
            let info = &message.info;
            match info.role {
                Role::User if info.id == *prompt => {
                    exchange.prompt_seen = true;
                    said = texts(&message).map(|(text, _)| text.to_owned()).collect();
                }
                Role::User if exchange.goes_on_with(&message, &said) => {
                    asked.insert(info.id.clone());
                }
                Role::Assistant if info.parent_id.as_ref().is_some_and(|to| asked.contains(to)) => {
                    exchange.messages.push(message);
                }
                _ => exchange.prompt_seen |= info.id == *prompt,
            }
        }
        let surplus = exchange.messages.len().saturating_sub(MAX_MESSAGES);
        exchange.messages.drain(..surplus);
        exchange
    }

    /// How many bytes it has, about: what its texts, and the details of its tool calls, hold, and 512 for each part.
    pub fn size(&self) -> usize {
        let parts = self.messages.iter().flat_map(|message| &message.parts);
        parts.map(|part| OF_PART + part_size(&part.body)).sum()
    }

    /// Whether the server wrote this user message itself, to go on with the answer: the order for
    /// a summary, or what follows one.
    fn goes_on_with(&self, message: &Message, said: &[String]) -> bool {
        if !self.prompt_seen {
            return false;
        }
        if message
            .parts
            .iter()
            .any(|part| part.body == PartBody::Compaction)
        {
            return true;
        }
        let behind_summary = self.last().is_some_and(|last| last.info.summary);
        let mut words = texts(message).peekable();
        behind_summary
            && words.peek().is_some()
            // A prompt that was too long itself is put once more.
            && words.all(|(text, synthetic)| synthetic || said.iter().any(|said| said == text))
    }

    /// Cost over all messages of the turn, US dollars.
    pub fn cost(&self) -> f64 {
        self.messages.iter().map(|message| message.info.cost).sum()
    }

    /// Tokens over all messages of the turn, cache reads and writes too.
    pub fn tokens(&self) -> Tokens {
        let mut sum = Tokens::default();
        self.messages
            .iter()
            .for_each(|message| sum += message.info.tokens);
        sum
    }

    /// The newest message of the answer.
    pub fn last(&self) -> Option<&Message> {
        self.messages.last()
    }

    /// The error of the newest message, if it has one.
    pub fn error(&self) -> Option<&UpstreamError> {
        self.last()?.info.error.as_ref()
    }

    /// Whether the model ran out of output tokens: the text is cut.
    pub fn is_truncated(&self) -> bool {
        self.last()
            .is_some_and(|message| message.info.finish.as_deref() == Some("length"))
    }

    /// Whether the newest message says that the answer is whole: finished, and
    /// not to be followed by another.
    pub fn is_complete(&self) -> bool {
        self.last().is_some_and(|message| {
            message.info.error.is_some() || (message.info.is_finished() && !message.wants_more())
        })
    }

    /// Whether the newest message stopped for tools.
    pub fn wants_more(&self) -> bool {
        self.last().is_some_and(Message::wants_more)
    }

    /// Whether the person refused what the newest message asked, so that no more work comes: the call fails with
    /// words that differ between versions. `refused` are the calls that events said so of.
    pub fn is_declined(&self, refused: impl Fn(&str) -> bool) -> bool {
        self.last().is_some_and(|message| {
            message.wants_more()
                && message.parts.iter().any(|part| match &part.body {
                    PartBody::Tool(call) => {
                        call.call_id.as_deref().is_some_and(&refused) || says_refused(call)
                    }
                    _ => false,
                })
        })
    }

    /// How often the answer went on after it had ended, without a new prompt: a
    /// server that loops (seen on 1.15.13 and 1.2.27 with an id from the future).
    pub fn restarts(&self) -> usize {
        let pairs = self.messages.iter().zip(self.messages.iter().skip(1));
        pairs
            .filter(|(message, next)| {
                message.info.finish.is_some()
                    && !message.wants_more()
                    && next.info.parent_id == message.info.parent_id
            })
            .count()
    }
}

fn says_refused(call: &ToolCall) -> bool {
    let error = call.state.error.as_deref().unwrap_or_default();
    call.state.status == "error" && REFUSALS.iter().any(|words| error.contains(words))
}

/// The messages, those that repeat an id only once: as they came last, where they came first.
fn once_each(messages: impl IntoIterator<Item = Message>) -> Vec<Message> {
    let mut places: HashMap<MessageId, usize> = HashMap::new();
    let mut once: Vec<Message> = Vec::new();
    for message in messages {
        match places.get(&message.info.id) {
            Some(&place) => once[place] = message,
            None => {
                places.insert(message.info.id.clone(), once.len());
                once.push(message);
            }
        }
    }
    once
}

/// The texts of a message, and whether the server wrote each itself.
fn texts(message: &Message) -> impl Iterator<Item = (&str, bool)> {
    message.parts.iter().filter_map(|part| match &part.body {
        PartBody::Text {
            text, synthetic, ..
        } => Some((text.as_str(), *synthetic)),
        _ => None,
    })
}

impl Client {
    /// Reads the exchange of `prompt` from the newest messages of `session`.
    ///
    /// `known` is how many messages the answer is known to have: so many and
    /// the prompt itself are asked for, so that a long conversation costs no
    /// more than a new one. Further pages are read only while the prompt was
    /// not found.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where the messages that were read back are together over 128 MiB; see [`Error`].
    pub async fn exchange(
        &self,
        session: &SessionId,
        prompt: &MessageId,
        known: usize,
    ) -> Result<Exchange, Error> {
        let messages = self.back_to(session, prompt, known).await?;
        Ok(Exchange::of(prompt, messages))
    }

    /// The newest messages of `session`, oldest first: `known` and one more, and those before them while `message`
    /// is not among them and may yet be.
    pub(crate) async fn back_to(
        &self,
        session: &SessionId,
        message: &MessageId,
        known: usize,
    ) -> Result<Vec<Message>, Error> {
        let mut limit = known.max(1) + 1;
        let mut page = self.messages(session, limit, None).await?;
        let mut messages = Vec::new();
        let mut bytes = 0;
        for _ in 0..MAX_PAGES {
            bytes += page.bytes;
            if bytes > MAX_BODY {
                let call = format!("GET /session/{session}/message");
                return Err(Error::TooLarge { call });
            }
            let found = page
                .messages
                .iter()
                .any(|listed| listed.info.id == *message);
            let full = page.records >= limit;
            let cursor = page.before.take();
            page.messages.append(&mut messages);
            messages = page.messages;
            // Ids ascend: it is not among what is older, and nothing there answers it.
            if found
                || !full
                || messages
                    .first()
                    .is_some_and(|first| first.info.id < *message)
            {
                break;
            }
            limit *= 2;
            page = match cursor {
                Some(cursor) => self.messages(session, limit, Some(&cursor)).await?,
                None => {
                    // This server does not page: ask for more of the newest.
                    messages.clear();
                    bytes = 0;
                    limit *= 8;
                    self.messages(session, limit, None).await?
                }
            };
        }
        Ok(messages)
    }
}
