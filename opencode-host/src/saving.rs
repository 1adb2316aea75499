//! What has streamed of the turns that run here, saved for all of them together.
//!
//! Each turn saves about once a second. A statement for each would cost a node with thousands of turns more than all the
//! rest of them: so what comes within a short while goes to the store at once, and no turn stops listening meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opencode_client::reply::{Checkpoint, Growth};
use tokio::sync::{Notify, oneshot};

use crate::reporter::Severity;
use crate::store::{Lease, Progress, Store, StoreError, Streamed};
use crate::telemetry::Telemetry;

/// The most turns that are saved at once.
const TOGETHER: usize = 1000;

/// The longest that is waited for others.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// What is to be saved of a turn.
#[derive(Debug)]
pub(crate) enum Unsaved {
    /// All that has streamed.
    Whole(Checkpoint),
    /// What has come since the save before, the how-manieth since the whole.
    More(u64, Growth),
}

impl Unsaved {
    fn streamed(&self) -> Streamed<'_> {
        match self {
            Self::Whole(checkpoint) => Streamed::Whole(checkpoint),
            Self::More(number, growth) => Streamed::More {
                number: *number,
                growth,
            },
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saved {
    /// It is in the store.
    Kept,
    /// The lease is lost, or the turn has ended.
    Lost,
    /// The store failed, which was reported. The next save, of the whole, makes up for it.
    Failed,
}

/// Where it goes.
#[async_trait]
trait Saves: Send + Sync {
    async fn save(&self, progress: &[Progress<'_>]) -> Result<Vec<Lease>, StoreError>;
}

#[async_trait]
impl Saves for Arc<dyn Store> {
    async fn save(&self, progress: &[Progress<'_>]) -> Result<Vec<Lease>, StoreError> {
        (**self).save(progress).await
    }
}

/// Saves what has streamed, of many turns at once.
pub(crate) struct Saving {
    store: Arc<dyn Saves>,
    telemetry: Telemetry,
    /// How long is waited for others.
    wait: Duration,
    state: Mutex<State>,
    hurried: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// A task writes, or will write what waits.
    writing: bool,
}

struct Waiting {
    lease: Lease,
    unsaved: Unsaved,
    saved: oneshot::Sender<Saved>,
}

/// A store that panics leaves what waits to the next task.
struct Writing(Arc<Saving>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.lock().writing = false;
    }
}

impl Saving {
    /// For turns that save once in `interval`.
    pub(crate) fn new(store: Arc<dyn Store>, telemetry: Telemetry, interval: Duration) -> Self {
        let wait = (interval / 10).min(LONGEST_WAIT);
        Self::waiting(Arc::new(store), telemetry, wait)
    }

    fn waiting(store: Arc<dyn Saves>, telemetry: Telemetry, wait: Duration) -> Self {
        Self {
            store,
            telemetry,
            wait,
            state: Mutex::default(),
            hurried: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What waits is pushed and taken whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has what has streamed of a turn saved soon. Tells what became of it.
    pub(crate) fn save(
        self: &Arc<Self>,
        lease: Lease,
        unsaved: Unsaved,
    ) -> oneshot::Receiver<Saved> {
        let (saved, told) = oneshot::channel();
        let mut state = self.lock();
        state.waiting.push(Waiting {
            lease,
            unsaved,
            saved,
        });
        if !std::mem::replace(&mut state.writing, true) {
            let writing = Writing(Arc::clone(self));
            tokio::spawn(async move { writing.0.write_all(&writing).await });
        }
        told
    }

    /// Has what waits saved now.
    pub(crate) fn hurry(&self) {
        self.hurried.notify_one();
    }

    async fn write_all(self: &Arc<Self>, _writing: &Writing) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.wait) => {}
                () = self.hurried.notified() => {}
            }
            let mut waiting = {
                let mut state = self.lock();
                if state.waiting.is_empty() {
                    state.writing = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            while !waiting.is_empty() {
                let left = waiting.split_off(waiting.len().min(TOGETHER));
                self.write(std::mem::replace(&mut waiting, left)).await;
            }
        }
    }

    async fn write(&self, waiting: Vec<Waiting>) {
        match self.write_together(&waiting).await {
            Ok(lost) => tell(waiting, &lost),
            // One of them is why: the others go without it.
            Err(error) if waiting.len() > 1 && !error.is_transient() => {
                for one in waiting {
                    let one = vec![one];
                    match self.write_together(&one).await {
                        Ok(lost) => tell(one, &lost),
                        Err(error) => self.fail(one, &error),
                    }
                }
            }
            Err(error) => self.fail(waiting, &error),
        }
    }

    async fn write_together(&self, waiting: &[Waiting]) -> Result<Vec<Lease>, StoreError> {
        let progress = waiting.iter().map(|waiting| Progress {
            lease: &waiting.lease,
            streamed: waiting.unsaved.streamed(),
        });
        let progress: Vec<_> = progress.collect();
        self.store.save(&progress).await
    }

    fn fail(&self, waiting: Vec<Waiting>, error: &StoreError) {
        let turn = waiting.first().map(|first| first.lease.turn.to_string());
        let context = [("turn", turn.into()), ("turns", waiting.len().into())];
        self.telemetry.report(error, Severity::Warning, context);
        for waiting in waiting {
            // Who is gone needs no answer.
            let _gone = waiting.saved.send(Saved::Failed);
        }
    }
}

fn tell(waiting: Vec<Waiting>, lost: &[Lease]) {
    for waiting in waiting {
        let saved = if lost.contains(&waiting.lease) {
            Saved::Lost
        } else {
            Saved::Kept
        };
        let _gone = waiting.saved.send(saved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TurnId;

    /// Keeps what it is told to save, and does not save what it cannot.
    #[derive(Default)]
    struct Kept {
        calls: Mutex<Vec<Vec<TurnId>>>,
        lost: Option<Lease>,
        poison: Option<Lease>,
        panics: Mutex<bool>,
        away: bool,
    }

    #[async_trait]
    impl Saves for Kept {
        async fn save(&self, progress: &[Progress<'_>]) -> Result<Vec<Lease>, StoreError> {
            assert!(
                !std::mem::take(&mut *self.panics.lock().unwrap()),
                "a store that panics"
            );
            let turns = progress.iter().map(|progress| progress.lease.turn);
            self.calls.lock().unwrap().push(turns.collect());
            if self.away {
                return Err(StoreError::Unavailable("away".into()));
            }
            let is =
                |of: Option<Lease>| progress.iter().any(|progress| Some(*progress.lease) == of);
            if is(self.poison) {
                return Err(StoreError::Unexpected("too large".into()));
            }
            Ok(self.lost.filter(|_| is(self.lost)).into_iter().collect())
        }
    }

    fn lease(number: u128) -> Lease {
        Lease {
            turn: TurnId::from_uuid(uuid::Uuid::from_u128(number)),
            generation: 1,
        }
    }

    fn whole() -> Unsaved {
        Unsaved::Whole(Checkpoint::default())
    }

    /// The tasks of a test run on its own thread: nothing is written before the test waits.
    fn saving(store: Kept, wait: Duration) -> (Arc<Saving>, Arc<Kept>) {
        let store = Arc::new(store);
        let saving = Saving::waiting(store.clone(), Telemetry::default(), wait);
        (Arc::new(saving), store)
    }

    #[tokio::test]
    async fn what_comes_within_a_while_is_saved_together() {
        let kept = Kept {
            lost: Some(lease(2)),
            ..Kept::default()
        };
        let (saving, store) = saving(kept, Duration::from_millis(1));
        let first = saving.save(lease(1), whole());
        let second = saving.save(lease(2), whole());
        assert_eq!(first.await, Ok(Saved::Kept));
        assert_eq!(second.await, Ok(Saved::Lost));
        // And again, once something comes again.
        assert_eq!(saving.save(lease(3), whole()).await, Ok(Saved::Kept));
        let calls = store.calls.lock().unwrap().clone();
        assert_eq!(
            calls,
            [vec![lease(1).turn, lease(2).turn], vec![lease(3).turn]]
        );
    }

    #[tokio::test]
    async fn who_hurries_does_not_wait() {
        let (saving, _) = saving(Kept::default(), Duration::MAX);
        let saved = saving.save(lease(1), whole());
        saving.hurry();
        assert_eq!(saved.await, Ok(Saved::Kept));
    }

    #[tokio::test]
    async fn one_that_cannot_be_saved_holds_up_no_other() {
        let kept = Kept {
            poison: Some(lease(2)),
            ..Kept::default()
        };
        let (saving, store) = saving(kept, Duration::ZERO);
        let told = [1, 2, 3].map(|number| saving.save(lease(number), whole()));
        let [first, second, third] = told;
        assert_eq!(first.await, Ok(Saved::Kept));
        assert_eq!(second.await, Ok(Saved::Failed));
        assert_eq!(third.await, Ok(Saved::Kept));
        assert_eq!(store.calls.lock().unwrap().len(), 4);
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_asked_once_for_all() {
        let kept = Kept {
            away: true,
            ..Kept::default()
        };
        let (saving, store) = saving(kept, Duration::ZERO);
        let told = [1, 2].map(|number| saving.save(lease(number), whole()));
        for told in told {
            assert_eq!(told.await, Ok(Saved::Failed));
        }
        assert_eq!(store.calls.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_store_that_panics_is_called_again() {
        let kept = Kept {
            panics: Mutex::new(true),
            ..Kept::default()
        };
        let (saving, _) = saving(kept, Duration::ZERO);
        assert!(saving.save(lease(1), whole()).await.is_err());
        assert_eq!(saving.save(lease(1), whole()).await, Ok(Saved::Kept));
    }
}
