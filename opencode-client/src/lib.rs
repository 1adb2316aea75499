//! A client of [OpenCode](https://opencode.ai) servers.
//!
//! ```no_run
//! use opencode_client::wire::{NewSession, Prompt};
//! use opencode_client::{Client, EventHub, HubOptions, Reply, Signal};
//!
//! # async fn ask(random: u128) -> Result<(), opencode_client::Error> {
//! // Reads OPENCODE_BASE_URL, OPENCODE_SERVER_PASSWORD and the like; `Client::builder` takes them as arguments.
//! let client = Client::from_env()?;
//! let session = client.create_session(&NewSession::default()).await?;
//!
//! // One event stream for the whole server, however many turns there are.
//! let hub = EventHub::new(client.clone(), HubOptions::default());
//! // Listening begins before the prompt, so that nothing of the answer is missed.
//! let mut events = hub.subscribe(&session.id, None).await?;
//! let ids = client.mint_prompt_ids(&session.id, random).await?;
//! client.prompt_async(&session.id, &ids, &Prompt::text("Explain monads")).await?;
//!
//! let mut reply = Reply::new(session.id.clone(), ids.message.clone());
//! loop {
//!     match events.next().await {
//!         Signal::Event(event) => reply.apply(&event),
//!         Signal::Gap(_) | Signal::Disconnected => reply.gap(),
//!         _ => {}
//!     }
//!     // An idle event is a reason to look, not an end: the messages decide.
//!     if reply.take_idle() {
//!         let exchange = client.exchange(&session.id, &ids.message, reply.message_count()).await?;
//!         reply.reconcile(&exchange);
//!         if exchange.is_complete() {
//!             break;
//!         }
//!     }
//! }
//! println!("{}", reply.result().full_text);
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
//!
//! This crate has no loop that drives a prompt to its end whatever happens: a server that restarts, a stream that breaks, a
//! process that dies. That is `opencode-host`.
//!
//! No database, no web framework. What is said here of servers was measured on OpenCode 1.1.16 to 1.18.34.

#![deny(missing_docs)]

mod envelope;
mod error;
pub mod event;
mod exchange;
mod http;
mod hub;
mod id;
pub mod reply;
mod sse;
mod tolerant;
pub mod wire;

pub use error::{Error, UpstreamError};
pub use exchange::Exchange;
pub use http::{
    Client, ClientBuilder, Health, Input, MessagePage, Models, PageCursor, RemoteTools,
    RequestTrace, ToolsStatus,
};
pub use hub::{
    Backoff, EventHub, GapReason, HubOptions, HubProblem, ProblemListener, Signal, Subscription,
};
pub use id::{MessageId, MintBasis, PartId, PermissionId, PromptIds, QuestionId, SessionId};
pub use reply::fold::Reply;
pub use tolerant::{Oddity, Skipped};
