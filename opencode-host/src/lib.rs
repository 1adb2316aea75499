//! Production-grade hosting of OpenCode turns inside a Rust web application.
//!
//! A *turn* is one prompt and everything that answers it. [`Host`] takes
//! prompts ([`Host::submit`]), workers drive them to their one terminal state
//! ([`Worker::run`]), watchers see them come ([`Host::live`]), and a
//! [`store::Store`] keeps it all, so that a turn outlives the process that runs
//! it.

pub mod artifacts;
pub mod blobs;
pub mod clock;
mod host;
pub mod id;
pub mod live;
pub mod outcome;
mod plug_in;
pub mod product;
pub mod reporter;
pub mod sandbox;
#[doc(hidden)]
pub mod session;
pub mod store;
pub mod sub_agents;
#[doc(hidden)]
pub mod telemetry;
pub mod tool_display;
pub mod tracer;
pub mod turn;
pub mod uploaded_files_prompt;
pub mod uploads;
pub mod visible;
mod worker;

pub use host::{
    AnswerError, DEFAULT_MAX_PROMPT, Host, HostBuilder, HostOptions, LiveStream, SubmitError,
    SubmitOptions, ViewStream,
};
pub use opencode_client as client;
pub use session::{LOWEST_VERSION, SessionError, UnsafeServer};
pub use worker::{BuildError, Worker, WorkerBuilder, WorkerOptions};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
