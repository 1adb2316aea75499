//! `/api`: the routes for programs, of the library's own router.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::http::request::Parts;
use opencode_axum::{Api, Authorize, Caller, Problem};
use opencode_host::Host;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::visitor::Visitor;

/// Whoever the gate has let in: a user, or the one person that the chat knows without accounts.
struct Visitors;

#[async_trait]
impl Authorize for Visitors {
    async fn authorize(&self, request: &Parts) -> Result<Caller, Problem> {
        let visitor = request.extensions.get::<Visitor>();
        let visitor = visitor.ok_or_else(|| Problem::unauthenticated("Bearer"))?;
        let caller = Caller::new(visitor.tenant.clone()).may_note();
        Ok(match visitor.name() {
            Some(name) => caller.named(name),
            None => caller,
        })
    }
}

/// The routes, which browsers see below `seen_at`. Their streams are counted with those of the pages.
pub(super) fn router(
    host: Host,
    seen_at: String,
    streams: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Router {
    let api = Api::new(host, Visitors)
        .seen_at(seen_at)
        .streams(Arc::clone(streams))
        .shutdown(shutdown.clone());
    opencode_axum::router(api)
}
