//! The HTTP side of the client: configuration, one place that sends, and the
//! endpoints by subject.

mod builder;
mod client;
mod mcp;
mod messages;
mod requests;
mod send;
mod server;
mod sessions;
mod settings;

pub use builder::ClientBuilder;
pub use client::Client;
pub use mcp::{RemoteTools, ToolsStatus};
pub use messages::{MessagePage, PageCursor};
pub(crate) use send::{MAX_BODY, network_detail};
pub use server::{Health, Input, Models};
pub use settings::RequestTrace;
