//! Encodings of a turn's stream for front ends that others wrote.

mod chunk;
mod ui_messages;

pub use chunk::{Chunk, DONE, FinishReason, UI_MESSAGE_STREAM};
pub use ui_messages::{File, UiMessages};
