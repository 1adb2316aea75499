//! Functions of the application that the agent calls.
//!
//! A [`ToolSet`] is what [`Product::tools`](crate::product::Product::tools) answers: functions with a name, a description
//! and a JSON schema that comes from a Rust type. They run in the application's process, as the tenant whose conversation
//! it is. OpenCode calls them over MCP: the worker listens on loopback, and adds itself to the conversation's folder before
//! each prompt.
//!
//! ```text
//! ToolSet ── check ──▶ ReadySet ── ToolServer::offer ──▶ Offering: an address and a token, for one claim of a turn
//!                                     listener ── protocol ──▶ Calls: each call runs at most once ──▶ plug_in::call
//! ```
//!
//! What a model is told of a call that went wrong, it reads as the tool's error: arguments that do not fit, an error, a
//! panic, no answer in time, an answer that is too large, a call that was cut off. None of it reaches the turn.

mod calls;
mod listener;
mod protocol;
mod ready;
mod set;
mod token;
mod tool;

pub use schemars;

pub(crate) use listener::{Offering, ToolServer};
pub(crate) use ready::ReadySet;
pub use set::{ToolSet, ToolSetError};
pub use tool::{Tool, ToolCall};
