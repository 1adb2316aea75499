//! The changes of running turns, for whoever watches.
//!
//! Each change has a number in its turn. A watcher that comes back with the
//! number it saw last gets exactly what it missed, or the reply as a whole when
//! that is too long ago. A slow watcher is never waited for and never queued
//! for without bound: it gets the whole instead.
//!
//! The worker numbers the changes of a claim of the turn, from 1. On other nodes the numbers are the same, where a
//! [`LiveBus`] brings the changes there: a watcher can go to any of them with its [`Cursor`]. Without one, they show the
//! reply as it was last saved.

mod bus;
#[cfg(feature = "conformance")]
pub mod conformance;
mod cursor;
mod event;
mod kept;
mod message;
#[cfg(feature = "nats")]
mod nats;
mod receiving;
mod relay;
mod sending;
mod turn;
mod turns;

pub use bus::{
    BusError, Hint, Interest, LiveBus, LiveMessage, MAX_LIVE_MESSAGE, MessagePlace, NodeId, Read,
};
pub use cursor::{Cursor, NotACursor};
pub use event::LiveEvent;
#[cfg(feature = "nats")]
pub use nats::{NatsBuilder, NatsBus, NatsError};
pub(crate) use receiving::attend;
pub(crate) use relay::Relay;
pub(crate) use sending::Telling;
pub(crate) use turn::{Follower, LiveTurn, Row, UNREACHABLE, unreachable};
pub(crate) use turns::LiveTurns;
