//! Why there is no session.

use opencode_client::Error as ClientError;

use super::unsafe_server::UnsafeServer;
use crate::plug_in::HookError;
use crate::store::StoreError;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The server.
    #[error(transparent)]
    Upstream(#[from] ClientError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server would not do as the rules say. What was minted on it is deleted.
    #[error(transparent)]
    Unsafe(#[from] UnsafeServer),
    /// The product could not say where the session works.
    #[error("no folder for the session: {0}")]
    Product(HookError),
}
