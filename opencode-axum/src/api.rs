//! The router, and what an application says of it.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use bytes::Bytes;
use opencode_host::Host;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;

use crate::authorize::{Authorize, Gate, ask};
use crate::problem::Problem;
use crate::routes;
use crate::settings::Settings;

/// The most bytes of a body that is no file, unless the application says otherwise: 4 MiB.
pub const DEFAULT_MAX_BODY: usize = 4 << 20;

/// How many streams there may be at once, unless the application says otherwise.
pub const DEFAULT_MAX_STREAMS: usize = 1000;

/// What the [`router`] is made of.
///
/// ```
/// # use std::sync::Arc;
/// # use opencode_axum::{Api, Authorize};
/// # use opencode_host::Host;
/// # use tokio_util::sync::CancellationToken;
/// fn api(host: Host, sessions: impl Authorize, stop: CancellationToken) -> axum::Router {
///     let api = Api::new(host, sessions).max_streams(200).shutdown(stop);
///     axum::Router::new().nest("/api", opencode_axum::router(api))
/// }
/// ```
#[must_use]
pub struct Api {
    gate: Gate,
    max_body: usize,
    streams: Arc<Semaphore>,
    seen_at: Option<String>,
    shutdown: CancellationToken,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("host", &self.gate.host)
            .field("max_body", &self.max_body)
            .field("streams", &self.streams)
            .field("seen_at", &self.seen_at)
            .finish_non_exhaustive()
    }
}

impl Api {
    /// The routes of this host, for those whom `authorize` lets in.
    pub fn new(host: Host, authorize: impl Authorize) -> Self {
        Self {
            gate: Gate {
                host,
                authorize: Arc::new(authorize),
            },
            max_body: DEFAULT_MAX_BODY,
            streams: Arc::new(Semaphore::new(DEFAULT_MAX_STREAMS)),
            seen_at: None,
            shutdown: CancellationToken::new(),
        }
    }

    /// Maximum size in bytes of a body that is no file. Default 4 MiB; larger ones are refused with 413. How large a
    /// file may be is said by [`HostOptions::max_upload`](opencode_host::HostOptions::max_upload).
    pub fn max_body(self, max_body: usize) -> Self {
        Self { max_body, ..self }
    }

    /// Maximum number of streams and exports at once. Default 1000; more are refused with 503. Each holds a connection.
    pub fn max_streams(self, max_streams: usize) -> Self {
        self.streams(Arc::new(Semaphore::new(max_streams)))
    }

    /// Has streams and exports take permits that others take too: one each.
    pub fn streams(self, streams: Arc<Semaphore>) -> Self {
        Self { streams, ..self }
    }

    /// The path below which browsers see the router, without a slash at its end. Default: where it is mounted, which is
    /// something else behind a proxy that takes a part of the path off.
    pub fn seen_at(self, path: impl Into<String>) -> Self {
        Self {
            seen_at: Some(path.into()),
            ..self
        }
    }

    /// Ends streams, uploads and downloads when it is cancelled. Default: never, so that a graceful shutdown of the
    /// server waits for them.
    pub fn shutdown(self, shutdown: CancellationToken) -> Self {
        Self { shutdown, ..self }
    }
}

/// Makes the router, to be mounted under any path: `Router::nest("/api", …)`.
///
/// Whatever is answered below that path, also to addresses and methods that do not exist, is answered to who was let in,
/// and what is no success is a [`Problem`].
pub fn router(api: Api) -> Router {
    let (routes, description) = routes::all().split_for_parts();
    let host = &api.gate.host;
    let settings = Settings {
        blobs: host.blobs().cloned(),
        max_prompt: host.options().max_prompt,
        max_upload: host.options().max_upload,
        max_body: api.max_body,
        seen_at: api.seen_at,
        streams: api.streams,
        shutdown: api.shutdown,
        description: Bytes::from(json(description)),
    };
    routes
        .fallback(async |uri: Uri| {
            let path = uri.path();
            Problem::not_found(format!("There is nothing at {path}."))
        })
        .method_not_allowed_fallback(async |method: Method| {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Not in this way",
                format!("This address does not take {method}."),
            )
        })
        .layer(DefaultBodyLimit::max(api.max_body))
        .layer(middleware::from_fn_with_state(api.gate, ask))
        .with_state(settings)
}

/// The routes as an OpenAPI 3.1 document, as the router gives it at `/openapi.json`.
pub fn openapi() -> String {
    json(routes::all().into_openapi())
}

fn json(description: OpenApi) -> String {
    // Texts and trees of them: nothing that JSON cannot say.
    serde_json::to_string_pretty(&routes::finished(description)).unwrap_or_default()
}
