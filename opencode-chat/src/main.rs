//! The program `opencode-chat`.

use std::process::ExitCode;

fn main() -> ExitCode {
    opencode_chat::run()
}
