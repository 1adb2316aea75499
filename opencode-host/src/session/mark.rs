use opencode_client::SessionId;
use opencode_client::wire::Session as UpstreamSession;
use serde_json::{Map, Value, json};

use crate::id::ConversationId;

/// What our part of a session's metadata is called.
const METADATA: &str = "opencode-host";

/// What a session says in its metadata of why it was minted.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) conversation: ConversationId,
    pub(super) replaces: Option<SessionId>,
    /// What it was minted with. Not part of what it is found by.
    pub(super) policy: Option<String>,
}

impl Mark {
    pub(super) fn metadata(&self) -> Map<String, Value> {
        let mark = json!({
            "conversation": self.conversation,
            "replaces": self.replaces,
            "policy": self.policy,
        });
        Map::from_iter([(METADATA.to_owned(), mark)])
    }

    pub(super) fn is_on(&self, session: &UpstreamSession) -> bool {
        let Some(mark) = session.metadata.get(METADATA) else {
            return false;
        };
        mark["conversation"] == json!(self.conversation) && mark["replaces"] == json!(self.replaces)
    }

    pub(super) fn policy_of(session: &UpstreamSession) -> Option<String> {
        let policy = session.metadata.get(METADATA)?.get("policy")?;
        policy.as_str().map(str::to_owned)
    }
}
