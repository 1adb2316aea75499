//! What all turns of a worker work with.

use opencode_client::{Client, EventHub};

use super::observing::MakeObserver;
use crate::options::WorkerOptions;
use crate::sub_agents::SubAgents;

/// A worker's server, and how its turns are driven there. What keeps the turns is the host's
/// [`Front`](crate::front::Front).
pub(crate) struct Workshop {
    pub(crate) client: Client,
    pub(crate) hub: EventHub,
    pub(crate) sub_agents: SubAgents,
    pub(crate) options: WorkerOptions,
    pub(crate) observers: Vec<MakeObserver>,
}
