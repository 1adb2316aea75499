//! Encodings of a turn's stream for front ends: every change, for one of your own, and what those that others wrote read.

mod ag_ui;
mod changes;
mod chunk;
mod ui_messages;

#[cfg(test)]
pub(crate) use changes::snapshot;

pub use ag_ui::AgUi;
pub use changes::{NotAPlace, Place, change_event};
pub use chunk::{Chunk, DONE, FinishReason, UI_MESSAGE_STREAM};
pub use ui_messages::{File, UiMessages};
