//! What a watcher is told.

use std::sync::Arc;

use opencode_client::reply::{Change, View};

use super::cursor::Cursor;
use crate::turn::TurnResult;

/// What a watcher is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LiveEvent {
    /// The next change.
    Change {
        /// Where the watcher is then.
        cursor: Cursor,
        /// The change.
        change: Arc<Change<'static>>,
    },
    /// The reply as a whole: forget what was shown before.
    Snapshot {
        /// Where the watcher is then.
        cursor: Cursor,
        /// The reply.
        view: View,
    },
    /// The turn is settled, or was cancelled before it was prompted. The last event.
    Finished(Box<TurnResult>),
    /// The conversation was deleted while the turn was watched. The last event.
    Deleted,
}
