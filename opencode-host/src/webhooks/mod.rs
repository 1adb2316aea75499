//! Webhooks: endpoints of others that a host tells what happened, signed after [Standard
//! Webhooks](https://www.standardwebhooks.com).
//!
//! A worker that is built [with them](crate::WorkerBuilder::webhooks) tells each [`Webhook`] of the [`WebhookEvent`]s that
//! it wants. What is to be told is noted in the transaction of what it tells of (the end of a turn, the deletion of a
//! conversation; a request, as soon as the worker has heard of it), and then once for each endpoint. Each is delivered by
//! itself, at least once, whatever dies in between; an endpoint that is slow or away holds up no other.
//!
//! ```
//! use opencode_host::webhooks::{Webhook, WebhookEvent, Webhooks};
//! # use opencode_host::WorkerBuilder;
//! # fn example(worker: WorkerBuilder) -> Result<WorkerBuilder, Box<dyn std::error::Error>> {
//! let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
//! let billing = Webhook::new("billing", "https://billing.example/opencode", secret)?
//!     .events([WebhookEvent::TurnFinished])
//!     .of("acme");
//! let webhooks = Webhooks::builder(vec![billing]).build()?;
//! # Ok(
//! worker.webhooks(webhooks)
//! # )
//! # }
//! ```
//!
//! An application whose customers have endpoints of their own implements [`Endpoints`] over its own table.
//!
//! # What is sent
//!
//! A `POST` of JSON, with the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`. The id is the same in all
//! tries: a receiver that has seen it has nothing to do. Events may come in another order than they happened.
//!
//! ```json
//! {
//!   "type": "turn.finished",
//!   "timestamp": "2027-01-15T08:00:00.000Z",
//!   "data": {
//!     "tenant": "acme",
//!     "conversation": { "id": "0198…", "name": "support-42", "metadata": {} },
//!     "turn": {
//!       "id": "0198…", "message": "0198…", "metadata": {}, "status": "failed", "reason": "timeout",
//!       "duration_ms": 600000, "usage": { "cost": 0.02, "input_tokens": 812, "output_tokens": 93,
//!         "cache_read_tokens": 0, "cache_write_tokens": 0 }
//!     }
//!   }
//! }
//! ```
//!
//! `status` is a [`TurnStatus`](crate::store::TurnStatus), `reason` a [`Reason`](crate::outcome::Reason); what there is not
//! is left out: also what a row told, where the conversation was deleted before. `request.asked` has
//! `"request": { "id", "kind": "question" | "permission", "permission": "bash" }` beside conversation and turn;
//! where another worker takes the turn over while the request waits, it is told again, under the same id and with a later
//! `timestamp`. `conversation.deleted` has the conversation alone. No prompt, answer or path is sent: who wants them asks the application.
//!
//! # What counts as delivered
//!
//! An answer of 2xx within [the time](WebhooksBuilder::timeout). Everything else is a failure, a redirect too, which is
//! not followed, and tried again: after a second, then twice as long each time, up to four hours, or what `Retry-After`
//! asks for within that. After [`hook_attempts`](crate::WorkerOptions::hook_attempts) tries, or at once with `410 Gone`, it
//! is given up: [`Reader::given_up_effects`](crate::store::Reader::given_up_effects) lists it with what went wrong, and
//! [`Host::retry_effect`](crate::Host::retry_effect) has it tried again. An endpoint that is not among the [`Endpoints`]
//! any more is told nothing, what was noted for it included.
//!
//! # Where it is sent
//!
//! To public addresses by `https://`. Addresses of this machine and of private networks are refused unless their host is
//! [allowed by name](WebhooksBuilder::allow_private); the addresses that the connection uses are looked at, so that no name
//! can lead there later. `http://` is for loopback hosts alone. No proxy is used.
//!
//! # Receiving
//!
//! A receiver reads the body as bytes, verifies it, and answers 2xx; see [`Received`].

mod address;
mod endpoint;
mod error;
mod resolver;
mod secret;
mod sending;
mod signature;
#[cfg(test)]
mod tests;

pub use endpoint::{Endpoints, Webhook};
pub use error::WebhookError;
pub use secret::{BadSecret, WebhookSecret};
pub(crate) use sending::{NotDelivered, Outgoing};
pub use sending::{Webhooks, WebhooksBuilder};
pub use signature::{Received, TOLERANCE, VerifyError};

pub use crate::store::WebhookEvent;
