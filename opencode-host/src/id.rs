//! Typed ids of the host's own rows. Upstream ids are `opencode_client`'s.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
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
    /// deletion of a conversation), it has the row's id.
    EffectId
);
row_id!(
    /// A file of a message.
    AttachmentId
);

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
