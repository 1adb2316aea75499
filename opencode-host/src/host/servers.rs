//! The OpenCode servers of the store, and what an operator says of them.

use super::Host;
use crate::store::{ServerLoad, ServerName, StoreError, StoreResult};

/// How many conversations lose their place in one transaction.
const AT_ONCE: u32 = 100;

impl Host {
    /// The OpenCode servers that workers of this store have named, by name: how each stands, and how many turns it has.
    ///
    /// # Errors
    /// See [`StoreError`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use opencode_host::store::MemoryStore;
    /// # use opencode_host::Host;
    /// let host = Host::builder(Arc::new(MemoryStore::default())).build();
    /// for load in host.servers().await? {
    ///     let server = &load.server;
    ///     println!("{}: {}, {} running", server.name, server.state().as_str(), load.running);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn servers(&self) -> Result<Vec<ServerLoad>, StoreError> {
        self.front.store.servers().await
    }

    /// Places no new conversations on a server, until [`undrain_server`](Self::undrain_server). Those that it has go on there:
    /// before it is switched off for good, they have to be deleted, or be moved, which they are once it is gone.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where no worker has named such a server; [`StoreError::Configuration`] where the store
    /// keeps no servers.
    pub async fn drain_server(&self, server: &ServerName) -> Result<(), StoreError> {
        self.set_draining(server, true).await
    }

    /// Places new conversations on a server again that was [drained](Self::drain_server).
    ///
    /// # Errors
    /// As [`drain_server`](Self::drain_server).
    pub async fn undrain_server(&self, server: &ServerName) -> Result<(), StoreError> {
        self.set_draining(server, false).await
    }

    async fn set_draining(&self, server: &ServerName, draining: bool) -> StoreResult<()> {
        if !self.front.store.set_draining(server, draining).await? {
            return Err(StoreError::not_found("server", server));
        }
        self.front.queue_changed.notify_waiters();
        Ok(())
    }

    /// Says that the server of this name is a new one, which knows nothing of the sessions that were there: an operator's
    /// word, where its workers have found that it does not know them, and work on nothing. Its conversations lose their
    /// place: the next turn of each is placed anew, in a fresh session that gets a transcript. Answers how many they were.
    ///
    /// # Errors
    /// As [`drain_server`](Self::drain_server). Those that have lost their place by then are not counted again.
    pub async fn forget_sessions(&self, server: &ServerName) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let page = self.front.store.forget_sessions(server, AT_ONCE).await?;
            forgotten += u64::from(page);
            if page < AT_ONCE {
                break;
            }
        }
        self.front.queue_changed.notify_waiters();
        self.front.effect_noted.notify_waiters();
        Ok(forgotten)
    }
}
