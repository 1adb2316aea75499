//! What is swallowed is reported.

use std::fmt;

use serde_json::{Map, Value};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Got over without loss.
    Warning,
    /// Somebody noticed, or will.
    Error,
}

/// Where errors go that do not reach a caller.
pub trait ErrorReporter: Send + Sync + 'static {
    /// Takes an error. `handled` tells that the program went on as designed.
    /// The context holds ids and names, never what people or agents wrote.
    fn report(
        &self,
        error: &(dyn std::error::Error + 'static),
        handled: bool,
        severity: Severity,
        context: &Map<String, Value>,
    );
}

impl fmt::Debug for dyn ErrorReporter + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErrorReporter")
    }
}

/// Reports as `tracing` events.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingReporter;

impl ErrorReporter for TracingReporter {
    fn report(
        &self,
        error: &(dyn std::error::Error + 'static),
        handled: bool,
        severity: Severity,
        context: &Map<String, Value>,
    ) {
        let context = Value::Object(context.clone());
        match severity {
            Severity::Warning => {
                tracing::warn!(error = %Chain(error), handled, %context, "reported")
            }
            Severity::Error => {
                tracing::error!(error = %Chain(error), handled, %context, "reported")
            }
        }
    }
}

/// An error with its sources.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
