//! One prompt driven to its end.
//!
//! The plan says from the facts what comes next, the driver does it and learns more, [`TurnResult`] is what
//! came of it. A turn never panics and never leaves a message pending: every
//! path ends in one terminal state and one `turn.finished` event.

mod asking;
mod attach;
mod carry_over;
mod connecting;
pub(crate) mod control;
mod driver;
mod earlier;
mod ears;
mod ending;
mod facts;
mod follow;
mod history;
pub(crate) mod hosted;
mod inspect;
mod leaving;
mod limits;
mod names;
pub(crate) mod observing;
#[cfg(feature = "tools")]
mod offering;
#[cfg(not(feature = "tools"))]
#[path = "not_offering.rs"]
mod offering;
mod pacing;
pub(crate) mod past_exchange;
pub(crate) mod places;
mod plan;
mod prompting;
pub(crate) mod recent_exchanges;
mod reserving;
mod restoring;
mod result;
mod settle;
mod showing;
#[cfg(test)]
mod simulator;
mod tools;
mod transcript;
mod unanswered;
mod unknown_name;
pub(crate) mod workshop;

pub(crate) use driver::Driver;
pub(crate) use leaving::Driven;
pub use limits::{Deadlines, Limits, Pace, Unanswered, Waiting};
pub use result::TurnResult;
pub(crate) use transcript::DEFAULT_MAX_TRANSCRIPT;
