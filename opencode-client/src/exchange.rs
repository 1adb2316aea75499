//! The upstream messages of one turn.

use crate::error::{Error, UpstreamError};
use crate::http::Client;
use crate::id::{MessageId, SessionId};
use crate::wire::{Message, PartBody, Role, Tokens};

/// The most pages that are read back to find a prompt.
const MAX_PAGES: usize = 100;

/// What the server holds of one turn: the assistant messages that answer one
/// prompt, oldest first. Authoritative for text and finished tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Whether the prompt's own message was found.
    pub prompt_seen: bool,
    /// Every model step is a message of its own; all name the prompt as parent.
    pub messages: Vec<Message>,
}

impl Exchange {
    /// Picks the answer to `prompt` out of a session's messages, oldest first.
    pub fn of(prompt: &MessageId, messages: impl IntoIterator<Item = Message>) -> Self {
        let mut exchange = Self {
            prompt_seen: false,
            messages: Vec::new(),
        };
        for message in messages {
            if message.info.id == *prompt {
                exchange.prompt_seen = true;
            } else if message.info.role == Role::Assistant
                && message.info.parent_id.as_ref() == Some(prompt)
            {
                exchange.messages.push(message);
            }
        }
        exchange
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
            message.info.error.is_some()
                || (message.info.is_finished() && !message.info.wants_more())
        })
    }

    /// Whether the newest message stopped for tools.
    pub fn wants_more(&self) -> bool {
        self.last().is_some_and(|message| message.info.wants_more())
    }

    /// Whether the person declined a question, so that no more work comes
    /// (seen on 1.18.33: the call fails and the message finishes `tool-calls`).
    pub fn is_declined(&self) -> bool {
        self.last().is_some_and(|message| {
            message.info.wants_more()
                && message.parts.iter().any(|part| match &part.body {
                    PartBody::Tool(call) => {
                        call.state.status == "error"
                            && call.state.error.as_deref().is_some_and(|error| {
                                error.contains("dismissed this question")
                                    || error.contains("rejected permission")
                            })
                    }
                    _ => false,
                })
        })
    }

    /// How often the answer went on after it had ended, without a new prompt: a
    /// server that loops (seen on 1.15.13 and 1.2.27 with an id from the future).
    pub fn restarts(&self) -> usize {
        let before_last = self.messages.len().saturating_sub(1);
        self.messages[..before_last]
            .iter()
            .filter(|message| message.info.finish.is_some() && !message.info.wants_more())
            .count()
    }
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
    /// See [`Error`].
    pub async fn exchange(
        &self,
        session: &SessionId,
        prompt: &MessageId,
        known: usize,
    ) -> Result<Exchange, Error> {
        let mut limit = known.max(1) + 1;
        let mut page = self.messages(session, limit, None).await?;
        let mut messages = Vec::new();
        for _ in 0..MAX_PAGES {
            let found = page
                .messages
                .iter()
                .any(|message| message.info.id == *prompt);
            let full = page.messages.len() >= limit;
            let cursor = page.before.take();
            page.messages.append(&mut messages);
            messages = page.messages;
            // Ids ascend: what is older than the prompt cannot answer it.
            if found
                || !full
                || messages
                    .first()
                    .is_some_and(|first| first.info.id < *prompt)
            {
                break;
            }
            limit *= 2;
            page = match cursor {
                Some(cursor) => self.messages(session, limit, Some(&cursor)).await?,
                None => {
                    // This server does not page: ask for more of the newest.
                    messages.clear();
                    limit *= 8;
                    self.messages(session, limit, None).await?
                }
            };
        }
        Ok(Exchange::of(prompt, messages))
    }
}
