//! When an idle worker looks for turns though nothing has changed: from time to time, and when a turn's moment comes or a
//! tenant's next period begins.

use std::time::Duration;

use tokio::time::Instant;

use super::shared::Shared;

/// When the next such moment is, as far as the worker knows. It asks the store once behind each change, and not each time
/// that it looks.
#[derive(Debug, Default)]
pub(super) struct NextLook {
    is_known: bool,
    at: Option<Instant>,
}

impl NextLook {
    /// Something was submitted or claimed, here or by another process: there may be another moment.
    pub(super) fn changed(&mut self) {
        self.is_known = false;
    }

    /// How long to wait for turns.
    pub(super) async fn pause(&mut self, shared: &Shared) -> Duration {
        let interval = shared.workshop.options.poll_interval;
        if self.at.is_some_and(|at| at <= Instant::now()) {
            self.changed();
        }
        if !self.is_known {
            // What fails is found by the next look.
            let until = until_due(shared).await.unwrap_or_default();
            self.at = until.and_then(|until| Instant::now().checked_add(until));
            self.is_known = true;
        }
        let until = self.at.map(|at| at.duration_since(Instant::now()));
        until.map_or(interval, |until| until.min(interval))
    }
}

async fn until_due(shared: &Shared) -> Result<Option<Duration>, crate::store::StoreError> {
    let (store, options) = (&shared.front.store, &shared.workshop.options);
    let Some(due) = store.next_due(&options.tenant_share).await? else {
        return Ok(None);
    };
    // Of two clocks with milliseconds, one may be almost one behind.
    let until = due.since(store.now().await?);
    Ok(Some(until + Duration::from_millis(1)))
}
