//! Keeping an agent from configuring the server that runs it.

use std::path::Path;
use std::time::Duration;

use opencode_client::Client;
use serde_json::json;

use crate::front::Front;
use crate::plug_in::HookError;
use crate::reporter::Severity;
use crate::sandbox::{OwnConfiguration, Refusal, SandboxError, SandboxId, SandboxRoot, blocking};
use crate::store::Conversation;
use crate::telemetry::Telemetry;

/// How many names an event tells.
const TOLD_NAMES: usize = 5;

/// How long after something was moved the folder is looked at again: a process that makes it anew in a loop does so
/// within this time.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// What was found.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox held configuration that OpenCode would have run: it was moved out")]
struct Removed;

/// Why nothing may be asked of the server in a conversation's folder.
#[derive(Debug, thiserror::Error)]
#[error(
    "the conversation's folder may hold configuration that OpenCode would run, so nothing was asked: {0}"
)]
pub struct Unguarded(pub(crate) HookError);

impl From<SandboxError> for Unguarded {
    fn from(error: SandboxError) -> Self {
        Self(error.into())
    }
}

/// Sees to it that the folder of the conversation's session holds nothing that the server would run.
///
/// Called before whatever makes a server read that folder: a prompt, and, where the server was started
/// anew since the agent wrote there, any request about the session (seen on 1.18.33).
/// Returns the names of what was moved out.
pub(crate) async fn guard_session(
    front: &Front,
    conversation: &Conversation,
    own: OwnConfiguration,
) -> Result<Vec<String>, Unguarded> {
    let session = conversation.session.as_ref();
    let directory = session.and_then(|session| session.directory.as_deref());
    match (&front.sandboxes, directory) {
        (Some(sandboxes), Some(directory)) => {
            guard(sandboxes, own, &front.telemetry, conversation, directory).await
        }
        _ => Ok(Vec::new()),
    }
}

/// Looks again before a prompt, where something was moved out before. What came back is moved too, and nothing is
/// asked: somebody is writing there, and may do so while the server reads.
pub(crate) async fn guard_again(
    front: &Front,
    conversation: &Conversation,
    own: OwnConfiguration,
) -> Result<(), Unguarded> {
    tokio::time::sleep(LOOK_AGAIN).await;
    match guard_session(front, conversation, own)
        .await?
        .into_iter()
        .next()
    {
        None => Ok(()),
        Some(path) => {
            let reason = Refusal::Configuration;
            Err(SandboxError::Refused { path, reason }.into())
        }
    }
}

/// The client in the folder of the conversation's session, which is guarded first.
pub(crate) async fn guarded_client(
    front: &Front,
    client: &Client,
    conversation: &Conversation,
    own: OwnConfiguration,
) -> Result<Client, Unguarded> {
    guard_session(front, conversation, own).await?;
    Ok(match &conversation.session {
        Some(session) => session.client(client),
        None => client.clone(),
    })
}

/// Moves OpenCode's configuration out of the folder, if that is the conversation's sandbox. Returns what it was called.
pub(crate) async fn guard(
    sandboxes: &SandboxRoot,
    own: OwnConfiguration,
    telemetry: &Telemetry,
    conversation: &Conversation,
    directory: &str,
) -> Result<Vec<String>, Unguarded> {
    let Ok(id) = conversation.id.to_string().parse::<SandboxId>() else {
        return Ok(Vec::new());
    };
    if own == OwnConfiguration::Keep {
        return Ok(Vec::new());
    }
    let (sandboxes, directory) = (sandboxes.clone(), directory.to_owned());
    let removed = blocking(move || remove(&sandboxes, &id, Path::new(&directory), own)).await?;
    if !removed.is_empty() {
        tell(&removed, telemetry, conversation);
    }
    Ok(removed)
}

fn remove(
    sandboxes: &SandboxRoot,
    id: &SandboxId,
    directory: &Path,
    own: OwnConfiguration,
) -> Result<Vec<String>, SandboxError> {
    let path = sandboxes.path().join(id.as_str());
    let is_sandbox = directory == path || directory.canonicalize().is_ok_and(|real| real == path);
    match sandboxes.find(id)?.filter(|_| is_sandbox) {
        Some(sandbox) => sandbox.remove_configuration(own),
        None => Ok(Vec::new()),
    }
}

fn tell(removed: &[String], telemetry: &Telemetry, conversation: &Conversation) {
    let named: Vec<_> = removed.iter().take(TOLD_NAMES).collect();
    telemetry.event(
        "sandbox.configuration_removed",
        [
            ("conversation", conversation.id.to_string().into()),
            ("count", removed.len().into()),
            ("names", json!(named)),
        ],
    );
    telemetry.report(
        &Removed,
        Severity::Warning,
        [
            ("action", "guard".into()),
            ("conversation", conversation.id.to_string().into()),
            ("names", json!(named)),
        ],
    );
}
