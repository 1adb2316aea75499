//! Sending a webhook: one try, to one endpoint.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{StatusCode, redirect};
use rustls::crypto::CryptoProvider;
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::endpoint::{Endpoints, Webhook};
use super::error::WebhookError;
use super::resolver::{Lookup, NotPublic, Resolver, by_the_machine};
use super::signature::sign;
use crate::clock::Timestamp;
use crate::plug_in;
use crate::product::HookError;
use crate::store::Tenant;

/// How long a try takes at most, unless it is said.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long connecting may take of it.
const CONNECTING: Duration = Duration::from_secs(10);

/// How many characters of why there is no connection are told.
const MAX_WHY: usize = 200;

/// Endpoints, and how they are reached. Every worker on a store is given the same: whichever notes and tells.
#[derive(Clone)]
pub struct Webhooks {
    endpoints: Arc<dyn Endpoints>,
    http: reqwest::Client,
    resolver: Resolver,
    timeout: Duration,
}

/// What [`Webhooks`] are built from.
#[must_use]
pub struct WebhooksBuilder {
    endpoints: Arc<dyn Endpoints>,
    allowed: HashSet<String>,
    timeout: Duration,
    lookup: Lookup,
}

impl WebhooksBuilder {
    /// Lets this host have addresses that are not public: one of a private network, or of this machine. As it stands in the
    /// address of the endpoint: `hooks.internal`, `10.0.0.7`, `localhost`. By default there is none.
    ///
    /// Where customers name the endpoints, they can then have this host be sent to as well.
    pub fn allow_private(mut self, host: impl AsRef<str>) -> Self {
        let host = host.as_ref().trim_matches(['[', ']']);
        self.allowed.insert(host.to_ascii_lowercase());
        self
    }

    /// How long one try takes at most, connecting included. Default 15 s; a receiver that takes longer has failed.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Has names resolved by something else.
    #[cfg(test)]
    pub(super) fn lookup(self, lookup: Lookup) -> Self {
        Self { lookup, ..self }
    }

    /// Makes them. Nothing is contacted yet.
    ///
    /// # Errors
    /// [`WebhookError::Client`] where this machine has no certificates to know receivers by.
    pub fn build(self) -> Result<Webhooks, WebhookError> {
        let resolver = Resolver {
            allowed: Arc::new(self.allowed),
            lookup: self.lookup,
        };
        let tls = tls().map_err(|error| WebhookError::Client(error.to_string()))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(resolver.clone()))
            // A proxy would resolve names itself.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECTING.min(self.timeout))
            .pool_max_idle_per_host(1)
            .user_agent(concat!("opencode-host/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Webhooks {
            endpoints: self.endpoints,
            http: http.map_err(|error| WebhookError::Client(error.to_string()))?,
            resolver,
            timeout: self.timeout,
        })
    }
}

/// With the provider that the process has chosen, else with ring, which is not made the process's.
fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let versions = rustls::ClientConfig::builder_with_provider(provider);
    let roots = versions.with_safe_default_protocol_versions()?;
    Ok(roots.with_platform_verifier()?.with_no_client_auth())
}

/// A webhook that is to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    /// The same in each try.
    pub(crate) id: String,
    /// When this try is made.
    pub(crate) at: Timestamp,
    /// The same in each try.
    pub(crate) body: &'a [u8],
}

/// Why a webhook was not delivered. Says neither secret nor address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDelivered {
    #[error("the receiver answered {status}{}", hint(*status))]
    Status {
        status: StatusCode,
        /// How long it asks not to be tried for.
        retry_after: Option<Duration>,
    },
    #[error(transparent)]
    NotPublic(#[from] NotPublicHost),
    #[error("the receiver did not answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    #[error("cannot reach the receiver: {0}")]
    Unreachable(String),
}

/// The receiver's host has no address that may be connected to.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct NotPublicHost(NotPublic);

fn hint(status: StatusCode) -> &'static str {
    if status.is_redirection() {
        ": redirects are not followed, name the address that it leads to"
    } else if status == StatusCode::GONE {
        ": it wants no more"
    } else {
        ""
    }
}

impl NotDelivered {
    /// Whether the receiver says that it is not to be tried again.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::GONE)
    }

    /// How long the receiver asks not to be tried for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl Webhooks {
    /// Starts with endpoints: a list of [`Webhook`]s, or what knows them.
    pub fn builder(endpoints: impl Endpoints) -> WebhooksBuilder {
        WebhooksBuilder {
            endpoints: Arc::new(endpoints),
            allowed: HashSet::new(),
            timeout: TIMEOUT,
            lookup: by_the_machine(),
        }
    }

    /// How long one try takes at most.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The endpoints of a tenant.
    pub(crate) async fn of(
        &self,
        tenant: &Tenant,
        limit: Duration,
    ) -> Result<Vec<Webhook>, HookError> {
        let (endpoints, tenant) = (Arc::clone(&self.endpoints), tenant.clone());
        let asking = async move || endpoints.of(&tenant).await;
        Ok(plug_in::call("Endpoints::of", limit, asking).await?)
    }

    /// Sends a webhook, and waits for the receiver to say that it has it. What else it says is not read.
    pub(crate) async fn send(
        &self,
        to: &Webhook,
        outgoing: &Outgoing<'_>,
    ) -> Result<(), NotDelivered> {
        self.resolver.check(to.url()).map_err(NotPublicHost)?;
        let timestamp = outgoing.at.0.div_euclid(1000).to_string();
        let signature = sign(to.secrets(), &outgoing.id, &timestamp, outgoing.body);
        let request = self
            .http
            .post(to.url().clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &outgoing.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(outgoing.body.to_vec());
        let answered = tokio::time::timeout(self.timeout, request.send()).await;
        let answer = answered
            .map_err(|_| NotDelivered::TimedOut(self.timeout))?
            .map_err(|error| self.why(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(NotDelivered::Status {
            status,
            retry_after: retry_after(answer.headers()),
        })
    }

    /// What kept a request from being answered, without its address, which may be a secret.
    fn why(&self, error: &reqwest::Error) -> NotDelivered {
        let mut cause: &(dyn std::error::Error + 'static) = error;
        let mut words = None;
        while let Some(source) = cause.source() {
            if let Some(refused) = source.downcast_ref::<NotPublic>() {
                return NotPublicHost(refused.clone()).into();
            }
            words = Some(source.to_string());
            cause = source;
        }
        if error.is_timeout() {
            return NotDelivered::TimedOut(self.timeout);
        }
        let words = words.unwrap_or_else(|| "the connection failed".to_owned());
        NotDelivered::Unreachable(words.chars().take(MAX_WHY).collect())
    }
}

/// Seconds, or a moment.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = httpdate::parse_http_date(value).ok()?;
    Some(moment.duration_since(SystemTime::now()).unwrap_or_default())
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks")
            .field("resolver", &self.resolver)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WebhooksBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhooksBuilder")
            .field("allowed", &self.allowed)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
