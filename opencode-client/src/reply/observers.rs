//! Who hears the changes of a reply.

use std::sync::Arc;

use super::change::Change;

/// Why an observer failed.
pub type ObserverError = Box<dyn std::error::Error + Send + Sync>;

/// Where the failures of observers go.
#[derive(Clone)]
pub struct ProblemSink(Arc<dyn Fn(&ObserverError) + Send + Sync>);

impl ProblemSink {
    /// A sink that calls `report`.
    pub fn new(report: impl Fn(&ObserverError) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    pub(super) fn report(&self, error: &ObserverError) {
        (self.0)(error);
    }
}

impl std::fmt::Debug for ProblemSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProblemSink")
    }
}

/// Hears the changes of a reply, in order. One that does not care for a kind of
/// change ignores it with a `_` arm.
pub trait Observer: Send + Sync {
    /// Something changed. Called while events are folded: must be quick.
    ///
    /// # Errors
    /// An error is reported and changes nothing about the reply.
    fn changed(&mut self, change: &Change<'_>) -> Result<(), ObserverError>;
}

impl std::fmt::Debug for dyn Observer + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

impl Observer for Box<dyn Observer> {
    fn changed(&mut self, change: &Change<'_>) -> Result<(), ObserverError> {
        (**self).changed(change)
    }
}

/// The observers of a reply, and how much they were told.
#[derive(Debug, Default)]
pub(super) struct Observers {
    all: Vec<Box<dyn Observer>>,
    problems: Option<ProblemSink>,
    changes: u64,
}

impl Observers {
    pub(super) fn add(&mut self, observer: impl Observer + 'static) {
        self.all.push(Box::new(observer));
    }

    pub(super) fn report_problems_to(&mut self, sink: ProblemSink) {
        self.problems = Some(sink);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Lets all observers go.
    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    /// How many changes there were.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Tells of a change, which is made only when somebody listens.
    pub(super) fn tell<'a>(&mut self, change: impl FnOnce() -> Change<'a>) {
        self.changes += 1;
        if self.all.is_empty() {
            return;
        }
        let change = change();
        for observer in &mut self.all {
            if let Err(error) = observer.changed(&change) {
                match &self.problems {
                    Some(sink) => sink.report(&error),
                    None => tracing::warn!(%error, "an observer of the reply failed"),
                }
            }
        }
    }
}
