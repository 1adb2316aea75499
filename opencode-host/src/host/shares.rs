//! The shares that tenants have of the servers.

use super::Host;
use crate::store::{StoreError, Tenant, TenantShare};

impl Host {
    /// Sets a tenant's share of the servers: how often its turns are next, how many run at once over all workers, and how many
    /// begin in a period. It is kept in the store, and holds for all claims from then on, of whatever node; turns that run go
    /// on. `None` takes it back: [`WorkerOptions::tenant_share`](crate::WorkerOptions::tenant_share) holds again.
    ///
    /// # Errors
    /// [`StoreError::Configuration`] for a rate whose period is shorter than a millisecond, and where the store keeps no
    /// shares; [`StoreError::TooLong`] for a tenant of more than
    /// [`MAX_TENANT_CHARS`](crate::store::MAX_TENANT_CHARS) characters.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::{num::NonZeroU32, sync::Arc, time::Duration};
    /// # use opencode_host::Host;
    /// use opencode_host::store::{MemoryStore, Rate, Tenant, TenantShare};
    ///
    /// let host = Host::builder(Arc::new(MemoryStore::default())).build();
    /// let trial = TenantShare::default()
    ///     .concurrency(NonZeroU32::new(2).unwrap())
    ///     .rate(Rate::new(NonZeroU32::new(50).unwrap(), Duration::from_secs(3600)));
    /// host.set_tenant_share(&Tenant::from("acme"), Some(&trial)).await?;
    /// assert_eq!(host.tenant_share(&Tenant::from("acme")).await?, Some(trial));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_tenant_share(
        &self,
        tenant: &Tenant,
        share: Option<&TenantShare>,
    ) -> Result<(), StoreError> {
        self.front.store.set_tenant_share(tenant, share).await?;
        self.front.queue_changed.notify_waiters();
        Ok(())
    }

    /// The share that was [set](Self::set_tenant_share) of a tenant; `None` where that of the workers' options holds.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn tenant_share(&self, tenant: &Tenant) -> Result<Option<TenantShare>, StoreError> {
        self.front.store.tenant_share(tenant).await
    }
}
