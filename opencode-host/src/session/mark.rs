//! What tells a conversation's session from others of its folder, whoever minted it.
//!
//! It has to come back from every server that is prompted at all, in the answer to the mint and in the list of
//! sessions. `metadata` is not kept up to 1.14.48, and a title is shown to people. So the mark is a permission rule
//! that nothing ever asks about: rules come back as they were given on 1.1.16 to 1.18.33, sub-agents do not inherit
//! an `allow`, and the model's tools stay as they are (all measured).

use opencode_client::SessionId;
use opencode_client::wire::{PermissionAction, PermissionRule, Session as UpstreamSession};

use crate::id::ConversationId;

/// What the rule is about: no tool of OpenCode's is called so.
const PERMISSION: &str = "opencode-host";

/// Why a session was minted.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) conversation: ConversationId,
    pub(super) replaces: Option<SessionId>,
}

impl Mark {
    /// The rule that carries it.
    pub(super) fn rule(&self) -> PermissionRule {
        let replaces = self.replaces.as_ref().map_or("none", SessionId::as_str);
        PermissionRule {
            permission: PERMISSION.to_owned(),
            pattern: format!("{} {replaces}", self.conversation),
            action: PermissionAction::Allow,
        }
    }

    /// The conversation whose mark a session carries.
    #[cfg(feature = "tools")]
    pub(super) fn conversation_of(session: &UpstreamSession) -> Option<&str> {
        let marks = session.permission.iter();
        let mark = marks.rev().find(|rule| rule.permission == PERMISSION)?;
        mark.pattern.split(' ').next()
    }

    pub(super) fn is_on(&self, session: &UpstreamSession) -> bool {
        session.parent_id.is_none() && session.permission.contains(&self.rule())
    }
}
