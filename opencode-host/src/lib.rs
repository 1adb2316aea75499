//! Hosts [OpenCode](https://opencode.ai) turns inside a Rust web application.
//!
//! A *turn* is one prompt and everything that answers it. It runs once, ends once, and outlives the process that runs it.
//!
//! # Three things
//!
//! * A [`Host`] is the front: it takes prompts, cancels, answers and uploads, and shows what comes. It needs a store and
//!   no OpenCode.
//! * A [`Worker`] drives turns on one OpenCode server. Run as many as you like, in as many processes.
//! * A [`Store`](store::Store) keeps it all: `opencode_sql::connect` for SQLite and Postgres,
//!   [`MemoryStore`](store::MemoryStore) for tests, or one on tables of your own.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use futures_util::TryStreamExt as _;
//! use opencode_host::client::{Client, wire::Prompt};
//! use opencode_host::live::{Cursor, LiveEvent};
//! use opencode_host::sandbox::SandboxRoot;
//! use opencode_host::store::{MemoryStore, Tenant};
//! use opencode_host::{Host, SubmitOptions, Worker};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // Each conversation's agent works in a folder of its own below this one.
//! let sandboxes = SandboxRoot::open("/var/lib/support/sandboxes")?;
//! let host = Host::builder(Arc::new(MemoryStore::default())).sandboxes(sandboxes).build();
//!
//! // Works until the token is cancelled; then gives back what it has, for the next process to go on with.
//! let worker = Worker::builder(Client::from_env()?).build(&host)?;
//! let shutdown = CancellationToken::new();
//! let working = tokio::spawn({
//!     let shutdown = shutdown.clone();
//!     async move { worker.run(shutdown).await }
//! });
//!
//! // A person, or a company: whoever the conversation is of.
//! let acme = Tenant::from("acme");
//! let conversation = host.open_conversation(&acme, "support-42").await?;
//! let prompt = Prompt::text("Explain monads");
//! let submitted = host.submit(conversation.id, prompt, SubmitOptions::default()).await?;
//!
//! let mut live = host.live(submitted.turn.id, Cursor::START).await?;
//! while let Some(event) = live.try_next().await? {
//!     match event {
//!         LiveEvent::Snapshot { view, .. } => println!("{view:?}"),
//!         LiveEvent::Change { change, .. } => println!("{change:?}"),
//!         LiveEvent::Finished(result) => println!("{}", result.answer.content),
//!         _ => {}
//!     }
//! }
//! # shutdown.cancel();
//! # working.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # Your feature
//!
//! A [`Product`](product::Product) says what the agent is told and may do, and hears of what came of it. Every method
//! has a default.
//!
//! ```
//! use opencode_host::client::wire::{PermissionAction, PermissionRule};
//! use opencode_host::product::{Delivery, HookError, Product, TurnContext};
//! use opencode_host::sandbox::default_permission_rules;
//! use opencode_host::turn::TurnResult;
//!
//! struct Support;
//!
//! #[async_trait::async_trait]
//! impl Product for Support {
//!     async fn system_context(&self, turn: &TurnContext) -> Result<Option<String>, HookError> {
//!         Ok(Some(format!("You answer customers. This is case {}.", turn.conversation.name)))
//!     }
//!
//!     async fn permission_rules(&self, _: &TurnContext) -> Result<Vec<PermissionRule>, HookError> {
//!         // The last match wins: a web page is read only after the person said yes.
//!         let mut rules = default_permission_rules();
//!         rules.push(PermissionRule::all("webfetch", PermissionAction::Ask));
//!         Ok(rules)
//!     }
//!
//!     // Called until it succeeds: the same id means the same turn.
//!     async fn on_turn_finished(&self, result: &TurnResult, of: &Delivery) -> Result<(), HookError> {
//!         println!("{} {}: {}", of.id, result.status.as_str(), result.answer.content);
//!         Ok(())
//!     }
//! }
//! ```
//!
//! What the agent may call in your process, [`Product::tools`](product::Product::tools) says: see [`tools`].
//!
//! # What people see and answer
//!
//! [`Host::live`] gives every change with a cursor to come back with; [`Host::views`] gives the reply as it is, as often
//! as you ask; [`Host::settled`] waits for the result. Each works wherever the turn runs. What the agent asks is in the
//! view: [`Host::answer_question`], [`Host::reject_question`] and [`Host::reply_permission`] answer it, [`Host::cancel`]
//! stops the turn. Files come by [`Host::uploads`] and go as [`Attachment`](store::Attachment)s. [`tool_display`] puts
//! tool calls into words, [`visible`] makes outside text safe to show.
//!
//! # What goes wrong
//!
//! A turn ends in a [`TurnStatus`](store::TurnStatus) with a [`Reason`](outcome::Reason), and what had come is kept.
//! Errors of calls say what to do next: a [`StoreError`](store::StoreError) that
//! [is transient](store::StoreError::is_transient) is worth another call. What the host got over by itself goes to the
//! [`ErrorReporter`](reporter::ErrorReporter), what happened to the [`Tracer`](tracer::Tracer).
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `files` | yes | sandboxes, uploads, artifacts and blobs; without it `object_store` and `cap-std` are not built |
//! | `schedules` | yes | prompts that are submitted again and again; without it `croner` and `chrono-tz` are not built |
//! | `schedules` | yes | [`recurrence`], [`Host::add_schedule`]: prompts that are submitted again and again; without it neither `croner` nor `chrono-tz` is built |
//! | `tools` | yes | [`tools`]: functions of the application that the agent calls; without it neither `rmcp` nor `schemars` is built |
//! | `metrics` | no | `metrics`: counters and gauges in the text format of Prometheus |
//! | `s3` | no | blobs on S3 and what speaks like it |
//! | `conformance` | no | the suite that a store of your own has to pass |

#![deny(missing_docs)]

pub mod artifacts;
pub mod blobs;
pub mod budget;
pub mod budgets;
pub mod clock;
mod configuration_guard;
mod front;
mod host;
pub mod id;
pub mod live;
#[cfg(feature = "metrics")]
pub mod metrics;
mod options;
pub mod outcome;
pub mod placement;
mod plug_in;
pub mod product;
#[cfg(feature = "schedules")]
pub mod recurrence;
pub mod reporter;
pub mod sandbox;
mod saving;
#[doc(hidden)]
pub mod session;
pub mod store;
pub mod sub_agents;
#[doc(hidden)]
pub mod telemetry;
pub mod tool_display;
#[cfg(feature = "tools")]
pub mod tools;
pub mod tracer;
pub mod turn;
#[doc(hidden)]
pub mod uploaded_files_prompt;
pub mod uploads;
pub mod visible;
pub mod webhooks;
mod worker;

pub use configuration_guard::Unguarded;
pub use host::{
    AnswerError, Export, Exported, Host, HostBuilder, LiveStream, Prepared, SpendingError,
    SubmitError, SubmitOptions, TenantHost, TenantSpending, ViewStream, check_prompt,
};
#[cfg(feature = "schedules")]
pub use host::{MAX_SCHEDULES, NewSchedule, ScheduleError};
pub use opencode_client as client;
pub use options::{
    DEFAULT_HOOK_ATTEMPTS, DEFAULT_MAX_PROMPT, DEFAULT_MAX_UPLOAD, DEFAULT_UPLOAD_QUOTA,
    HostOptions, Retention, WorkerOptions,
};
pub use session::UnsafeServer;
pub use worker::{BuildError, ServerOptions, Worker, WorkerBuilder};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
