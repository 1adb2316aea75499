//! Hosting of OpenCode turns inside a web application: session, turn, recovery and stores.

mod one_line;
pub mod sandbox;
pub mod tool_display;
pub mod uploaded_files_prompt;
