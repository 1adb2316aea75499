//! Hosting of OpenCode turns inside a web application: session, turn, recovery and stores.

pub mod clock;
pub mod id;
mod one_line;
pub mod outcome;
pub mod sandbox;
pub mod store;
pub mod tool_display;
pub mod uploaded_files_prompt;
