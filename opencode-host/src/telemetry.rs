//! The host's tracer and reporter together, as the rest of the crate uses them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::reporter::{ErrorReporter, Severity, TracingReporter};
use crate::tracer::{LogTracer, Tracer};

/// Where events and swallowed errors go.
#[derive(Clone, Debug)]
pub struct Telemetry {
    pub(crate) tracer: Arc<dyn Tracer>,
    pub(crate) reporter: Arc<dyn ErrorReporter>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            tracer: Arc::new(LogTracer::default()),
            reporter: Arc::new(TracingReporter),
        }
    }
}

impl Telemetry {
    /// Sends events and errors to these.
    pub fn new(tracer: Arc<dyn Tracer>, reporter: Arc<dyn ErrorReporter>) -> Self {
        Self { tracer, reporter }
    }

    pub(crate) fn event<const N: usize>(&self, name: &'static str, fields: [(&str, Value); N]) {
        self.event_of(name, &map(fields));
    }

    /// Sends an event whose fields are there already.
    pub(crate) fn event_of(&self, name: &'static str, fields: &Map<String, Value>) {
        contained("tracer", || self.tracer.event(name, fields));
    }

    pub(crate) fn report<const N: usize>(
        &self,
        error: &(dyn std::error::Error + 'static),
        severity: Severity,
        context: [(&str, Value); N],
    ) {
        let context = map(context);
        contained("error reporter", || {
            self.reporter.report(error, true, severity, &context);
        });
    }
}

/// Calls what the host has plugged in. Should it panic, the log says so, and the turn goes on.
fn contained(what: &str, call: impl FnOnce()) {
    if std::panic::catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("the host's {what} panicked");
    }
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
