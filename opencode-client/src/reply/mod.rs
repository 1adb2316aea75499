//! The answer to one prompt while it is being composed.
//!
//! [`Reply::apply`](crate::Reply::apply) folds live events, [`Reply::reconcile`](crate::Reply::reconcile) brings in
//! the authoritative exchange; both end in the same [`ReplyResult`]. Only parts of assistant messages that answer this
//! prompt enter the reply. Events may come twice, late, or in another order: the result is the exchange's all the same.
//!
//! Inside, a [`Reply`](crate::Reply) is the answer of its session, the requests that wait, and the answers of child
//! sessions. An answer is its messages, its parts and its observers, each a type that knows nothing of the others.

mod answer;
mod change;
mod checkpoint;
pub(crate) mod fold;
mod growth;
mod heard;
mod merge;
mod messages;
mod observers;
mod part;
mod parts;
mod requests;
mod result;
mod room;
mod slot;
mod subtask;
mod tool_part;
mod tracked;
mod view;

pub use change::{Change, SnapshotPart};
pub use checkpoint::Checkpoint;
pub use growth::{Growth, GrowthMismatch, SaveMark};
pub use messages::Scope;
pub use observers::{Observer, ObserverError, ProblemSink};
pub use part::{PartKind, PersistedPart};
pub use requests::{PendingRequest, Requests};
pub use result::{ReplyResult, is_blank};
pub use room::{MAX_DETAIL_BYTES, MAX_PARTS, MAX_REPLY_BYTES};
pub use tool_part::{Provenance, ToolPart, ToolStatus};
pub use view::{Gone, Notice, View, ViewPart};
