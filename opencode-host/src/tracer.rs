//! Named events of a turn's life, for dashboards.

use std::fmt;

use serde_json::{Map, Value};

/// Takes traced events. Names are unprefixed, such as `turn.finished`: the host
/// chooses the prefix. No event carries what people or agents wrote.
pub trait Tracer: Send + Sync + fmt::Debug + 'static {
    /// Something happened.
    fn event(&self, name: &'static str, fields: &Map<String, Value>);
}

/// Writes events as `tracing` events at info level, under a prefix.
#[derive(Clone, Debug)]
pub struct LogTracer {
    prefix: String,
}

impl LogTracer {
    /// Events named `prefix.name`; `name` alone with an empty prefix.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }
}

impl Default for LogTracer {
    fn default() -> Self {
        Self::new("opencode")
    }
}

impl Tracer for LogTracer {
    fn event(&self, name: &'static str, fields: &Map<String, Value>) {
        let fields = Value::Object(fields.clone());
        let dot = if self.prefix.is_empty() { "" } else { "." };
        tracing::info!(event = %format_args!("{}{dot}{name}", self.prefix), %fields);
    }
}
