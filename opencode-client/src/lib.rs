//! A client of [OpenCode](https://opencode.ai) servers.
//!
//! ```no_run
//! use opencode_client::wire::{NewSession, Prompt};
//! use opencode_client::{Client, EventHub, HubOptions, Update};
//!
//! # async fn ask(random: u128) -> Result<(), opencode_client::Error> {
//! // Reads OPENCODE_BASE_URL, OPENCODE_SERVER_PASSWORD and the like; `Client::builder` takes them as arguments.
//! let client = Client::from_env()?;
//! let session = client.create_session(&NewSession::default()).await?;
//!
//! // One event stream for the whole server, however many turns there are.
//! let hub = EventHub::new(client.clone(), HubOptions::default());
//! let prompt = Prompt::text("Explain monads");
//! let mut answer = client.stream(&hub, &session.id, &prompt, random).await?;
//! while let Some(update) = answer.next().await? {
//!     match update {
//!         Update::Changed(change) => println!("{change:?}"),
//!         Update::Finished(finished) => println!("{}", finished.0.full_text),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! * [`Client`]: every call a host makes, with errors split by what the caller does next.
//! * [`EventHub`]: one event stream per server for any number of turns. A slow listener is told of a gap; it is never
//!   waited for, and never queued for without bound.
//! * [`Reply`]: folds the events of one turn into ordered parts, and tells [`Change`](reply::Change)s; the same result
//!   as rebuilding it from the [`Exchange`], the authoritative messages of the turn. What the changes come to is a
//!   [`View`](reply::View).
//! * [`Client::stream`]: all of these together, for a program without a store. It does not outlive its process: a turn
//!   that must not be lost is `opencode-host`'s.
//!
//! No database, no web framework. What is said here of servers was measured on OpenCode 1.1.16 to 1.18.34.

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
