//! Whether a server upholds the rules that a session was given.
//!
//! Some take them and do nothing with them (1.0.x: the session comes back without `permission`), some write outside
//! the session's folder unasked (1.1.11). A server can be swapped for another one while a conversation rests, so it is
//! looked at before each prompt: two short requests.

use opencode_client::wire::PermissionRule;
use opencode_client::{Client, Error as ClientError, SessionId};

use super::error::SessionError;
use super::unsafe_server::UnsafeServer;

/// How often a server that is slow to tell its version is asked.
const LOOKS: usize = 5;

/// Checks a session that was given its rules earlier, maybe by another server. Others may have appended rules since.
pub(super) async fn check(
    client: &Client,
    session: &SessionId,
    rules: &[PermissionRule],
) -> Result<(), SessionError> {
    let session = client.session(session).await?;
    let known = |window: &[PermissionRule]| window == rules;
    if !rules.is_empty() && !session.permission.windows(rules.len()).any(known) {
        return Err(UnsafeServer::IgnoresRules.into());
    }
    let mut health = client.health().await;
    // Each look has a second, which a server under load may not keep.
    for _ in 1..LOOKS {
        if !matches!(health, Err(ClientError::Timeout { .. })) {
            break;
        }
        health = client.health().await;
    }
    match health {
        Ok(health) => Ok(UnsafeServer::check_version(&health.version)?),
        // It does not tell its version, and keeps the rules.
        Err(ClientError::Server { .. } | ClientError::BadRequest { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
