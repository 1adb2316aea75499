//! Which answers are on their way to a turn's agent: each is sent once at a time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The requests of a turn whose answers are being sent here.
#[derive(Clone, Debug, Default)]
pub(super) struct Sending(Arc<Mutex<HashSet<String>>>);

/// The right to send the answer to one request.
pub(super) struct Place {
    of: Sending,
    pub(super) request: String,
}

impl Sending {
    /// The right to send the answer to this request, unless it is being sent already.
    pub(super) fn begin(&self, request: &str) -> Option<Place> {
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.insert(request.to_owned()).then(|| Place {
            of: self.clone(),
            request: request.to_owned(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut requests = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.remove(&self.request);
    }
}
