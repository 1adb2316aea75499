//! `/api`: the routes for programs, of the library's own router.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::http::request::Parts;
use opencode_axum::{Api, Authorize, Caller, Problem};
use opencode_host::Host;
use opencode_host::store::Tenant;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The chat knows one person. Who may be taken for them is looked at before ([`origin`](super::origin)).
struct OnePerson;

#[async_trait]
impl Authorize for OnePerson {
    async fn authorize(&self, _: &Parts) -> Result<Caller, Problem> {
        Ok(Caller::new(Tenant::default()).may_note())
    }
}

/// The routes, which browsers see below `seen_at`. Their streams are counted with those of the pages.
pub(super) fn router(
    host: Host,
    seen_at: String,
    streams: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Router {
    let api = Api::new(host, OnePerson)
        .seen_at(seen_at)
        .streams(Arc::clone(streams))
        .shutdown(shutdown.clone());
    opencode_axum::router(api)
}
