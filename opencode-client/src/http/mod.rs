//! The HTTP side of the client: configuration, one place that sends, and the
//! endpoints by subject.

mod builder;
mod messages;
mod requests;
mod send;
mod server;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

pub use builder::ClientBuilder;
pub use messages::{MessagePage, PageCursor};
pub use send::RequestTrace;
pub(crate) use send::{MAX_BODY, network_detail};
pub use server::{Health, Models};

use crate::error::Error;
use crate::tolerant::Skipped;
use builder::Settings;

/// A client of one OpenCode server. Cheap to clone; clones share connections.
///
/// Every call takes the client's `directory` along: use [`Client::in_directory`]
/// for the folder a session works in.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    settings: Arc<Settings>,
    directory: Option<Arc<str>>,
    patience: Option<Duration>,
}

impl Client {
    /// Starts a client for the server at `base_url`, such as `http://127.0.0.1:4096`.
    pub fn builder(base_url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(base_url)
    }

    /// A client from `OPENCODE_BASE_URL` (default `http://127.0.0.1:4096`),
    /// `OPENCODE_SERVER_USERNAME` (default `opencode`), `OPENCODE_SERVER_PASSWORD` and
    /// `OPENCODE_TIMEOUT` (seconds, default 120).
    ///
    /// # Errors
    /// [`Error::Configuration`] when one of them makes no sense.
    pub fn from_env() -> Result<Self, Error> {
        ClientBuilder::from_env()?.build()
    }

    /// The same client, working in `directory`.
    pub fn in_directory(&self, directory: impl Into<Arc<str>>) -> Self {
        Self {
            directory: Some(directory.into()),
            ..self.clone()
        }
    }

    /// The same client, giving a call up when the server says nothing for `limit`: no answer
    /// to it, or no further piece of one. A large request gets longer by its size. The
    /// client's [timeout](ClientBuilder::timeout) holds all the same.
    pub fn with_patience(&self, limit: Duration) -> Self {
        Self {
            patience: Some(limit),
            ..self.clone()
        }
    }

    /// The same client, telling `listener` of every call beside whom it tells
    /// already. Must be quick.
    pub fn also_on_request(
        &self,
        listener: impl Fn(&RequestTrace<'_>) + Send + Sync + 'static,
    ) -> Self {
        let mut settings = Settings::clone(&self.settings);
        let earlier = settings.on_request.take();
        settings.on_request = Some(Arc::new(move |trace| {
            if let Some(earlier) = &earlier {
                earlier(trace);
            }
            listener(trace);
        }));
        Self {
            settings: Arc::new(settings),
            ..self.clone()
        }
    }

    /// The same client, telling `listener` what of answers and events was mended or left out, beside whom it tells
    /// already: the call or `events`, and the counts. Must be quick.
    pub fn also_on_skipped(
        &self,
        listener: impl Fn(&str, &Skipped) + Send + Sync + 'static,
    ) -> Self {
        let mut settings = Settings::clone(&self.settings);
        let earlier = settings.on_skipped.take();
        settings.on_skipped = Some(Arc::new(move |source, skipped| {
            if let Some(earlier) = &earlier {
                earlier(source, skipped);
            }
            listener(source, skipped);
        }));
        Self {
            settings: Arc::new(settings),
            ..self.clone()
        }
    }

    /// Tells of what a read got over.
    pub(crate) fn skipped(&self, source: &str, skipped: &Skipped) {
        if skipped.is_empty() {
            return;
        }
        for (oddity, count) in skipped.iter() {
            tracing::debug!(source, kind = oddity.as_str(), count, "skipped");
        }
        if let Some(listener) = &self.settings.on_skipped {
            listener(source, skipped);
        }
    }

    /// The folder the calls are about, if one was set.
    pub fn directory(&self) -> Option<&str> {
        self.directory.as_deref()
    }

    /// Scheme, host and port of the server, safe to show.
    pub fn server(&self) -> &str {
        &self.settings.server
    }

    /// How long a call may take.
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }
}
