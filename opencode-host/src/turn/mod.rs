//! One prompt driven to its end.
//!
//! [`plan`] says what comes next, the driver does it, [`TurnResult`] is what
//! came of it. A turn never panics and never leaves a message pending: every
//! path ends in one terminal state and one `turn.finished` event.

mod attach;
mod carry_over;
mod connecting;
pub(crate) mod control;
mod driver;
mod ending;
mod follow;
mod history;
mod inspect;
mod names;
pub(crate) mod observing;
mod pacing;
#[doc(hidden)]
pub mod plan;
mod prompting;
mod reach;
mod result;
mod settle;
mod transcript;

pub(crate) use driver::{Driven, Driver};
pub use plan::{Limits, Pace};
pub use result::TurnResult;
pub(crate) use transcript::DEFAULT_MAX_TRANSCRIPT;
