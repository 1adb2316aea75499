//! How nodes tell each other of running turns.

use std::path::PathBuf;

use clap::Args;

/// How nodes tell each other of running turns.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct BusArgs {
    /// A NATS over which the processes on one database tell each other of running turns, so that pages show an answer as
    /// it comes whichever process runs it: nats://HOST:PORT, or tls://HOST:PORT; several of a cluster with commas. The
    /// same for all. Without it they do so over the database where that is Postgres, and on SQLite pages show what is saved
    #[arg(
        long,
        value_name = "URL",
        env = "OPENCODE_CHAT_BUS",
        hide_env_values = true
    )]
    pub(crate) bus: Option<String>,
    /// A file with the credentials of that NATS: a .creds file, or USER:PASSWORD or a token in its one line
    #[arg(long, value_name = "PATH", env = "OPENCODE_CHAT_BUS_CREDENTIALS_FILE")]
    pub(crate) bus_credentials_file: Option<PathBuf>,
}
