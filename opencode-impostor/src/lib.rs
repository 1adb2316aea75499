//! A deterministic double of an OpenCode server, and of a model provider.
//!
//! Three things for tests of programs that talk to [OpenCode](https://opencode.ai):
//!
//! - [`Impostor`]: a real HTTP server on loopback that speaks OpenCode's protocol as 1.18.33 does. It plays a
//!   [`Script`] or a recorded [`Tape`], goes wrong at named points when told to ([`Faults`]), waits at [`Gate`]s until
//!   the test lets it go on, records every request in a [`Ledger`], and checks each of them.
//! - [`ModelServer`]: an OpenAI-compatible model provider that makes a real OpenCode server deterministic.
//! - [`real::RealServer`]: a real `opencode serve` for the tests that must not be fooled by a double.
//!
//! The same is there for everyone else as the command `opencode-impostor`.
//!
//! # Example
//!
//! ```
//! use opencode_impostor::{Calls, Impostor, Script, Step};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let impostor = Impostor::scripted(
//!     Script::new()
//!         .on("[[file]]", [Step::write_file("a.txt", "alpha"), Step::text("Written.")])
//!         .on("[[wait]]", [Step::text("One. "), Step::gate("two"), Step::text("Two.")]),
//! )
//! .await?;
//!
//! // The client under test talks to `impostor.url()`. Its first prompt is done, and its answer lost:
//! impostor.faults().lose_response("POST /session/:id/prompt_async", Calls::Nth(1));
//!
//! // … then the test waits for what it wants to see, without sleeping, and lets the answer go on:
//! // impostor.gate("two").reached().await?;
//! // impostor.gate("two").open();
//! // impostor.wait_for(|ledger| ledger.busy().is_empty()).await?;
//!
//! assert_eq!(impostor.ledger().sessions_created(), 0);
//! impostor.assert_clean();
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//!
//! Nothing in the impostor waits by the clock unless a script says so (`delay_ms`, `sleep`, a retry's `next_ms`),
//! heartbeats apart. Order is made with gates, and tests wait with [`Impostor::wait_for`].

#![deny(missing_docs)]

mod builder;
mod bus;
mod config;
mod controls;
mod dialect;
mod errors;
mod faults;
mod files;
mod gates;
mod ids;
mod impostor;
mod json_text;
mod ledger;
mod listener;
mod mcp;
mod mcp_call;
mod model;
mod odd;
mod ports;
mod prefixed;
mod prompt;
#[cfg(unix)]
pub mod real;
mod replay;
mod requests;
mod routes;
mod run;
mod script;
mod session_table;
mod sessions;
mod shown;
mod standard;
mod state;
mod streams;
mod tape;
mod tools;
mod turn;

pub use builder::ImpostorBuilder;
pub use controls::{Faults, Gate};
pub use dialect::Dialect;
pub use faults::{Action, Calls, Events, Fault, FaultId, List, OddRecord, Oddity, Record, Seen};
pub use impostor::{Impostor, WaitError};
pub use ledger::{Ledger, Outcome, PromptPost, Request};
pub use model::{ModelRule, ModelScript, ModelServer, Round, opencode_config};
pub use odd::{LONE_SURROGATE, nested, raw_json};
pub use script::{
    ApplyPatch, Delivery, Deltas, Edit, Flood, Garbage, McpCall, PatchKind, PatchedFile,
    Permission, ProviderError, Question, RawEvent, Retry, Rule, Script, Step, Streamed, Subtask,
    Todo, Tool, ToolError, WriteFile, attachment,
};
pub use standard::UNICODE_TEXT;
pub use tape::{
    Tape, TapeEntry, TapeFile, TapeHeader, TapedEvent, TapedHttp, TapedPrompt, tape, tapes,
    tapes_of_versions,
};
