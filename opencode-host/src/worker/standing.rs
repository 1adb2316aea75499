//! What a worker knows of its server: whether it is the one of its name.

use crate::clock::Timestamp;

/// What is wrong with a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Strange {
    #[error(
        "the OpenCode server at {address} does not know the sessions of the server {name}: it is another one, or has an older \
         data folder. Its worker claims nothing. Correct the address or the name; where it is a new server in the place of {name}, say so \
         (Host::forget_sessions)"
    )]
    Unknown { name: String, address: String },
    #[error(
        "two OpenCode servers answer to the name {name}: the one at {other}, and the one at {address}, which knows less of its \
         sessions. The worker of this one claims nothing. Give each server a name of its own"
    )]
    Twice {
        name: String,
        address: String,
        other: String,
    },
}

/// What a worker knows of its server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was not looked since it answered first, or again.
    #[default]
    New,
    /// It does not know the sessions, and another worker has heard from the server of its name a moment ago, at this time:
    /// nothing is claimed until that is heard again, or is not.
    Doubtful(Timestamp),
    /// It is the one of its name.
    Right,
    Strange(Strange),
}

impl Standing {
    /// Whether turns may be claimed. Of a server that does not answer they say so themselves.
    pub(super) fn may_claim(&self) -> bool {
        match self {
            Self::New | Self::Right => true,
            Self::Doubtful(_) | Self::Strange(_) => false,
        }
    }
}
