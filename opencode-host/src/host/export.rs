//! All that is stored of a conversation, for who it belongs to.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use opencode_client::reply::Checkpoint;
use serde::Serialize;

use super::Host;
use crate::clock::Timestamp;
use crate::id::{ConversationId, TurnId};
use crate::store::{
    Attachment, Message, MessageEntry, Metadata, Reader, RequestAnswer, StoreError, StoreResult,
    Tenant, Turn, TurnEvent,
};

/// How many places of messages are read at a time. Of the messages themselves one is in memory.
const PAGE: u32 = 200;

/// One record of an export. As JSON it has a field `record` that says which one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Exported {
    /// The conversation, first. Where its session and its folder are on the server is not told.
    Conversation {
        /// The row.
        id: ConversationId,
        /// Whose it is.
        tenant: Tenant,
        /// Its name.
        name: String,
        /// What the application has noted at it.
        metadata: Metadata,
        /// When it was made.
        created_at: Timestamp,
        /// The turn of another conversation that it goes on from.
        #[serde(skip_serializing_if = "Option::is_none")]
        forked_from: Option<TurnId>,
    },
    /// A turn, before its messages. What had streamed of one that has ended is in its message.
    Turn {
        /// The turn.
        turn: Box<Turn>,
        /// What was recorded of it.
        events: Vec<TurnEvent>,
        /// What people answered to its agent.
        answers: Vec<RequestAnswer>,
    },
    /// A message.
    Message {
        /// The message.
        message: Box<Message>,
    },
    /// A file of the message before it. Its bytes are in [`Host::blobs`], under its digest.
    File {
        /// The file.
        file: Attachment,
    },
}

/// All that is stored of a conversation: see [`Host::export`].
pub struct Export {
    conversation: ConversationId,
    records: BoxStream<'static, StoreResult<Exported>>,
}

impl Host {
    /// All that is stored of a conversation, oldest first: the conversation, then each turn with its messages, and each
    /// message with its files. As JSON, one record is one line of JSON Lines. `None` without the conversation.
    ///
    /// A message or turn that cannot be read is an error in its place, and the others follow. What is submitted
    /// meanwhile comes too.
    ///
    /// ```
    /// # use opencode_host::{Host, id::ConversationId};
    /// use futures_util::TryStreamExt as _;
    ///
    /// async fn export(host: &Host, id: ConversationId) -> Result<(), Box<dyn std::error::Error>> {
    ///     let mut records = host.export(id).await?.ok_or("there is no such conversation")?;
    ///     while let Some(record) = records.try_next().await? {
    ///         println!("{}", serde_json::to_string(&record)?);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn export(&self, conversation: ConversationId) -> StoreResult<Option<Export>> {
        let reader = self.store().clone();
        let Some(row) = reader.conversation(conversation).await? else {
            return Ok(None);
        };
        let first = Exported::Conversation {
            id: row.id,
            tenant: row.tenant,
            name: row.name,
            metadata: row.metadata,
            created_at: row.created_at,
            forked_from: row.forked_from,
        };
        let exporting = Exporting {
            reader,
            conversation,
            after: 0,
            entries: VecDeque::new(),
            turn: None,
            ready: VecDeque::from([first]),
        };
        let records = stream::unfold(Some(exporting), async |exporting| {
            let mut exporting = exporting?;
            match exporting.next().await {
                Ok(record) => Some((Ok(record?), Some(exporting))),
                // What passes may keep the next look from making progress as well: no look for ever.
                Err(error @ StoreError::Corrupt { .. }) => Some((Err(error), Some(exporting))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Some(Export {
            conversation,
            records: records.boxed(),
        }))
    }
}

struct Exporting {
    reader: Reader,
    conversation: ConversationId,
    /// The place of the last message that was looked for.
    after: u64,
    entries: VecDeque<MessageEntry>,
    /// The turn of the last message.
    turn: Option<TurnId>,
    ready: VecDeque<Exported>,
}

impl Exporting {
    async fn next(&mut self) -> StoreResult<Option<Exported>> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Ok(Some(record));
            }
            if let Some(entry) = self.entries.pop_front() {
                self.read(&entry).await?;
                continue;
            }
            let of = Some(self.conversation);
            let page = self.reader.message_index(of, self.after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            self.after = last.place;
            self.entries = page.into();
        }
    }

    /// Reads a message with what belongs to it. What is deleted meanwhile is passed over.
    async fn read(&mut self, entry: &MessageEntry) -> StoreResult<()> {
        let id = entry.message()?;
        let Some(message) = self.reader.message(id).await? else {
            return Ok(());
        };
        let turn = match self.turn.replace(message.turn) {
            Some(known) if known == message.turn => None,
            _ => Some(self.turn(message.turn).await),
        };
        // The message comes also where its turn cannot be read.
        let turn = match turn.transpose() {
            Ok(turn) => turn.flatten(),
            Err(error) => {
                self.entries.push_front(entry.clone());
                return Err(error);
            }
        };
        let files = self.reader.attachments(id).await?;
        let message = Box::new(message);
        let files = files.into_iter().map(|file| Exported::File { file });
        self.ready.extend(turn);
        self.ready.push_back(Exported::Message { message });
        self.ready.extend(files);
        Ok(())
    }

    async fn turn(&self, id: TurnId) -> StoreResult<Option<Exported>> {
        let Some(mut turn) = self.reader.turn(id).await? else {
            return Ok(None);
        };
        if turn.finished_at().is_some() {
            turn.checkpoint = Checkpoint::default();
        }
        Ok(Some(Exported::Turn {
            turn: Box::new(turn),
            events: self.reader.turn_events(id).await?,
            answers: self.reader.answers(id).await?,
        }))
    }
}

impl Stream for Export {
    type Item = StoreResult<Exported>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.records.poll_next_unpin(context)
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("conversation", &self.conversation)
            .finish_non_exhaustive()
    }
}
