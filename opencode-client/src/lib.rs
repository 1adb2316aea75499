//! Client of [OpenCode](https://opencode.ai) servers.
//!
//! * [`Client`]: every call a host makes, with errors split by what the caller
//!   does next.
//! * [`EventHub`]: one event stream per server for any number of turns.
//! * [`Reply`]: folds the events of one turn into ordered parts; the same
//!   result as rebuilding it from the [`Exchange`], the authoritative messages
//!   of the turn.
//! * [`Client::stream`]: all of these together, for a program without a store.
//!
//! No database, no web framework. What is said here of servers was measured on
//! OpenCode 1.1.65 to 1.18.34.

pub mod envelope;
mod error;
pub mod event;
mod exchange;
mod http;
mod hub;
mod id;
pub mod reply;
pub mod sse;
mod stream;
mod tolerant;
pub mod wire;

pub use error::{BODY_EXCERPT_CHARS, Error, UpstreamError};
pub use exchange::Exchange;
pub use http::{Client, ClientBuilder, Health, MessagePage, Models, PageCursor, RequestTrace};
pub use hub::{
    Backoff, Batch, EventHub, GapReason, HubOptions, HubProblem, ProblemListener, Signal,
    Subscription,
};
pub use id::{MessageId, MintBasis, PartId, PermissionId, PromptIds, QuestionId, SessionId};
pub use reply::Reply;
pub use stream::{PromptStream, Update};
pub use tolerant::{Oddity, Skipped};
