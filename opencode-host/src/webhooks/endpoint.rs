//! Who is told.

use std::fmt;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use url::{Host, Url};

use super::error::{MAX_NAME_CHARS, WebhookError};
use super::secret::WebhookSecret;
use crate::product::HookError;
use crate::store::{Tenant, WebhookEvent};

/// An endpoint that is told what happened. [`Debug`](fmt::Debug) shows neither its secrets nor the path of its address.
#[derive(Clone)]
#[non_exhaustive]
pub struct Webhook {
    name: String,
    url: Url,
    secrets: Vec<WebhookSecret>,
    events: Vec<WebhookEvent>,
    tenant: Option<Tenant>,
}

impl Webhook {
    /// An endpoint at this address that is told all events of all tenants.
    ///
    /// `name` tells it from the other endpoints of a tenant, and stays: what is noted for it is sent to whichever address,
    /// and is signed with whichever secrets, the endpoint of this name has then.
    ///
    /// # Errors
    /// [`WebhookError::Name`], [`Url`](WebhookError::Url), [`NotHttps`](WebhookError::NotHttps),
    /// [`Credentials`](WebhookError::Credentials).
    pub fn new(
        name: impl Into<String>,
        url: &str,
        secret: WebhookSecret,
    ) -> Result<Self, WebhookError> {
        let name = name.into();
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS {
            return Err(WebhookError::Name);
        }
        let url = match Url::parse(url.trim()) {
            Ok(url) if url.has_host() => url,
            Ok(_) => {
                let why = "it names no host".to_owned();
                return Err(WebhookError::Url { name, why });
            }
            Err(error) => {
                let why = error.to_string();
                return Err(WebhookError::Url { name, why });
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(WebhookError::Credentials { name });
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            scheme => {
                let scheme = scheme.to_owned();
                return Err(WebhookError::NotHttps { name, scheme });
            }
        }
        Ok(Self {
            name,
            url,
            secrets: vec![secret],
            events: WebhookEvent::ALL.to_vec(),
            tenant: None,
        })
    }

    /// Signs with this secret too, so that receivers can change from one to the other.
    #[must_use]
    pub fn also_signed_with(mut self, secret: WebhookSecret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Tells it these events only.
    #[must_use]
    pub fn events(self, events: impl IntoIterator<Item = WebhookEvent>) -> Self {
        Self {
            events: events.into_iter().collect(),
            ..self
        }
    }

    /// Tells it of one tenant's conversations only.
    #[must_use]
    pub fn of(self, tenant: impl Into<Tenant>) -> Self {
        Self {
            tenant: Some(tenant.into()),
            ..self
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn wants(&self, event: WebhookEvent) -> bool {
        self.events.contains(&event)
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn secrets(&self) -> &[WebhookSecret] {
        &self.secrets
    }

    /// Its address, as lanes are named by: an endpoint that hangs holds up those at the same address alone.
    pub(crate) fn to(&self) -> String {
        let hashed = Sha256::digest(self.url.as_str());
        let mut start = [0; 8];
        start.copy_from_slice(&hashed[..8]);
        format!("{:016x}", u64::from_be_bytes(start))
    }
}

/// Whether the host is a name or an address of this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("host", &self.url.host_str())
            .field("events", &self.events)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// Says which endpoints there are. A list of [`Webhook`]s does; an application whose customers have endpoints of their
/// own implements it over its own table.
///
/// ```
/// use opencode_host::product::HookError;
/// use opencode_host::store::Tenant;
/// use opencode_host::webhooks::{Endpoints, Webhook};
///
/// struct Customers;
/// # impl Customers {
/// #     async fn endpoints(&self, _: &str) -> Vec<(String, String, String)> { Vec::new() }
/// # }
///
/// #[async_trait::async_trait]
/// impl Endpoints for Customers {
///     async fn of(&self, tenant: &Tenant) -> Result<Vec<Webhook>, HookError> {
///         let rows = self.endpoints(tenant.as_str()).await.into_iter();
///         let endpoints = rows.map(|(id, url, secret)| Ok(Webhook::new(id, &url, secret.parse()?)?));
///         endpoints.collect()
///     }
/// }
/// ```
#[async_trait]
pub trait Endpoints: Send + Sync + 'static {
    /// The endpoints that are told of this tenant's conversations, each with a name of its own.
    ///
    /// Asked when something is to be told, and again at each try. Called on a thread of its own, which it may block, for
    /// [`plug_in_limit`](crate::WorkerOptions::plug_in_limit) at most.
    ///
    /// # Errors
    /// What was to be told is tried again later, and the error is reported.
    async fn of(&self, tenant: &Tenant) -> Result<Vec<Webhook>, HookError>;
}

#[async_trait]
impl Endpoints for Vec<Webhook> {
    async fn of(&self, tenant: &Tenant) -> Result<Vec<Webhook>, HookError> {
        let wanted = |webhook: &&Webhook| webhook.tenant.as_ref().is_none_or(|of| of == tenant);
        Ok(self.iter().filter(wanted).cloned().collect())
    }
}
