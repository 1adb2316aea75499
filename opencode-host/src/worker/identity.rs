//! Whether a server is the one that its name says.
//!
//! OpenCode has no name of its own. But a server knows its conversations' sessions, and no other one does: a few of the newest
//! are asked for. A server that knows none is another one, or has an older data folder. Nothing may be claimed there, since
//! each turn would lose its session, and no session of it may be deleted, since all seem to be deleted already.
//!
//! It is looked when the worker connects and there are other servers; and as long as another worker hears from the server of this
//! name too, since that may be another one. Two servers of one name that nobody has named are found so. One server that
//! workers of one process alone reach is not looked at: what it has lost, it has lost, and each turn replaces its session.

use std::time::Duration;

use opencode_client::Error as ClientError;

use super::shared::Shared;
use super::standing::{Standing, Strange};
use crate::clock::Timestamp;
use crate::store::{Owed, Server, SessionRecord, StoreError};

/// How many sessions are asked for: a person may have deleted one. Odd, so that of two servers one has more of them.
const ASKED: usize = 3;

/// How many are read, of which some are not asked for.
const READ: u32 = 16;

/// Why it was not found out.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSeen {
    #[error(transparent)]
    Server(#[from] ClientError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Another worker that has heard from the server of this name.
struct Other {
    at: Timestamp,
    address: String,
}

/// Looks whether the worker's server is the one of its name, if there is reason to. `recent` is for how long it counts that another
/// worker has heard from it.
pub(super) async fn look(
    shared: &Shared,
    known: &Standing,
    recent: Duration,
) -> Result<Standing, NotSeen> {
    let (store, name) = (&shared.front.store, &shared.server.name);
    let servers = store.servers().await?;
    let has_others = servers.iter().any(|load| load.server.name != *name);
    let mut servers = servers.into_iter().map(|load| load.server);
    let own = servers.find(|server| server.name == *name);
    let other = match own {
        Some(own) => other(shared, own, recent).await?,
        None => None,
    };
    let is_right = *known == Standing::Right;
    if other.is_none() && (is_right || !has_others) {
        return Ok(Standing::Right);
    }
    let sessions = store.sessions_on(name, READ).await?;
    let is_its = |session: &SessionRecord| {
        !session.is_elsewhere(name) && session.owed != Some(Owed::Replacement)
    };
    let (mut asked, mut found) = (0, 0);
    for session in sessions.into_iter().filter(is_its).take(ASKED) {
        asked += 1;
        let client = session.client(&shared.workshop.client);
        match client.session(&session.id).await {
            Ok(_) => found += 1,
            Err(ClientError::SessionNotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let address = shared.workshop.client.server().to_owned();
    let name = name.to_string();
    Ok(match (other, known) {
        (Some(other), Standing::New) if found * 2 < asked => Standing::Doubtful(other.at),
        (Some(other), Standing::Doubtful(at)) if found * 2 < asked && other.at == *at => {
            Standing::Doubtful(*at)
        }
        (Some(other), _) if found * 2 < asked => Standing::Strange(Strange::Twice {
            name,
            address,
            other: other.address,
        }),
        (None, known) if found == 0 && asked >= enough(known) => {
            Standing::Strange(Strange::Unknown { name, address })
        }
        _ => Standing::Right,
    })
}

/// How many sessions have to be unknown: one is deleted easily. One is enough for a server that has known none.
fn enough(known: &Standing) -> usize {
    match known {
        Standing::Strange(_) => 1,
        Standing::New | Standing::Doubtful(_) | Standing::Right => 2,
    }
}

/// Which other worker has heard from the server of this name last, if one has a moment ago.
async fn other(
    shared: &Shared,
    own: Server,
    recent: Duration,
) -> Result<Option<Other>, StoreError> {
    let (Some(at), Some(by)) = (own.heard_at, &own.heard_by) else {
        return Ok(None);
    };
    let is_another = *by != shared.id && shared.front.store.now().await?.since(at) <= recent;
    Ok(is_another.then_some(Other {
        at,
        address: own.address,
    }))
}
