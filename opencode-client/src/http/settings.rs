//! What all clones of a client share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::sync::Semaphore;
use url::Url;

use crate::tolerant::SkipListener;

/// One finished HTTP call: what a `request` trace event carries.
#[derive(Clone, Copy, Debug)]
pub struct RequestTrace<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The path, without query.
    pub path: &'a str,
    /// The HTTP status; `None` when no answer came.
    pub status: Option<u16>,
    /// From the call to the end of the body.
    pub duration: Duration,
}

/// Is told of every call.
pub(super) type RequestListener = Arc<dyn Fn(&RequestTrace<'_>) + Send + Sync>;

/// What all clones of a client share.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) base_url: Url,
    pub(crate) server: String,
    /// What every call and every event stream carries. Its values are marked as sensitive.
    pub(crate) headers: HeaderMap,
    /// The event stream goes through the general client too.
    pub(crate) is_general: bool,
    pub(crate) timeout: Duration,
    pub(crate) workspace: Option<String>,
    pub(super) on_request: Option<RequestListener>,
    pub(super) on_skipped: Option<SkipListener>,
    /// Places for calls under way.
    pub(super) in_flight: Arc<Semaphore>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("server", &self.server)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
