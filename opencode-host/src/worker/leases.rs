//! Keeping the leases of the turns that run here, and hearing what others say of them.

use std::sync::Arc;

use super::answering::send_open;
use super::shared::{Run, Shared};
use crate::reporter::Severity;
use crate::store::{Lease, LeaseStatus};

/// Renews the leases of a run's turns, and passes on what others say of them: cancels, answers, and losses.
pub(super) async fn keep(shared: Arc<Shared>, run: Run) {
    let mut renewed = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(shared.workshop.options.poll_interval).await;
        let leases = shared.leases(run);
        if leases.is_empty() {
            continue;
        }
        let due = renewed.elapsed() >= shared.workshop.options.lease / 3;
        let statuses = if due {
            shared
                .front
                .store
                .renew(&leases, shared.workshop.options.lease)
                .await
        } else {
            shared.front.store.check(&leases).await
        };
        match statuses {
            Ok(statuses) => {
                if due {
                    renewed = tokio::time::Instant::now();
                }
                pass_on(&shared, &leases, &statuses);
            }
            Err(error) => {
                let context = [("action", "renew".into())];
                shared
                    .front
                    .telemetry
                    .report(&error, Severity::Warning, context);
            }
        }
    }
}

fn pass_on(shared: &Arc<Shared>, leases: &[Lease], statuses: &[LeaseStatus]) {
    let (running, mut answered) = (shared.running(), Vec::new());
    for (lease, status) in leases.iter().zip(statuses) {
        // The turn may have been claimed anew here meanwhile.
        let control = running.get(&lease.turn).map(|running| &running.control);
        let Some(control) = control.filter(|control| control.generation() == lease.generation)
        else {
            continue;
        };
        match status {
            LeaseStatus::Held {
                cancel_requested,
                answers,
            } => {
                if *cancel_requested {
                    control.order(|orders| orders.cancel = true);
                }
                if *answers {
                    answered.push(lease.turn);
                }
            }
            LeaseStatus::Lost => control.order(|orders| orders.lost = true),
        }
    }
    drop(running);
    for turn in answered {
        send_open(shared, turn);
    }
}
