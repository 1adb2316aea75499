//! The names of receivers, resolved to addresses that may be connected to. The connection uses these and asks no second
//! time, so that a name that leads elsewhere a moment later leads nowhere.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::address::is_public;
use super::endpoint::is_loopback;

/// What asks for the addresses of a name.
pub(super) type Lookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// A host has no address that may be connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} has no public address: allow it by name where it is to be reached (WebhooksBuilder::allow_private)"
)]
pub(super) struct NotPublic {
    pub(super) host: String,
}

/// Which hosts may have addresses that are not public.
#[derive(Clone)]
pub(super) struct Resolver {
    pub(super) allowed: Arc<HashSet<String>>,
    pub(super) lookup: Lookup,
}

impl Resolver {
    /// Looks at a host that is an address, which is connected to without a look at any name.
    pub(super) fn check(&self, url: &Url) -> Result<(), NotPublic> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        let host = address.to_string();
        if self.allowed.contains(&host) || is_public(address) {
            return Ok(());
        }
        Err(NotPublic { host })
    }

    /// Of the addresses of a name those that may be connected to.
    async fn addresses(
        self,
        host: String,
    ) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
        let mut found = (self.lookup)(host.clone()).await?;
        // Plain http goes there, so it is this machine, whatever a name server says.
        let must_be_loopback =
            Url::parse(&format!("http://{host}")).is_ok_and(|url| is_loopback(&url));
        let is_allowed = self.allowed.contains(&host.to_ascii_lowercase());
        found.retain(|address| {
            let address = address.ip();
            if must_be_loopback {
                is_allowed && address.is_loopback()
            } else {
                is_allowed || is_public(address)
            }
        });
        if found.is_empty() {
            return Err(NotPublic { host }.into());
        }
        Ok(Box::new(found.into_iter()))
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(resolver.addresses(name.as_str().to_owned()))
    }
}

/// As the machine resolves names.
pub(super) fn by_the_machine() -> Lookup {
    Arc::new(|host| {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
    })
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}
