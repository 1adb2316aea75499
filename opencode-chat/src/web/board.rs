//! How all conversations stand, looked at once for everybody who watches.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use opencode_host::store::Tenant;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::problem::Problem;

/// How old a look may be that is taken for another one.
const FRESH: Duration = Duration::from_millis(900);

/// One look at all conversations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Board {
    /// Another one, when anything that the list shows has changed.
    pub(crate) version: String,
    /// The conversations that are not idle: id, standing, title.
    pub(crate) states: Vec<(String, &'static str, String)>,
}

/// The last look at each tenant's conversations, for all who watch them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boards(Arc<std::sync::Mutex<HashMap<Tenant, Place>>>);

/// Where the last look is, held by whoever looks.
type Place = Arc<Mutex<Option<Look>>>;

/// A look, and when it was taken.
type Look = (Instant, Arc<Board>);

impl Boards {
    /// How the conversations stand now, or did a moment ago. `look` is done by one at a time.
    pub(crate) async fn now(
        &self,
        tenant: &Tenant,
        look: impl Future<Output = Result<Board, Problem>> + Send,
    ) -> Result<Arc<Board>, Problem> {
        let place = self.place(tenant);
        let mut last = place.lock().await;
        if let Some((at, board)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(board));
        }
        let board = Arc::new(look.await?);
        *last = Some((Instant::now(), Arc::clone(&board)));
        Ok(board)
    }

    fn place(&self, tenant: &Tenant) -> Place {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(tenant) {
            return Arc::clone(place);
        }
        // What nobody watches any more.
        places.retain(|_, place| Arc::strong_count(place) > 1);
        Arc::clone(places.entry(tenant.clone()).or_default())
    }
}
