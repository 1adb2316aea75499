//! Counts the statements of this thread, as sqlx tells of each.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

/// How often each statement was run, by its beginning.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statements(Arc<Mutex<BTreeMap<String, usize>>>);

impl Statements {
    /// Counts from now on, those of tasks of this thread's runtime as well.
    pub(crate) fn counted() -> (Self, DefaultGuard) {
        let counted = Self::default();
        let guard = tracing::subscriber::set_default(counted.clone());
        (counted, guard)
    }

    pub(crate) fn take(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Summary<'a>(&'a Statements);

impl Visit for Summary<'_> {
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            let mut counts = self.0.0.lock().unwrap();
            *counts.entry(value.to_owned()).or_default() += 1;
        }
    }
}

impl Subscriber for Statements {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Summary(self));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
