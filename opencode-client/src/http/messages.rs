//! Calls about a session's messages: read page by page, the newest first, and prompted.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use super::client::Client;
use super::send::{Call, path_segment};
use crate::error::Error;
use crate::id::{MessageId, MintBasis, PromptIds, SessionId};
use crate::tolerant::{Skipped, Wire};
use crate::wire::{Message, ModelRef, Prompt, unanswered};

/// How far back a message is looked for that the next prompt's id can follow.
const MINT_FROM: usize = 20;

/// Some of a session's messages, and the way to those before them.
#[derive(Clone, Debug)]
pub struct MessagePage {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Leads to the messages before these; `None` when there are none, or when
    /// the server does not page.
    pub before: Option<PageCursor>,
    /// How many messages the answer held, those that could not be read too.
    pub(crate) records: usize,
    /// How large the answer was.
    pub(crate) bytes: usize,
}

/// The messages of an answer, and how many it held.
struct Listed(Vec<Message>, usize);

/// A message that is there, whether or not it can be read.
struct Found(Option<Message>);

impl Wire for Found {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        value
            .is_object()
            .then(|| Self(Message::read(value, skipped)))
    }
}

impl Wire for Listed {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let records = value.as_array()?.len();
        Some(Self(Vec::read(value, skipped)?, records))
    }
}

/// A place in a session's messages, as the server's `x-next-cursor` gave it (1.18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageCursor(String);

impl Client {
    /// The newest `limit` messages, or the `limit` before a cursor:
    /// `GET /session/:id/message?limit=&before=`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn messages(
        &self,
        session: &SessionId,
        limit: usize,
        before: Option<&PageCursor>,
    ) -> Result<MessagePage, Error> {
        let mut call =
            Call::on_session(Method::GET, session, "/message").query("limit", limit.to_string());
        if let Some(PageCursor(cursor)) = before {
            call = call.query("before", cursor);
        }
        let answer = self.send(call).await?;
        let Listed(messages, records) = self.parse("GET /session/:id/message", &answer)?;
        let cursor = answer
            .headers
            .get("x-next-cursor")
            .and_then(|cursor| cursor.to_str().ok());
        Ok(MessagePage {
            messages,
            before: cursor.map(|cursor| PageCursor(cursor.to_owned())),
            records,
            bytes: answer.body.len(),
        })
    }

    /// One message, or `None` when the session does not hold it:
    /// `GET /session/:id/message/:messageID`, and the list where that fails because the message is absent.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] when the session itself is unknown; see [`Error`].
    pub async fn message(
        &self,
        session: &SessionId,
        message: &MessageId,
    ) -> Result<Option<Message>, Error> {
        let path = format!("/message/{}", path_segment(message.as_str()));
        match self
            .json(Call::on_session(Method::GET, session, &path))
            .await
        {
            Ok(Found(read)) => Ok(Some(read.unwrap_or_else(|| Message::unread(message)))),
            Err(Error::BadRequest { status: 404, .. }) => Ok(None),
            // Servers that word it otherwise: ask for the session itself.
            Err(Error::SessionNotFound { .. }) => self.session(session).await.map(|_| None),
            // 1.2.1 to 1.2.20 fail so where it is absent. The list knows better than a failure.
            Err(Error::Server { message: said, .. }) if said.contains("Message not found") => {
                let mut listed = self.back_to(session, message, 1).await?.into_iter();
                Ok(listed.find(|listed| listed.info.id == *message))
            }
            Err(error) => Err(error),
        }
    }

    /// Starts a turn and returns when the server has taken it (204):
    /// `POST /session/:id/prompt_async`.
    ///
    /// The same `ids` again are the same message to the server. Look with
    /// [`Client::message`] before a second post all the same: 1.15.13 runs the
    /// model twice for a post that comes while the first runs.
    ///
    /// # Errors
    /// See [`Error`]. After an ambiguous one the prompt may run.
    pub async fn prompt_async(
        &self,
        session: &SessionId,
        ids: &PromptIds,
        prompt: &Prompt,
    ) -> Result<(), Error> {
        self.start(
            Call::on_session(Method::POST, session, "/prompt_async")
                .body(prompt.body(ids, self.directory())),
        )
        .await
    }

    /// As [`Client::prompt_async`], but nothing is sent behind `not_after`: who decided to prompt may have been
    /// suspended since, and somebody else may have gone on.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it is too late: nothing was sent then. See [`Client::prompt_async`].
    pub async fn prompt_async_before(
        &self,
        session: &SessionId,
        ids: &PromptIds,
        prompt: &Prompt,
        not_after: Instant,
    ) -> Result<(), Error> {
        let call = Call::on_session(Method::POST, session, "/prompt_async")
            .body(prompt.body(ids, self.directory()));
        self.start(call.not_after(not_after)).await
    }

    /// Adds a message that nobody answers: the model reads it with the next prompt. `POST /session/:id/message` with
    /// `noReply`, marked as `synthetic`, so that a session's title is still made of the person's own words (both
    /// seen on 1.1.16 to 1.18.33). `model` is what the message is noted under; nothing is sent to it.
    ///
    /// The same `ids` again are the same message. Nothing is sent after `not_after`, and an answer is waited for
    /// at most `limit`.
    ///
    /// # Errors
    /// [`Error::Timeout`] when `not_after` or `limit` has passed, [`Error::Server`] when the answer is not the message
    /// (1.2.27 answers an unknown agent with an empty 200), [`Error::SessionNotFound`]; see [`Error`].
    pub async fn add_message(
        &self,
        session: &SessionId,
        ids: &PromptIds,
        text: &str,
        model: Option<&ModelRef>,
        not_after: Instant,
        limit: Duration,
    ) -> Result<(), Error> {
        let call = Call::on_session(Method::POST, session, "/message")
            .body(unanswered(ids, text, model))
            .not_after(not_after);
        let answer = self.send_within(call, limit).await?;
        let stored: Value = self.parse("POST /session/:id/message", &answer)?;
        if stored["info"]["id"].as_str() == Some(ids.message.as_str()) {
            return Ok(());
        }
        Err(Error::Server {
            call: "POST /session/:id/message".to_owned(),
            status: answer.status.as_u16(),
            message: "the answer is not the message that was sent".to_owned(),
        })
    }

    async fn start(&self, call: Call<'_>) -> Result<(), Error> {
        let answer = self.send(call).await?;
        // A catch-all page answers 200 with HTML where the route is unknown.
        if answer.status.as_u16() == 204
            || answer.body.is_empty()
            || serde_json::from_slice::<Value>(&answer.body).is_ok()
        {
            return Ok(());
        }
        self.parse::<Value>("POST /session/:id/prompt_async", &answer)
            .map(drop)
    }

    /// Ids for the session's next prompt, from what the server says about the
    /// session: see [`PromptIds::mint`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mint_prompt_ids(
        &self,
        session: &SessionId,
        entropy: u128,
    ) -> Result<PromptIds, Error> {
        let mut page = self.messages(session, 1, None).await?;
        if page.messages.is_empty() && page.records > 0 {
            // The newest cannot be read: the newest that can is the best there is.
            page = self.messages(session, MINT_FROM, None).await?;
        }
        let newest = page.messages.pop();
        let (basis, fallback) = match newest {
            Some(newest) => (MintBasis::After(newest.info.id), newest.info.time.created),
            None => {
                let created_ms = self.session(session).await?.time.created;
                (MintBasis::EmptySession { created_ms }, created_ms)
            }
        };
        Ok(PromptIds::mint(&basis, fallback, entropy))
    }

    /// Runs a turn and answers its final assistant message: `POST /session/:id/message`.
    /// The client's timeout applies: for long turns stream instead.
    ///
    /// # Errors
    /// See [`Error`]. After an ambiguous one the prompt may run.
    pub async fn prompt(
        &self,
        session: &SessionId,
        ids: &PromptIds,
        prompt: &Prompt,
    ) -> Result<Message, Error> {
        self.json(
            Call::on_session(Method::POST, session, "/message")
                .body(prompt.body(ids, self.directory())),
        )
        .await
    }
}
