//! Several OpenCode servers on one database.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use opencode_host::ServerOptions;
use opencode_host::store::{BadServerName, ServerLabel, ServerName};

use super::StoreArgs;

/// Which of the database's servers the OpenCode of this process is.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// The name of this OpenCode server, where several are on one database: each that has sessions of its own needs a name of
    /// its own. A conversation stays on the server that it was begun on
    #[arg(
        long,
        value_name = "NAME",
        default_value = "default",
        env = "OPENCODE_CHAT_SERVER_NAME"
    )]
    pub(crate) server_name: ServerName,
    /// How many turns may run on this OpenCode server at once, over all processes that use it; no bound without it
    #[arg(long, value_name = "N", env = "OPENCODE_CHAT_SERVER_CAPACITY")]
    pub(crate) server_capacity: Option<NonZeroU32>,
    /// What this OpenCode server has in common with others, such as gpu or eu; give it once for each
    #[arg(
        long,
        value_name = "LABEL",
        env = "OPENCODE_CHAT_SERVER_LABEL",
        value_delimiter = ','
    )]
    pub(crate) server_label: Vec<ServerLabel>,
    /// Begin conversations on servers with this label alone; those that have begun stay where they are. Give all processes
    /// on a database the same
    #[arg(long, value_name = "LABEL", env = "OPENCODE_CHAT_BEGIN_ON_LABEL")]
    pub(crate) begin_on_label: Option<ServerLabel>,
    /// How long an OpenCode server may be silent, in seconds, before its conversations go on on others; the same for all
    /// processes on a database
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "60",
        env = "OPENCODE_CHAT_SERVER_GONE_AFTER",
        value_parser = super::seconds
    )]
    pub(crate) server_gone_after: Duration,
}

impl ServerArgs {
    /// The server for a worker.
    pub(crate) fn options(&self) -> Result<ServerOptions, BadServerName> {
        let labels = self.server_label.iter().map(ServerLabel::as_str);
        let server = ServerOptions::new(self.server_name.as_str())?.labels(labels)?;
        Ok(match self.server_capacity {
            Some(capacity) => server.capacity(capacity),
            None => server,
        })
    }
}

/// What is to become of a server.
#[derive(Debug, Args)]
pub(crate) struct ServersArgs {
    /// Begin no conversations on this server any more; those that it has go on there
    #[arg(long, value_name = "NAME", group = "order")]
    pub(crate) drain: Option<ServerName>,
    /// Begin conversations on this server again
    #[arg(long, value_name = "NAME", group = "order")]
    pub(crate) undrain: Option<ServerName>,
    /// This server is a new one of an old name and knows nothing: its conversations go on in fresh sessions, which are told
    /// what was said before
    #[arg(long, value_name = "NAME", group = "order")]
    pub(crate) forget: Option<ServerName>,
    /// Print one JSON object per server
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}
