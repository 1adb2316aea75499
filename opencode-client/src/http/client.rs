//! A client: what it is set to, and clients like it.

use std::sync::Arc;
use std::time::Duration;

use super::settings::{RequestTrace, Settings};
use crate::tolerant::Skipped;

/// A client of one OpenCode server. Cheap to clone; clones share connections.
///
/// Every call takes the client's `directory` along: use [`Client::in_directory`]
/// for the folder a session works in.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) settings: Arc<Settings>,
    pub(super) directory: Option<Arc<str>>,
    pub(super) patience: Option<Duration>,
}

impl Client {
    /// The same client, working in `directory`.
    pub fn in_directory(&self, directory: impl Into<Arc<str>>) -> Self {
        Self {
            directory: Some(directory.into()),
            ..self.clone()
        }
    }

    /// The same client, giving a call up when the server says nothing for `limit`: no answer
    /// to it, or no further piece of one. A large request gets longer by its size. The
    /// client's [timeout](crate::ClientBuilder::timeout) holds all the same.
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
}
