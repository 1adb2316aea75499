//! The observers that a host plugs in, each on a thread of its own.
//!
//! A turn does not wait for them: one that panics, blocks or falls too far behind is told no more, and that is reported.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use opencode_client::reply::{Change, Observer, ObserverError};

use crate::plug_in::Panic;
use crate::reporter::Severity;
use crate::store::Turn;
use crate::telemetry::Telemetry;

/// How many changes an observer may be behind.
const MOST_BEHIND: usize = 4096;

/// Makes an observer for a turn that starts.
pub(crate) type MakeObserver = Arc<dyn Fn(&Turn) -> Box<dyn Observer> + Send + Sync>;

/// An observer panicked.
#[derive(Debug, thiserror::Error)]
#[error("an observer panicked: it is told no more of this turn")]
struct Panicked(#[source] Panic);

/// Passes changes on to an observer's thread.
#[derive(Debug)]
pub(super) struct Feed(Option<SyncSender<Change<'static>>>);

impl Feed {
    /// Starts an observer. Where no thread can be had it hears nothing, and that is reported.
    pub(super) fn start(make: &MakeObserver, turn: &Turn, telemetry: &Telemetry) -> Self {
        let (sender, changes) = sync_channel(MOST_BEHIND);
        let (make, turn, telemetry) = (Arc::clone(make), turn.clone(), telemetry.clone());
        let reporting = telemetry.clone();
        let thread = std::thread::Builder::new().name("observer".to_owned());
        let spawned = thread.spawn(move || {
            let observing = || observe(make(&turn), &changes, &telemetry);
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(observing)) {
                let panicked = Panicked(Panic::of(&*panic));
                let context = [("action", "observer".into())];
                telemetry.report(&panicked, Severity::Warning, context);
            }
        });
        if let Err(error) = spawned {
            let context = [("action", "observer".into())];
            reporting.report(&error, Severity::Warning, context);
        }
        Self(Some(sender))
    }
}

/// Tells an observer of all changes, to the last.
fn observe(
    mut observer: Box<dyn Observer>,
    changes: &Receiver<Change<'static>>,
    telemetry: &Telemetry,
) {
    for change in changes {
        if let Err(error) = observer.changed(&change) {
            let context = [("action", "observer".into())];
            telemetry.report(error.as_ref(), Severity::Warning, context);
        }
    }
}

impl Observer for Feed {
    fn changed(&mut self, change: &Change<'_>) -> Result<(), ObserverError> {
        let Some(sender) = &self.0 else {
            return Ok(());
        };
        match sender.try_send(change.clone().into_owned()) {
            Ok(()) => Ok(()),
            // It panicked, which was reported.
            Err(TrySendError::Disconnected(_)) => {
                self.0 = None;
                Ok(())
            }
            Err(TrySendError::Full(_)) => {
                self.0 = None;
                let behind = format!(
                    "an observer is {MOST_BEHIND} changes behind: it is told no more of this turn"
                );
                Err(behind.into())
            }
        }
    }
}
