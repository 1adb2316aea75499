//! Removing what crashed processes left on the disk.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::shared::Shared;
use crate::reporter::Severity;

/// A file that has been on its way into a sandbox for so long was left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// How long between two sweeps.
const PAUSE: Duration = Duration::from_secs(3600);

/// Removes, now and then, what crashed uploads left beside the sandboxes, and bytes that no message names where
/// the options say so. Sandboxes themselves stay: another store's conversations may have theirs below the same
/// root.
pub(super) async fn sweep(shared: Arc<Shared>) {
    let report = |error: &(dyn std::error::Error + 'static)| {
        let telemetry = &shared.front.telemetry;
        telemetry.report(error, Severity::Warning, [("action", "sweep".into())]);
    };
    loop {
        if let Some(age) = shared.workshop.options.sweep {
            match shared.front.sweep_blobs(age).await {
                Ok(swept) => tracing::debug!(?swept, "swept blobs"),
                Err(error) => report(&error),
            }
        }
        if let (Some(root), Some(before)) = (
            shared.front.sandboxes.clone(),
            SystemTime::now().checked_sub(LEFT_BEHIND),
        ) && let Err(error) = crate::sandbox::blocking(move || root.sweep(before)).await
        {
            report(&error);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
