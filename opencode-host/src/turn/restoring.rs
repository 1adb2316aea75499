//! Putting the files of earlier messages into a folder that is new to the conversation.

use std::collections::HashSet;

use super::attach::sandbox;
use super::earlier::Earlier;
use super::tools::Tools;
use crate::artifacts::place_of;
use crate::blobs::{BlobError, Blobs};
use crate::reporter::Severity;
use crate::sandbox::{InvalidPath, Sandbox, SandboxError, SandboxPath};
use crate::store::{Attachment, StoreError};

/// How many files are put there, the newest.
const MOST: usize = 1000;

#[derive(Debug, thiserror::Error)]
enum NotRestored {
    #[error("its name is no file's: {0}")]
    Name(#[from] InvalidPath),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// Puts the files of the conversation's earlier messages into its sandbox: of each place the newest. Nothing that is
/// there is changed. Those that cannot be had are reported.
///
/// # Errors
/// The messages cannot be read.
pub(super) async fn restore(tools: &Tools) -> Result<(), StoreError> {
    let Some(blobs) = &tools.front.blobs else {
        return Ok(());
    };
    let Some(sandbox) = sandbox(tools).await else {
        return Ok(());
    };
    let restored = put_newest(tools, &sandbox, blobs).await?;
    if restored > 0 {
        tools.front.telemetry.event(
            "sandbox.restored",
            [
                ("turn", tools.turn.id.to_string().into()),
                (
                    "conversation",
                    tools.context.conversation.id.to_string().into(),
                ),
                ("files", restored.into()),
            ],
        );
    }
    Ok(())
}

/// Returns how many were not there.
async fn put_newest(tools: &Tools, sandbox: &Sandbox, blobs: &Blobs) -> Result<usize, StoreError> {
    let (mut seen, mut restored) = (HashSet::new(), 0);
    let mut earlier = Earlier::than(tools);
    while let Some(more) = earlier.more().await? {
        for file in more.into_iter().flat_map(|(_, files)| files) {
            let Some(place) = place_of(&file) else {
                continue;
            };
            if seen.len() == MOST {
                return Ok(restored);
            }
            if !seen.insert(place.to_owned()) {
                continue;
            }
            match put(sandbox, blobs, place, &file).await {
                Ok(is_new) => restored += usize::from(is_new),
                Err(error) => tools.front.telemetry.report(
                    &error,
                    Severity::Warning,
                    [
                        ("action", "restore".into()),
                        ("turn", tools.turn.id.to_string().into()),
                        ("file", place.into()),
                    ],
                ),
            }
        }
    }
    Ok(restored)
}

/// Whether the file was not there before.
async fn put(
    sandbox: &Sandbox,
    blobs: &Blobs,
    place: &str,
    file: &Attachment,
) -> Result<bool, NotRestored> {
    let path: SandboxPath = place.parse()?;
    let content = blobs.reader(&file.digest).await?;
    match sandbox.write_new_async(path, content).await {
        Ok(_) => Ok(true),
        Err(SandboxError::Exists { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
