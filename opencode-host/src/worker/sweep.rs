//! Removing what crashed processes left on the disk, conversations that are kept no longer, and what the ledger needs no
//! longer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::shared::Shared;
use crate::options::Retention;
use crate::reporter::Severity;
use crate::store::{ConversationFilter, Page, StoreError};

/// A file that has been on its way into a sandbox for so long was left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// How many conversations are read at a time.
const PAGE: u32 = 100;

/// How long the ledger keeps what turns of deleted conversations have used: two months, so that the month before can be
/// shown.
const KEPT_IN_LEDGER: Duration = Duration::from_secs(62 * 24 * 3600);

/// How many rows of the ledger are deleted at a time.
const PRUNED: u32 = 1000;

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
        for retention in &shared.workshop.options.retention {
            if let Err(error) = expire(&shared, retention).await {
                report(&error);
            }
        }
        if let Err(error) = prune(&shared).await {
            report(&error);
        }
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

/// Deletes rows of the ledger that no allowance counts any more.
async fn prune(shared: &Shared) -> Result<(), StoreError> {
    let store = &shared.front.store;
    if !store.keeps_ledger() {
        return Ok(());
    }
    let before = store.now().await?.before(KEPT_IN_LEDGER);
    while store.prune_ledger(before, PRUNED).await? >= u64::from(PRUNED) {}
    Ok(())
}

/// Deletes the conversations that were used too long ago.
async fn expire(shared: &Shared, retention: &Retention) -> Result<(), StoreError> {
    let store = &shared.front.store;
    let unused_since = store.now().await?.before(retention.after);
    let mut filter = ConversationFilter::default()
        .busy(false)
        .used_before(unused_since);
    filter.tenant.clone_from(&retention.tenant);
    let mut page = Page::oldest(PAGE);
    loop {
        let expired = store.conversations(&filter, &page).await?;
        let Some(last) = expired.last() else {
            return Ok(());
        };
        page = page.after(last.cursor());
        for summary in &expired {
            // It may have been used since it was read.
            let id = summary.conversation.id;
            let deleted = store.delete_conversation(id, Some(unused_since)).await?;
            if deleted.is_some() {
                tracing::debug!(conversation = %id, "deleted by retention");
                shared.front.effect_noted.notify_waiters();
            }
        }
    }
}
