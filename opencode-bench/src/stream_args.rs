//! What `stream`, `live` and `reference` are told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Clone, Debug, Args)]
pub(crate) struct StreamArgs {
    /// The server
    #[arg(long, value_name = "URL")]
    pub(crate) base: String,
    /// The server's password
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "OPENCODE_SERVER_PASSWORD",
        hide_env_values = true
    )]
    pub(crate) password: Option<String>,
    /// Use these sessions and prompts, and check each text: {"S","D","sessions":[{"sid","prompt","text"}]}
    #[arg(long, value_name = "FILE", required_unless_present = "sessions")]
    pub(crate) expect: Option<PathBuf>,
    /// Make so many sessions, and check each text against the server's own messages
    #[arg(long, value_name = "S", conflicts_with = "expect")]
    pub(crate) sessions: Option<usize>,
    /// What to ask in each session
    #[arg(long, value_name = "TEXT", default_value = "stream")]
    pub(crate) prompt: String,
    /// One connection for all turns, or one for each
    #[arg(long, value_name = "HOW", default_value = "shared")]
    pub(crate) subs: Subs,
    /// Run the turns through the whole host, kept here: memory, sqlite://PATH or postgres://URL
    #[arg(long, value_name = "none|URL", default_value = "none")]
    pub(crate) store: String,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) limit: u64,
}

/// Who has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subs {
    /// All turns one.
    Shared,
    /// Each turn its own.
    PerTurn,
}
