//! Production-grade hosting of OpenCode turns inside a Rust web application.
//!
//! A *turn* is one prompt and everything that answers it. [`Host`] takes
//! prompts ([`Host::submit`]), workers drive them to their one terminal state
//! ([`Host::run_worker`]), watchers see them come ([`Host::live`]), and a
//! [`store::Store`] keeps it all, so that a turn outlives the process that runs
//! it.

pub mod artifacts;
pub mod blobs;
pub mod clock;
mod host;
pub mod id;
pub mod live;
pub mod outcome;
pub mod product;
pub mod reporter;
pub mod sandbox;
pub mod session;
pub mod store;
pub mod sub_agents;
pub mod telemetry;
pub mod tool_display;
pub mod tracer;
pub mod turn;
pub mod uploaded_files_prompt;
pub mod uploads;
pub mod visible;

pub use host::{
    AnswerError, BuildError, DEFAULT_MAX_PROMPT, Host, HostBuilder, HostOptions, LiveStream,
    SubmitError, SubmitOptions, ViewStream, WorkerError,
};
pub use opencode_client as client;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
