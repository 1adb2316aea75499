//! A conversation's upstream session, as its row has it.

use opencode_client::{Client, PromptIds, SessionId};
use serde::{Deserialize, Serialize};

use super::ServerName;

/// The upstream session of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionRecord {
    /// The session.
    pub id: SessionId,
    /// The server that it is on; `None` for the one that its conversation is placed on, as records of earlier versions say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// The folder it works in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// When the server made it, epoch milliseconds by the server's clock.
    #[serde(default)]
    pub created_ms: u64,
    /// Which permission policy it was last told, as a fingerprint of the ordered rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What has to be done before it is prompted; `None` once nothing has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed: Option<Owed>,
}

impl SessionRecord {
    /// A session that works in the server's own folder, under no rules.
    pub fn new(id: impl Into<SessionId>, created_ms: u64) -> Self {
        Self {
            id: id.into(),
            server: None,
            directory: None,
            created_ms,
            policy: None,
            owed: None,
        }
    }

    /// This session, where it does not know what the conversation shows from now on: another one takes its place before
    /// the next prompt, and gets a transcript of what is shown.
    #[must_use]
    pub fn to_be_replaced(self) -> Self {
        Self {
            owed: Some(Owed::Replacement),
            ..self
        }
    }

    /// This session, of a conversation that leaves this server.
    #[must_use]
    pub fn left_on(self, server: &ServerName) -> Self {
        let server = self.server.unwrap_or_else(|| server.clone());
        Self {
            server: Some(server),
            ..self
        }
    }

    /// Whether it is on another server than this one.
    pub fn is_elsewhere(&self, server: &ServerName) -> bool {
        self.server.as_ref().is_some_and(|of| of != server)
    }

    /// `client` in the folder the session works in: the one way to a call about the session.
    /// Servers up to 1.15.4 answer `true` to an abort that does not name the folder, and stop nothing.
    pub fn client(&self, client: &Client) -> Client {
        match &self.directory {
            Some(directory) => client.in_directory(directory.as_str()),
            None => client.clone(),
        }
    }
}

/// What has to be done before a session is prompted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Owed {
    /// It does not know the conversation, and gets a transcript of its earlier messages.
    Transcript {
        /// The ids of the transcript's message: written before the post, so that nobody posts it as another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ids: Option<PromptIds>,
        /// Whether its folder is not the one that the conversation had: the files of the earlier messages are put there.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        files: bool,
    },
    /// The server cannot read its messages any more, or they are not what the conversation shows: another session is to
    /// take its place.
    Replacement,
}
