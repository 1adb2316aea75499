//! Typed ids of the host's own rows. Upstream ids are `opencode_client`'s.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Takes an id as it was stored.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The id as it is stored.
            pub fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

row_id!(
    /// A conversation: the row that owns one upstream session.
    ConversationId
);
row_id!(
    /// A message of a conversation: the person's, or the one a turn fills.
    MessageId
);
row_id!(
    /// A turn: one prompt and everything that answers it.
    TurnId
);
row_id!(
    /// What a commit owes to the world outside the database. Where there is one for a row (the end of a turn, the
    /// deletion of a conversation), it has the row's id; what follows from it for one of several has one that is made of
    /// both.
    EffectId
);
row_id!(
    /// A file of a message.
    AttachmentId
);
row_id!(
    /// A prompt that is submitted again and again.
    ScheduleId
);

/// An id that is made of a row and of one of several: the same for the same two, whoever asks.
pub(crate) fn derived(from: impl fmt::Display, of: &str) -> Uuid {
    let hashed = Sha256::digest(format!("{from}/{of}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hashed[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl EffectId {
    /// The id of what follows from one row for one of several: the same for the same two, whoever asks.
    pub(crate) fn derived(from: impl fmt::Display, of: &str) -> Self {
        Self(derived(from, of))
    }
}

impl From<ConversationId> for EffectId {
    fn from(of: ConversationId) -> Self {
        Self(of.0)
    }
}

impl From<TurnId> for EffectId {
    fn from(of: TurnId) -> Self {
        Self(of.0)
    }
}
