//! Typed ids of upstream entities, and how message ids are minted.
//!
//! OpenCode orders the messages of a session by id, so an id decides whether a
//! prompt runs at all. Measured on 1.2.27 and 1.15.13: an id from a clock that
//! runs ahead of the server's makes the server loop for ever, an id older than
//! the session's newest message is never run. Ids are therefore minted from
//! what the server itself has said, never from the caller's clock: see
//! [`PromptIds::mint`].

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! upstream_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// The id as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.into())
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id.into())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

upstream_id!(
    /// An upstream session, `ses_…`.
    SessionId
);
upstream_id!(
    /// An upstream message, `msg_…`.
    MessageId
);
upstream_id!(
    /// One part of an upstream message, `prt_…`.
    PartId
);
upstream_id!(
    /// A question the agent asked, `que_…`.
    QuestionId
);
upstream_id!(
    /// A permission the agent asked for, `per_…`.
    PermissionId
);

impl PartId {
    /// A name for a part that the server gave no id, by its message and its kind or call.
    pub(crate) fn stand_in(message: &str, what: &str) -> Self {
        Self::from(format!("{message}/{what}"))
    }

    /// Whether the server gave the part no id.
    pub(crate) fn is_stand_in(&self) -> bool {
        self.0.contains('/')
    }
}

/// How the id of a message begins.
const MESSAGE: &str = "msg_";
const HEX_DIGITS: usize = 12;
const TAIL_LENGTH: usize = 14;
const HEX_MASK: u64 = (1 << 48) - 1;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Where the ids of a prompt start from: the newest thing the server has said
/// about the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MintBasis {
    /// The newest message of the session.
    After(MessageId),
    /// An empty session: its `time.created`, epoch milliseconds of the server.
    EmptySession {
        /// Epoch milliseconds by the server's clock.
        created_ms: u64,
    },
}

/// The ids of one prompt: its user message and that message's text part.
///
/// They are written down before the first post, so that a repeated post is the
/// same message to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptIds {
    /// The user message.
    pub message: MessageId,
    /// Its text part.
    pub part: PartId,
}

impl PromptIds {
    /// Mints ids that sort after everything in the session and before
    /// everything the server is still to make.
    ///
    /// `entropy` is 128 random bits, a parameter so that tests repeat. A newest
    /// id that is not of the known form (`msg_`, 12 hex digits, a tail) falls
    /// back to `fallback_ms`, epoch milliseconds by the server's clock (the
    /// message's own `time.created`).
    pub fn mint(basis: &MintBasis, fallback_ms: u64, entropy: u128) -> Self {
        let stamp = match basis {
            MintBasis::After(newest) => hex_of(newest.as_str())
                .map_or_else(|| stamp_at(fallback_ms), |hex| (hex + 1) & HEX_MASK),
            MintBasis::EmptySession { created_ms } => stamp_at(*created_ms),
        };
        let tail = base62_tail(entropy);
        Self {
            message: MessageId::from(format!("{MESSAGE}{stamp:012x}{tail}")),
            part: PartId::from(format!("prt_{stamp:012x}{tail}")),
        }
    }
}

impl PromptIds {
    /// The part of the file at this place among those of the prompt: the same part whenever it is posted.
    pub(crate) fn file(&self, at: usize) -> PartId {
        let part = self.part.as_str();
        let kept = part.len().saturating_sub(2);
        PartId::from(format!("{}{at:02}", part.get(..kept).unwrap_or(part)))
    }
}

/// The low 48 bits of `epoch_ms * 0x1000 + counter`, counter 1.
fn stamp_at(epoch_ms: u64) -> u64 {
    epoch_ms.wrapping_mul(0x1000).wrapping_add(1) & HEX_MASK
}

fn hex_of(id: &str) -> Option<u64> {
    let rest = id.strip_prefix(MESSAGE)?;
    let digits = rest.get(..HEX_DIGITS)?;
    if rest.len() == HEX_DIGITS || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

fn base62_tail(mut entropy: u128) -> String {
    let mut tail = String::with_capacity(TAIL_LENGTH);
    for _ in 0..TAIL_LENGTH {
        tail.push(char::from(BASE62[(entropy % 62) as usize]));
        entropy /= 62;
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successor_sorts_after_the_newest_whatever_the_tail() {
        let newest = MessageId::from("msg_202c805cc001nTL6Z3LOkj8cIc");
        let ids = PromptIds::mint(&MintBasis::After(newest.clone()), 0, 0);
        assert_eq!(ids.message.as_str(), "msg_202c805cc00200000000000000");
        assert_eq!(ids.part.as_str(), "prt_202c805cc00200000000000000");
        assert!(ids.message > newest);
    }

    #[test]
    fn empty_session_starts_at_its_creation() {
        // The session and first message of the `text` recording.
        let ids = PromptIds::mint(
            &MintBasis::EmptySession {
                created_ms: 1_795_342_992_792,
            },
            0,
            u128::MAX,
        );
        assert!(ids.message.as_str().starts_with("msg_202c80598001"));
        assert!(ids.message < MessageId::from("msg_202c805cc001nTL6Z3LOkj8cIc"));
        assert_eq!(ids.message.as_str().len(), 30);
    }

    #[test]
    fn foreign_ids_fall_back_to_the_message_time() {
        for odd in [
            "msg_",
            "msg_zzzz",
            "x",
            "msg_202c805cc001",
            "msg_é02c805cc001nTL6Z3",
        ] {
            let ids = PromptIds::mint(
                &MintBasis::After(MessageId::from(odd)),
                1_795_342_992_792,
                7,
            );
            assert!(
                ids.message.as_str().starts_with("msg_202c80598001"),
                "{odd}"
            );
        }
    }
}
