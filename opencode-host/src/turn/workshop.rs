//! What all turns of a worker work with.

use std::sync::Arc;

use opencode_client::{Client, EventHub};

use super::observing::MakeObserver;
use super::recent_exchanges::RecentExchanges;
use crate::options::WorkerOptions;
use crate::saving::Saving;
use crate::store::ServerName;
use crate::sub_agents::SubAgents;
#[cfg(feature = "tools")]
use crate::tools::ToolServer;

/// A worker's server, and how its turns are driven there. What keeps the turns is the host's
/// [`Front`](crate::front::Front).
pub(crate) struct Workshop {
    pub(crate) client: Client,
    /// The server's name.
    pub(crate) server: ServerName,
    pub(crate) hub: EventHub,
    pub(crate) sub_agents: SubAgents,
    pub(crate) options: WorkerOptions,
    /// Where the tools of its turns are called.
    #[cfg(feature = "tools")]
    pub(crate) tools: ToolServer,
    /// Saves what its turns stream.
    pub(crate) saving: Arc<Saving>,
    pub(crate) observers: Vec<MakeObserver>,
    /// Whether somebody outside is told what agents ask.
    pub(crate) tells_requests: bool,
    /// For the hooks of turns that have ended here.
    pub(crate) exchanges: RecentExchanges,
}
