//! Keeping an agent from configuring the server that runs it.

use std::path::Path;

use serde_json::json;

use super::Shared;
use crate::product::Product;
use crate::reporter::Severity;
use crate::sandbox::{OwnConfiguration, SandboxError, SandboxId, SandboxRoot, blocking};
use crate::store::Conversation;
use crate::telemetry::Telemetry;

/// How many names an event tells.
const TOLD_NAMES: usize = 5;

/// What was found.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox held configuration that OpenCode would have run: it was moved out")]
struct Removed;

/// Why nothing may be asked of the server in this folder.
#[derive(Debug, thiserror::Error)]
#[error(
    "the conversation's folder may hold configuration that OpenCode would run, so nothing was asked: {0}"
)]
pub(crate) struct Unguarded(#[from] SandboxError);

impl Shared {
    /// Sees to it that the folder of the conversation's session holds nothing that the server would run.
    ///
    /// Called before whatever makes a server read that folder: a prompt, and, where the server was started
    /// anew since the agent wrote there, any request about the session (seen on 1.18.33).
    pub(crate) async fn guard(&self, conversation: &Conversation) -> Result<(), Unguarded> {
        let session = conversation.session.as_ref();
        let directory = session.and_then(|session| session.directory.as_deref());
        match (&self.sandboxes, directory) {
            (Some(sandboxes), Some(directory)) => {
                let product = &*self.product;
                guard(sandboxes, product, &self.telemetry, conversation, directory).await
            }
            _ => Ok(()),
        }
    }
}

/// Moves OpenCode's configuration out of the folder, if that is the conversation's sandbox.
pub(super) async fn guard(
    sandboxes: &SandboxRoot,
    product: &dyn Product,
    telemetry: &Telemetry,
    conversation: &Conversation,
    directory: &str,
) -> Result<(), Unguarded> {
    let Ok(id) = conversation.id.to_string().parse::<SandboxId>() else {
        return Ok(());
    };
    if product.own_configuration(conversation) == OwnConfiguration::Keep {
        return Ok(());
    }
    let (sandboxes, directory) = (sandboxes.clone(), directory.to_owned());
    let removed = blocking(move || {
        let path = sandboxes.path().join(id.as_str());
        let directory = Path::new(&directory);
        let is_sandbox =
            directory == path || directory.canonicalize().is_ok_and(|real| real == path);
        match sandboxes.find(&id)?.filter(|_| is_sandbox) {
            Some(sandbox) => sandbox.remove_configuration(),
            None => Ok(Vec::new()),
        }
    })
    .await?;
    if !removed.is_empty() {
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
    Ok(())
}
