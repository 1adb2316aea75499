//! How all conversations stand, looked at once for everybody who watches.

use std::sync::Arc;
use std::time::Duration;

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

/// The last look, for all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boards(Arc<Mutex<Option<Look>>>);

/// A look, and when it was taken.
type Look = (Instant, Arc<Board>);

impl Boards {
    /// How the conversations stand now, or did a moment ago. `look` is done by one at a time.
    pub(crate) async fn now(
        &self,
        look: impl Future<Output = Result<Board, Problem>> + Send,
    ) -> Result<Arc<Board>, Problem> {
        let mut last = self.0.lock().await;
        if let Some((at, board)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(board));
        }
        let board = Arc::new(look.await?);
        *last = Some((Instant::now(), Arc::clone(&board)));
        Ok(board)
    }
}
